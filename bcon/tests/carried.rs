//! Kept crash records that no boot keeps any more: old wherever they stand.
#![forbid(unsafe_code)]

mod common;

use bcon::log::Log;
use common::{Folder, HEADER, Maker, TILE, Writer, bcon, bcon_ok, crash_record};
use std::ops::Range;
use std::path::Path;

/// The carried tile's old line.
const OLD: &str = "[    1.000000] INFO  app: line 11";

/// A disk that is written tile by tile.
struct Layout {
    maker: Maker,
    kept: String,
}

impl Layout {
    fn new(tiles: usize) -> Self {
        Self { maker: Maker::new(Writer::Ours, tiles, 512), kept: String::new() }
    }

    /// Writes a tile: of which round its header is, and of which its text; whether a boot begins there; its lines.
    fn tile(&mut self, tile: usize, (round, of_text): (u32, u32), (boot, begins): (u32, bool), text: &str) {
        let first = if begins {
            format!(
                "[    0.000000] INFO  blockconsole: boot {boot} of 0badcafe: blockconsole 0.1.0 build 00ff at 2026-01-0{}T00:00:00Z\n",
                boot.min(9)
            )
        } else {
            String::new()
        };
        let text = format!(
            "{first}[    0.500000] INFO  blockconsole: tile {tile} round {of_text} boot {boot}{}\n{text}",
            self.kept
        );
        self.maker.bytes[tile * TILE..][..TILE].fill(0);
        self.maker.put_header(tile, round, tile);
        let end = (HEADER + text.len()).next_multiple_of(512);
        let place = &mut self.maker.bytes[tile * TILE + HEADER..tile * TILE + end];
        place.fill(b' ');
        place[..text.len()].copy_from_slice(text.as_bytes());
        if let Some(last) = place.last_mut() {
            *last = b'\n';
        }
    }
}

fn line(number: usize) -> String {
    format!("[{number:5}.000000] INFO  app: line {number}\n")
}

/// A disk on whose second round boot 6 wrote up to `boot7.start`, boot 7 up to its end, boot 8 one tile, of which only boots
/// 7 and before keep the record of boot 1 in a tile of boot 7's. Returns it, and the numbers of boot 7's lines.
fn layout(tiles: usize, boot7: Range<usize>, carried: usize) -> (Vec<u8>, Vec<usize>) {
    let mut layout = Layout::new(tiles);
    for tile in 0..boot7.start {
        layout.tile(tile, (1, 1), (6, tile == 0), &line(600 + tile));
    }
    let mut numbers = Vec::new();
    for tile in boot7.clone() {
        if tile == carried {
            layout.kept = String::new();
            let record = crash_record(1, "panic: long ago", &[]);
            layout.tile(tile, (1, 0), (1, true), &format!("{OLD}\n{record}"));
        } else {
            layout.kept = format!(" kept {carried}");
            let record = if tile + 1 == boot7.end { crash_record(7, "panic: the last", &[]) } else { String::new() };
            layout.tile(tile, (1, 1), (7, tile == boot7.start), &format!("{}{record}", line(700 + tile)));
            numbers.push(700 + tile);
        }
    }
    layout.kept = String::new();
    layout.tile(boot7.end, (1, 1), (8, true), &line(800));
    for tile in boot7.end + 1..tiles {
        layout.tile(tile, (0, 0), (4, tile == boot7.end + 1), &line(400 + tile));
    }
    (layout.maker.bytes, numbers)
}

fn run(status: i32, path: &Path, command: &str, more: &[&str]) -> String {
    bcon_ok(status, [command.as_ref(), path.as_os_str()].into_iter().chain(more.iter().map(AsRef::as_ref)))
}

fn numbers(text: &str) -> Vec<usize> {
    text.lines().filter_map(|line| line.split("app: line ").nth(1)?.parse().ok()).collect()
}

