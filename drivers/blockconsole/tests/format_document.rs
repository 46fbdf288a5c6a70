//! `FORMAT.md` and the code say the same.

mod support;

use blockconsole::format::{HEADER_LEN, Header, TILE_BYTES, pad};
use blockconsole::marks::{BootFacts, Mark};
use blockconsole::place::MAX_EXTENTS;
use blockconsole::search::QUICK_READS;
use blockconsole::series::{KEPT_RECORDS, Kept};
use blockconsole::{Level, crash, format_line};

const DOCUMENT: &str = include_str!("../FORMAT.md");

/// The bytes of the document's hex dump.
fn dump() -> Vec<u8> {
    let dump = DOCUMENT.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a dump");
    let mut bytes: Vec<u8> = Vec::new();
    let mut repeats = false;
    for line in dump.lines() {
        if line == "*" {
            repeats = true;
            continue;
        }
        let (offset, rest) = line.split_once("  ").expect("an offset");
        let offset = usize::from_str_radix(offset, 16).expect("a number");
        while repeats && bytes.len() < offset {
            bytes.extend_from_within(bytes.len() - 16..);
        }
        repeats = false;
        assert_eq!(bytes.len(), offset);
        let digits = rest.split_once("  |").expect("text").0;
        bytes.extend(digits.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")));
    }
    bytes
}

#[test]
fn the_worked_example_is_what_the_code_writes() {
    let facts = BootFacts { version: "0.1.0", build_id: &[0xab, 0xcd], started: Some(1_700_000_000) };
    let mut block = vec![0; 512];
    block[..HEADER_LEN].copy_from_slice(&Header { uuid: 0x1a2b_3c4d, round: 2, tile: 17 }.encode());
    let mut at = HEADER_LEN;
    let kept = Kept::parse(b"3,4-5", 64);
    for mark in [Mark::Boot { boot: 7, uuid: 0x1a2b_3c4d }, Mark::Tile { tile: 17, round: 2, boot: 7, kept }] {
        mark.with_record(0, &facts, |record| at += format_line(record, &mut block[at..]));
    }
    let ring = support::rig::ring(1 << 14);
    ring.write(
        blockconsole::ring::RecordHeader { time_ns: 204_417_000, cpu: 0, level: Level::Info },
        "app",
        format_args!("hello"),
    );
    let mut buffer = blockconsole::ring::RecordBuffer::new();
    let mut cursor = ring.cursor_oldest();
    match ring.next(&mut cursor, &mut buffer, blockconsole::ring::Patience::Wait) {
        blockconsole::ring::Next::Record(record) => at += format_line(&record, &mut block[at..]),
        other => panic!("{other:?}"),
    }
    pad(&mut block[at..]);
    assert_eq!(String::from_utf8(dump()), String::from_utf8(block));
}

#[test]
fn the_numbers_are_those_of_the_code() {
    for words in [
        format!("1 MiB = {} bytes", thousands(u64::from(TILE_BYTES))),
        format!("| {HEADER_LEN} | {} | log text |", thousands(u64::from(TILE_BYTES) - HEADER_LEN as u64)),
        format!("up to {MAX_EXTENTS} extents"),
        format!("as far as {QUICK_READS} reads go"),
        format!("at most {QUICK_READS} for up to 2^20 tiles"),
        format!("at most {} KiB with both of them", crash::MAX_RECORD / 1024),
    ] {
        assert!(DOCUMENT.contains(&words), "{words}");
    }
    assert!(DOCUMENT.contains("first **three** boots") && KEPT_RECORDS == 3);
    assert!(DOCUMENT.contains("fewer than 12 tiles") && Kept::limit(11) == 2 && Kept::limit(12) == 3);
    assert!(DOCUMENT.contains(std::str::from_utf8(crash::BEGIN).unwrap().trim_end()));
    assert!(DOCUMENT.contains(std::str::from_utf8(crash::END).unwrap().trim_end()));
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
