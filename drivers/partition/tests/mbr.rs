//! Master boot records and chains of logical partitions.
#![forbid(unsafe_code)]

mod common;

use common::{Disk, put_mbr};
use partition::{Kind, Problem, Table};

#[test]
fn primary_partitions() {
    for block_size in [512, 4096] {
        let mut disk = Disk::new(block_size, 4096);
        put_mbr(&mut disk, 0, &[(0x80, 0x83, 8, 100), (0, 0, 500, 10), (0, 0x83, 600, 0), (0, 0x0C, 200, 50)]);
        let (found, report) = disk.scan();
        assert_eq!(found[1..], [(Kind::Mbr, 1, vec![(8, 100)]), (Kind::Mbr, 4, vec![(200, 50)])]);
        assert_eq!((report.table, report.problem_count()), (Table::Mbr, 0));
    }
}

#[test]
fn no_table_without_its_signature_or_with_an_unknown_status() {
    let mut disk = Disk::new(512, 4096);
    put_mbr(&mut disk, 0, &[(0, 0x83, 8, 100), (0x01, 0x83, 200, 100)]);
    assert_eq!(disk.scan().0.len(), 1);
    put_mbr(&mut disk, 0, &[(0, 0x83, 8, 100), (0, 0x83, 200, 100)]);
    assert_eq!(disk.scan().0.len(), 3);
    disk.bytes[511] = 0;
    assert_eq!(disk.scan().0.len(), 1);
}

#[test]
fn partitions_beyond_the_end_or_over_the_record_are_left_out() {
    let mut disk = Disk::new(512, 1000);
    put_mbr(
        &mut disk,
        0,
        &[(0, 0x83, 900, 101), (0, 0x83, u32::MAX, u32::MAX), (0, 0x83, 0, 1000), (0, 0x83, 900, 100)],
    );
    let (found, report) = disk.scan();
    assert_eq!(found[1..], [(Kind::Mbr, 4, vec![(900, 100)])]);
    assert_eq!(report.problem_count(), 3);
}

#[test]
fn logical_partitions() {
    for extended_type in [0x05, 0x0F, 0x85] {
        let mut disk = Disk::new(512, 4096);
        put_mbr(&mut disk, 0, &[(0, 0x83, 8, 92), (0, extended_type, 100, 3000)]);
        put_mbr(&mut disk, 100, &[(0, 0x83, 10, 200), (0, 0x05, 500, 1000)]);
        put_mbr(&mut disk, 600, &[(0, 0x83, 20, 300), (0, 0x05, 2000, 900)]);
        put_mbr(&mut disk, 2100, &[(0, 0x83, 1, 999)]);
        let (found, report) = disk.scan();
        assert_eq!(
            found[1..],
            [
                (Kind::Mbr, 1, vec![(8, 92)]),
                (Kind::Mbr, 5, vec![(110, 200)]),
                (Kind::Mbr, 6, vec![(620, 300)]),
                (Kind::Mbr, 7, vec![(2101, 999)]),
            ]
        );
        assert_eq!(report.problem_count(), 0);
    }
}

#[test]
fn a_logical_partition_stays_inside_the_extended_one() {
    let mut disk = Disk::new(512, 4096);
    put_mbr(&mut disk, 0, &[(0, 0x05, 100, 1000)]);
    put_mbr(&mut disk, 100, &[(0, 0x83, 10, 991), (0, 0x05, 500, 100)]);
    put_mbr(&mut disk, 600, &[(0, 0x83, 10, 490)]);
    let (found, report) = disk.scan();
    assert_eq!(found[1..], [(Kind::Mbr, 6, vec![(610, 490)])]);
    assert_eq!(report.problems().collect::<Vec<_>>(), [Problem::PartitionOutside { partition: 5 }]);
}

