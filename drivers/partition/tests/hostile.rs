//! Arbitrary and damaged disks: no panic, no endless scan, no place outside.
#![forbid(unsafe_code)]

mod common;

use common::{ARCHIVE, Disk, Fat, Gpt, LOG_NAME, put_mbr};
use partition::{BadExtents, ExplicitExtents, Kind, Places};
use proptest::prelude::*;

/// Disks with every structure this crate knows, to be damaged.
fn corpus(which: usize) -> Disk {
    let bits = match which {
        0 | 3 => 12,
        1 | 4 => 16,
        2 | 5 => 32,
        _ => {
            let mut disk = Disk::new(4096, 1000);
            put_mbr(&mut disk, 0, &[(0, 0x83, 1, 9), (0, 0x05, 10, 900)]);
            put_mbr(&mut disk, 10, &[(0, 0x83, 1, 10), (0, 0x05, 40, 100)]);
            put_mbr(&mut disk, 50, &[(0, 0x83, 1, 10)]);
            return disk;
        }
    };
    let fat = Fat::new(bits);
    let first_block = if which < 3 { 2048 } else { 0 };
    let mut disk = Disk::new(512, first_block + fat.sectors + 100);
    if first_block != 0 {
        Gpt::new(&[(0, 2048, 2047 + fat.sectors as u64), (1, 40, 99)]).put(&mut disk);
    }
    let start = first_block * 512;
    fat.put(&mut disk, start);
    fat.entry(&mut disk, start, 0, (LOG_NAME, ARCHIVE, 10, 12 * 512));
    fat.chain(&mut disk, start, &[10, 11, 12, 50, 51, 52, 20, 21, 22, 30, 40, 41]);
    disk
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_blocks(
        size in prop::sample::select(vec![512_usize, 4096]),
        blocks in 0_usize..24,
        bytes in prop::collection::vec(any::<u8>(), 4096),
        signed in any::<bool>(),
    ) {
        let mut disk = Disk::new(size, blocks);
        for (index, byte) in disk.bytes.iter_mut().enumerate() {
            *byte = bytes[index % bytes.len()].wrapping_add((index / bytes.len()) as u8);
        }
        if signed && blocks > 0 {
            disk.put(510, &[0x55, 0xAA]);
            for entry in 0..4 {
                disk.bytes[446 + 16 * entry] &= 0x80;
            }
        }
        disk.scan();
    }

    /// Damages structures where they stand, and mends the checksums half of the time, so that the damage gets past them.
    #[test]
    fn damaged_structures(
        which in 0_usize..7,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        bad in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        mend in any::<bool>(),
    ) {
        let mut disk = corpus(which);
        let used: Vec<_> = disk.bytes.iter().enumerate().filter(|byte| *byte.1 != 0).map(|byte| byte.0).collect();
        for (index, byte) in damage {
            let offset = used[index.index(used.len())];
            disk.bytes[offset] = byte;
        }
        if mend && disk.bytes[512..].starts_with(b"EFI PART") {
            let entries = common::crc32(&disk.bytes[1024..1024 + 128 * 128]);
            disk.put(512 + 88, &entries.to_le_bytes());
            common::seal_header(&mut disk.bytes[512..512 + 92]);
        }
        let blocks = disk.blocks() as usize;
        disk.bad_blocks = bad.into_iter().map(|index| index.index(blocks.min(64)) as u64).collect();
        disk.scan_with(1);
        disk.scan_with(16);
    }

    #[test]
    fn a_text_gives_extents_only_if_it_can_be_written_back(text in "[a-z0-9:+,]{0,40}|[a-z]{1,3}:[0-9]{1,3}\\+[0-9]{1,2}(,[0-9]{1,3}\\+[0-9]{1,2}){0,4}") {
        if let Ok(parsed) = ExplicitExtents::parse(&text) {
            let list: Vec<_> = parsed.extents().iter().map(|e| format!("{}+{}", e.first_block, e.block_count)).collect();
            let again = format!("{}:{}", parsed.disk, list.join(","));
            prop_assert_eq!(ExplicitExtents::parse(&again), Ok(parsed));
        }
    }

    /// However places overlap, no two that stay share a block, each that goes shared one with a better one, and only consoles stay.
    #[test]
    fn settled_places_are_disjoint(
        specs in prop::collection::vec((0_usize..5, prop::collection::vec((0_u64..200, 1_u64..40), 1..4), any::<bool>()), 0..30),
    ) {
        let kinds = [Kind::Device, Kind::Gpt, Kind::Mbr, Kind::FatFile, Kind::Explicit];
        let mut places = Places::new();
        let mut marked = Vec::new();
        for (kind, extents, is_console) in specs {
            let extents: Vec<_> = extents.into_iter()
                .map(|(first_block, block_count)| partition::Extent { first_block, block_count }).collect();
            let before = places.len();
            places.add(kinds[kind], before as u32, &extents);
            if places.len() > before {
                marked.push(is_console);
            }
        }
        let all = places.clone();
        places.settle(|place| marked[place.partition as usize]);
        for (index, place) in places.iter().enumerate() {
            prop_assert!(marked[place.partition as usize]);
            prop_assert!(!places.iter().skip(index + 1).any(|other| other.overlaps(&place)));
        }
        for (index, gone) in all.iter().enumerate().filter(|(index, _)| marked[*index]) {
            let kept = places.iter().any(|place| place.partition == gone.partition);
            let beaten = places.iter().any(|p| (p.kind, p.partition as usize) < (gone.kind, index) && p.overlaps(&gone));
            prop_assert!(kept != beaten);
        }
    }
}

