//! For tests: kernel files made byte by byte, and a machine's memory.

use crate::elf::PAGE;
use crate::frames::Frames;
use crate::memory_map::MemoryMap;
use bootloader_api::info::MemoryRegionKind;
use std::vec::Vec;

/// Where the usable memory of [`Machine`] starts.
pub(crate) const MEMORY_START: u64 = 0x10_0000;

/// A program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
}

impl Header {
    pub(crate) fn load(flags: u32, offset: u64, address: u64, file_size: u64, memory_size: u64) -> Self {
        Self { kind: 1, flags, offset, address, file_size, memory_size }
    }
}

/// A kernel file in the making.
#[derive(Clone, Debug)]
pub(crate) struct KernelFile {
    pub(crate) kind: u16,
    pub(crate) entry: u64,
    pub(crate) headers: Vec<Header>,
    /// Contents from offset 4096 on.
    pub(crate) data: Vec<u8>,
    /// Contents of `.bootloader-config`.
    pub(crate) configuration: Option<Vec<u8>>,
}

impl KernelFile {
    /// Three segments at `base`: 100 bytes read-only, 200 bytes of code, 300 bytes of data with 5000 bytes of zeroes behind them.
    pub(crate) fn new(base: u64) -> Self {
        let data = (0..0x3000_u32).map(|i| (i * 7 + (i >> 8)) as u8).collect();
        Self {
            kind: 2,
            entry: base + 0x1010,
            headers: std::vec![
                Header::load(4, 0x1000, base, 100, 100),
                Header::load(5, 0x2000, base + 0x1000, 200, 200),
                Header::load(6, 0x3010, base + 0x2010, 300, 5300),
            ],
            data,
            configuration: None,
        }
    }

    /// The same, relocatable and at address 0, with relocations that make `addends[i] + base` of the words at `offsets[i]`.
    pub(crate) fn relocatable(relocations: &[(u64, u64, u64)]) -> Self {
        let mut file = Self::new(0);
        file.kind = 3;
        let table: Vec<u8> = relocations
            .iter()
            .flat_map(|(offset, kind, addend)| [*offset, *kind, *addend])
            .flat_map(u64::to_le_bytes)
            .collect();
        let dynamic = [7, 0x3000, 8, table.len() as u64, 9, 24, 0, 0].into_iter().flat_map(u64::to_le_bytes);
        // Relocations in a read-only segment of their own at 0x4000, and the dynamic section behind them.
        let start = file.data.len() as u64 + PAGE;
        file.data.extend(&table);
        file.data.extend(dynamic);
        let size = table.len() as u64 + 64;
        file.headers.push(Header::load(4, start, 0x5000, size, size));
        file.headers.push(Header {
            kind: 2,
            flags: 4,
            offset: start + table.len() as u64,
            address: 0x5000 + table.len() as u64,
            file_size: 64,
            memory_size: 64,
        });
        let at = start as usize - PAGE as usize + table.len();
        file.data[at + 8..at + 16].copy_from_slice(&0x5000_u64.to_le_bytes());
        file
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = std::vec![0; PAGE as usize];
        file.extend(&self.data);
        file[..8].copy_from_slice(b"\x7FELF\x02\x01\x01\x00");
        file[16..18].copy_from_slice(&self.kind.to_le_bytes());
        file[18..20].copy_from_slice(&62_u16.to_le_bytes());
        file[20..24].copy_from_slice(&1_u32.to_le_bytes());
        file[24..32].copy_from_slice(&self.entry.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&(self.headers.len() as u16).to_le_bytes());
        for (number, header) in self.headers.iter().enumerate() {
            let at = 64 + number * 56;
            file[at..at + 4].copy_from_slice(&header.kind.to_le_bytes());
            file[at + 4..at + 8].copy_from_slice(&header.flags.to_le_bytes());
            let words = [header.offset, header.address, header.address, header.file_size, header.memory_size, PAGE];
            for (word, at) in words.iter().zip((at + 8..).step_by(8)) {
                file[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        if let Some(configuration) = &self.configuration {
            add_section(&mut file, configuration);
        }
        file
    }
}

/// Appends a section `.bootloader-config`, names of sections, and section headers.
fn add_section(file: &mut Vec<u8>, contents: &[u8]) {
    let names = b"\0.bootloader-config\0.shstrtab\0";
    let contents_at = file.len() as u64;
    file.extend(contents);
    let names_at = file.len() as u64;
    file.extend(names);
    let headers_at = file.len() as u64;
    for (name, offset, size) in [(0, 0, 0), (1, contents_at, contents.len()), (20, names_at, names.len())] {
        let mut header = [0; 64];
        header[0..4].copy_from_slice(&u32::to_le_bytes(name));
        header[4..8].copy_from_slice(&1_u32.to_le_bytes());
        header[24..32].copy_from_slice(&u64::to_le_bytes(offset));
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        file.extend(header);
    }
    file[40..48].copy_from_slice(&headers_at.to_le_bytes());
    file[58..60].copy_from_slice(&64_u16.to_le_bytes());
    file[60..62].copy_from_slice(&3_u16.to_le_bytes());
    file[62..64].copy_from_slice(&2_u16.to_le_bytes());
}

/// A machine with memory from [`MEMORY_START`] on, filled with rubbish.
pub(crate) struct Machine {
    pub(crate) map: MemoryMap,
    pub(crate) frames: Frames,
    _memory: Vec<u64>,
}

impl Machine {
    pub(crate) fn new(size: u64) -> Self {
        let mut memory = std::vec![0xA5A5_5A5A_DEAD_BEEF_u64; (size / 8) as usize];
        let mut map = MemoryMap::new();
        map.mark(MEMORY_START..MEMORY_START + size, MemoryRegionKind::Usable).unwrap();
        let window = memory.as_mut_ptr().cast::<u8>().wrapping_sub(MEMORY_START as usize);
        // SAFETY: all usable memory lies in the vector, which lives as long as the frames and is used by nobody else.
        let frames = unsafe { Frames::new(&map, core::iter::empty(), window) }.unwrap();
        Self { map, frames, _memory: memory }
    }
}
