//! Guests of a few instructions, made by hand to test the harness.

use std::path::PathBuf;

use qemu::{Guest, TemporaryDirectory};

/// Where the program is loaded.
const BASE: u32 = 0x10_0000;

/// Prints on the serial port.
pub(crate) fn print(text: &str) -> Vec<u8> {
    // mov edx, 0x3f8; then for each byte: mov al, byte; out dx, al
    let mut code = vec![0xba, 0xf8, 0x03, 0x00, 0x00];
    text.bytes().for_each(|byte| code.extend([0xb0, byte, 0xee]));
    code
}

/// Writes a value to the `isa-debug-exit` port.
pub(crate) fn exit(value: u8) -> Vec<u8> {
    // mov al, value; out 0xf4, al
    vec![0xb0, value, 0xe6, 0xf4]
}

/// Loops for ever.
pub(crate) fn hang() -> Vec<u8> {
    // jmp to itself
    vec![0xeb, 0xfe]
}

/// Resets the machine by a triple fault.
pub(crate) fn triple_fault() -> Vec<u8> {
    // push 0; push 0; lidt [esp]; int3
    vec![0x6a, 0x00, 0x6a, 0x00, 0x0f, 0x01, 0x1c, 0x24, 0xcc]
}

/// A guest that runs this 32-bit code, and then loops.
pub(crate) fn guest(directory: &TemporaryDirectory, code: &[&[u8]]) -> Guest {
    let path: PathBuf = directory.file("program");
    // mov esp, 0x200000
    let stack = [0xbc, 0x00, 0x00, 0x20, 0x00];
    std::fs::write(&path, program(&[&stack, &code.concat()[..], &hang()].concat())).unwrap();
    Guest::bare(path)
}

/// A 32-bit ELF file with one segment and the note by which PVH finds the entry point.
fn program(code: &[u8]) -> Vec<u8> {
    let (headers, note_length) = (52 + 2 * 32, 12 + 4 + 4);
    let code_offset = headers + note_length;
    let entry = BASE + code_offset;
    let length = code_offset + code.len() as u32;
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    // Executable, for the 386, version 1.
    file.extend([2, 0, 3, 0, 1, 0, 0, 0]);
    for field in [entry, 52, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    // Sizes of the headers, and two program headers.
    for field in [52_u16, 32, 2, 0, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    // PT_LOAD, then PT_NOTE: type, offset, virtual and physical address, sizes in file and memory, flags, alignment.
    for field in [1, 0, BASE, BASE, length, length, 7, 4096] {
        file.extend(field.to_le_bytes());
    }
    for field in [4, headers, BASE + headers, BASE + headers, note_length, note_length, 4, 4] {
        file.extend(field.to_le_bytes());
    }
    // XEN_ELFNOTE_PHYS32_ENTRY.
    for field in [4_u32, 4, 18] {
        file.extend(field.to_le_bytes());
    }
    file.extend(b"Xen\0");
    file.extend(entry.to_le_bytes());
    file.extend(code);
    file
}
