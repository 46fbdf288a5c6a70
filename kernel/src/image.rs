//! The program's image in memory: what the linker script knows.

use core::arch::global_asm;
use core::ops::Range;

// The symbols are weak, and read from a table, so that the library also links into host programs, where they are all zero.
global_asm!(
    ".pushsection .data.rel.ro.kernel_image, \"aw\", @progbits",
    ".weak __image_start, __image_end, __text_start, __text_end, __rodata_start, __rodata_end",
    ".weak __build_id_start, __build_id_end",
    ".balign 8",
    ".global kernel_image_symbols",
    ".hidden kernel_image_symbols",
    "kernel_image_symbols:",
    ".quad __image_start, __image_end, __text_start, __text_end, __rodata_start, __rodata_end",
    ".quad __build_id_start, __build_id_end",
    ".popsection",
);

fn symbols(index: usize) -> Range<u64> {
    unsafe extern "C" {
        static kernel_image_symbols: [[u64; 2]; 4];
    }
    // SAFETY: the table above, which nothing writes to.
    let [start, end] = unsafe { kernel_image_symbols[index] };
    start..end
}

/// Addresses of the whole image.
pub fn whole() -> Range<u64> {
    symbols(0)
}

/// Addresses of its code.
pub fn text() -> Range<u64> {
    symbols(1)
}

/// Addresses of its read-only data.
pub fn read_only() -> Range<u64> {
    symbols(2)
}

/// Length of a build id: SHA-1.
pub const BUILD_ID_LEN: usize = 20;
/// Header of the note, and its name, `GNU` and a NUL.
const NOTE_HEADER: usize = 16;

/// The build id that the linker gave the program; empty if it gave none.
pub fn build_id_note() -> &'static [u8] {
    let note = symbols(3);
    let len = note.end.saturating_sub(note.start) as usize;
    if len < NOTE_HEADER + BUILD_ID_LEN {
        return &[];
    }
    // SAFETY: the linker script keeps the note in read-only memory, between the two symbols.
    unsafe { core::slice::from_raw_parts((note.start as usize + NOTE_HEADER) as *const u8, BUILD_ID_LEN) }
}

/// The same, or zeroes.
pub fn build_id() -> [u8; BUILD_ID_LEN] {
    build_id_note().try_into().unwrap_or([0; BUILD_ID_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_program_has_no_image() {
        assert!(whole().is_empty() && text().is_empty());
        assert_eq!(build_id(), [0; BUILD_ID_LEN]);
    }
}