#[test]
fn tiny_and_odd_devices() {
    for blocks in 0..4 {
        let mut disk = Disk::new(512, blocks);
        let (found, _) = disk.scan();
        assert_eq!(found.len(), usize::from(blocks > 0));
    }
    let mut places = Places::new();
    let report = partition::scan(&mut Disk::new(512, 8), &mut [0; 511], &mut places);
    assert_eq!(report.problem_count(), 1);
    let mut odd = Disk { block_size: 520, ..Disk::new(512, 65) };
    assert_eq!(partition::scan(&mut odd, &mut [0; 5200], &mut places).problem_count(), 1);
}

/// The reads of a scan stay below their bound even on a disk made to have a maximum of them.
#[test]
fn a_disk_of_nothing_but_long_chains() {
    let mut disk = Disk::new(512, 600_000);
    let partitions: Vec<_> = (0..7).map(|i| (i, 1000 + 80_000 * i as u64, 1000 + 80_000 * i as u64 + 79_999)).collect();
    Gpt::new(&partitions).put(&mut disk);
    let fat = Fat::new(32);
    for (_, first, _) in partitions {
        let start = first as usize * 512;
        fat.put(&mut disk, start);
        let clusters: Vec<_> = (3..68_800).rev().step_by(17).chain([2]).collect();
        fat.chain(&mut disk, start, &clusters);
        // A root folder that goes through the table backwards, a window's load for each step.
        disk.put(start + 44, &(clusters[0] as u32).to_le_bytes());
        for cluster in clusters {
            disk.bytes[start + fat.cluster_offset(cluster)..][..512].fill(b'x');
        }
    }
    let (_, report) = disk.scan_with(1);
    assert_eq!(disk.reads, partition::MAX_READS);
    assert!(report.problems().any(|problem| problem == partition::Problem::TooManyReads));
}

