//! GUID partition tables: whole, damaged, and lying ones.
#![forbid(unsafe_code)]

mod common;

use common::{Disk, Found, Gpt, PROTECTIVE, patch_header, put_mbr};
use partition::{Kind, Problem, Table};

fn sample(block_size: usize) -> Disk {
    let mut disk = Disk::new(block_size, 4096);
    Gpt::new(&[(0, 64, 1087), (4, 2048, 3071)]).put(&mut disk);
    disk
}

fn expected() -> Found {
    vec![(Kind::Device, 0, vec![(0, 4096)]), (Kind::Gpt, 1, vec![(64, 1024)]), (Kind::Gpt, 5, vec![(2048, 1024)])]
}

#[test]
fn whole_table() {
    for block_size in [512, 4096] {
        let (found, report) = sample(block_size).scan();
        assert_eq!(found, expected());
        assert_eq!((report.table, report.problem_count()), (Table::Gpt, 0));
    }
}

#[test]
fn backup_takes_over_from_any_damage_of_the_first() {
    for block_size in [512, 4096] {
        for offset in 0..92 {
            let mut disk = sample(block_size);
            disk.bytes[block_size + offset] ^= 0x10;
            let (found, report) = disk.scan();
            assert_eq!((found, report.table), (expected(), Table::GptBackup), "header byte {offset}");
            assert_eq!(report.problem_count(), 1);
        }
        for offset in [0, 130, 16 * 1024 - 1] {
            let mut disk = sample(block_size);
            disk.bytes[2 * block_size + offset] ^= 1;
            let (found, report) = disk.scan();
            assert_eq!((found, report.table), (expected(), Table::GptBackup), "entries' byte {offset}");
        }
        let mut disk = sample(block_size);
        disk.bad_blocks = vec![1];
        assert_eq!(disk.scan().0, expected());
        disk.bad_blocks = vec![3];
        assert_eq!(disk.scan().0, expected());
    }
}

#[test]
fn nothing_from_a_table_whose_copies_are_both_damaged() {
    let mut disk = sample(512);
    let last = disk.bytes.len() - 512;
    disk.bytes[2 * 512 + 40] ^= 1;
    disk.bytes[last + 30] ^= 1;
    let (found, report) = disk.scan();
    assert_eq!(found.len(), 1);
    assert_eq!((report.table, report.problem_count()), (Table::None, 2));
}

#[test]
fn fields_are_checked_behind_a_right_checksum() {
    let cases: [(usize, &[u8]); 10] = [
        (8, &[0, 0, 2, 0]),     // revision 2
        (12, &[93, 2, 0, 0]),   // header size beyond what is read
        (24, &[2]),             // header of block 2
        (40, &[0, 0, 0, 0, 1]), // first usable block beyond the last one
        (48, &[0, 16]),         // last usable block 4096, the device's end
        (48, &[0xFF; 8]),       // and far beyond it
        (72, &[0xFF; 8]),       // entries at the end of the number space
        (72, &[0xFF, 0x0F]),    // entries that begin in the last block
        (80, &[0xFF; 4]),       // 2^32 - 1 entries
        (84, &[129]),           // entries of 129 bytes
    ];
    for (offset, bytes) in cases {
        let mut disk = sample(512);
        patch_header(&mut disk, 1, offset, bytes);
        let (found, report) = disk.scan();
        assert_eq!((found, report.table), (expected(), Table::GptBackup), "{bytes:?} at {offset}");
        assert!(matches!(report.problems().next(), Some(Problem::GptDamaged { block: 1, .. })));
    }
}

#[test]
fn entries_of_other_sizes() {
    for (entry_size, entry_count) in [(256, 128), (4096, 64), (128, 4), (128, 1024)] {
        let mut disk = Disk::new(512, 8192);
        Gpt { partitions: vec![(0, 4000, 4999), (3, 5000, 5000)], entry_count, entry_size }.put(&mut disk);
        let (found, report) = disk.scan();
        assert_eq!(report.problem_count(), 0, "{entry_count} entries of {entry_size} bytes");
        assert_eq!(found[1..], [(Kind::Gpt, 1, vec![(4000, 1000)]), (Kind::Gpt, 4, vec![(5000, 1)])]);
    }
}

#[test]
fn partitions_outside_the_usable_blocks_are_named_and_left_out() {
    let mut disk = Disk::new(512, 4096);
    // Over the table itself; backwards; beyond the end; up to the end of the number space.
    let gpt = Gpt::new(&[(0, 1, 100), (1, 300, 200), (2, 4000, 4096), (3, 100, u64::MAX), (4, 100, 199)]);
    gpt.put(&mut disk);
    let (found, report) = disk.scan();
    assert_eq!(found[1..], [(Kind::Gpt, 5, vec![(100, 100)])]);
    assert_eq!(report.problems().collect::<Vec<_>>(), [Problem::PartitionOutside { partition: 1 }]);
}