#[test]
fn chains_that_run_in_circles_end() {
    let mut disk = Disk::new(512, 4096);
    put_mbr(&mut disk, 0, &[(0, 0x05, 100, 1000), (0, 0x05, 2000, 1000)]);
    put_mbr(&mut disk, 100, &[(0, 0x83, 10, 20), (0, 0x05, 200, 100)]);
    put_mbr(&mut disk, 300, &[(0, 0x83, 10, 20), (0, 0x05, 400, 100)]);
    put_mbr(&mut disk, 500, &[(0, 0x83, 10, 20), (0, 0x05, 200, 100)]); // back to block 300
    put_mbr(&mut disk, 2000, &[(0, 0x83, 10, 20), (0, 0x05, 0, 100)]); // to itself
    let (found, report) = disk.scan();
    assert_eq!(found.len(), 1 + 3, "{found:?}");
    assert!(report.problems().any(|problem| matches!(problem, Problem::ExtendedChain { .. })));
    assert!(disk.reads < 100);
}

#[test]
fn a_chain_is_left_at_an_unreadable_or_foreign_record() {
    let mut disk = Disk::new(512, 4096);
    put_mbr(&mut disk, 0, &[(0, 0x05, 100, 1000), (0, 0x83, 2000, 10)]);
    put_mbr(&mut disk, 100, &[(0, 0x83, 10, 20), (0, 0x05, 200, 100)]);
    let (found, report) = disk.scan();
    assert_eq!(found[1..], [(Kind::Mbr, 5, vec![(110, 20)]), (Kind::Mbr, 2, vec![(2000, 10)])]);
    assert_eq!(report.problems().collect::<Vec<_>>(), [Problem::ExtendedChain { block: 300 }]);
    disk.bad_blocks = vec![300];
    assert_eq!(disk.scan().0, found);
}

#[test]
fn a_long_chain_is_cut() {
    let mut disk = Disk::new(512, 4096);
    put_mbr(&mut disk, 0, &[(0, 0x05, 100, 3900)]);
    for index in 0..500_u32 {
        put_mbr(&mut disk, 100 + u64::from(index) * 4, &[(0, 0x83, 1, 2), (0, 0x05, (index + 1) * 4, 4)]);
    }
    let (found, report) = disk.scan();
    assert_eq!(found.len(), 1 + 64);
    assert_eq!(found[64], (Kind::Mbr, 68, vec![(100 + 63 * 4 + 1, 2)]));
    assert_eq!(report.problem_count(), 1);
}

#[test]
fn logical_partitions_are_numbered_as_linux_does() {
    let mut disk = Disk::new(512, 8192);
    put_mbr(&mut disk, 0, &[(0, 0x05, 100, 6000)]);
    // A record without a partition, as a deleted one leaves, has no number.
    put_mbr(&mut disk, 100, &[(0, 0, 0, 0), (0, 0x05, 500, 1000)]);
    put_mbr(&mut disk, 600, &[(0, 0x83, 20, 300), (0, 0x05, 2000, 900)]);
    // Two partitions in one record; the third and fourth entry count only if they lie inside.
    put_mbr(&mut disk, 2100, &[(0, 0x83, 1, 99), (0, 0x05, 4000, 900), (0, 0x83, 200, 100), (0, 0x83, 500, 9000)]);
    put_mbr(&mut disk, 4100, &[(0, 0x83, 1, 99)]);
    let (found, report) = disk.scan();
    assert_eq!(
        found[1..],
        [
            (Kind::Mbr, 5, vec![(620, 300)]),
            (Kind::Mbr, 6, vec![(2101, 99)]),
            (Kind::Mbr, 7, vec![(2300, 100)]),
            (Kind::Mbr, 8, vec![(4101, 99)]),
        ]
    );
    assert_eq!(report.problem_count(), 0);
}

#[test]
fn a_long_chain_of_empty_records_is_cut() {
    let mut disk = Disk::new(512, 4096);
    put_mbr(&mut disk, 0, &[(0, 0x05, 100, 3900)]);
    for index in 0..500_u32 {
        put_mbr(&mut disk, 100 + u64::from(index) * 4, &[(0, 0, 0, 0), (0, 0x05, (index + 1) * 4, 4)]);
    }
    let (found, report) = disk.scan();
    assert_eq!((found.len(), report.problem_count()), (1, 1));
    assert!(disk.reads < 100);
}
