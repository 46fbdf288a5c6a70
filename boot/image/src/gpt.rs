//! Writes a GUID partition table, and the master boot record in front of it.
//!
//! Source: UEFI 2.10, sections 5.2.3 (protective MBR) and 5.3 (GPT).

use boot::image_layout::MBR_CODE_SIZE;
use crc::{CRC_32_ISO_HDLC, Crc};
use std::io::{self, Seek, SeekFrom, Write};

/// Bytes a sector.
pub(crate) const SECTOR: u64 = 512;
/// Sectors of a table without its header: 128 entries of 128 bytes.
pub(crate) const ENTRIES_SECTORS: u64 = 32;
const ENTRY: usize = 128;
const HEADER_SIZE: usize = 92;
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// A partition. GUIDs are as they lie on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) kind: [u8; 16],
    pub(crate) guid: [u8; 16],
    /// First sector, and the one after the last.
    pub(crate) sectors: std::ops::Range<u64>,
    pub(crate) name: &'static str,
}

/// Writes both tables and the master boot record of a disk of `sectors` sectors.
pub(crate) fn write<W: Write + Seek>(
    out: &mut W,
    sectors: u64,
    disk: [u8; 16],
    mbr: &[u8; MBR_CODE_SIZE],
    partitions: &[Partition],
) -> io::Result<()> {
    let mut entries = vec![0; ENTRIES_SECTORS as usize * SECTOR as usize];
    for (entry, partition) in entries.chunks_exact_mut(ENTRY).zip(partitions) {
        entry[..16].copy_from_slice(&partition.kind);
        entry[16..32].copy_from_slice(&partition.guid);
        entry[32..40].copy_from_slice(&partition.sectors.start.to_le_bytes());
        entry[40..48].copy_from_slice(&(partition.sectors.end - 1).to_le_bytes());
        for (at, unit) in (56..ENTRY).step_by(2).zip(partition.name.encode_utf16()) {
            entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
    }
    let last = sectors - 1;
    for (header_at, other, entries_at) in [(last, 1, last - ENTRIES_SECTORS), (1, last, 2)] {
        out.seek(SeekFrom::Start(entries_at * SECTOR))?;
        out.write_all(&entries)?;
        out.seek(SeekFrom::Start(header_at * SECTOR))?;
        out.write_all(&header(header_at, other, entries_at, sectors, disk, &entries))?;
    }
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&boot_record(mbr, sectors))
}

