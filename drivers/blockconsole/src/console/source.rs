//! The log's text, of which the writer takes as much as it has room for.
//!
//! Every byte of it can be made again: a [`Point`] says which line a byte belongs to, and how far into it. So what a
//! failed write held needs no copy, and the crash path can go on in the middle of a line that its
//! predecessor had begun. For that, nothing in it may depend on when it is made: the time of a mark is that of the record before
//! it. Lines are the ring's records and the console's own [marks](crate::marks); they come in
//! the order: boot line, tile line, then records, each of which may be preceded by a mark of what was lost.

use super::point::{LineKind, Point};
use crate::line::Line;
use crate::marks::{BootFacts, Mark};
use crate::ring::reader::Taken;
use crate::ring::record::Entry;
use crate::ring::{Cursor, Patience, RecordBuffer, Ring};
use crate::series::Kept;

/// How long a record that was begun is waited for before its writer is taken for dead, if nothing else is written meanwhile.
const UNFINISHED_NS: u64 = 1_000_000_000;

/// What lines are made from.
pub(super) struct Feed<'f> {
    pub(super) ring: &'f Ring<'f>,
    pub(super) now_ns: u64,
    pub(super) facts: BootFacts<'f>,
    pub(super) uuid: u32,
    pub(super) boot: u32,
    pub(super) tile: u32,
    pub(super) round: u32,
    pub(super) kept: Kept,
    /// In a crash: records from this one on are left alone, and unfinished ones are not waited for.
    pub(super) until: Option<u64>,
    /// The crash record.
    pub(super) trailer: &'f [u8],
}

/// The log's text in the making.
pub(super) struct Source {
    /// Where the next byte comes from.
    here: Point,
    /// Where the last piece came from.
    poured: Point,
    cursor: Option<Cursor>,
    /// A copy of the record whose line is under way: it may be needed in pieces, while the ring goes on.
    scratch: RecordBuffer,
    /// Which record that is, if any.
    held: Option<Entry>,
    /// When that, or the last one before it, was logged.
    held_ns: u64,
    /// The record that is unfinished, and since when.
    unfinished: Option<(u64, u64)>,
}

impl Source {
    pub(super) const fn new(start: Point) -> Self {
        Self {
            here: start,
            poured: start,
            cursor: None,
            scratch: RecordBuffer::new(),
            held: None,
            held_ns: 0,
            unfinished: None,
        }
    }

    /// Where the next byte comes from.
    pub(super) const fn point(&self) -> Point {
        self.here
    }

    /// Where the bytes of the last [`pour`](Self::pour) came from: a byte of it that is `n` bytes in has `n` more to skip.
    pub(super) const fn poured_from(&self) -> Point {
        self.poured
    }

    /// Goes back to a point, or anywhere.
    pub(super) fn rewind(&mut self, point: Point) {
        (self.here, self.poured) = (point, point);
        self.held = None;
    }

    /// Asks for a tile line, at the next beginning of a line.
    pub(super) fn set_tile_due(&mut self) {
        self.here.due.tile = true;
    }

    /// Whether the text before this point ends with a whole line.
    pub(super) fn is_between(&self) -> bool {
        self.here.line == LineKind::Between
    }

    /// Whether the next record was begun and not finished: its writer may do that at any time.
    pub(super) fn waits_for_writer(&self) -> bool {
        self.unfinished.is_some_and(|(of, _)| of == self.here.sequence)
    }

    /// Writes the rest of one line, or as much of it as fits, and returns how much that was: 0 if there is nothing to write.
    pub(super) fn pour(&mut self, feed: &Feed<'_>, out: &mut [u8]) -> usize {
        if out.is_empty() {
            return 0;
        }
        if self.here.due.feed {
            self.poured = self.here;
            self.here.due.feed = false;
            return pour_bytes(b"\n", 0, out).0;
        }
        if self.here.line == LineKind::Between && !self.choose(feed) {
            return 0;
        }
        let start = self.here;
        self.poured = start;
        let skip = start.skip as usize;
        let (len, is_done) = match self.mark(feed) {
            Some(mark) => {
                let mut poured = (0, true);
                let time_ns = if start.line == LineKind::Boot { 0 } else { start.time_ns };
                mark.with_record(time_ns, &feed.facts, |record| poured = pour_line(Line::new(record), skip, out));
                poured
            }
            None => match start.line {
                LineKind::Record => return self.pour_record(feed, out),
                _ => pour_bytes(feed.trailer, skip, out),
            },
        };
        self.advance(len, is_done);
        len
    }

    fn advance(&mut self, len: usize, is_done: bool) {
        if !is_done {
            self.here.skip += len as u32;
            return;
        }
        let here = &mut self.here;
        match here.line {
            LineKind::Boot => here.due.boot = false,
            LineKind::Tile => here.due.tile = false,
            LineKind::Trailer => here.due.trailer = false,
            LineKind::Record => {
                here.sequence += 1;
                here.time_ns = self.held_ns;
            }
            LineKind::Between | LineKind::Lost | LineKind::Unfinished => {}
        }
        here.complete = here.sequence;
        here.line = LineKind::Between;
        here.skip = 0;
    }

