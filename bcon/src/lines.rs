//! Streams a log's lines, in constant memory and without an allocation for each.

use crate::log::{Log, tile_line_in};
use crate::pieces::{Pieces, Problems};
use blockconsole::Level;
use blockconsole::crash::{BEGIN, END};
use blockconsole::marks::Mark;
use std::ops::Range;

/// The longest line that is given out in one piece. Consoles write lines of at most 17 KiB.
const MAX_LINE: usize = 64 << 10;

/// A line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes, without the newline. Control characters may be among them on disks that were tampered with.
    pub bytes: &'a [u8],
    /// The number of the boot that it belongs to; `None` on disks that Linux wrote.
    pub boot: Option<u32>,
    /// The tile that it ends in.
    pub tile: u32,
    /// The byte of that tile at which its text ends.
    pub offset: u32,
    /// Whether it may be older than the lines before it: its time is, in the same tile. The Linux driver does not erase
    /// what stood in a tile behind the end of the text.
    pub stale: bool,
    /// Whether it is part of a crash record.
    pub in_crash: bool,
    /// If the console wrote it of its own accord: what it says.
    pub mark: Option<Mark>,
}

impl<'a> Line<'a> {
    /// Takes the line apart; `None` if it is not of the form `[    1.234567] …`.
    pub fn record(&self) -> Option<Record<'a>> {
        Record::parse(self.bytes)
    }

    /// How grave it is. A crash record's lines are errors.
    pub fn level(&self) -> Option<Level> {
        if self.in_crash { Some(Level::Error) } else { self.record().and_then(|record| record.level) }
    }
}

/// The parts of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Microseconds since the kernel's start.
    pub time_us: u64,
    /// How grave it is; `None` in lines that Linux wrote, which name no level.
    pub level: Option<Level>,
    /// Who logged it; empty where there is no level.
    pub target: &'a [u8],
    /// What was logged, escaped as it stands there.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes a line apart: `[    1.234567] LEVEL target: text`.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"[")?.trim_ascii_start();
        let close = memchr::memchr(b']', rest)?;
        let (stamp, rest) = (rest.get(..close)?, rest.get(close + 1..)?);
        let dot = stamp.len().checked_sub(7).filter(|&dot| stamp.get(dot) == Some(&b'.'))?;
        let seconds = decimal(stamp.get(..dot)?)?;
        let time_us = seconds.checked_mul(1_000_000)?.checked_add(decimal(stamp.get(dot + 1..)?)?)?;
        let text = rest.strip_prefix(b" ")?;
        Some(match split_level(text) {
            Some((level, target, text)) => Self { time_us, level: Some(level), target, text },
            None => Self { time_us, level: None, target: b"", text },
        })
    }
}

/// `LEVEL target: text`, the level padded to five columns.
fn split_level(text: &[u8]) -> Option<(Level, &[u8], &[u8])> {
    let (name, rest) = text.split_at_checked(5)?;
    let level = Level::ALL.into_iter().find(|level| name.trim_ascii_end() == level.name().as_bytes())?;
    let rest = rest.strip_prefix(b" ")?;
    let colon = memchr::memmem::find(rest, b": ")?;
    Some((level, rest.get(..colon)?, rest.get(colon + 2..)?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |value: u64, digit| Some(value * 10 + u64::from(char::from(*digit).to_digit(10)?)))
}

/// A log's lines, from a position to the end.
#[derive(Debug)]
pub struct Lines<'a> {
    pieces: Pieces<'a>,
    /// How much of the current piece's text was given out.
    at: usize,
    /// The beginning of a line that goes on in the next piece.
    held: Vec<u8>,
    /// Whether what is held was given out.
    held_is_done: bool,
    tile: u32,
    /// Where the text of the piece before ended.
    end: usize,
    course: Course,
}

/// What earlier lines say about those that follow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Course {
    pub(crate) boot: Option<u32>,
    in_crash: bool,
    /// The tile at hand, its latest time, and whether a line of it went back behind that.
    tile: Option<u32>,
    time_us: Option<u64>,
    stale: bool,
}

/// Lines of several processors may change places, but not by more than this, in microseconds.
pub(crate) const DISORDER: u64 = 1_000_000;