#[test]
fn boots_are_whole_around_a_tile_that_nobody_keeps() {
    let folder = Folder::new("sweep");
    for tiles in [10, 13] {
        for start in 0..6 {
            for carried in start + 1..tiles - 4 {
                let what = format!("{tiles} tiles, boot 7 from {start}, carried {carried}");
                let (bytes, expected) = layout(tiles, start..tiles - 2, carried);
                let path = folder.write("disk.img", &bytes);
                assert_eq!(numbers(&run(0, &path, "cat", &["--boot", "7"])), expected, "{what}");
                assert_eq!(numbers(&run(0, &path, "cat", &["--boot", "1"])), [11], "{what}");
                let all = run(0, &path, "cat", &[]);
                assert!(all.contains(OLD) && numbers(&all)[0] == 11, "{what}: {all}");
                assert_eq!(numbers(&all).last(), Some(&800), "{what}");
                for boots in [&[][..], &["--boot=7"]] {
                    let record = run(0, &path, "crash", boots);
                    assert!(record.contains("panic: the last"), "{what}, {boots:?}: {record}");
                }
                assert!(run(0, &path, "crash", &["--boot=1"]).contains("panic: long ago"), "{what}");
                assert!(run(0, &path, "crash", &["--all"]).contains("panic: the last"), "{what}");
                let end: Vec<usize> = expected.iter().rev().take(2).rev().copied().chain([800]).collect();
                let end = if carried + 1 == tiles - 2 { vec![expected[expected.len() - 1], 800] } else { end };
                let tail = run(0, &path, "tail", &["-n", "40", "--grep=app: line"]);
                assert!(numbers(&tail).ends_with(&end) && numbers(&tail)[0] == 11, "{what}: {tail}");
                let few = run(0, &path, "tail", &["-n", "3", "--grep=app: line"]);
                assert!(!few.contains(OLD), "{what}: {few}");
            }
        }
    }
}

#[test]
fn a_record_that_nobody_keeps_is_the_last_one_only_where_there_is_no_other() {
    let folder = Folder::new("onlyold");
    let (mut bytes, _) = layout(12, 2..10, 5);
    let at = bytes.windows(7).position(|window| window == b"crash 0").unwrap();
    let last = bytes.windows(9).rposition(|window| window == b"---[ cras").unwrap();
    assert_ne!(at, last);
    // The newer record is gone.
    bytes[last..last + 4].copy_from_slice(b"xxxx");
    let path = folder.write("disk.img", &bytes);
    assert!(run(0, &path, "crash", &[]).contains("panic: long ago"));
    assert_eq!(bcon(["crash".as_ref(), path.as_os_str(), "--boot=7".as_ref()]).status.code(), Some(1));
    // In the journal it is of its own boot's time, which its own tile tells.
    let journal = run(0, &path, "cat", &["--output=journal", "--grep=line 11"]);
    assert!(journal.contains("__REALTIME_TIMESTAMP=1767225601000000\n"), "{journal}");
    // Its place in the order of reading is said as the log has it.
    let target = bcon::target::open(&path).unwrap();
    let log = Log::open(target.console(None).unwrap()).unwrap();
    let crash = bcon::crash::last(&log, None).unwrap();
    assert_eq!((crash.tile, log.position(crash.index).map(|position| position.tile)), (5, Some(5)));
}

#[test]
fn carried_tiles_are_found_with_few_reads() {
    let folder = Folder::new("fewreads");
    let mut layout = Layout::new(128);
    for tile in 0..100 {
        layout.kept = if tile < 60 { " kept 40".to_owned() } else { String::new() };
        let boot = if tile < 60 { 7 } else { 8 };
        let rounds = if tile == 40 { (1, 0) } else { (1, 1) };
        layout.tile(tile, rounds, (if tile == 40 { 1 } else { boot }, tile % 60 == 0), &line(tile));
    }
    for tile in 100..128 {
        layout.tile(tile, (0, 0), (4, tile == 100), &line(tile));
    }
    let path = folder.write("disk.img", &layout.maker.bytes);
    let target = bcon::target::open(&path).unwrap();
    let mut log = Log::open(target.console(None).unwrap()).unwrap();
    assert_eq!(log.carried(), []);
    let before = log.reads();
    log.find_carried(0..log.len());
    assert_eq!(log.carried(), [(40, 0)]);
    assert!(log.reads() - before < 40, "{} reads", log.reads() - before);
    let mut whole = Log::open(target.console(None).unwrap()).unwrap();
    whole.find_all_carried();
    assert_eq!(whole.carried(), log.carried());
}
