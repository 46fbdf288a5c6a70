//! The way in from the master boot record, in real mode.

use core::arch::global_asm;

boot::long_mode!(crate::main);

global_asm!(
    ".pushsection .text.entry,\"ax\",@progbits",
    ".code16",
    ".global _start",
    ".p2align 4", // So that the instruction pointer is 0, whatever the segment.
    "_start:",
    "cli",
    "cld",
    "movzx ebp, dl",
    ".byte 0x2E, 0x66, 0x0F, 0x01, 0x16", // lgdt cs:[..], with 32 bits of address.
    ".word entry_descriptor_pointer - _start",
    "mov eax, cr0",
    "or al, 1",
    "mov cr0, eax",
    ".byte 0x66, 0xEA", // A far jump with 32 bits of offset.
    ".long entry_protected",
    ".word 0x08",
    "entry_descriptor_pointer:",
    ".word 23",
    ".long entry_descriptors",
    ".p2align 3",
    "entry_descriptors:",
    ".quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF", // 0x08: 32-bit code; 0x10: data.
    ".code32",
    "entry_protected:",
    "mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov fs, eax",
    "mov gs, eax",
    // The file has no zeroed data.
    "mov edi, offset __bss_start",
    "mov ecx, offset __bss_end",
    "sub ecx, edi",
    "xor eax, eax",
    "rep stosb",
    "jmp enter_long_mode",
    ".code64",
    ".popsection",
);
