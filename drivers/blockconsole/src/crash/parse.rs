//! Finding crash records in a log, and telling whole ones from damaged ones.

use super::{BEGIN, END, MAX_RECORD};
use crate::checksum::crc32c;
use core::ops::Range;

/// A crash record in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The id in its first line; `None` if that line itself is damaged.
    pub id: Option<u64>,
    /// Where it lies in the log, its first and last line included as far as they are there.
    pub range: Range<usize>,
    /// Where the lines between them lie.
    pub lines: Range<usize>,
    /// Whether it is whole.
    pub verdict: Verdict,
}

/// Whether a crash record is what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Whole,
    /// It is not, for this reason.
    Damaged(Damage),
}

/// What is wrong with a crash record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Its first line cannot be read.
    BadBegin,
    /// It has no last line.
    NoEnd,
    /// Its last line cannot be read, or is another record's.
    BadEnd,
    /// It has this many lines, not as many as its last line says.
    LineCount(u32),
    /// The CRC of its lines is this one, not that of its last line.
    Checksum(u32),
}

/// Finds the first crash record in a log's text from byte `from` on.
///
/// The text is what a reader makes of a disk: tile headers, zeroes and pads are gone. Takes time in
/// proportion to the text's length.
pub fn find(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    loop {
        let line = line_at(text, at)?;
        if text.get(line.clone())?.starts_with(BEGIN) {
            return Some(judge(text, line));
        }
        at = line.end;
    }
}

/// Finds the last crash record in a log's text.
pub fn find_last(text: &[u8]) -> Option<Found> {
    let is_begin = |at: &usize| {
        let line_starts = *at == 0 || text.get(at - 1) == Some(&b'\n');
        line_starts && text.get(*at..).is_some_and(|rest| rest.starts_with(BEGIN))
    };
    let at = (0..text.len()).rev().find(is_begin)?;
    Some(judge(text, line_at(text, at)?))
}

/// The line that begins here, with its line feed if it has one; `None` at the end.
fn line_at(text: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
    let len = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |feed| feed + 1);
    Some(at..at + len)
}

fn judge(text: &[u8], first: Range<usize>) -> Found {
    let bytes = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    let id = bytes(&first).strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(b" ]---\n")).and_then(hex::<16>);
    let mut at = first.end;
    let mut lines = 0;
    let end = loop {
        match line_at(text, at) {
            Some(line) if bytes(&line).starts_with(END) => break Some(line),
            Some(line) if !bytes(&line).starts_with(BEGIN) && line.end - first.start <= MAX_RECORD => {
                lines += 1;
                at = line.end;
            }
            _ => break None,
        }
    };
    let between = first.end..at;
    let verdict = match (id, &end) {
        (None, _) => Verdict::Damaged(Damage::BadBegin),
        (_, None) => Verdict::Damaged(Damage::NoEnd),
        (Some(id), Some(end)) => match read_end(bytes(end)) {
            Some((end_id, _, _)) if end_id != id => Verdict::Damaged(Damage::BadEnd),
            Some((_, count, _)) if count != lines => Verdict::Damaged(Damage::LineCount(lines)),
            Some((_, _, crc)) => match crc32c(bytes(&between)) {
                actual if actual == crc => Verdict::Whole,
                actual => Verdict::Damaged(Damage::Checksum(actual)),
            },
            None => Verdict::Damaged(Damage::BadEnd),
        },
    };
    let range = first.start..end.map_or(at, |end| end.end);
    Found { id, range, lines: between, verdict }
}

/// Id, line count and CRC of a last line.
fn read_end(line: &[u8]) -> Option<(u64, u32, u32)> {
    let rest = line.strip_prefix(END)?;
    let rest = rest.strip_suffix(b"\n").unwrap_or(rest).strip_suffix(b" ]---")?;
    let mut words = rest.split(|byte| *byte == b' ');
    let id = hex::<16>(words.next()?)?;
    let lines = crate::series::decimal(words.next()?.strip_prefix(b"lines=")?)?;
    let crc = hex::<8>(words.next()?.strip_prefix(b"crc32c=")?)?;
    if words.next().is_some() { None } else { Some((id, lines, crc as u32)) }
}