#[test]
fn extents_given_as_text() {
    let parsed = ExplicitExtents::parse("nvme0:2048+4096,16384+8").unwrap();
    assert_eq!(parsed.disk, "nvme0");
    let pairs: Vec<_> = parsed.extents().iter().map(|extent| (extent.first_block, extent.block_count)).collect();
    assert_eq!(pairs, [(2048, 4096), (16384, 8)]);
    assert_eq!(ExplicitExtents::parse("0000:00:03.0:1+1").unwrap().disk, "0000:00:03.0");
    let many: Vec<_> = (0..17).map(|index| format!("{}+1", index * 2)).collect();
    for (text, error) in [
        ("", BadExtents::NoDisk),
        ("1+1", BadExtents::NoDisk),
        (":1+1", BadExtents::NoDisk),
        ("d:", BadExtents::Syntax(1)),
        ("d:1+1,", BadExtents::Syntax(2)),
        ("d:1+0", BadExtents::Syntax(1)),
        ("d:++1", BadExtents::Syntax(1)),
        ("d:1++1", BadExtents::Syntax(1)),
        ("d:-1+1", BadExtents::Syntax(1)),
        ("d:18446744073709551615+1", BadExtents::Syntax(1)),
        ("d:18446744073709551616+1", BadExtents::Syntax(1)),
        ("d:1+10,10+1", BadExtents::Overlap),
        (&format!("d:{}", many.join(",")), BadExtents::TooMany),
    ] {
        assert_eq!(ExplicitExtents::parse(text).unwrap_err(), error, "{text:?}");
    }
    let mut places = Places::new();
    assert_eq!(parsed.add_to(&mut places, 16391), Err(BadExtents::OutOfRange));
    assert_eq!(parsed.add_to(&mut places, 16392), Ok(()));
    assert_eq!(places.get(0).unwrap().block_count(), 4104);
    assert_eq!(partition::locate(parsed.extents(), 4096), Some((16384, 8)));
    assert_eq!(partition::locate(parsed.extents(), 4095), Some((6143, 1)));
    assert_eq!(partition::locate(parsed.extents(), 4104), None);
}

/// A device that says any size, and reads as it likes.
struct Liar {
    block_size: u32,
    blocks: u64,
    bytes: Vec<u8>,
}

impl block::BlockReader for Liar {
    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn block_count(&self) -> u64 {
        self.blocks
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), block::Error> {
        assert!(first_block < self.blocks);
        for chunk in buffer.chunks_mut(self.bytes.len()) {
            chunk.copy_from_slice(&self.bytes[..chunk.len()]);
        }
        Ok(())
    }
}

#[test]
fn sizes_beyond_all_devices() {
    let mut disk = Disk::new(512, 70_000);
    Fat::new(32).put(&mut disk, 0);
    for blocks in [u64::MAX, u64::MAX / 512, 1 << 63, (1 << 54) + 1, 1 << 54, (1 << 54) - 1] {
        for block_size in [512, 65_536] {
            let mut places = Places::new();
            let mut liar = Liar { block_size, blocks, bytes: disk.bytes[..512].to_vec() };
            partition::scan(&mut liar, &mut vec![0; 65_536], &mut places);
            // Each block is a boot record with a partition that reaches far.
            let mut record = Disk::new(512, 1);
            put_mbr(&mut record, 0, &[(0, 0x05, u32::MAX, u32::MAX), (0, 0x0C, u32::MAX, u32::MAX)]);
            let mut liar = Liar { block_size, blocks, bytes: record.bytes };
            partition::scan(&mut liar, &mut vec![0; 65_536], &mut places);
        }
    }
}

/// A table that points to a volume at the end of the number space.
#[test]
fn a_volume_beyond_all_devices() {
    let mut disk = Disk::new(512, 4096);
    Gpt::new(&[(0, (1 << 55) - 9, u64::MAX - 9), (1, (1 << 55) - 9, (1 << 56) - 9), (2, 40, (1 << 56) - 9)])
        .put(&mut disk);
    common::patch_header(&mut disk, 1, 48, &(u64::MAX - 9).to_le_bytes());
    let mut volume = Disk::new(512, 70_000);
    Fat::new(32).put(&mut volume, 0);
    for blocks in [u64::MAX, 1 << 60, 1 << 55, 1 << 54, (1 << 54) - 1] {
        let mut places = Places::new();
        let mut far = Far { tables: disk.bytes[..34 * 512].to_vec(), volume: volume.bytes[..512].to_vec(), blocks };
        partition::scan(&mut far, &mut vec![0; 65_536], &mut places);
    }
}

/// Tables, and the same boot sector everywhere behind them.
struct Far {
    tables: Vec<u8>,
    volume: Vec<u8>,
    blocks: u64,
}

impl block::BlockReader for Far {
    fn block_size(&self) -> u32 {
        512
    }

    fn block_count(&self) -> u64 {
        self.blocks
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), block::Error> {
        for (index, chunk) in buffer.chunks_mut(512).enumerate() {
            let offset = (first_block as usize).saturating_add(index).saturating_mul(512);
            let bytes = self.tables.get(offset..offset.saturating_add(512)).unwrap_or(&self.volume);
            chunk.copy_from_slice(bytes);
        }
        Ok(())
    }
}
