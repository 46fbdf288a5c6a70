//! A record as its line of text: `[    1.234567] LEVEL target: message`.
//!
//! Time is in seconds since the kernel's start, to the microsecond; the level is padded to five columns. A line is
//! one line whatever the record says: control characters become `\n`, `\r`, `\t`, or `\x` and two hex digits (C0, DEL
//! and C1 alike, by code point). A backslash stays a backslash, so that the usual line is as it was logged; escapes
//! can therefore not be undone with certainty. A truncated text ends in `…[truncated]`.

use crate::level::Level;
use crate::ring::record::{Entry, RecordBuffer};
use crate::ring::{MAX_TARGET, MAX_TEXT, Record};

/// What a truncated text ends in.
pub const TRUNCATED: &str = "…[truncated]";

/// The longest that everything before the target can be: 11 digits of seconds is what 64 bits of nanoseconds hold.
const MAX_PREFIX: usize = "[12345678901.123456] ERROR ".len();
/// What one byte of a record can become at most: `\x1b`.
const MAX_ESCAPE: usize = 4;
/// The longest line, in bytes, with its line feed.
pub const MAX_LINE: usize = MAX_PREFIX + MAX_ESCAPE * (MAX_TARGET + MAX_TEXT) + ": ".len() + TRUNCATED.len() + 1;

/// Writes a record's line, with its line feed, and returns the line's length in bytes.
///
/// A length beyond `out.len()` means that the line did not fit, and that `out` holds as much of it as did; [`MAX_LINE`]
/// bytes are always enough. [`Line`] writes it piece by piece.
pub fn format_line(record: &Record<'_>, out: &mut [u8]) -> usize {
    let mut line = Line::new(record);
    let mut len = line.fill(out);
    let mut rest = [0; 64];
    while !line.is_done() {
        len += line.fill(&mut rest);
    }
    len
}

/// A record's line in the making: writes it into one piece of memory after another.
#[derive(Clone, Debug)]
pub struct Line<'r> {
    prefix: [u8; MAX_PREFIX],
    /// Where in that the prefix begins.
    prefix_start: usize,
    target: &'r [u8],
    text: &'r [u8],
    truncated: bool,
    /// Nothing in it has to be escaped. (If this is not set, that may be so as well.)
    is_plain: bool,
    part: Part,
    /// Bytes of the current part that are done with.
    done: usize,
    /// Bytes of the current escape that are written.
    escape_done: usize,
}

/// The parts of a line, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Prefix,
    Target,
    Colon,
    Text,
    Truncated,
    LineFeed,
    End,
}

impl<'r> Line<'r> {
    /// The line of this record, from its beginning.
    pub fn new(record: &Record<'r>) -> Self {
        let Record { time_ns, level, target, text, truncated, .. } = *record;
        Self::start(time_ns, level, (target.as_bytes(), text.as_bytes()), truncated, false)
    }

    /// The line of the record in this buffer, which has been made valid.
    pub(crate) fn of(entry: &Entry, buffer: &'r RecordBuffer) -> Self {
        Self::start(entry.time_ns, entry.meta.level, buffer.parts(entry), entry.meta.truncated, entry.is_plain)
    }

    fn start(time_ns: u64, level: Level, parts: (&'r [u8], &'r [u8]), truncated: bool, is_plain: bool) -> Self {
        let (prefix, prefix_start) = prefix(time_ns, level);
        let (target, text) = parts;
        let (part, done, escape_done) = (Part::Prefix, 0, 0);
        Self { prefix, prefix_start, target, text, truncated, is_plain, part, done, escape_done }
    }

    /// Whether all of it is written.
    pub fn is_done(&self) -> bool {
        self.part == Part::End
    }

