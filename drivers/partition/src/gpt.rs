//! GUID partition tables: first and backup header, and their entries.
//!
//! UEFI specification 2.10, section 5.3: the header (table 5.5) stands in block 1 and in the last block, the entries
//! (table 5.6) where it says; both are covered by a CRC-32.

use crate::window::{Window, le32, le64};
use crate::{Extent, Kind, Places, Problem, Report, Table as TableKind};
use block::BlockReader;
use crc::{CRC_32_ISO_HDLC, Crc};

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: usize = 8;
const HEADER_SIZE: usize = 12;
const HEADER_CRC: usize = 16;
const MY_BLOCK: usize = 24;
const OTHER_BLOCK: usize = 32;
const FIRST_USABLE: usize = 40;
const LAST_USABLE: usize = 48;
const ENTRIES_BLOCK: usize = 72;
const ENTRY_COUNT: usize = 80;
const ENTRY_SIZE: usize = 84;
const ENTRIES_CRC: usize = 88;

/// Bytes of the header that have a meaning.
const MIN_HEADER_SIZE: usize = 92;
/// The only major revision there is.
const MAJOR_REVISION: u32 = 1;
/// Part of an entry that is looked at: type GUID, own GUID, first and last block.
const ENTRY_START: usize = 48;
/// Entries are 128 × 2ⁿ bytes long.
const ENTRY_SIZES: core::ops::RangeInclusive<u32> = 128..=4096;
/// Bytes that all entries together may take: 32 times what is usual.
const MAX_ENTRIES_BYTES: u64 = 512 << 10;

static CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

struct Header {
    /// Where the other header is.
    other_block: u64,
    usable: Extent,
    entries_block: u64,
    entry_count: u32,
    entry_size: u32,
    entries_crc: u32,
}

/// What a table that is whole has to say besides its partitions.
struct Table {
    /// The first partition that is not inside the usable blocks, if there is one.
    outside: Option<u32>,
    other_block: u64,
    entries_crc: u32,
}

/// Lists the partitions of the first table that is whole. Returns whether there is one. The other one is looked at in any case: it
/// is better known to be damaged before it is needed.
pub(crate) fn scan<R: BlockReader>(window: &mut Window<'_, R>, places: &mut Places, report: &mut Report) -> bool {
    let last_block = window.block_count().saturating_sub(1);
    for (block, kind) in [(1, TableKind::Gpt), (last_block, TableKind::GptBackup)] {
        let mark = places.mark();
        match read_header(window, block).and_then(|header| read_entries(window, block, &header, places)) {
            Ok(Table { outside, other_block, entries_crc }) => {
                report.table = kind;
                if let Some(partition) = outside {
                    report.add(Problem::PartitionOutside { partition });
                }
                if block == 1
                    && let Err(problem) = check_backup(window, other_block, entries_crc)
                {
                    report.add(problem);
                }
                return true;
            }
            Err(problem) => {
                places.go_back(mark);
                report.add(problem);
            }
        }
    }
    false
}

