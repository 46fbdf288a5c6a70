//! Relocation of a kernel that can be put anywhere.
//!
//! Source: System V ABI, AMD64 supplement, table 4.9; dynamic tags: System V ABI, figure 5-10.

use crate::elf::{Elf, ElfError, Place, u64_at};
use crate::frames::Frames;
use crate::paging::AddressSpace;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_REL: u64 = 17;
const DT_JMPREL: u64 = 23;
const DT_RELR: u64 = 36;

const R_NONE: u64 = 0;
const R_RELATIVE: u64 = 8;
const RELA_SIZE: u64 = 24;

/// Relocates a loaded kernel by `base`; returns the number of relocations.
///
/// # Errors
/// If it has relocations other than `R_X86_64_RELATIVE`, or ones that lie outside its segments.
pub(crate) fn relocate(elf: &Elf<'_>, base: u64, frames: &mut Frames, space: &AddressSpace) -> Result<u64, ElfError> {
    let table = table(elf)?;
    for (number, entry) in table.chunks_exact(RELA_SIZE as usize).enumerate() {
        let fault = |field, value, problem| ElfError { place: Place::Relocation(number as u64), field, value, problem };
        let word = |at| u64_at(entry, at).unwrap_or(0);
        let (offset, kind, addend) = (word(0), word(8), word(16));
        match kind {
            R_NONE => {}
            R_RELATIVE => {
                let value = addend.wrapping_add(base).to_le_bytes();
                let outside = fault("r_offset", offset, "not in a segment");
                write(frames, space, offset.wrapping_add(base), value).ok_or(outside)?;
            }
            _ => return Err(fault("r_info", kind, "only R_X86_64_RELATIVE (8) is known: link with -static-pie")),
        }
    }
    Ok((table.len() as u64) / RELA_SIZE)
}

/// Finds the table of relocations; empty if there is none.
fn table<'a>(elf: &Elf<'a>) -> Result<&'a [u8], ElfError> {
    let fault = |field, value, problem| ElfError { place: Place::Dynamic, field, value, problem };
    let (mut address, mut size, mut entry_size) = (0, 0, RELA_SIZE);
    for entry in elf.dynamic().chunks_exact(16) {
        let (tag, value) = (u64_at(entry, 0).unwrap_or(0), u64_at(entry, 8).unwrap_or(0));
        match tag {
            DT_NULL => break,
            DT_RELA => address = value,
            DT_RELASZ => size = value,
            DT_RELAENT => entry_size = value,
            DT_NEEDED | DT_REL | DT_JMPREL | DT_RELR => {
                return Err(fault("d_tag", tag, "only DT_RELA relocations are known: link with -static-pie"));
            }
            _ => {}
        }
    }
    if size == 0 {
        return Ok(&[]);
    }
    if entry_size != RELA_SIZE {
        return Err(fault("DT_RELAENT", entry_size, "must be 24"));
    }
    if !size.is_multiple_of(RELA_SIZE) {
        return Err(fault("DT_RELASZ", size, "not a multiple of 24"));
    }
    elf.data_at(address, size).ok_or(fault("DT_RELA", address, "relocations lie outside the segments' data"))
}

/// Writes 8 bytes at a virtual address, which may straddle pages.
fn write(frames: &mut Frames, space: &AddressSpace, address: u64, value: [u8; 8]) -> Option<()> {
    let last = address.checked_add(7)?;
    let (start, end) = (space.translate(frames, address)?.0, space.translate(frames, last)?.0);
    // A segment is contiguous in physical memory, but the last byte may lie in another one.
    if let Some(bytes) = frames.bytes_mut(start..start + 8).filter(|_| end == start + 7) {
        bytes.copy_from_slice(&value);
        return Some(());
    }
    for (at, byte) in (address..=last).zip(value) {
        let physical = space.translate(frames, at)?.0;
        *frames.bytes_mut(physical..physical + 1)?.first_mut()? = byte;
    }
    Some(())
}
