//! The build id that the linker gave the loader.

use core::arch::global_asm;

// Weak, and read from a table, so that the library also links into host programs, where both are zero.
global_asm!(
    ".pushsection .data.rel.ro.boot_build_id, \"aw\", @progbits",
    ".weak __build_id_start, __build_id_end",
    ".balign 8",
    ".global boot_build_id",
    ".hidden boot_build_id",
    "boot_build_id: .quad __build_id_start, __build_id_end",
    ".popsection",
);

/// Length of a build id: SHA-1.
const LEN: u64 = 20;
/// Header of the note, and its name, `GNU` and a NUL.
const HEADER: u64 = 16;

/// The build id; empty if there is none.
pub fn build_id() -> &'static [u8] {
    unsafe extern "C" {
        static boot_build_id: [u64; 2];
    }
    // SAFETY: the table above, which nothing writes to.
    let [start, end] = unsafe { boot_build_id };
    if end.saturating_sub(start) < HEADER + LEN {
        return &[];
    }
    let start = core::ptr::with_exposed_provenance((start + HEADER) as usize);
    // SAFETY: the linker script keeps the note in read-only memory, between the two symbols.
    unsafe { core::slice::from_raw_parts(start, LEN as usize) }
}
