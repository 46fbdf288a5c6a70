//! Arbitrary histories are read as written; arbitrary bytes do no harm.
#![forbid(unsafe_code)]

mod common;

use bcon::crash;
use bcon::follow::{Follow, Look};
use bcon::lines::{Lines, Record};
use bcon::log::Log;
use bcon::output::LineWriter;
use bcon::output::journal::Journal;
use bcon::output::json::Json;
use bcon::output::terminal::Terminal;
use bcon::pieces::Pieces;
use bcon::summary::Summary;
use bcon::target::{self, Console, Target};
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

/// Lines that readers count with.
fn line_template() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "[    0.000000] INFO  blockconsole: boot {a} of 0badcafe: blockconsole 0.1.0 build 00ff at -",
        "[    0.000000] INFO  blockconsole: boot {a} of 0badcafe: blockconsole 0.1.0 build 00ff at 9999-12-31T23:59:59Z",
        "[    0.000000] INFO  blockconsole: boot {a} of 0badcafe: blockconsole 0.1.0 build 00ff at {b}-01-01T00:00:00Z",
        "[    0.500000] INFO  blockconsole: tile 1 round 0 boot {a}",
        "[    0.500000] INFO  blockconsole: tile {b} round {a} boot {a} kept {b},{a}-{b}",
        "[    1.000000] WARN  blockconsole: *** {a} lines lost ***",
        "[    1.000000] WARN  blockconsole: *** record {a} was never finished ***",
        "[{a}.999999] ERROR app: late",
        "[{b}.000000] Linux",
        "---[ crash 00000000000000aa ]---",
        "frame {a}: {b}",
        "---[ end crash 00000000000000aa lines={a} crc32c=00000000 ]---",
    ])
}

/// Numbers at the edges of what fits.
fn number() -> impl Strategy<Value = u64> {
    let edges =
        [0, 1, 1 << 31, (1 << 31) - 1, u64::from(u32::MAX) - 1, u64::from(u32::MAX), 1 << 32, u64::MAX - 1, u64::MAX];
    let decimal = [999_999_999_999_999_999, 1_000_000_000_000, 18_446_744_073_709, 18_446_744_073_710];
    prop::sample::select(edges.into_iter().chain(decimal).collect::<Vec<_>>())
}

/// Reads a console by all that this crate has for it. None of it may panic, or give more than there is.
fn read_in_every_way(console: &Console) {
    let Ok(mut log) = Log::open(console) else { return };
    log.find_carried(0..log.len());
    log.find_all_carried();
    let mut writers: [(&str, Box<dyn LineWriter>); 3] = [
        ("json", Box::new(Json::new(&log))),
        ("journal", Box::new(Journal::new(&log))),
        ("terminal", Box::new(Terminal { color: true })),
    ];
    let mut lines = Lines::new(&log);
    let mut len = [0; 3];
    while let Some(line) = lines.next_line() {
        for ((_, writer), len) in writers.iter_mut().zip(&mut len) {
            let mut out = Vec::new();
            writer.line(&line, &mut out).unwrap();
            *len += out.len();
            // Escaping makes six bytes of one; the rest is the line's fields.
            assert!(out.len() <= 6 * line.bytes.len() + 1000);
        }
    }
    let _ =
        (log.boot_numbers(), crash::last(&log, None), crash::last(&log, Some(1)), crash::last(&log, Some(u32::MAX)));
    let _ = (log.boot(u32::MAX), log.boot(0), Summary::of(console).map(|summary| summary.end()));
    let _ = verify(console);
    let index = log.carried().len() as u64;
    let mut follow = Follow::new(console, log.clone(), index);
    // It comes to an end: each look takes a tile, or is one of the last.
    for _ in 0..4 * log.tiles + 4 {
        let look = follow.look(|line| {
            assert!(line.bytes.len() <= 1 << 20);
            Ok(())
        });
        match look {
            Ok(Look::Nothing) | Err(_) => return,
            Ok(_) => {}
        }
    }
    panic!("it is never done");
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
            read_in_every_way(console);
        }
    }

    #[test]
    fn extreme_numbers(
        lines in prop::collection::vec((line_template(), number(), number()), 1..40),
        round in number(),
        cut in any::<bool>(),
    ) {
        let folder = Folder::new("extreme");
        let mut maker = Maker::new(Writer::Ours, 4, 512);
        maker.boot();
        for tile in 1..=2 {
            let round = (round as u32).min(u32::MAX - 1);
            maker.put_header(0, round, 0);
            maker.put_header(tile, round, tile);
            let text: String = lines.iter().map(|(template, a, b)| {
                template.replace("{a}", &a.to_string()).replace("{b}", &b.to_string()) + "\n"
            }).collect();
            maker.bytes[tile * TILE + 59..(tile + 1) * TILE].fill(0);
            maker.bytes[tile * TILE + 59..][..text.len()].copy_from_slice(text.as_bytes());
        }
        // What lies behind the console must not be looked at: a partition ends before the disk does.
        let len = maker.bytes.len() - if cut { TILE / 2 } else { 0 };
        let target = open(&folder, &maker.bytes[..len]);
        read_in_every_way(target.console(None).unwrap());
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