    /// Writes the usual line: one that has not been begun, fits as a whole, and has nothing to be escaped. `None` for any other.
    fn fill_at_once(&mut self, out: &mut [u8]) -> Option<usize> {
        let is_usual = self.is_plain && !self.truncated && self.part == Part::Prefix && self.done == 0;
        if !is_usual {
            return None;
        }
        let room = out.len();
        let out = put(out, self.prefix.get(self.prefix_start..)?)?;
        let out = put(out, self.target)?;
        let out = put(out, b": ")?;
        let out = put(out, self.text)?;
        let out = put(out, b"\n")?;
        self.part = Part::End;
        Some(room - out.len())
    }

    /// Writes as much of the rest as fits, and returns how many bytes that was: all of `out`, unless the line is done.
    pub fn fill(&mut self, out: &mut [u8]) -> usize {
        if let Some(len) = self.fill_at_once(out) {
            return len;
        }
        let mut at = 0;
        loop {
            let (source, is_escaped, next) = match self.part {
                Part::Prefix => (self.prefix.get(self.prefix_start..).unwrap_or_default(), false, Part::Target),
                Part::Target => (self.target, true, Part::Colon),
                Part::Colon => (&b": "[..], false, Part::Text),
                Part::Text => (self.text, true, Part::Truncated),
                Part::Truncated => (if self.truncated { TRUNCATED.as_bytes() } else { b"" }, false, Part::LineFeed),
                Part::LineFeed => (&b"\n"[..], false, Part::End),
                Part::End => return at,
            };
            let rest = source.get(self.done..).unwrap_or_default();
            let room = out.get_mut(at..).unwrap_or_default();
            let copied = if is_escaped { copy_plain(rest, room) } else { copy(rest, room) };
            at += copied;
            self.done += copied;
            let rest = rest.get(copied..).unwrap_or_default();
            let room = out.get_mut(at..).unwrap_or_default();
            if rest.is_empty() {
                (self.part, self.done) = (next, 0);
                continue;
            }
            if room.is_empty() {
                return at;
            }
            let (escape, escape_len, taken) = escape(rest);
            let copied = copy(escape.get(self.escape_done..escape_len).unwrap_or_default(), room);
            at += copied;
            self.escape_done += copied;
            if self.escape_done < escape_len {
                return at;
            }
            self.escape_done = 0;
            self.done += taken;
        }
    }
}

/// Copies all of `from` to the beginning, and returns what follows it; `None` if it does not fit.
fn put<'o>(out: &'o mut [u8], from: &[u8]) -> Option<&'o mut [u8]> {
    let (to, rest) = out.split_at_mut_checked(from.len())?;
    to.copy_from_slice(from);
    Some(rest)
}

/// Copies what fits, and returns how much that was.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    len
}

/// Copies what fits of what can stand in a line as it is, up to the first control character, and returns how much
/// that was.
fn copy_plain(from: &[u8], to: &mut [u8]) -> usize {
    let mut len = 0;
    loop {
        let (rest, room) = (from.get(len..).unwrap_or_default(), to.get_mut(len..).unwrap_or_default());
        // Most text is plain: eight bytes at a time, as long as none of them might be special.
        let words = rest.as_chunks().0.iter().zip(room.as_chunks_mut().0);
        len += 8 * words.take_while(|(from, _)| is_plain(**from)).map(|(from, to)| *to = *from).count();
        // Then one by one, past what only looked special.
        let (rest, room) = (from.get(len..).unwrap_or_default(), to.get_mut(len..).unwrap_or_default());
        let bytes = rest.iter().enumerate().zip(room).take(8);
        let plain = bytes.take_while(|((i, byte), _)| !is_special(**byte, rest.get(i + 1)));
        let copied = plain.map(|((_, from), to)| *to = *from).count();
        len += copied;
        if copied < 8 {
            return len;
        }
    }
}

/// Whether this byte begins a control character. C1 controls are the characters C2 80 to C2 9F in UTF-8.
fn is_special(byte: u8, next: Option<&u8>) -> bool {
    match byte {
        0x00..=0x1f | 0x7f => true,
        0xc2 => next.is_some_and(|next| (0x80..=0x9f).contains(next)),
        _ => false,
    }
}