    /// Chooses the next line; `false` if there is none.
    fn choose(&mut self, feed: &Feed<'_>) -> bool {
        let due = self.here.due;
        let line = if due.boot {
            LineKind::Boot
        } else if due.tile {
            LineKind::Tile
        } else {
            return self.choose_record(feed);
        };
        self.begin(line, 0);
        true
    }

    fn begin(&mut self, line: LineKind, value: u64) {
        self.here = Point { line, skip: 0, value, ..self.here };
    }

    fn choose_record(&mut self, feed: &Feed<'_>) -> bool {
        let sequence = self.here.sequence;
        if feed.until.is_some_and(|until| sequence >= until) {
            return self.choose_trailer(feed);
        }
        let mut cursor =
            self.cursor.filter(|cursor| cursor.sequence() == sequence).unwrap_or_else(|| feed.ring.cursor_at(sequence));
        let patience = self.patience(feed, sequence);
        self.held = None;
        let chosen = match feed.ring.take(&mut cursor, &mut self.scratch, patience) {
            Taken::Record(entry) => {
                self.hold(entry);
                self.begin(LineKind::Record, 0);
                // The cursor stays at the record whose line is under way.
                return true;
            }
            Taken::Lost(records) => Some((LineKind::Lost, records)),
            Taken::Skipped(skipped) => Some((LineKind::Unfinished, skipped)),
            Taken::Unfinished => {
                if self.unfinished.is_none_or(|(of, _)| of != sequence) {
                    self.unfinished = Some((sequence, feed.now_ns));
                }
                None
            }
            Taken::Empty => None,
        };
        self.cursor = Some(cursor);
        match chosen {
            Some((line, value)) => {
                self.begin(line, value);
                self.here.sequence = cursor.sequence();
                true
            }
            None if feed.until.is_some() => self.choose_trailer(feed),
            None => false,
        }
    }

    fn choose_trailer(&mut self, feed: &Feed<'_>) -> bool {
        let is_due = self.here.due.trailer && !feed.trailer.is_empty();
        if is_due {
            self.begin(LineKind::Trailer, 0);
        }
        is_due
    }

    fn patience(&self, feed: &Feed<'_>, sequence: u64) -> Patience {
        match self.unfinished {
            _ if feed.until.is_some() => Patience::Crash,
            Some((of, since)) if of == sequence && feed.now_ns.saturating_sub(since) >= UNFINISHED_NS => {
                Patience::Crash
            }
            _ => Patience::Wait,
        }
    }

    fn hold(&mut self, mut entry: Entry) {
        self.scratch.make_valid(&mut entry);
        self.held_ns = entry.time_ns;
        self.held = Some(entry);
    }

    fn pour_record(&mut self, feed: &Feed<'_>, out: &mut [u8]) -> usize {
        let sequence = self.here.sequence;
        if self.held.is_none_or(|held| held.sequence != sequence) {
            self.held = None;
            let mut cursor = feed.ring.cursor_at(sequence);
            if let Taken::Record(entry) = feed.ring.take(&mut cursor, &mut self.scratch, Patience::Wait)
                && entry.sequence == sequence
            {
                self.hold(entry);
            }
        }
        let Some(held) = &self.held else {
            // Overwritten since: what is on disk of its line ends here, and what was lost will be counted.
            self.here = self.here.restart();
            return self.pour(feed, out);
        };
        let (len, is_done) = pour_line(Line::of(held, &self.scratch), self.here.skip as usize, out);
        self.advance(len, is_done);
        len
    }

    /// The mark that the current line is, if it is one.
    fn mark(&self, feed: &Feed<'_>) -> Option<Mark> {
        let Feed { uuid, boot, tile, round, kept, .. } = *feed;
        match self.here.line {
            LineKind::Boot => Some(Mark::Boot { boot, uuid }),
            LineKind::Tile => Some(Mark::Tile { tile, round, boot, kept }),
            LineKind::Lost => Some(Mark::Lost(self.here.value)),
            LineKind::Unfinished => Some(Mark::Unfinished(self.here.value)),
            LineKind::Between | LineKind::Record | LineKind::Trailer => None,
        }
    }
}

/// Writes a line without its first `skip` bytes; returns how much, and whether that was all of it.
fn pour_line(mut line: Line<'_>, skip: usize, out: &mut [u8]) -> (usize, bool) {
    let mut skipped = 0;
    let mut rest = [0; 64];
    while skipped < skip && !line.is_done() {
        let room = (skip - skipped).min(rest.len());
        skipped += line.fill(rest.get_mut(..room).unwrap_or_default());
    }
    let len = line.fill(out);
    (len, line.is_done())
}

fn pour_bytes(bytes: &[u8], skip: usize, out: &mut [u8]) -> (usize, bool) {
    let rest = bytes.get(skip..).unwrap_or_default();
    let len = rest.len().min(out.len());
    if let (Some(to), Some(from)) = (out.get_mut(..len), rest.get(..len)) {
        to.copy_from_slice(from);
    }
    (len, len == rest.len())
}
