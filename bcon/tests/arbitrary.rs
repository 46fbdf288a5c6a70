//! Arbitrary histories are read as written; arbitrary bytes do no harm.
#![forbid(unsafe_code)]

mod common;

use bcon::crash;
use bcon::lines::{Lines, Record};
use bcon::log::Log;
use bcon::pieces::Pieces;
use bcon::summary::Summary;
use bcon::target::{self, Target};
use bcon::verify::verify;
use common::{Folder, Maker, TILE, Writer};
use proptest::prelude::*;

/// Something that happens to a machine.
#[derive(Clone, Debug)]
enum Event {
    Lines(u32),
    LongLine(usize),
    Pad,
    PadForNow,
    /// Lines until so many bytes are left in the tile.
    Fill(usize),
    Boot,
    Crash(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u32..3000).prop_map(Event::Lines),
        2 => (1_usize..20_000).prop_map(Event::LongLine),
        4 => Just(Event::Pad),
        4 => Just(Event::PadForNow),
        3 => (0_usize..600).prop_map(Event::Fill),
        2 => Just(Event::Boot),
        1 => (0_usize..200).prop_map(Event::Crash),
    ]
}

fn play(maker: &mut Maker, events: &[Event]) {
    maker.boot();
    for event in events {
        match event {
            Event::Lines(count) => maker.lines(maker.number..maker.number + count),
            Event::LongLine(len) => {
                let time = f64::from(maker.number) / 1000.0;
                maker.line(&format!("[{time:12.6}] INFO  long: {}", "w".repeat(*len)));
            }
            Event::Pad => maker.pad(),
            Event::PadForNow => maker.pad_for_now(),
            Event::Fill(left) if TILE - maker.at > left + 300 => maker.fill_to(*left),
            Event::Fill(_) => {}
            Event::Boot => maker.boot(),
            Event::Crash(lines) => {
                let lines: Vec<String> = (0..*lines).map(|line| format!("frame {line}: {line:#018x}")).collect();
                maker.crash(u64::from(maker.boot), "panic: x", &lines.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
    }
}

fn open(folder: &Folder, bytes: &[u8]) -> Target {
    target::open(&folder.write("disk.img", bytes)).unwrap()
}

fn text(log: &Log) -> Vec<u8> {
    let mut pieces = Pieces::new(log);
    let mut text = Vec::new();
    while let Some(piece) = pieces.advance() {
        if piece.breaks_line {
            text.push(b'\n');
        }
        text.extend_from_slice(pieces.text());
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories(
        tiles in 2_usize..6,
        block in prop::sample::select(vec![512_usize, 4096]),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let folder = Folder::new("histories");
        let mut maker = Maker::new(Writer::Ours, tiles, block);
        play(&mut maker, &events);
        let target = open(&folder, &maker.bytes);
        let log = Log::open(target.console(None).unwrap()).unwrap();
        prop_assert!(text(&log) == maker.expected().as_bytes());
        // The same by lines, of which each tells its boot.
        let mut lines = Lines::new(&log);
        let mut joined = Vec::new();
        let mut boot = None;
        while let Some(line) = lines.next_line() {
            joined.extend_from_slice(line.bytes);
            joined.push(b'\n');
            prop_assert!(boot <= line.boot);
            boot = line.boot;
        }
        prop_assert_eq!(boot, Some(maker.boot));
        let expected = maker.expected();
        prop_assert!(joined.strip_suffix(b"\n").unwrap() == expected.strip_suffix('\n').unwrap_or(&expected).as_bytes());
        prop_assert_eq!(log.boot_numbers().map(|boots| boots.1), Some(maker.boot));
        // The last record that is in the text is found, and is whole.
        let last = expected.rfind("---[ crash ").map(|at| {
            let end = expected[at..].find("---[ end crash").unwrap();
            let end = at + end + expected[at + end..].find('\n').unwrap() + 1;
            &expected.as_bytes()[at..end]
        });
        let found = crash::last(&log, None);
        prop_assert_eq!(found.as_ref().map(|crash| crash.text.as_slice()), last);
        prop_assert!(found.is_none_or(|crash| crash.is_whole()));
        let damages = verify(target.console(None).unwrap()).unwrap();
        prop_assert_eq!(damages.damages(), 0, "{:?}", damages.list());
    }

    #[test]
    fn damage(
        seed in prop::collection::vec(event(), 5..25),
        bytes in prop::collection::vec((0_usize..4, 0_usize..2000, any::<u8>()), 0..60),
        runs in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..100_000, any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = Folder::new("damage");
        let mut maker = Maker::new(Writer::Ours, 4, 512);
        play(&mut maker, &seed);
        for (tile, offset, byte) in bytes {
            maker.bytes[tile * TILE + offset] = byte;
        }
        for (start, len, byte) in runs {
            let start = start.index(maker.bytes.len());
            let end = (start + len).min(maker.bytes.len());
            maker.bytes[start..end].fill(byte);
        }
        let len = maker.bytes.len() - cut.index(2 * TILE);
        let target = open(&folder, &maker.bytes[..len]);
        for console in &target.consoles {
            let Ok(mut log) = Log::open(console) else { continue };
            log.find_all_carried();
            prop_assert!(log.len() <= log.tiles);
            // Each tile comes once at most.
            let mut tiles: Vec<_> = (0..log.len()).filter_map(|index| log.position(index)).map(|p| p.tile).collect();
            tiles.sort_unstable();
            prop_assert!(tiles.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", tiles);
            prop_assert!(text(&log).len() <= len + tiles.len());
            let mut lines = Lines::new(&log);
            while let Some(line) = lines.next_line() {
                let _ = (line.record(), line.level());
            }
            let _ = (log.boot_numbers(), crash::last(&log, None), crash::last(&log, Some(1)));
            let _ = (Summary::of(console).map(|summary| summary.end()), verify(console));
        }
    }

    #[test]
    fn lines_are_taken_apart_or_not(line in prop::collection::vec(any::<u8>(), 0..80), time in any::<u64>()) {
        let _ = Record::parse(&line);
        let _ = crash::record::Record::parse(&line);
        let (seconds, micros) = (time / 1_000_000 % 1_000_000_000_000, time % 1_000_000);
        let mut good = format!("[{seconds:5}.{micros:06}] WARN  a::b: ").into_bytes();
        good.extend_from_slice(&line);
        let record = Record::parse(&good).unwrap();
        prop_assert_eq!(record.time_us, seconds * 1_000_000 + micros);
        prop_assert_eq!((record.target, record.text), (&b"a::b"[..], line.as_slice()));
    }
}
