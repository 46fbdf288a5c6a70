//! Starts the loader as other PVH loaders do: by start information made by hand.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use qemu::{Guest, Programs};

use crate::Scene;

const MIB: u64 = 1 << 20;
/// Where the program is that jumps into the loader, with the start information.
const STUB: u64 = 64 * MIB;
/// Where modules are, and how far apart.
const MODULES: u64 = 80 * MIB;
const MODULE_ROOM: u64 = 64 * MIB;

/// What the loader is told.
#[derive(Clone, Debug, Default)]
pub struct StartInfo {
    /// The contents of modules behind the kernel, which is the first one.
    pub more_modules: Vec<Vec<u8>>,
    /// The command line.
    pub command_line: String,
    /// Physical address of ACPI's root pointer.
    pub root_pointer: u64,
    /// Regions of the memory map besides 256 MiB of usable memory: start, size, type.
    pub more_memory: Vec<(u64, u64, u32)>,
    /// Contents of memory elsewhere, as the machine has it: address and bytes.
    pub contents: Vec<(u64, Vec<u8>)>,
}

/// A guest with a scene's disks, 256 MiB of memory at least, and this start information.
pub fn guest(scene: &Scene, info: &StartInfo) -> Guest {
    let programs = Programs::find_or_build().unwrap();
    let kernel = fs::read(&programs.kernel).unwrap();
    let loader = fs::read(&programs.loader).unwrap();
    let entry = u32::from_le_bytes(loader[24..28].try_into().unwrap());
    let modules: Vec<&[u8]> = std::iter::once(&kernel[..]).chain(info.more_modules.iter().map(Vec::as_slice)).collect();

    let stub = scene.path("stub");
    fs::write(&stub, program(entry, info, &modules)).unwrap();
    let mut guest = scene.guest("");
    guest.memory_mib = 256;
    guest.loader = stub;
    guest.kernel = None;
    let mut load = |path: &Path, more: &str| {
        let path = path.to_str().unwrap().replace(',', ",,");
        guest.arguments.extend([OsString::from("-device"), format!("loader,file={path}{more}").into()]);
    };
    load(&programs.loader, "");
    let places = (0..).map(|number| MODULES + number * MODULE_ROOM);
    let modules = places.zip(modules.iter().map(|bytes| bytes.to_vec()));
    for (number, (address, bytes)) in modules.chain(info.contents.iter().cloned()).enumerate() {
        let path = scene.path(&format!("content{number}"));
        fs::write(&path, bytes).unwrap();
        load(&path, &format!(",addr={address:#x},force-raw=on"));
    }
    guest
}

/// A 32-bit ELF file with one segment, and the note by which QEMU finds the entry point: it has the start information, and
/// code that jumps into the loader.
fn program(loader_entry: u32, info: &StartInfo, modules: &[&[u8]]) -> Vec<u8> {
    let mut file = vec![0; 52 + 2 * 32];
    let note_at = file.len() as u32;
    // XEN_ELFNOTE_PHYS32_ENTRY; where the entry point is comes last.
    file.extend([4_u32, 4, 18].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(b"Xen\0\0\0\0\0");
    let note_length = file.len() as u32 - note_at;

    let put = |file: &mut Vec<u8>, bytes: Vec<u8>| {
        file.resize(file.len().next_multiple_of(16), 0);
        let at = STUB + file.len() as u64;
        file.extend(bytes);
        at
    };
    let command_line = put(&mut file, [info.command_line.as_bytes(), &[0]].concat());
    let places = (0..).map(|number| MODULES + number * MODULE_ROOM);
    let list = places.zip(modules).flat_map(|(start, bytes)| [start, bytes.len() as u64, 0, 0]);
    let list = put(&mut file, list.flat_map(u64::to_le_bytes).collect());
    let memory = [(0, 0x9_F000, 1), (MIB, 255 * MIB, 1)].into_iter().chain(info.more_memory.iter().copied());
    let entry = |(start, size, kind): (u64, u64, u32)| [start, size, kind.into()];
    let map = put(&mut file, memory.clone().flat_map(entry).flat_map(u64::to_le_bytes).collect());
    let start = [
        0x1_336E_C578, // Magic, version 1.
        (modules.len() as u64) << 32,
        list,
        command_line,
        info.root_pointer,
        map,
        memory.count() as u64,
    ];
    let start = put(&mut file, start.into_iter().flat_map(u64::to_le_bytes).collect());
    // mov ebx, start; mov eax, entry; jmp eax
    let code = [&[0xBB][..], &(start as u32).to_le_bytes(), &[0xB8], &loader_entry.to_le_bytes(), &[0xFF, 0xE0]];
    let code = put(&mut file, code.concat()) as u32;

    file[note_at as usize + 16..][..4].copy_from_slice(&code.to_le_bytes());
    let length = file.len() as u32;
    let mut headers = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    headers.extend([2, 0, 3, 0, 1, 0, 0, 0]);
    headers.extend([code, 52, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    headers.extend([52_u16, 32, 2, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    let base = STUB as u32;
    let segments = [
        1,
        0,
        base,
        base,
        length,
        length,
        7,
        4096,
        4,
        note_at,
        base + note_at,
        base + note_at,
        note_length,
        note_length,
        4,
        4,
    ];
    headers.extend(segments.iter().flat_map(|word: &u32| word.to_le_bytes()));
    file[..headers.len()].copy_from_slice(&headers);
    file
}