#[test]
fn only_a_protective_entry_makes_a_table_count() {
    let mut disk = sample(512);
    disk.put(446, &[0; 66]);
    assert_eq!(disk.scan().0.len(), 1, "no boot record at all");

    put_mbr(&mut disk, 0, &[(0x80, 0x83, 64, 100)]);
    let (found, report) = disk.scan();
    assert_eq!(found[1..], [(Kind::Mbr, 1, vec![(64, 100)])], "an MBR made after the GPT");
    assert_eq!(report.table, Table::Mbr);
}

#[test]
fn hybrid_record_gives_way_to_the_gpt() {
    let mut disk = sample(512);
    put_mbr(&mut disk, 0, &[PROTECTIVE, (0x80, 0x0C, 64, 1024), (0, 0x83, 3100, 10)]);
    assert_eq!(disk.scan().0, expected());
    // Without any whole GPT there are no partitions: Linux takes no others either.
    disk.bytes[512] ^= 1;
    let last = disk.bytes.len() - 512;
    disk.bytes[last] ^= 1;
    let (found, report) = disk.scan();
    assert_eq!((found.len(), report.table), (1, Table::None));
}

#[test]
fn equal_partitions_are_one_place() {
    let mut disk = Disk::new(512, 4096);
    Gpt::new(&[(0, 100, 199), (1, 100, 199), (2, 150, 249)]).put(&mut disk);
    let (found, _) = disk.scan();
    assert_eq!(found[1..], [(Kind::Gpt, 1, vec![(100, 100)]), (Kind::Gpt, 3, vec![(150, 100)])]);
}

#[test]
fn more_partitions_than_the_list_has_room_for() {
    let mut disk = Disk::new(512, 4096);
    let partitions: Vec<_> = (0..512).map(|index| (index, 1000 + index as u64, 1000 + index as u64)).collect();
    Gpt { partitions, entry_count: 512, entry_size: 128 }.put(&mut disk);
    let (found, report) = disk.scan();
    assert_eq!(found.len(), partition::MAX_PLACES);
    let left_out = 513 - partition::MAX_PLACES as u32;
    assert!(report.problems().any(|problem| problem == Problem::TooManyPlaces { left_out }));
}

#[test]
fn a_damaged_backup_is_named_while_the_first_table_counts() {
    for block_size in [512, 4096] {
        let last = 4095 * block_size;
        let entries = last - 128 * 128;
        for offset in [last, last + 20, last + 60, last + 88, entries, entries + 128 * 128 - 1] {
            let mut disk = sample(block_size);
            disk.bytes[offset] ^= 1;
            let (found, report) = disk.scan();
            assert_eq!((found, report.table), (expected(), Table::Gpt), "byte {offset}");
            assert!(matches!(report.problems().next(), Some(Problem::GptDamaged { block: 4095, .. })), "byte {offset}");
            assert_eq!(report.problem_count(), 1);
        }
        let mut disk = sample(block_size);
        disk.bad_blocks = vec![4095];
        let (found, report) = disk.scan();
        assert_eq!((found, report.table, report.problem_count()), (expected(), Table::Gpt, 1));
    }
    // Whole, but of other partitions than the first.
    let mut disk = sample(512);
    let head = disk.bytes[..2048 * 512].to_vec();
    Gpt::new(&[(0, 64, 1087)]).put(&mut disk);
    disk.bytes[..2048 * 512].copy_from_slice(&head);
    let (found, report) = disk.scan();
    assert_eq!((found, report.table), (expected(), Table::Gpt));
    assert!(matches!(report.problems().next(), Some(Problem::GptDamaged { block: 4095, .. })));
}

/// Reading ahead must not make a bad block behind what is needed a bad table.
#[test]
fn a_bad_block_behind_the_table_does_no_harm() {
    let mut disk = sample(512);
    disk.bad_blocks = (34..64).collect();
    let (found, report) = disk.scan();
    assert_eq!((found, report.table, report.problem_count()), (expected(), Table::Gpt, 0));
}

#[test]
fn an_image_on_a_larger_disk_is_whole() {
    let mut disk = sample(512);
    disk.bytes.resize(8192 * 512, 0);
    let (found, report) = disk.scan();
    assert_eq!((found[1..].to_vec(), report.table, report.problem_count()), (expected()[1..].to_vec(), Table::Gpt, 0));
    // And on a smaller one, its backup is gone.
    let mut disk = sample(512);
    disk.bytes.truncate(4090 * 512);
    let (_, report) = disk.scan();
    assert!(report.problem_count() > 0);
}
