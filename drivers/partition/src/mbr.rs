//! Master boot records and chains of logical partitions.
//!
//! Layout as in the UEFI specification 2.10, section 5.2 (table 5.1 and 5.2): four 16-byte entries at byte 446,
//! 55h AAh at byte 510. Block numbers count the device's own blocks, also where those are 4096 bytes.
//! The chain of an extended partition has one such record before each logical partition: its first entry is the
//! partition, relative to the record; its second one the next record, relative to the extended partition.

use crate::window::{Window, le32};
use crate::{Extent, Kind, Places, Problem, Report, Table, gpt};
use block::BlockReader;

const RECORD_SIZE: usize = 512;
const TABLE_OFFSET: usize = 446;
const ENTRY_SIZE: usize = 16;
const ENTRY_COUNT: usize = 4;
const SIGNATURE: [u8; 2] = [0x55, 0xAA];

const STATUS_ACTIVE: u8 = 0x80;
const TYPE_EMPTY: u8 = 0x00;
const TYPE_PROTECTIVE: u8 = 0xEE;
/// Extended partitions: addressed by cylinders, by blocks, and Linux's own.
const TYPES_EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];

/// Records that are followed over all extended partitions of a device together.
const MAX_CHAIN: u32 = 64;
/// Number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

#[derive(Clone, Copy)]
struct Entry {
    status: u8,
    system: u8,
    first: u32,
    count: u32,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.system != TYPE_EMPTY && self.count != 0
    }

    fn is_extended(&self) -> bool {
        TYPES_EXTENDED.contains(&self.system)
    }

    /// Its blocks, counted from `base`; `None` if they do not lie below `limit`.
    fn extent(&self, base: u64, limit: u64) -> Option<Extent> {
        let first_block = base.checked_add(u64::from(self.first))?;
        let extent = Extent { first_block, block_count: u64::from(self.count) };
        extent.lies_below(limit).then_some(extent)
    }
}

type Record = [u8; RECORD_SIZE];

/// The four entries; `None` if the block is no boot record: without the signature, or with a status byte that is
/// neither 0 nor 80h, as in the boot sector of a file system.
fn entries(record: &Record) -> Option<[Entry; ENTRY_COUNT]> {
    if !record.ends_with(&SIGNATURE) {
        return None;
    }
    let mut entries = [Entry { status: 0, system: 0, first: 0, count: 0 }; ENTRY_COUNT];
    let raw = record.get(TABLE_OFFSET..)?.chunks_exact(ENTRY_SIZE);
    for (entry, raw) in entries.iter_mut().zip(raw) {
        let &[status, _, _, _, system, ..] = raw else { return None };
        *entry = Entry { status, system, first: le32(raw, 8), count: le32(raw, 12) };
    }
    entries.iter().all(|entry| entry.status & !STATUS_ACTIVE == 0).then_some(entries)
}

/// Lists the partitions of whatever table the device has.
pub(crate) fn scan<R: BlockReader>(window: &mut Window<'_, R>, places: &mut Places, report: &mut Report) {
    let record: Record = match window.block_start(0) {
        Ok(record) => record,
        Err(problem) => return report.add(problem),
    };
    let Some(entries) = entries(&record) else { return };
    if entries.iter().any(|entry| entry.system == TYPE_PROTECTIVE) {
        // Also where no GPT is whole: what stands beside a protective entry is a copy that nobody keeps up to date.
        gpt::scan(window, places, report);
        return;
    }
    let mut chain = Chain { next_logical: FIRST_LOGICAL, records: 0 };
    for (number, entry) in (1..).zip(&entries) {
        if !entry.is_used() {
            continue;
        }
        report.table = Table::Mbr;
        match entry.extent(0, window.block_count()) {
            None => report.add(Problem::PartitionOutside { partition: number }),
            Some(extent) if entry.is_extended() => follow(window, extent, &mut chain, places, report),
            // A table that claims its own block would make the partition a second name of the whole device.
            Some(extent) if extent.first_block == 0 => report.add(Problem::PartitionOutside { partition: number }),
            Some(extent) => {
                places.add(Kind::Mbr, number, &[extent]);
            }
        }
    }
}

/// How far the chains of all extended partitions have come.
struct Chain {
    next_logical: u32,
    records: u32,
}

/// Follows the chain of an extended partition. As Linux does, it numbers what is a partition, but no record without one; and of the third and
/// fourth entry, which should be empty, it takes what lies inside.
fn follow<R: BlockReader>(
    window: &mut Window<'_, R>,
    extended: Extent,
    chain: &mut Chain,
    places: &mut Places,
    report: &mut Report,
) {
    let (mut block, mut blocks) = (extended.first_block, extended.block_count);
    loop {
        if chain.records >= MAX_CHAIN {
            return report.add(Problem::ExtendedChain { block });
        }
        let record: Record = match window.block_start(block) {
            Ok(record) => record,
            Err(problem) => return report.add(problem),
        };
        let Some(entries) = entries(&record) else { return report.add(Problem::ExtendedChain { block }) };
        chain.records += 1;
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.count != 0 && !entry.is_extended()) {
            let extent = entry.extent(block, extended.end());
            let is_inside = extent.is_some() && u64::from(entry.first) + u64::from(entry.count) <= blocks;
            if index >= 2 && !is_inside {
                continue;
            }
            match extent {
                Some(extent) if extent.first_block > block => {
                    places.add(Kind::Mbr, chain.next_logical, &[extent]);
                }
                _ => report.add(Problem::PartitionOutside { partition: chain.next_logical }),
            }
            chain.next_logical += 1;
        }
        let Some(link) = entries.iter().find(|entry| entry.is_used() && entry.is_extended()) else { return };
        match extended.first_block.checked_add(u64::from(link.first)) {
            Some(next) if link.first != 0 && next < extended.end() && next != block => {
                (block, blocks) = (next, u64::from(link.count));
            }
            _ => return report.add(Problem::ExtendedChain { block }),
        }
    }
}
