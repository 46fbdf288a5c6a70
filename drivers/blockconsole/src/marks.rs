//! The lines that a console writes of its own accord.
//!
//! | text, as logged by `blockconsole` | where |
//! |---|---|
//! | `boot <n> of <uuid>: blockconsole <version> build <id> at <time>` | first line of a boot |
//! | `tile <t> round <r> boot <n>`, and ` kept <records>` if there are any | first whole line of each tile, but after the boot line |
//! | `*** <n> lines lost ***` | instead of records that were overwritten before they could be written out |
//! | `*** record <sequence> was never finished ***` | instead of a record whose writer died |

use crate::level::Level;
use crate::ring::Record;
use crate::series::{Kept, decimal};
use core::fmt::{self, Write};

/// The target of these lines.
pub const TARGET: &str = "blockconsole";
/// The longest text of one of these lines; what is longer is cut.
const MAX_MARK: usize = 256;

/// What a boot says of itself in its first line.
#[derive(Clone, Copy, Debug)]
pub struct BootFacts<'a> {
    /// The version of the program.
    pub version: &'a str,
    /// Its build id.
    pub build_id: &'a [u8],
    /// When it started, in seconds since 1970 UTC; `None` if nobody knows.
    pub started: Option<u64>,
}

/// One of the console's own lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A boot begins.
    Boot {
        /// Its number on this console, from 1.
        boot: u32,
        /// The console's uuid.
        uuid: u32,
    },
    /// A tile was entered.
    Tile {
        /// The tile.
        tile: u32,
        /// The round it was entered in.
        round: u32,
        /// The boot that entered it.
        boot: u32,
        /// The crash records that this boot keeps.
        kept: Kept,
    },
    /// So many records were overwritten before they could be written out.
    Lost(u64),
    /// The record with this sequence number was begun, but its writer died.
    Unfinished(u64),
}

impl Mark {
    /// Reads a line, without its line feed, on a console of so many tiles; `None` if it is none of the console's own.
    pub fn parse(line: &[u8], tiles: u64) -> Option<Self> {
        if line.first() != Some(&b'[') {
            return None;
        }
        let close = line.iter().position(|byte| *byte == b']')?;
        let rest = line.get(close..)?;
        if let Some(text) = rest.strip_prefix(b"] INFO  blockconsole: ") {
            return parse_info(text, tiles);
        }
        let text = rest.strip_prefix(b"] WARN  blockconsole: *** ")?.strip_suffix(b" ***")?;
        if let Some(number) = text.strip_suffix(b" lines lost") {
            return decimal_u64(number).map(Self::Lost);
        }
        let number = text.strip_prefix(b"record ")?.strip_suffix(b" was never finished")?;
        decimal_u64(number).map(Self::Unfinished)
    }

    /// The record that this mark's line is made from.
    pub fn with_record(&self, time_ns: u64, facts: &BootFacts<'_>, then: impl FnOnce(&Record<'_>)) {
        let mut text = Text { bytes: [0; MAX_MARK], len: 0 };
        // It cannot fail: what does not fit is cut.
        let _ = self.write(facts, &mut text);
        let level = match self {
            Self::Boot { .. } | Self::Tile { .. } => Level::Info,
            Self::Lost(_) | Self::Unfinished(_) => Level::Warn,
        };
        let text = text.as_str();
        then(&Record { sequence: 0, time_ns, cpu: 0, level, target: TARGET, text, truncated: false });
    }

    fn write(&self, facts: &BootFacts<'_>, text: &mut Text) -> fmt::Result {
        match self {
            Self::Boot { boot, uuid } => {
                write!(text, "boot {boot} of {uuid:08x}: blockconsole {} build ", facts.version)?;
                for byte in facts.build_id.iter().take(32) {
                    write!(text, "{byte:02x}")?;
                }
                match facts.started {
                    Some(seconds) => write!(text, " at {}", Utc(seconds)),
                    None => text.write_str(" at -"),
                }
            }
            Self::Tile { tile, round, boot, kept } => {
                write!(text, "tile {tile} round {round} boot {boot}")?;
                if kept.records().is_empty() { Ok(()) } else { write!(text, " kept {kept}") }
            }
            Self::Lost(1) => text.write_str("*** 1 lines lost ***"),
            Self::Lost(records) => write!(text, "*** {records} lines lost ***"),
            Self::Unfinished(sequence) => write!(text, "*** record {sequence} was never finished ***"),
        }
    }
}

