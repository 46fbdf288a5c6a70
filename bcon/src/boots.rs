//! The boots in a log: where each begins, and what its first line says.

use crate::lines::Lines;
use crate::log::Log;
use blockconsole::marks::Mark;
use std::ops::Range;

/// Tiles that are tried for a tile line before a log counts as one without boots.
const MAX_TRIED: u64 = 16;
/// Lines of a boot among which its first line is looked for: a line of the boot before may end in its first tile.
const FIRST_LINES: usize = 8;

/// A boot whose text is in the log, whole or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Its number on this console, from 1.
    pub number: u32,
    /// The positions of its tiles.
    pub positions: Range<u64>,
    /// What its first line says; `None` if that is no longer there.
    pub first_line: Option<FirstLine>,
}

/// What a boot's first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstLine {
    /// The program's version.
    pub version: String,
    /// The program's build id.
    pub build: String,
    /// When the boot began, as it stands there: `2026-01-31T23:59:59Z`; `None` if it was not known.
    pub started: Option<String>,
}

impl FirstLine {
    /// When the boot began, in seconds since 1970.
    pub fn started_seconds(&self) -> Option<u64> {
        parse_utc(self.started.as_deref()?)
    }

    /// Reads `… boot 7 of 0000002a: blockconsole 0.1.0 build 9f2c at 2026-01-31T23:59:59Z`.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (_, rest) = line.split_once(": blockconsole ")?;
        let (version, rest) = rest.split_once(" build ")?;
        let (build, started) = rest.split_once(" at ")?;
        let started = (started != "-").then(|| started.to_owned());
        Some(Self { version: version.to_owned(), build: build.to_owned(), started })
    }
}

impl Log {
    /// The numbers of the oldest and the newest boot, carried tiles apart; `None` where no line names any.
    pub fn boot_numbers(&self) -> Option<(u32, u32)> {
        let carried = self.carried().len() as u64;
        let (oldest, _) = self.boot_from(carried)?;
        let newest = (carried..self.len()).rev().take(MAX_TRIED as usize).find_map(|index| self.boot_at(index))?;
        Some((oldest, newest))
    }

    /// Finds a boot by its number, in O(log n) reads; `None` if it has no text here. Its carried tiles are not among its positions.
    pub fn boot(&self, number: u32) -> Option<Boot> {
        let first = self.first_position_from(number)?;
        let end = number.checked_add(1).and_then(|next| self.first_position_from(next)).unwrap_or(self.len());
        if first >= end || self.boot_from(first)?.0 != number {
            return None;
        }
        let positions = first..end;
        let mut lines = Lines::over(self, std::iter::once(first..first + 1));
        let mut first_line = None;
        for _ in 0..FIRST_LINES {
            let Some(line) = lines.next_line() else { break };
            if matches!(line.mark, Some(Mark::Boot { boot, .. }) if boot == number) {
                first_line = FirstLine::parse(line.bytes);
                break;
            }
        }
        Some(Boot { number, positions, first_line })
    }

    /// Carried tiles of a boot, as positions.
    pub fn carried_positions_of(&self, boot: u32) -> Vec<Range<u64>> {
        let carried = 0..self.carried().len() as u64;
        carried.filter(|&index| self.boot_at(index) == Some(boot)).map(|index| index..index + 1).collect()
    }

    /// The first position whose boot has this number or a higher one. Boots rise with positions.
    fn first_position_from(&self, number: u32) -> Option<u64> {
        let (mut low, mut high) = (self.carried().len() as u64, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.boot_from(middle) {
                Some((boot, _)) if boot >= number => high = middle,
                Some((_, found_at)) => low = found_at + 1,
                None => high = middle,
            }
        }
        // A tile before it that has no tile line is the fresh disk's first one, or damaged.
        self.boot_from(low).map(|(_, found_at)| found_at)
    }

    /// The boot of the first tile from a position on that has a tile line, and its position.
    fn boot_from(&self, index: u64) -> Option<(u32, u64)> {
        (index..self.len()).take(MAX_TRIED as usize).find_map(|index| Some((self.boot_at(index)?, index)))
    }

    /// The boot that wrote a tile; `None` if no line tells, or if it was carried and nobody knew: it would be out of order.
    fn boot_at(&self, index: u64) -> Option<u32> {
        let position = self.position(index)?;
        let line = self.tile_line(position.tile)?;
        (!position.is_carried_by(&line)).then_some(line.boot)
    }
}

/// Seconds since 1970 of `2026-01-31T23:59:59Z`.
fn parse_utc(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let mut parts = text.split(by).map(|part| part.parse().ok());
        Some([parts.next()??, parts.next()??, parts.next()??])
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour.min(23) * 3600 + minute.min(59) * 60 + second.min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2024-12-31T23:59:59Z", Some(1_735_689_599)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("1969-12-31T23:59:59Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("18446744073709551615-01-01T00:00:00Z", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_utc(text), seconds, "{text}");
        }
    }

    #[test]
    fn first_lines_are_read() {
        let line = b"[    0.000000] INFO  blockconsole: boot 7 of 0000002a: blockconsole 0.1.0 build 9f2c at -";
        let first = FirstLine::parse(line).unwrap();
        assert_eq!((first.version.as_str(), first.build.as_str(), first.started), ("0.1.0", "9f2c", None));
        assert_eq!(FirstLine::parse(b"[    0.000000] INFO  blockconsole: tile 7 round 0 boot 1"), None);
    }
}