/// Whether certainly none of these bytes begins a control character.
fn is_plain(bytes: [u8; 8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    // The high bit of each byte that is 0, and perhaps of some above the lowest such.
    let zeroes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let word = u64::from_le_bytes(bytes);
    let below_20 = word.wrapping_sub(0x20 * ONES) & !word & HIGH;
    below_20 | zeroes(word ^ (0x7f * ONES)) | zeroes(word ^ (0xc2 * ONES)) == 0
}

/// The escape for the control character at the beginning: its bytes, their number, and how many bytes it stands for.
fn escape(bytes: &[u8]) -> ([u8; MAX_ESCAPE], usize, usize) {
    let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit & 15)];
    match *bytes {
        [b'\n', ..] => (*b"\\n\0\0", 2, 1),
        [b'\r', ..] => (*b"\\r\0\0", 2, 1),
        [b'\t', ..] => (*b"\\t\0\0", 2, 1),
        [0xc2, c1, ..] => ([b'\\', b'x', hex(c1 >> 4), hex(c1)], 4, 2),
        [byte, ..] => ([b'\\', b'x', hex(byte >> 4), hex(byte)], 4, 1),
        [] => ([0; MAX_ESCAPE], 0, 0),
    }
}

/// `[    1.234567] LEVEL `, at the end of what is returned, and where it begins.
fn prefix(time_ns: u64, level: Level) -> ([u8; MAX_PREFIX], usize) {
    let mut out = *b"      [     .      ]       ";
    let mut micros = (time_ns % 1_000_000_000) as u32 / 1_000;
    for place in out[13..19].iter_mut().rev() {
        *place = b'0' + (micros % 10) as u8;
        micros /= 10;
    }
    let mut seconds = time_ns / 1_000_000_000;
    let mut start = 12;
    for place in out[1..12].iter_mut().rev() {
        *place = b'0' + (seconds % 10) as u8;
        start -= 1;
        seconds /= 10;
        if seconds == 0 {
            break;
        }
    }
    // Five columns at least.
    let start = start.min(7) - 1;
    out[start] = b'[';
    out[21..26].copy_from_slice(level.column());
    (out, start)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::level::Level;
    use std::string::{String, ToString};
    use std::{format, vec};

    fn record<'a>(time_ns: u64, level: Level, target: &'a str, text: &'a str) -> Record<'a> {
        Record { sequence: 0, time_ns, cpu: 0, level, target, text, truncated: false }
    }

    fn line(record: &Record<'_>) -> String {
        let mut out = [0; MAX_LINE];
        let len = format_line(record, &mut out);
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    #[test]
    fn lines_look_as_documented() {
        assert_eq!(line(&record(1_234_567_899, Level::Info, "app", "hello")), "[    1.234567] INFO  app: hello\n");
        assert_eq!(line(&record(0, Level::Error, "a::b", "")), "[    0.000000] ERROR a::b: \n");
        assert_eq!(line(&record(12_345_000_001_000, Level::Warn, "", "x")), "[12345.000001] WARN  : x\n");
        assert_eq!(
            line(&record(u64::MAX, Level::Trace, "t", "größer → ok")),
            "[18446744073.709551] TRACE t: größer → ok\n"
        );
    }

    #[test]
    fn the_prefix_is_what_the_formatter_makes_of_it() {
        for time in [0, 999, 1_000, 999_999_999, 1_000_000_000, 99_999_999_999_999, 100_000_000_000_000, u64::MAX] {
            for level in Level::ALL {
                let expected = format!("[{:5}.{:06}] {level:5} t: \n", time / 1_000_000_000, time / 1_000 % 1_000_000);
                assert_eq!(line(&record(time, level, "t", "")), expected);
            }
        }
    }

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        let text = "a\nb\r\tc\0\x1b[31m\x7f\u{80}\u{9b}\u{9f}\u{a0}é\\n\u{c2}";
        let expected = "a\\nb\\r\\tc\\x00\\x1b[31m\\x7f\\x80\\x9b\\x9f\u{a0}é\\n\u{c2}";
        assert_eq!(line(&record(0, Level::Info, "x\ny", text)), format!("[    0.000000] INFO  x\\ny: {expected}\n"));
        for c in '\0'..='\u{3000}' {
            let text = c.to_string();
            let line = line(&record(0, Level::Info, "t", &text));
            let body = line.strip_prefix("[    0.000000] INFO  t: ").unwrap().strip_suffix('\n').unwrap();
            assert_eq!(body != text, c.is_control(), "{c:?}");
            assert!(!body.chars().any(char::is_control), "{c:?}");
        }
    }

    #[test]
    fn no_control_character_slips_through_at_any_place() {
        let plain = "0123456789abcdefghijklmnop°éµ→xyz";
        for at in plain.char_indices().map(|(at, _)| at) {
            for control in ['\0', '\x1f', '\x7f', '\u{80}', '\u{9f}'] {
                let (before, after) = plain.split_at(at);
                let text = format!("{before}{control}{after}");
                let expected = format!("[    0.000000] INFO  t: {before}\\x{:02x}{after}\n", u32::from(control));
                assert_eq!(line(&record(0, Level::Info, "t", &text)), expected);
            }
            assert!(line(&record(0, Level::Info, "t", &plain[at..])).ends_with(&format!(": {}\n", &plain[at..])));
        }
    }

    #[test]
    fn what_is_known_to_be_plain_makes_the_same_line() {
        for text in ["", "x", "as usual, and with every sort of character: ~!09 AZ"] {
            for truncated in [false, true] {
                let record = Record { truncated, ..record(77_000, Level::Warn, "app::part", text) };
                let whole = line(&record);
                for room in 0..=whole.len() {
                    let mut writer = Line { is_plain: true, ..Line::new(&record) };
                    let mut out = vec![0; whole.len()];
                    let first = writer.fill(&mut out[..room]);
                    let second = writer.fill(&mut out[first..]);
                    assert!(writer.is_done() && first <= room);
                    assert_eq!(&out[..first + second], whole.as_bytes());
                }
            }
        }
    }

    #[test]
    fn a_truncated_text_says_so() {
        let record = Record { truncated: true, ..record(0, Level::Debug, "t", "beginning") };
        assert_eq!(line(&record), "[    0.000000] DEBUG t: beginning…[truncated]\n");
    }

    #[test]
    fn the_longest_line_is_as_long_as_stated() {
        let text = "\x01".repeat(MAX_TEXT);
        let target = "\x7f".repeat(MAX_TARGET);
        let record = Record { truncated: true, ..record(u64::MAX, Level::Error, &target, &text) };
        assert_eq!(line(&record).len(), MAX_LINE);
    }

    #[test]
    fn what_does_not_fit_is_measured_and_cut() {
        let record = record(5_000_000_000, Level::Info, "t\n", "tab\there");
        let whole = line(&record);
        for room in 0..=whole.len() {
            let mut out = vec![0xee; whole.len()];
            assert_eq!(format_line(&record, &mut out[..room]), whole.len());
            assert_eq!(&out[..room], &whole.as_bytes()[..room]);
            assert!(out[room..].iter().all(|byte| *byte == 0xee));
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_same_line() {
        let record = Record { truncated: true, ..record(1, Level::Info, "a\u{85}", "x\x1by\n\nzé\u{9f}") };
        let whole = line(&record);
        for size in 1..=whole.len() {
            let mut pieces = vec![0; whole.len() + size];
            let mut writer = Line::new(&record);
            let mut len = 0;
            while !writer.is_done() {
                let filled = writer.fill(&mut pieces[len..len + size]);
                assert!(filled == size || writer.is_done());
                len += filled;
            }
            assert_eq!(&pieces[..len], whole.as_bytes(), "in pieces of {size}");
            assert_eq!(writer.fill(&mut pieces), 0);
        }
    }
}
