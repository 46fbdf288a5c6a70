//! The oracle must go red: each thing that it promises to see is done to an image.

use super::*;
use crate::recipe::{make_console, noise};

const TILES: usize = 4;

/// Four tiles: the first `current` of round `round`, the others of the round before; each has a line that names it.
fn image(round: u32, current: usize) -> Vec<u8> {
    let mut image = vec![0; TILES * TILE + 512];
    for (tile, bytes) in image.chunks_exact_mut(TILE).enumerate() {
        let round = if tile < current { Some(round) } else { round.checked_sub(1) };
        if let Some(round) = round {
            let text =
                format!("\nLinux blockconsole version 1.1\n0badcafe\n{round:08x}\n{tile:08x}\ntile {tile} {round}\n");
            let block = format!("{text:8191}\n");
            bytes[..8192].copy_from_slice(block.as_bytes());
        }
    }
    image
}

fn error(image: &[u8]) -> String {
    format!("{:#}", Oracle::new(image).expect_err("it must be refused"))
}

#[test]
fn tiles_come_oldest_first() {
    let image = image(5, 2);
    let oracle = Oracle::new(&image).unwrap();
    assert_eq!((oracle.uuid, oracle.round, oracle.current), (0x0bad_cafe, 5, 2));
    assert_eq!(oracle.lines().unwrap(), ["tile 2 4", "tile 3 4", "tile 0 5", "tile 1 5"]);
    oracle.check_no_holes(512).unwrap();
}

#[test]
fn an_erased_tile_is_no_longer_part_of_the_log() {
    let mut image = image(5, 2);
    image[2 * TILE + 512..3 * TILE].fill(0);
    assert_eq!(Oracle::new(&image).unwrap().lines().unwrap(), ["tile 3 4", "tile 0 5", "tile 1 5"]);
    let mut image = self::image(5, TILES);
    image[512..TILE].fill(0);
    assert_eq!(Oracle::new(&image).unwrap().lines().unwrap(), ["tile 1 5", "tile 2 5", "tile 3 5"]);
}

#[test]
fn a_new_console_is_one() {
    let mut image = noise(TILES * TILE, 1);
    make_console(&mut image, 0x1234_abcd);
    let oracle = Oracle::new(&image).unwrap();
    assert_eq!((oracle.uuid, oracle.round, oracle.current, oracle.wrapped), (0x1234_abcd, 0, 1, false));
    assert!(oracle.lines().unwrap().is_empty());
}

#[test]
fn wrong_headers_are_seen() {
    for (at, value, words) in [
        (1, b'l', "tile 0 has no header"),
        (TILE + 1, b'l', "tile 1 has no header"),
        (TILE + 32, b'f', "tile 1 has uuid"),
        (TILE + 35, b'D', "tile 1 has"),
        (TILE + 40, b' ', "tile 1 has"),
        (TILE + 48, b'9', "tile 1 has round 9"),
        (TILE + 57, b'0', "tile 1 says that it is 0"),
        (3 * TILE + 48, b'5', "tile 3 has round 5"),
    ] {
        let mut image = image(5, 2);
        image[at] = value;
        assert!(error(&image).contains(words), "{at}: {}", error(&image));
    }
    assert!(error(&noise(TILE, 2)).contains("tile 0 has no header"));
}

#[test]
fn holes_are_seen() {
    for (start, end) in [(512, 1024), (600, 800), (1000, 1024)] {
        let mut image = image(0, 2);
        image[TILE + start..TILE + end].fill(0);
        assert!(Oracle::new(&image).unwrap().check_no_holes(512).is_err(), "{start}..{end}");
    }
}

#[test]
fn lines_are_taken_apart() {
    let found = line("[    1.234567] WARN  kernel::pci: a: b").unwrap();
    assert_eq!(found, Line { time: 1_234_567, level: "WARN", target: "kernel::pci", message: "a: b" });
    assert_eq!(line("[12345.000001] ERROR x: y").unwrap().time, 12_345_000_001);
    for text in
        ["", "x", "[1.0] INFO  a: b", "[    1.234567] INFO a", "[    1.234567] LOUD  a: b", "[    1.23456x] INFO  a: b"]
    {
        assert_eq!(line(text), None, "{text:?}");
    }
}

#[test]
fn only_whole_crash_records_count() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let crc = crc32c(b"reason: x\n");
    let whole = ["a", "---[ crash 0123456789abcdef ]---", "reason: x", "", "b"].map(str::to_owned);
    let whole = whole.map(|line| match line.as_str() {
        "" => format!("---[ end crash 0123456789abcdef lines=1 crc32c={crc:08x} ]---"),
        _ => line,
    });
    assert_eq!(crash_record(&whole).unwrap().unwrap(), &whole[1..4]);
    assert!(crash_record(&whole[..1]).unwrap().is_none());
    assert!(crash_record(&whole[..3]).is_err());
    assert!(crash_record(&[&whole[..], &whole[..]].concat()).is_err());
    for (line, text) in [(1, "---[ crash 0123456789abcdee ]---"), (2, "reason: y"), (3, "---[ end crash 0 ]---")] {
        let mut damaged = whole.clone();
        damaged[line] = text.to_owned();
        assert!(crash_record(&damaged).is_err(), "{text}");
    }
}
