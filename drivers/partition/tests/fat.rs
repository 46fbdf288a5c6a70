//! Log files on FAT volumes.
#![forbid(unsafe_code)]

mod common;

use common::{ARCHIVE, Disk, Fat, Found, Gpt, LOG_NAME, put_mbr};
use partition::{Kind, Problem};

/// A disk that is one FAT volume with a log file in these clusters.
fn sample(fat: &Fat, clusters: &[usize], size: usize) -> Disk {
    let mut disk = Disk::new(512, fat.sectors * fat.bytes_per_sector / 512);
    fat.put(&mut disk, 0);
    fat.entry(&mut disk, 0, 0, (b"BCON       ", 0x08, 0, 0));
    fat.entry(&mut disk, 0, 1, (b"\xE5CON    LOG", ARCHIVE, 9, 512));
    fat.entry(&mut disk, 0, 2, (b"BCON    LO ", ARCHIVE, 9, 512));
    fat.entry(&mut disk, 0, 3, (LOG_NAME, ARCHIVE, clusters[0], size));
    fat.chain(&mut disk, 0, clusters);
    disk
}

fn files(found: Found) -> Vec<Vec<(u64, u64)>> {
    found.into_iter().filter(|place| place.0 == Kind::FatFile).map(|place| place.2).collect()
}

fn block(fat: &Fat, cluster: usize) -> u64 {
    (fat.cluster_offset(cluster) / 512) as u64
}

#[test]
fn a_file_in_one_piece() {
    for bits in [12, 16, 32] {
        let fat = Fat::new(bits);
        let clusters: Vec<_> = (700..2100).collect();
        let mut disk = sample(&fat, &clusters, 1400 * 512);
        let (found, report) = disk.scan();
        assert_eq!(files(found), [vec![(block(&fat, 700), 1400)]], "FAT{bits}");
        assert_eq!(report.problem_count(), 0);
    }
}

#[test]
fn a_file_in_pieces_comes_in_the_order_of_its_chain() {
    for bits in [12, 16, 32] {
        for sectors_per_cluster in [1, 4] {
            let fat =
                Fat { sectors_per_cluster, sectors: Fat::new(bits).sectors * sectors_per_cluster, ..Fat::new(bits) };
            let clusters: Vec<_> = (1001..1100).chain(300..341).chain(342..343).chain([2, 3].map(|n| n + 3)).collect();
            let per = sectors_per_cluster as u64;
            let mut disk = sample(&fat, &clusters, clusters.len() * sectors_per_cluster * 512);
            let expected = [(1001, 99), (300, 41), (342, 1), (5, 2)].map(|(first, n)| (block(&fat, first), n * per));
            assert_eq!(files(disk.scan().0), [expected.to_vec()], "FAT{bits}");
        }
    }
}

#[test]
fn only_whole_blocks_within_the_size_count() {
    let fat = Fat { sectors_per_cluster: 4, ..Fat::new(12) };
    let mut disk = sample(&fat, &[50, 51, 52, 60, 61], 3 * 2048 + 700);
    assert_eq!(files(disk.scan().0), [vec![(block(&fat, 50), 12), (block(&fat, 60), 1)]]);
    // A chain that is longer than the size is nothing bad: space set aside ahead.
    let mut disk = sample(&fat, &[50, 51, 52, 60, 61], 2048);
    assert_eq!(files(disk.scan().0), [vec![(block(&fat, 50), 4)]]);
    let mut disk = sample(&fat, &[50], 511);
    let (found, report) = disk.scan();
    assert!(files(found).is_empty());
    assert_eq!(report.problem_count(), 1);
}

#[test]
fn a_fat32_folder_in_several_clusters() {
    let fat = Fat::new(32);
    let mut disk = sample(&fat, &[100, 101], 1024);
    fat.chain(&mut disk, 0, &[2, 500, 3]);
    for (cluster, entries) in [(2, 16), (500, 16), (3, 5)] {
        for index in 0..entries {
            fat.entry_at(&mut disk, fat.cluster_offset(cluster) + 32 * index, (b"OTHER   TXT", ARCHIVE, 0, 0));
        }
    }
    fat.entry_at(&mut disk, fat.cluster_offset(3) + 32 * 5, (LOG_NAME, ARCHIVE, 100, 1024));
    assert_eq!(files(disk.scan().0), [vec![(block(&fat, 100), 2)]]);
    // A folder whose chain is a circle ends as well.
    fat.link(&mut disk, 0, 500, 2);
    assert!(files(disk.scan().0).is_empty());
}

#[test]
fn folders_labels_and_pieces_of_long_names_are_no_files() {
    for attributes in [0x08, 0x10, 0x30, 0x0F] {
        let fat = Fat::new(16);
        let mut disk = sample(&fat, &[100], 512);
        fat.entry(&mut disk, 0, 3, (LOG_NAME, attributes, 100, 512));
        assert!(files(disk.scan().0).is_empty(), "attributes {attributes:#x}");
    }
}