/// A hexadecimal number of exactly so many digits.
fn hex<const DIGITS: usize>(digits: &[u8]) -> Option<u64> {
    if digits.len() != DIGITS {
        return None;
    }
    digits.iter().try_fold(0, |value: u64, digit| Some(value << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::{Place, Report, Stack, Trap, write};
    use super::*;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    const REPORT: Report<'static> = Report {
        id: 0x5f1c_09e2_a7b3_d480,
        kind: "panic",
        reason: "a\n---[ end crash 0 ]---\x1b ö",
        place: Some(Place { file: "src/main.rs", line: 41, column: 9 }),
        version: "0.1.0",
        build_id: &[0x9f, 0x2c],
        boot: None,
        uptime_ns: 1_204_417_999,
        cpu: 3,
        trap: Some(Trap { vector: 14, name: "page fault", error_code: Some(2) }),
        registers: &[("rax", 1), ("rbx", 2), ("rcx", 3), ("rdx", 4), ("rip", u64::MAX)],
        devices: &[("vda", "logging, tile 17")],
        backtrace: &[0xffff_ffff_8010_4c2a, 7],
        stack: Some(Stack { address: 0x1000, bytes: &[1; 45] }),
    };

    fn record(report: &Report<'_>, room: usize) -> Vec<u8> {
        let mut out = vec![0; room];
        let len = write(report, &mut out);
        out.truncate(len);
        out
    }

    #[test]
    fn a_record_is_text_and_whole() {
        let bytes = record(&REPORT, MAX_RECORD);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let expected = "---[ crash 5f1c09e2a7b3d480 ]---
reason: panic: a\\n---[ end crash 0 ]---\\x1b ö
place: src/main.rs:41:9
version: 0.1.0
build: 9f2c
uptime: 1.204417 s
cpu: 3
trap: 14 page fault, error code 0x2
registers: rax=0000000000000001 rbx=0000000000000002 rcx=0000000000000003 rdx=0000000000000004
registers: rip=ffffffffffffffff
console vda: logging, tile 17
frame 0: 0xffffffff80104c2a
frame 1: 0x0000000000000007
stack 0x0000000000001000: 0101010101010101 0101010101010101 0101010101010101 0101010101010101
stack 0x0000000000001020: 0101010101010101
---[ end crash 5f1c09e2a7b3d480 lines=14 crc32c=";
        assert_eq!(&text[..expected.len()], expected);
        let found = find(&bytes, 0).unwrap();
        assert_eq!((found.verdict, found.id, found.range.clone()), (Verdict::Whole, Some(REPORT.id), 0..bytes.len()));
        assert_eq!(find_last(&bytes), Some(found));
    }

    #[test]
    fn the_stack_goes_first_and_then_the_far_frames() {
        let frames: Vec<u64> = (0..200).collect();
        let report = Report { backtrace: &frames, stack: Some(Stack { address: 0, bytes: &[7; 8192] }), ..REPORT };
        let whole = record(&report, MAX_RECORD);
        assert!(whole.len() <= MAX_RECORD && whole.len() > MAX_RECORD - 300);
        let text = String::from_utf8(whole).unwrap();
        assert!(text.contains("frame 199: ") && text.contains("words of the stack left out\n"));
        assert!(!text.contains("frames left out"));
        let text = String::from_utf8(record(&report, 4000)).unwrap();
        assert!(
            text.contains("frame 0: ") && !text.contains("frame 199: ") && text.contains(" of 200 frames left out\n")
        );
        assert!(text.contains("note: 1024 of 1024 words of the stack left out\n"));
    }

    #[test]
    fn lines_of_the_head_that_do_not_fit_are_counted() {
        let whole = String::from_utf8(record(&REPORT, MAX_RECORD)).unwrap();
        assert!(!whole.contains("of the head left out"));
        let head = whole.lines().count();
        for room in (380..560).step_by(20) {
            let text = String::from_utf8(record(&REPORT, room)).unwrap();
            let note =
                text.lines().find_map(|line| line.strip_prefix("note: ")?.strip_suffix(" lines of the head left out"));
            let note: usize = note.map_or(0, |number| number.parse().unwrap());
            assert!(note > 0 && note < head, "{room} bytes: {text}");
        }
    }

    #[test]
    fn whatever_the_room_a_record_is_whole_or_not_there() {
        let long = "x".repeat(5000);
        for report in [REPORT, Report { reason: &long, ..REPORT }] {
            for room in 0..5000 {
                let bytes = record(&report, room);
                assert!(bytes.len() <= room);
                match find(&bytes, 0) {
                    Some(found) => assert_eq!(found.verdict, Verdict::Whole),
                    None => assert!(bytes.is_empty() && room < 300),
                }
            }
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_shows() {
        let whole = record(&REPORT, MAX_RECORD);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(find(&bytes, 0).is_none_or(|found| found.verdict != Verdict::Whole), "byte {at}");
            // The last line feed alone may be missing: the line says all it has to say.
            let cut = find(&whole[..at], 0);
            assert!(at + 1 == whole.len() || cut.is_none_or(|found| found.verdict != Verdict::Whole), "cut at {at}");
        }
    }

    #[test]
    fn records_are_found_among_lines_and_after_damaged_ones() {
        let whole = record(&REPORT, MAX_RECORD);
        let mut log = b"[    0.000001] INFO  a: b\n".to_vec();
        log.extend(&whole[..300]);
        log.extend(b"\n");
        let second = log.len();
        log.extend(&whole);
        log.extend(b"[    0.000002] INFO  a: b\n");
        let first = find(&log, 0).unwrap();
        assert_eq!(first.verdict, Verdict::Damaged(Damage::NoEnd));
        let next = find(&log, first.range.end).unwrap();
        assert_eq!((next.verdict, next.range), (Verdict::Whole, second..second + whole.len()));
        assert_eq!(find(&log, second + whole.len()), None);
        assert_eq!(find_last(&log).map(|found| found.verdict), Some(Verdict::Whole));
        assert_eq!(find_last(b"---[ cras"), None);
    }
}
