//! Finds the EFI system partition in a GUID partition table.
//!
//! Source: UEFI 2.10, section 5.3.

use super::{DiskError, SECTOR, Sectors};
use crate::elf::{u32_at, u64_at};
use core::ops::Range;

/// Type of an EFI system partition, c12a7328-f81f-11d2-ba4b-00a0c93ec93b, as it lies on the disk.
pub const SYSTEM_PARTITION: [u8; 16] =
    [0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B];

const HEADER_SIZE: Range<u32> = 92..SECTOR as u32 + 1;
/// Most entries that are looked at.
const MAX_ENTRIES: u32 = 1024;

/// CRC-32 as GPT has it, taken up from `state`; starts and ends inverted.
#[derive(Clone, Copy)]
struct Crc32(u32);

impl Crc32 {
    const fn new() -> Self {
        Self(!0)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                self.0 = self.0 >> 1 ^ 0xEDB8_8320 & (self.0 & 1).wrapping_neg();
            }
        }
    }

    const fn value(self) -> u32 {
        !self.0
    }
}

/// The first sector and the number of sectors of the first EFI system partition, by the table at the disk's start, or
/// else the one at its end.
///
/// # Errors
/// If there is no valid table, or no such partition in it.
pub fn find_system_partition(disk: &mut impl Sectors) -> Result<(u64, u64), DiskError> {
    let last = disk.count().saturating_sub(1);
    match find_by(disk, 1) {
        Err(DiskError::NoPartitionTable | DiskError::Read(_)) if last > 1 => find_by(disk, last),
        found => found,
    }
}

fn find_by(disk: &mut impl Sectors, header_at: u64) -> Result<(u64, u64), DiskError> {
    let mut sector = [0; SECTOR];
    disk.read(header_at, &mut sector)?;
    let field32 = |at| u32_at(&sector, at).unwrap_or(0);
    let field64 = |at| u64_at(&sector, at).unwrap_or(0);
    let (header_size, entries_at) = (field32(12), field64(72));
    let (count, size, entries_crc) = (field32(80), field32(84), field32(88));
    // Entries of more than one sector are allowed, and nowhere used.
    let sane = HEADER_SIZE.contains(&header_size) && count <= MAX_ENTRIES && [128, 256, 512].contains(&size);
    if &sector[..8] != b"EFI PART" || !sane || field64(24) != header_at {
        return Err(DiskError::NoPartitionTable);
    }
    let stored = field32(16);
    sector[16..20].fill(0);
    let mut crc = Crc32::new();
    crc.add(&sector[..header_size as usize]);
    if crc.value() != stored {
        return Err(DiskError::NoPartitionTable);
    }
    let mut crc = Crc32::new();
    let mut found = None;
    let mut left = (count * size) as usize;
    for number in 0.. {
        if left == 0 {
            break;
        }
        disk.read(entries_at.saturating_add(number), &mut sector)?;
        let used = left.min(SECTOR);
        crc.add(&sector[..used]);
        left -= used;
        let system = |entry: &&[u8]| entry[..16] == SYSTEM_PARTITION;
        found = found.or_else(|| sector[..used].chunks_exact(size as usize).find(system).and_then(place));
    }
    if crc.value() != entries_crc {
        return Err(DiskError::NoPartitionTable);
    }
    found.ok_or(DiskError::NoSystemPartition)
}

fn place(entry: &[u8]) -> Option<(u64, u64)> {
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    Some((first, last.checked_sub(first)?.checked_add(1)?))
}

#[cfg(test)]
mod tests;