#[test]
fn broken_chains_are_named() {
    for bits in [12, 16, 32] {
        let fat = Fat::new(bits);
        let long: Vec<_> = (0..17).map(|index| 100 + 2 * index).collect();
        // Clusters, size, and the link that is broken: from which cluster to which.
        type Case<'a> = (&'a [usize], usize, Option<(usize, u32)>);
        let cases: [Case<'_>; 7] = [
            (&[100, 101], 3 * 512, None),                          // shorter than the size
            (&[100, 101, 102], 3 * 512, Some((101, 0))),           // leads to a free cluster
            (&[100, 101, 102], 3 * 512, Some((101, 0x0FFF_FFF7))), // to a bad one
            (&[100, 101, 102], 3 * 512, Some((100, 100))),         // to itself
            (&[100, 50, 99, 101], 9 * 512, Some((99, 100))),       // runs on into an earlier piece
            (&[100, 101, 102], 3 * 512, Some((101, 0x00FE_FFE0))), // out of the volume
            (&long, 17 * 512, None),                               // in too many pieces
        ];
        for (index, (clusters, size, link)) in cases.into_iter().enumerate() {
            let mut disk = sample(&fat, clusters, size);
            if let Some((cluster, next)) = link {
                fat.link(&mut disk, 0, cluster, next);
            }
            let (found, report) = disk.scan();
            assert!(files(found).is_empty(), "FAT{bits}, case {index}");
            let named = report.problems().any(|problem| matches!(problem, Problem::FatFile { partition: 0, .. }));
            assert!(named, "FAT{bits}, case {index}");
        }
        let mut disk = sample(&fat, &long[..16], 16 * 512);
        assert_eq!(files(disk.scan().0)[0].len(), 16, "as many pieces as may be");
    }
}

#[test]
fn volumes_in_partitions() {
    let fat = Fat::new(16);
    let mut disk = Disk::new(512, 50000);
    Gpt::new(&[(0, 1000, 1000 + 19999), (2, 25000, 25000 + 19999)]).put(&mut disk);
    for start in [1000, 25000] {
        fat.put(&mut disk, start * 512);
        fat.entry(&mut disk, start * 512, 0, (LOG_NAME, ARCHIVE, 10, 1024));
        fat.chain(&mut disk, start * 512, &[10, 11]);
    }
    let (found, _) = disk.scan();
    let first = block(&fat, 10);
    assert_eq!(found[3..], [(Kind::FatFile, 1, vec![(1000 + first, 2)]), (Kind::FatFile, 3, vec![(25000 + first, 2)])]);
    // A volume that says it is larger than its partition is none: its file could lie in the next one.
    let mut disk = Disk::new(512, 50000);
    put_mbr(&mut disk, 0, &[(0, 0x0C, 1000, 19999)]);
    fat.put(&mut disk, 1000 * 512);
    fat.entry(&mut disk, 1000 * 512, 0, (LOG_NAME, ARCHIVE, 10, 1024));
    fat.chain(&mut disk, 1000 * 512, &[10, 11]);
    assert_eq!(disk.scan().0.len(), 2);
}

#[test]
fn disks_of_4096_byte_blocks() {
    let fat = Fat { bytes_per_sector: 4096, sectors_per_cluster: 2, sectors: 8400, fat_sectors: 4, ..Fat::new(16) };
    let mut disk = Disk::new(4096, fat.sectors);
    fat.put(&mut disk, 0);
    fat.entry(&mut disk, 0, 0, (LOG_NAME, ARCHIVE, 10, 5 * 4096));
    fat.chain(&mut disk, 0, &[10, 11, 20]);
    let sector = |cluster| (fat.cluster_offset(cluster) / 4096) as u64;
    assert_eq!(files(disk.scan().0), [vec![(sector(10), 4), (sector(20), 1)]]);
    // Sectors of 512 bytes, copied from another disk: clusters that are no whole blocks are refused.
    let fat = Fat::new(16);
    let mut disk = Disk::new(4096, 4096);
    fat.put(&mut disk, 0);
    fat.entry(&mut disk, 0, 0, (LOG_NAME, ARCHIVE, 10, 8192));
    fat.chain(&mut disk, 0, &(10..30).collect::<Vec<_>>());
    let (found, report) = disk.scan();
    assert!(files(found).is_empty());
    assert_eq!(report.problem_count(), 1);
}

#[test]
fn the_active_table_of_fat32_counts() {
    let fat = Fat::new(32);
    let mut disk = sample(&fat, &[100, 101], 1024);
    // Only the second table is right; the boot sector says that it is the one.
    let first_table = fat.reserved * 512;
    disk.put(first_table, &vec![0; fat.fat_sectors * 512]);
    assert!(files(disk.scan().0).is_empty());
    disk.put(40, &[0x81, 0]);
    assert_eq!(files(disk.scan().0), [vec![(block(&fat, 100), 2)]]);
    disk.put(40, &[0x82, 0]);
    assert!(files(disk.scan().0).is_empty());
}

/// `mkfs.fat -F 32` on a small EFI partition: fewer clusters than Microsoft's document allows, but FAT32 all the same.
#[test]
fn a_small_fat32_volume_is_one() {
    for (sectors, fat_sectors) in [(40_000, 320), (3000, 24)] {
        let fat = Fat { sectors, fat_sectors, ..Fat::new(32) };
        let mut disk = sample(&fat, &[100, 101, 200], 3 * 512);
        let (found, report) = disk.scan();
        assert_eq!(files(found), [vec![(block(&fat, 100), 2), (block(&fat, 200), 1)]], "{sectors} sectors");
        assert_eq!(report.problem_count(), 0);
    }
}
