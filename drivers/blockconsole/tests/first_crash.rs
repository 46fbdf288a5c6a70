//! In a boot loop the first crash records of the series are never overwritten.

mod support;

use block_fake::Disk;
use blockconsole::console::Outcome;
use support::reader::tile_line;
use support::{Log, Rig, disk};

/// A crash record with a word of its own, and `lines` lines of text.
fn record(boot: u32, lines: usize) -> &'static [u8] {
    let filler = "state: 0123456789abcdef0123456789abcdef0123456789abcdef\n".repeat(lines);
    Box::leak(format!("---[ crash {boot:016x} ]---\nreason: word-{boot}\n{filler}---[ end crash {boot:016x} lines=1 crc32c=00000000 ]---\n").into_boxed_str())
        .as_bytes()
}

/// One boot of the loop: logs some text, and crashes.
fn boot(disk: &Disk, number: u32, kib: u64, record_lines: usize) {
    let mut rig = Rig::boot(disk);
    rig.log_and_settle(kib * 1024 / 240 + 1, 200);
    rig.settle();
    assert_eq!(rig.console.identity().map(|(_, boot)| boot), Some(number));
    assert_eq!(rig.crash(record(number, record_lines)), Outcome::Done);
    assert!(disk.violations().is_empty(), "{:?}", disk.violations());
}

fn words(disk: &Disk) -> Vec<u32> {
    let tiles = disk.medium().written().max().unwrap_or(0) / 2048 + 1;
    let text = Log::read(&disk.medium(), tiles).text();
    text.lines().filter_map(|line| line.strip_prefix("reason: word-")?.parse().ok()).collect()
}

#[test]
fn a_loop_that_wraps_many_times_keeps_the_first_three() {
    for (tiles, kib) in [(12, 0), (12, 1500), (24, 0), (13, 2500)] {
        let disk = disk(512, tiles);
        for number in 1..60 {
            boot(&disk, number, kib, 10);
            if number % 6 > 1 {
                continue;
            }
            let words = words(&disk);
            let first: Vec<u32> = words.iter().copied().take(3).collect();
            assert_eq!(first, (1..=number.min(3)).collect::<Vec<_>>(), "{tiles} tiles, {kib} KiB, boot {number}");
            assert_eq!(words.last(), Some(&number));
        }
    }
}

#[test]
fn a_boot_that_wraps_the_disk_by_itself_leaves_them_alone() {
    let disk = disk(512, 12);
    for number in 1..=8 {
        boot(&disk, number, if number > 3 { 30_000 } else { 10 }, 10);
    }
    assert_eq!(words(&disk)[..3], [1, 2, 3]);
    assert_eq!(words(&disk).last(), Some(&8));
}

#[test]
fn small_consoles_keep_fewer_and_the_smallest_none() {
    for (tiles, kept) in [(1, 0), (2, 0), (3, 0), (4, 1), (7, 1), (8, 2), (11, 2), (12, 3)] {
        let disk = disk(512, tiles);
        for number in 1..30 {
            boot(&disk, number, 0, 3);
        }
        let words = words(&disk);
        let first = words.iter().zip(1..).take_while(|(word, number)| *word == number).count();
        assert_eq!(first, kept, "{tiles} tiles: {words:?}");
        assert_eq!(words.last(), Some(&29));
    }
}

#[test]
fn a_boot_that_does_not_crash_ends_the_series() {
    let disk = disk(512, 12);
    for number in 1..=5 {
        boot(&disk, number, 0, 3);
    }
    let mut rig = Rig::boot(&disk);
    rig.log("all is well");
    rig.finish();
    drop(rig);
    for number in 7..40 {
        boot(&disk, number, 0, 3);
    }
    assert_eq!(words(&disk)[..3], [7, 8, 9], "the new series is kept, the old one is not");
}

#[test]
fn a_record_that_crosses_into_the_next_tile_is_kept_whole() {
    let disk = disk(512, 16);
    // Each boot fills its tile to within the reserve, so that a backlog pushes the record over the border.
    for number in 1..=20 {
        let mut rig = Rig::boot(&disk);
        rig.log_and_settle(4500, 200);
        rig.finish();
        let (_, _, filled) = rig.console.position().expect("a position");
        let room = (1 << 20) - filled;
        rig.log_lines(u64::from(room).saturating_sub(4000) / 230, 200);
        assert_eq!(rig.crash(record(number, 200)), Outcome::Done);
    }
    let log = Log::read(&disk.medium(), 16);
    let text = log.text();
    for number in 1..=3 {
        let whole = std::str::from_utf8(record(number, 200)).unwrap();
        assert!(text.contains(whole), "record {number}");
    }
    assert!(text.contains(" kept "), "tile lines say what is kept");
    let carried =
        log.tiles.iter().filter(|tile| tile_line(&tile.text).is_some_and(|(_, round, _)| round != tile.round));
    assert!(carried.count() >= 3, "carried tiles have a newer round in their header");
}

#[test]
fn the_linux_drivers_search_still_finds_the_end() {
    let disk = disk(512, 16);
    for number in 1..60 {
        boot(&disk, number, if number % 3 == 0 { 2000 } else { 0 }, 3);
        // Compares the first 50 bytes with tile 0's, and halves, as the driver does.
        let medium = disk.medium();
        let magic = |tile: u64| medium.read(tile << 20, 50);
        let reference = magic(0);
        let (mut low, mut high) = (0, 16);
        while high - low > 1 {
            let middle = u64::midpoint(low, high);
            if magic(middle) == reference { low = middle } else { high = middle }
        }
        let matching = (0..16).filter(|tile| magic(*tile) == reference).count() as u64;
        assert_eq!(high, matching, "tiles 0..k carry the reference's header, and no others");
        let log = Log::read(&medium, 16);
        let newest = log.tiles.last().expect("a tile");
        assert!(newest.tile == high - 1 || disk_keeps(&log, high - 1), "the newest text is in the last of them");
    }
}

fn disk_keeps(log: &Log, tile: u64) -> bool {
    log.tiles
        .iter()
        .any(|other| other.tile == tile && tile_line(&other.text).is_some_and(|(_, round, _)| round != other.round))
}