/// One header: at `at`, with its twin at `other`.
fn header(at: u64, other: u64, entries_at: u64, sectors: u64, disk: [u8; 16], entries: &[u8]) -> [u8; SECTOR as usize] {
    let mut header = [0; SECTOR as usize];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    header[12..16].copy_from_slice(&(HEADER_SIZE as u32).to_le_bytes());
    let first_usable = 2 + ENTRIES_SECTORS;
    let last_usable = sectors - 2 - ENTRIES_SECTORS;
    for (offset, word) in [(24, at), (32, other), (40, first_usable), (48, last_usable), (72, entries_at)] {
        header[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
    }
    header[56..72].copy_from_slice(&disk);
    header[80..84].copy_from_slice(&((entries.len() / ENTRY) as u32).to_le_bytes());
    header[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
    header[88..92].copy_from_slice(&CRC32.checksum(entries).to_le_bytes());
    let checksum = CRC32.checksum(&header[..HEADER_SIZE]);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// A partition table that was made for one disk, fitted to a larger one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The first two sectors: master boot record, and the first header.
    pub front: Vec<u8>,
    /// The last sectors of the larger disk: the entries, and the second header.
    pub back: Vec<u8>,
}

/// Sectors of a disk that a table takes at its start, with the master boot record, and at its end.
pub const FRONT_SECTORS: u64 = 2 + ENTRIES_SECTORS;
/// See [`FRONT_SECTORS`].
pub const BACK_SECTORS: u64 = ENTRIES_SECTORS + 1;

/// Fits the table in a disk's first [`FRONT_SECTORS`] to a disk of so many sectors, so that its second header lies at that one's end,
/// where firmware looks for it. `None` if there is no sound table of the usual size, or no room.
pub fn fit(front: &[u8], sectors: u64) -> Option<Fitted> {
    let (own, entries) = front.get(..(FRONT_SECTORS * SECTOR) as usize)?.split_at(2 * SECTOR as usize);
    let (record, header) = own.split_at(SECTOR as usize);
    let mut header: [u8; SECTOR as usize] = header.try_into().ok()?;
    let field =
        |at: usize, len: usize| header[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let stored = field(16, 4);
    let is_usual = header.starts_with(b"EFI PART")
        && [field(12, 4), field(24, 8), field(72, 8)] == [HEADER_SIZE as u64, 1, 2]
        && field(80, 4) * field(84, 4) == entries.len() as u64
        && field(88, 4) == u64::from(CRC32.checksum(entries));
    let (other, last) = (field(32, 8), sectors.checked_sub(1)?);
    header[16..20].fill(0);
    if !is_usual || stored != u64::from(CRC32.checksum(&header[..HEADER_SIZE])) || last < other {
        return None;
    }
    let mut finish = |own: u64, other: u64, entries_at: u64| {
        for (offset, word) in [(24, own), (32, other), (48, last - 1 - ENTRIES_SECTORS), (72, entries_at)] {
            header[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
        }
        header[16..20].fill(0);
        let checksum = CRC32.checksum(&header[..HEADER_SIZE]);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    };
    let (first, second) = (finish(1, last, 2), finish(last, 1, last - ENTRIES_SECTORS));
    let mut record = record.to_vec();
    record[458..462].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    Some(Fitted { front: [record.as_slice(), &first].concat(), back: [entries, &second].concat() })
}

/// The first sector: code, and one partition that covers the whole disk.
fn boot_record(code: &[u8; MBR_CODE_SIZE], sectors: u64) -> [u8; SECTOR as usize] {
    let mut record = [0; SECTOR as usize];
    record[..MBR_CODE_SIZE].copy_from_slice(code);
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    // Not active, from cylinder 0, head 0, sector 2, type "GPT protective", to the end of what such numbers can say.
    record[446..454].copy_from_slice(&[0x00, 0x00, 0x02, 0x00, 0xEE, 0xFF, 0xFF, 0xFF]);
    record[454..458].copy_from_slice(&1_u32.to_le_bytes());
    record[458..462].copy_from_slice(&size.to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xAA]);
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn disk(sectors: u64) -> Vec<u8> {
        let mut disk = Cursor::new(vec![0; (sectors * SECTOR) as usize]);
        let partition = Partition { kind: [7; 16], guid: [8; 16], sectors: 40..80, name: "x" };
        write(&mut disk, sectors, [9; 16], &[0xEB; MBR_CODE_SIZE], &[partition]).unwrap();
        disk.into_inner()
    }

    #[test]
    fn a_fitted_table_is_the_one_that_would_have_been_made_for_the_larger_disk() {
        let front = disk(200);
        for sectors in [200, 201, 233, 1000] {
            let fitted = fit(&front, sectors).unwrap();
            let made = disk(sectors);
            assert!(made.starts_with(&fitted.front) && made.ends_with(&fitted.back), "{sectors}");
            assert_eq!(fitted.back.len() as u64, BACK_SECTORS * SECTOR);
        }
        assert!(fit(&front, 199).is_none() && fit(&front, 0).is_none(), "a smaller disk");
    }

    #[test]
    fn what_is_damaged_is_not_fitted() {
        let front = disk(200);
        assert!(fit(&front[..front.len().min(33 * 512)], 300).is_none());
        for at in [512, 512 + 20, 512 + 40, 512 + 90, 1024, 34 * 512 - 1] {
            let mut damaged = front.clone();
            damaged[at] ^= 1;
            assert!(fit(&damaged, 300).is_none(), "{at}");
        }
    }
}