fn parse_info(text: &[u8], tiles: u64) -> Option<Mark> {
    let mut words = text.split(|byte| *byte == b' ');
    let mut number = |word: &[u8]| if words.next()? == word { decimal(words.next()?) } else { None };
    if let Some(boot) = number(b"boot") {
        let uuid = text.split(|byte| *byte == b' ').nth(3)?.strip_suffix(b":")?;
        return Some(Mark::Boot { boot, uuid: hex(uuid)? });
    }
    let mut words = text.split(|byte| *byte == b' ');
    let mut number = |word: &[u8]| if words.next()? == word { decimal(words.next()?) } else { None };
    let (tile, round, boot) = (number(b"tile")?, number(b"round")?, number(b"boot")?);
    let kept = match (words.next(), words.next()) {
        (Some(b"kept"), Some(records)) => Kept::parse(records, tiles),
        _ => Kept::NONE,
    };
    Some(Mark::Tile { tile, round, boot, kept })
}

fn hex(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 {
        return None;
    }
    digits.iter().try_fold(0, |value: u32, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

fn decimal_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits
        .iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(char::from(*digit).to_digit(10)?)))
}

/// A text that is cut where it does not fit.
struct Text {
    bytes: [u8; MAX_MARK],
    len: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_MARK - self.len;
        let fitting = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        if let Some(place) = self.bytes.get_mut(self.len..self.len + fitting.len()) {
            place.copy_from_slice(fitting.as_bytes());
            self.len += fitting.len();
        }
        Ok(())
    }
}

/// A moment, in seconds since 1970, as `2026-01-31T23:59:59Z`.
struct Utc(u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // Years that begin in March, so that the leap day comes last; counted from 0000-03-01, in eras of 400 years.
        let days = days.saturating_add(719_468);
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day_of_month = day - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era.saturating_mul(400).saturating_add(year + carry);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day_of_month:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::line::{MAX_LINE, format_line};
    use std::string::{String, ToString};

    const FACTS: BootFacts<'static> =
        BootFacts { version: "0.1.0", build_id: &[0xab, 0x01], started: Some(1_700_000_000) };

    fn line(mark: Mark) -> String {
        let mut out = [0; MAX_LINE];
        let mut len = 0;
        mark.with_record(1_500_000_000, &FACTS, |record| len = format_line(record, &mut out));
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    #[test]
    fn marks_look_as_documented_and_are_read_back() {
        let kept = Kept::parse(b"3,4-5", 64);
        for (mark, text) in [
            (
                Mark::Boot { boot: 7, uuid: 0x1a2b },
                "INFO  blockconsole: boot 7 of 00001a2b: blockconsole 0.1.0 build ab01 at 2023-11-14T22:13:20Z",
            ),
            (Mark::Tile { tile: 9, round: 2, boot: 7, kept: Kept::NONE }, "INFO  blockconsole: tile 9 round 2 boot 7"),
            (Mark::Tile { tile: 9, round: 2, boot: 7, kept }, "INFO  blockconsole: tile 9 round 2 boot 7 kept 3,4-5"),
            (Mark::Lost(12), "WARN  blockconsole: *** 12 lines lost ***"),
            (Mark::Unfinished(99), "WARN  blockconsole: *** record 99 was never finished ***"),
        ] {
            let line = line(mark);
            assert_eq!(line, std::format!("[    1.500000] {text}\n"));
            assert_eq!(Mark::parse(line.trim_end().as_bytes(), 64), Some(mark));
        }
    }

    #[test]
    fn other_lines_are_no_marks() {
        for text in [
            "",
            "[",
            "[    1.0] INFO  blockconsole: tile 1 round x boot 2",
            "[    1.0] INFO  blockconsole: boot 1 of 12345678",
            "[    1.0] INFO  blockconsole: boot 1 of 1234567g: x",
            "[    1.0] INFO  app: tile 1 round 1 boot 2",
            "[    1.0] WARN  blockconsole: *** -1 lines lost ***",
            "[    1.0] WARN  blockconsole: *** 99999999999999999999 lines lost ***",
        ] {
            assert_eq!(Mark::parse(text.as_bytes(), 64), None, "{text}");
        }
    }

    #[test]
    fn dates_are_right_at_their_edges() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(seconds).to_string(), text);
        }
        assert!(!Utc(u64::MAX).to_string().is_empty());
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = "ö".repeat(400);
        let facts = BootFacts { version: &long, build_id: &[0; 64], started: None };
        Mark::Boot { boot: 1, uuid: 2 }.with_record(0, &facts, |record| {
            assert!(record.text.len() > 200 && record.text.len() <= MAX_MARK);
        });
    }
}
