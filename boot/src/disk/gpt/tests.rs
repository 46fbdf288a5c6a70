//! Tests of the partition table, on good and on damaged ones.

use super::*;
use crate::disk::Partition;
use proptest::prelude::*;
use std::vec::Vec;

/// A disk in memory.
struct Disk(Vec<u8>);

impl Sectors for Disk {
    fn count(&self) -> u64 {
        (self.0.len() / SECTOR) as u64
    }

    fn read(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let start = usize::try_from(first).ok().and_then(|first| first.checked_mul(SECTOR));
        let range = start.and_then(|start| self.0.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(range.ok_or(DiskError::Read(4))?);
        Ok(())
    }
}

const ALL: usize = 200;

/// A disk with a table at each end; the second of its partitions is the system partition.
fn good() -> Disk {
    let mut disk = Disk(std::vec![0; ALL * SECTOR]);
    let mut entries = std::vec![0; 128 * 128];
    for (number, kind, first, last) in [(0, *b"Hah!IdontNeedEFI", 34_u64, 39_u64), (5, SYSTEM_PARTITION, 40, 99)] {
        let at = number * 128;
        entries[at..at + 16].copy_from_slice(&kind);
        entries[at + 32..at + 40].copy_from_slice(&first.to_le_bytes());
        entries[at + 40..at + 48].copy_from_slice(&last.to_le_bytes());
    }
    for (header_at, entries_at) in [(1_u64, 2_u64), (ALL as u64 - 1, ALL as u64 - 33)] {
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        header[24..32].copy_from_slice(&header_at.to_le_bytes());
        header[72..80].copy_from_slice(&entries_at.to_le_bytes());
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc(&entries).to_le_bytes());
        let sum = crc(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        let at = header_at as usize * SECTOR;
        disk.0[at..at + 92].copy_from_slice(&header);
        let at = entries_at as usize * SECTOR;
        disk.0[at..at + entries.len()].copy_from_slice(&entries);
    }
    disk
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.add(bytes);
    crc.value()
}

#[test]
fn the_checksum_is_the_usual_one() {
    assert_eq!(crc(b"123456789"), 0xCBF4_3926);
}

#[test]
fn the_system_partition_is_found() {
    assert_eq!(find_system_partition(&mut good()), Ok((40, 60)));
}

#[test]
fn the_table_at_the_end_serves_when_the_first_is_damaged() {
    for at in [512, 512 + 16, 512 + 80, 1024, 1024 + 5 * 128 + 33] {
        let mut disk = good();
        disk.0[at] ^= 1;
        assert_eq!(find_system_partition(&mut disk), Ok((40, 60)), "byte {at}");
        disk.0[(ALL - 1) * SECTOR] ^= 1;
        assert_eq!(find_system_partition(&mut disk), Err(DiskError::NoPartitionTable), "byte {at}");
    }
}

#[test]
fn a_disk_without_system_partition_is_told_apart() {
    let mut disk = Disk(std::vec![0; 4 * SECTOR]);
    assert_eq!(find_system_partition(&mut disk), Err(DiskError::NoPartitionTable));
    assert_eq!(find_system_partition(&mut Disk(Vec::new())), Err(DiskError::Read(4)));
}

#[test]
fn a_partition_ends_where_its_disk_ends() {
    let mut disk = Disk(std::vec![7; 10 * SECTOR]);
    let mut partition = Partition::new(&mut disk, 8, 100);
    assert_eq!(partition.count(), 2);
    let mut buffer = [0; 2 * SECTOR];
    assert_eq!(partition.read(0, &mut buffer), Ok(()));
    assert_eq!(buffer, [7; 2 * SECTOR]);
    assert_eq!(partition.read(1, &mut buffer), Err(DiskError::Read(4)));
    assert_eq!(partition.read(u64::MAX, &mut buffer), Err(DiskError::Read(4)));
    assert_eq!(Partition::new(&mut disk, 11, 1).count(), 0);
}

proptest! {
    #[test]
    fn rubbish_with_good_checksums_never_panics(
        words in proptest::collection::vec(any::<u32>(), 23), entries in proptest::collection::vec(any::<u8>(), 1024)
    ) {
        let mut disk = good();
        disk.0[1024..2048].copy_from_slice(&entries);
        let header = &mut disk.0[512..604];
        for (at, word) in (0..92).step_by(4).zip(words) {
            if word & 1 != 0 && at > 24 {
                header[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
        header[16..20].fill(0);
        let sum = crc(header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        let _ = find_system_partition(&mut disk);
    }
}