impl Course {
    /// Takes the next line in, which ends at an offset of a tile of a console of so many tiles.
    pub(crate) fn line<'l>(&mut self, bytes: &'l [u8], (tile, offset): (u32, usize), tiles: u64) -> Line<'l> {
        let mark = Mark::parse(bytes, tiles);
        if let Some(Mark::Boot { boot, .. } | Mark::Tile { boot, .. }) = mark {
            self.boot = Some(boot);
        }
        // A record that lacks its end is over where the log goes on.
        let in_crash = bytes.starts_with(BEGIN) || (self.in_crash && !bytes.starts_with(b"["));
        self.in_crash = in_crash && !bytes.starts_with(END);
        // Who names boots erases tiles.
        let stale = self.boot.is_none() && self.is_stale(bytes, tile);
        Line { bytes, boot: self.boot, tile, offset: offset as u32, stale, in_crash, mark }
    }

    fn is_stale(&mut self, bytes: &[u8], tile: u32) -> bool {
        if self.tile != Some(tile) {
            (self.tile, self.time_us, self.stale) = (Some(tile), None, false);
        }
        if let Some(record) = Record::parse(bytes) {
            let latest = self.time_us.unwrap_or(0);
            self.stale |= record.time_us.saturating_add(DISORDER) < latest;
            self.time_us = Some(latest.max(record.time_us));
        }
        self.stale
    }
}

/// Where the next line's bytes are.
enum Source {
    Piece(Range<usize>),
    Held,
}

/// A line's bytes, and where it ends.
struct Found {
    source: Source,
    tile: u32,
    offset: usize,
}

impl<'a> Lines<'a> {
    /// All of the log's lines.
    pub fn new(log: &'a Log) -> Self {
        Self::over(log, std::iter::once(0..log.len()))
    }

    /// The log's lines at some runs of positions, 0 being the oldest.
    pub fn over(log: &'a Log, ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let pieces = Pieces::over(log, ranges);
        Self { pieces, at: 0, held: vec![], held_is_done: false, tile: 0, end: 0, course: Course::default() }
    }

    /// What was damaged up to now.
    pub fn problems(&self) -> &Problems {
        self.pieces.problems()
    }

    /// The next line; `None` after the last one.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let Found { source, tile, offset } = self.find_next()?;
        let bytes = match source {
            Source::Piece(range) => self.pieces.text().get(range).unwrap_or_default(),
            Source::Held => &self.held,
        };
        Some(self.course.line(bytes, (tile, offset), self.pieces.log().tiles))
    }

    fn find_next(&mut self) -> Option<Found> {
        if std::mem::take(&mut self.held_is_done) {
            self.held.clear();
        }
        loop {
            let rest = self.pieces.text().get(self.at..).unwrap_or_default();
            if let Some(len) = memchr::memchr(b'\n', rest) {
                let range = self.at..self.at + len;
                self.at = range.end + 1;
                let (tile, offset) = (self.tile, self.pieces.offset_of(range.end));
                if self.held.is_empty() {
                    return Some(Found { source: Source::Piece(range), tile, offset });
                }
                self.held.extend_from_slice(rest.get(..len).unwrap_or_default());
                return Some(self.give_held(tile, offset));
            }
            self.held.extend_from_slice(rest);
            self.at += rest.len();
            if !rest.is_empty() {
                self.end = self.pieces.offset_of(self.at);
            }
            if self.held.len() > MAX_LINE {
                return Some(self.give_held(self.tile, self.end));
            }
            let Some(piece) = self.pieces.advance() else {
                return (!self.held.is_empty()).then(|| self.give_held(self.tile, self.end));
            };
            self.at = 0;
            if piece.after_gap {
                self.course.boot = tile_line_in(self.pieces.text(), self.pieces.log().tiles).map(|line| line.boot);
            }
            let tile = std::mem::replace(&mut self.tile, piece.position.tile);
            if piece.breaks_line && !self.held.is_empty() {
                return Some(self.give_held(tile, self.end));
            }
        }
    }

    fn give_held(&mut self, tile: u32, offset: usize) -> Found {
        self.held_is_done = true;
        Found { source: Source::Held, tile, offset }
    }
}