fn read_header<R: BlockReader>(window: &mut Window<'_, R>, block: u64) -> Result<Header, Problem> {
    let damaged = |why| Err(Problem::GptDamaged { block, why });
    let raw: [u8; 512] = window.block_start(block)?;
    if !raw.starts_with(SIGNATURE) {
        return damaged("no signature");
    }
    if le32(&raw, REVISION) >> 16 != MAJOR_REVISION {
        return damaged("unknown revision");
    }
    let size = le32(&raw, HEADER_SIZE) as usize;
    let Some(covered) = raw.get(..size).filter(|covered| covered.len() >= MIN_HEADER_SIZE) else {
        return damaged("header size");
    };
    let mut digest = CRC32.digest();
    // The checksum covers the header with the checksum's own field taken as zero.
    digest.update(&covered[..HEADER_CRC]);
    digest.update(&[0; 4]);
    digest.update(&covered[HEADER_CRC + 4..]);
    if digest.finalize() != le32(&raw, HEADER_CRC) {
        return damaged("header checksum");
    }
    if le64(&raw, MY_BLOCK) != block {
        return damaged("header of another block");
    }
    let (first, last) = (le64(&raw, FIRST_USABLE), le64(&raw, LAST_USABLE));
    if first > last || last >= window.block_count() {
        return damaged("usable blocks");
    }
    let header = Header {
        other_block: le64(&raw, OTHER_BLOCK),
        usable: Extent { first_block: first, block_count: last - first + 1 },
        entries_block: le64(&raw, ENTRIES_BLOCK),
        entry_count: le32(&raw, ENTRY_COUNT),
        entry_size: le32(&raw, ENTRY_SIZE),
        entries_crc: le32(&raw, ENTRIES_CRC),
    };
    if !ENTRY_SIZES.contains(&header.entry_size) || !header.entry_size.is_power_of_two() {
        return damaged("entry size");
    }
    let bytes = u64::from(header.entry_count) * u64::from(header.entry_size);
    let blocks = bytes.div_ceil(window.block_size());
    let entries = Extent { first_block: header.entries_block, block_count: blocks };
    if bytes > MAX_ENTRIES_BYTES || !entries.lies_below(window.block_count()) {
        return damaged("number or place of the entries");
    }
    Ok(header)
}

/// Whether the backup is whole, and of the same partitions as the first table. It is looked for where the first header says: an image that was
/// written to a larger disk has it where the image ended.
fn check_backup<R: BlockReader>(window: &mut Window<'_, R>, block: u64, entries_crc: u32) -> Result<(), Problem> {
    let header = read_header(window, block)?;
    walk_entries(window, block, &header, |_, _| {})?;
    if header.entries_crc == entries_crc {
        Ok(())
    } else {
        Err(Problem::GptDamaged { block, why: "entries other than the first table's" })
    }
}

/// Adds the partitions, and checks the entries' checksum on the way.
fn read_entries<R: BlockReader>(
    window: &mut Window<'_, R>,
    block: u64,
    header: &Header,
    places: &mut Places,
) -> Result<Table, Problem> {
    let mut outside = None;
    walk_entries(window, block, header, |number, start| {
        if start[..16] != [0; 16] {
            match partition(start, header.usable) {
                Some(extent) => {
                    places.add(Kind::Gpt, number, &[extent]);
                }
                None => outside = outside.or(Some(number)),
            }
        }
    })?;
    Ok(Table { outside, other_block: header.other_block, entries_crc: header.entries_crc })
}

/// Goes through the entries, and checks their checksum.
fn walk_entries<R: BlockReader>(
    window: &mut Window<'_, R>,
    block: u64,
    header: &Header,
    mut each: impl FnMut(u32, &[u8; ENTRY_START]),
) -> Result<(), Problem> {
    let mut digest = CRC32.digest();
    let mut offset = header.entries_block.saturating_mul(window.block_size());
    for number in 1..=header.entry_count {
        let start: [u8; ENTRY_START] = window.bytes(offset)?;
        each(number, &start);
        let end = offset.saturating_add(u64::from(header.entry_size));
        while offset < end {
            let piece = window.piece(offset)?;
            let len = piece.len().min((end - offset) as usize);
            digest.update(piece.get(..len).unwrap_or_default());
            offset += len as u64;
        }
    }
    if digest.finalize() != header.entries_crc {
        return Err(Problem::GptDamaged { block, why: "checksum of the entries" });
    }
    Ok(())
}

fn partition(entry: &[u8; ENTRY_START], usable: Extent) -> Option<Extent> {
    let (first, last) = (le64(entry, 32), le64(entry, 40));
    let block_count = last.checked_sub(first)?.checked_add(1)?;
    let extent = Extent { first_block: first, block_count };
    (first >= usable.first_block && extent.end() <= usable.end()).then_some(extent)
}
