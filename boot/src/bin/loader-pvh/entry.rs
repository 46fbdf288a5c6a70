//! The way in: 32-bit protected mode, with the start information's address in ebx.
//!
//! Source: Xen, `docs/misc/pvh.pandoc`: flat 32-bit segments, paging off. The entry point is named by an ELF note of type 18
//! (`XEN_ELFNOTE_PHYS32_ENTRY`) of "Xen".

use core::arch::global_asm;

boot::long_mode!(crate::main);

global_asm!(
    ".pushsection .note.pvh,\"a\",@note",
    ".p2align 2",
    ".long 4, 8, 18",
    ".asciz \"Xen\"",
    ".quad _start",
    ".popsection",
    ".pushsection .text.entry,\"ax\",@progbits",
    ".code32",
    ".global _start",
    "_start:",
    "cli",
    "mov ebp, ebx",
    "jmp enter_long_mode",
    ".code64",
    ".popsection",
);
