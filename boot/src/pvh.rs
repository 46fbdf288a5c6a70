//! What a PVH loader hands over: the start information block.
//!
//! Source: Xen, `xen/include/public/arch-x86/hvm/start_info.h` ("HVM start_info structure"). All
//! fields are little-endian:
//!
//! | offset | size | `start_info` |
//! |---|---|---|
//! | 0 | 4 | magic, 0x336e_c578 |
//! | 4 | 4 | version; the memory map is there from 1 on |
//! | 12 | 4 | number of modules |
//! | 16 | 8 | physical address of the module list |
//! | 24 | 8 | physical address of the command line, ends with NUL; 0: none |
//! | 32 | 8 | physical address of the RSDP; 0: none |
//! | 40 | 8 | physical address of the memory map |
//! | 48 | 4 | its number of entries |
//!
//! A module list entry has 32 bytes: physical address, size, address of its command line, reserved. A memory map
//! entry has 24: start, size, E820 type (4 bytes), reserved.

use crate::elf::{PAGE, u32_at, u64_at};
use crate::hand_over::{MAX_COMMAND_LINE, clean_command_line};
use crate::memory_map::MemoryMap;
use bootloader_api::info::MemoryRegionKind;
use core::fmt;
use core::ops::Range;

/// Size of the block, as of version 1.
pub const START_INFO_SIZE: usize = 56;
/// Its first word.
pub const MAGIC: u32 = 0x336E_C578;
/// Most modules that are looked at.
pub const MAX_MODULES: usize = 8;
/// Most entries of the memory map that are taken.
pub const MAX_MEMORY_MAP: usize = 256;

/// Bytes in which the end of a command line is looked for.
const LONGEST_COMMAND_LINE: u64 = 64 * 1024;
const MODULE_SIZE: usize = 32;
const MEMORY_MAP_ENTRY_SIZE: usize = 24;

/// What is wrong with the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartInfoError {
    /// It is not where it should be: outside the memory that the loader reaches.
    Unreachable(&'static str, u64),
    /// It does not start with the magic number.
    Magic(u32),
    /// Its version has no memory map.
    Version(u32),
    /// The memory map is empty or too long.
    MemoryMap(u32),
}

impl fmt::Display for StartInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what, address) => write!(f, "the {what} at {address:#x} cannot be reached"),
            Self::Magic(found) => write!(f, "magic number is {found:#x}, not {MAGIC:#x}"),
            Self::Version(version) => write!(f, "version is {version}, which has no memory map"),
            Self::MemoryMap(entries) => {
                write!(f, "the memory map has {entries} entries, which are not 1 to {MAX_MEMORY_MAP}")
            }
        }
    }
}

/// The part of physical memory that can be read.
pub trait Memory {
    /// The bytes of a physical range; `None` if it cannot be reached.
    fn read(&self, range: Range<u64>) -> Option<&[u8]>;
}

/// The start information, checked.
#[derive(Debug)]
pub struct StartInfo<'a> {
    /// Version of the block.
    pub version: u32,
    /// Physical ranges of the modules.
    modules: [Range<u64>; MAX_MODULES],
    module_count: usize,
    /// Number of modules that the block claims.
    pub claimed_modules: u32,
    /// Physical address of the command line; 0: none.
    command_line: u64,
    /// Physical address of the RSDP, if there is one.
    pub rsdp: Option<u64>,
    memory_map: &'a [u8],
}

impl<'a> StartInfo<'a> {
    /// Reads the block at a physical address.
    ///
    /// # Errors
    /// See [`StartInfoError`].
    pub fn read(memory: &'a impl Memory, address: u64) -> Result<Self, StartInfoError> {
        let get = |what, start: u64, size: usize| {
            let range = start..start.saturating_add(size as u64);
            memory.read(range).filter(|bytes| bytes.len() == size).ok_or(StartInfoError::Unreachable(what, start))
        };
        let block = get("start information", address, START_INFO_SIZE)?;
        let field32 = |at| u32_at(block, at).unwrap_or(0);
        let field64 = |at| u64_at(block, at).unwrap_or(0);
        if field32(0) != MAGIC {
            return Err(StartInfoError::Magic(field32(0)));
        }
        let version = field32(4);
        if version == 0 {
            return Err(StartInfoError::Version(version));
        }
        let entries = field32(48);
        if entries == 0 || entries as usize > MAX_MEMORY_MAP {
            return Err(StartInfoError::MemoryMap(entries));
        }
        let memory_map = get("memory map", field64(40), entries as usize * MEMORY_MAP_ENTRY_SIZE)?;
        let claimed_modules = field32(12);
        let module_count = (claimed_modules as usize).min(MAX_MODULES);
        let list = match module_count {
            0 => &[][..],
            count => get("module list", field64(16), count * MODULE_SIZE)?,
        };
        let mut modules = [const { 0..0 }; MAX_MODULES];
        for (module, entry) in modules.iter_mut().zip(list.chunks_exact(MODULE_SIZE)) {
            let start = u64_at(entry, 0).unwrap_or(0);
            *module = start..start.saturating_add(u64_at(entry, 8).unwrap_or(0));
        }
        let rsdp = Some(field64(32)).filter(|address| *address != 0);
        let command_line = field64(24);
        Ok(Self { version, modules, module_count, claimed_modules, command_line, rsdp, memory_map })
    }

    /// Physical ranges of the modules, at most [`MAX_MODULES`].
    pub fn modules(&self) -> &[Range<u64>] {
        &self.modules[..self.module_count]
    }

    /// Copies the kernel's command line, cleaned: module 2 if there is one that has any words in it, and else the block's own
    /// (QEMU: `-append`). Returns its length.
    pub fn command_line(&self, memory: &impl Memory, out: &mut [u8; MAX_COMMAND_LINE]) -> usize {
        if let Some(module) = self.modules().get(1) {
            let len = memory.read(module.clone()).map_or(0, |text| clean_command_line(text, text.len() as u64, out));
            if len != 0 {
                return len;
            }
        }
        if self.command_line == 0 {
            return 0;
        }
        // It ends with a NUL that lies nobody knows where: read on until there is one, or nothing more to read.
        let longest = LONGEST_COMMAND_LINE.div_ceil(PAGE) * PAGE;
        let end = (self.command_line.saturating_add(longest)) & !(PAGE - 1);
        let ends =
            (0..=longest / PAGE).map(|pages| end.saturating_sub(pages * PAGE)).filter(|end| *end > self.command_line);
        let text = ends.filter_map(|end| memory.read(self.command_line..end)).next();
        text.map_or(0, |text| clean_command_line(text, text.len() as u64, out))
    }

    /// Start, size and kind of each entry of the memory map.
    pub fn memory_map(&self) -> impl Iterator<Item = (u64, u64, MemoryRegionKind)> + Clone + '_ {
        self.memory_map.chunks_exact(MEMORY_MAP_ENTRY_SIZE).map(|entry| {
            let (start, size) = (u64_at(entry, 0).unwrap_or(0), u64_at(entry, 8).unwrap_or(0));
            (start, size, MemoryMap::e820_kind(u32_at(entry, 16).unwrap_or(0)))
        })
    }
}

#[cfg(test)]
mod tests;
