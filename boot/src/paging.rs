//! Four-level page tables of an address space that is being built.
//!
//! Source: Intel SDM volume 3A, section 4.5 (4-level paging).

use crate::elf::{Access, PAGE, is_canonical};
use crate::frames::Frames;
use core::fmt;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const HUGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// Bytes that one entry of the top table covers: 512 GiB.
pub const SLOT: u64 = 1 << 39;
const GIB: u64 = 1 << 30;
const MIB2: u64 = 1 << 21;

/// Why something cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// There is no frame left for a page table.
    OutOfMemory,
    /// This virtual page is mapped already.
    AlreadyMapped(u64),
    /// Not page-aligned, empty, or beyond an end of the address space: this virtual address.
    BadRange(u64),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("not enough memory for page tables"),
            Self::AlreadyMapped(address) => write!(f, "virtual address {address:#x} is wanted twice"),
            Self::BadRange(address) => write!(f, "virtual address {address:#x} cannot be mapped"),
        }
    }
}

/// An address space under construction. Its tables lie in frames.
#[derive(Debug)]
pub struct AddressSpace {
    root: u64,
    gib_pages: bool,
}

impl AddressSpace {
    /// An empty one. `gib_pages`: whether the processor has pages of 1 GiB.
    ///
    /// # Errors
    /// If there is no frame left.
    pub fn new(frames: &mut Frames, gib_pages: bool) -> Result<Self, MapError> {
        let root = frames.allocate(PAGE).ok_or(MapError::OutOfMemory)?.start;
        Ok(Self { root, gib_pages })
    }

    /// One that was finished, to look things up in.
    #[cfg(test)]
    pub(crate) fn from_root(root: u64) -> Self {
        Self { root, gib_pages: false }
    }

    /// Physical address of the top table.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Maps `size` bytes, rounded up to pages, with the largest pages that fit, write-back, not for user mode.
    ///
    /// # Errors
    /// See [`MapError`]. Part of the range may be mapped then.
    pub fn map(
        &mut self,
        frames: &mut Frames,
        address: u64,
        physical: u64,
        size: u64,
        access: Access,
    ) -> Result<(), MapError> {
        let bad = MapError::BadRange(address);
        let size = size.checked_next_multiple_of(PAGE).filter(|size| *size != 0).ok_or(bad)?;
        let last = address.checked_add(size - 1).ok_or(bad)?;
        let aligned = (address | physical).is_multiple_of(PAGE);
        let one_half = is_canonical(address) && is_canonical(last) && address >> 47 == last >> 47;
        if !aligned || !one_half || physical.checked_add(size).is_none_or(|end| end > ADDRESS + PAGE) {
            return Err(bad);
        }
        let flags = match access {
            Access::Read => PRESENT | NO_EXECUTE,
            Access::ReadExecute => PRESENT,
            Access::ReadWrite => PRESENT | WRITABLE | NO_EXECUTE,
        };
        let mut done = 0;
        while done < size {
            let (at, from, left) = (address + done, physical + done, size - done);
            let fits = |page| (at | from).is_multiple_of(page) && left >= page;
            let (level, page) = match () {
                () if self.gib_pages && fits(GIB) => (2, GIB),
                () if fits(MIB2) => (1, MIB2),
                () => (0, PAGE),
            };
            let leaf = if level == 0 { flags } else { flags | HUGE };
            self.set_leaf(frames, at, level, from | leaf)?;
            done += page;
        }
        Ok(())
    }

    /// Maps the tables themselves, by an entry of the top table that points to it.
    ///
    /// # Errors
    /// If that entry is in use.
    pub fn map_recursively(&mut self, frames: &mut Frames, index: u16) -> Result<(), MapError> {
        let address = ((u64::from(index) << 39) as i64) << 16 >> 16;
        self.set_leaf(frames, address as u64, 3, self.root | PRESENT | WRITABLE | NO_EXECUTE)
    }

    /// What a virtual address is mapped to, and with which permissions.
    pub fn translate(&self, frames: &Frames, address: u64) -> Option<(u64, Access)> {
        let mut table = self.root;
        for level in (0..4).rev() {
            let entry = read(frames, table, index(address, level))?;
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & HUGE != 0 {
                let access = match (entry & WRITABLE != 0, entry & NO_EXECUTE != 0) {
                    (true, _) => Access::ReadWrite,
                    (false, true) => Access::Read,
                    (false, false) => Access::ReadExecute,
                };
                let offset = address & ((PAGE << (9 * level)) - 1);
                return Some(((entry & ADDRESS) + offset, access));
            }
            table = entry & ADDRESS;
        }
        None
    }

    fn set_leaf(&mut self, frames: &mut Frames, address: u64, level: u32, leaf: u64) -> Result<(), MapError> {
        let mut table = self.root;
        for upper in (level + 1..4).rev() {
            let at = index(address, upper);
            let entry = read(frames, table, at).ok_or(MapError::OutOfMemory)?;
            table = if entry & PRESENT == 0 {
                let new = frames.allocate(PAGE).ok_or(MapError::OutOfMemory)?.start;
                // Permissions are decided by the leaf alone.
                write(frames, table, at, new | PRESENT | WRITABLE)?;
                new
            } else if entry & HUGE != 0 {
                return Err(MapError::AlreadyMapped(address));
            } else {
                entry & ADDRESS
            };
        }
        let at = index(address, level);
        if read(frames, table, at).is_none_or(|entry| entry & PRESENT != 0) {
            return Err(MapError::AlreadyMapped(address));
        }
        write(frames, table, at, leaf)
    }
}

fn index(address: u64, level: u32) -> u64 {
    address >> (12 + 9 * level) & 511
}

fn read(frames: &Frames, table: u64, index: u64) -> Option<u64> {
    let at = table + index * 8;
    frames.bytes(at..at + 8)?.first_chunk().map(|entry| u64::from_le_bytes(*entry))
}

fn write(frames: &mut Frames, table: u64, index: u64, value: u64) -> Result<(), MapError> {
    let at = table + index * 8;
    let entry = frames.bytes_mut(at..at + 8).ok_or(MapError::OutOfMemory)?;
    entry.copy_from_slice(&value.to_le_bytes());
    Ok(())
}
