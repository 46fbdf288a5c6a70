//! Taking over the ring that a previous boot left in memory.

use super::Ring;
use super::identity::{RingIdentity, Title};
use super::layout::Layout;
use super::reader::{Cursor, Found, Next};
use super::record::{Record, RecordBuffer};
use crate::sync::{AtomicU64, Ordering};
use core::fmt;

/// Why there is no ring to adopt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdopted {
    /// The memory is too small for a ring.
    TooSmall,
    /// The memory holds no valid identity: no ring, or one of another format or size, or both copies are damaged.
    NoIdentity,
}

impl fmt::Display for NotAdopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooSmall => "the memory is too small for a ring",
            Self::NoIdentity => "the memory holds no ring",
        })
    }
}

impl core::error::Error for NotAdopted {}

/// A ring that a previous boot left, to be read and not written to.
///
/// Nothing in the memory is trusted: a record is there if its checksum says so, for that boot, sequence number and place.
/// The counters are only believed if they agree with the records.
pub struct Adopted<'a> {
    ring: Ring<'a>,
    /// Sequence numbers from here to `end` are what may be there: at most a lap.
    first: u64,
    end: u64,
}

/// What became of a range of sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that are whole.
    pub whole: u64,
    /// Records that are not: overwritten, damaged, or never finished.
    pub lost: u64,
}

impl<'a> Adopted<'a> {
    pub(super) fn find(words: &'a [AtomicU64]) -> Result<Self, NotAdopted> {
        let layout = Layout::new(words).ok_or(NotAdopted::TooSmall)?;
        let title = Title::load(&layout).ok_or(NotAdopted::NoIdentity)?;
        let ring = Ring { layout, title, key: title.key() };
        let end = ring.find_end(layout.begun.load(Ordering::Relaxed));
        Ok(Self { ring, first: end.saturating_sub(layout.slot_count()), end })
    }

    /// Whose ring it was.
    pub const fn identity(&self) -> RingIdentity {
        self.ring.identity()
    }

    /// The sequence number after the last one that was begun.
    pub const fn written(&self) -> u64 {
        self.end
    }

    /// Every record before this sequence number was on disk, on every console, by what the previous boot noted.
    pub fn durable(&self) -> u64 {
        self.ring.durable().min(self.end)
    }

    /// A cursor at the oldest record that is left.
    pub fn cursor_oldest(&self) -> Cursor {
        let mut scratch = RecordBuffer::new();
        let oldest = (self.first..self.end).find(|sequence| self.ring.is_whole(*sequence, &mut scratch));
        Cursor::at(oldest.unwrap_or(self.end))
    }

    /// A cursor at the first record that may not have reached the disk: where the unwritten tail begins.
    pub fn cursor_durable(&self) -> Cursor {
        Cursor::at(self.durable())
    }

    /// A cursor at the record with this sequence number, whether it is there or not.
    pub const fn cursor_at(&self, sequence: u64) -> Cursor {
        Cursor::at(sequence)
    }

    /// Takes the next record, as [`Ring::next`] does. What is not whole comes as [`Next::Lost`]: nothing is waited for, or skipped.
    pub fn next<'b>(&self, cursor: &mut Cursor, scratch: &'b mut RecordBuffer) -> Next<'b> {
        let from = cursor.sequence();
        if from >= self.end {
            return Next::Empty;
        }
        for sequence in from.max(self.first)..self.end {
            if let Found::Whole { time_ns, meta, .. } = self.ring.copy(sequence, scratch) {
                if sequence > from {
                    *cursor = Cursor::at(sequence);
                    return Next::Lost(sequence - from);
                }
                *cursor = Cursor::at(sequence + 1);
                return Next::Record(scratch.record(sequence, time_ns, meta));
            }
        }
        *cursor = Cursor::at(self.end);
        Next::Lost(self.end - from)
    }

    /// Counts what there is from a cursor to the end.
    pub fn tally(&self, from: Cursor) -> Tally {
        self.for_each(from, |_| {})
    }

    /// Writes the records from a cursor to the end into another ring, oldest first, and counts them. With
    /// [`cursor_durable`](Self::cursor_durable), this saves what did not reach the disk: in the new ring it is
    /// like any other record, and reaches the disk, or the boot after that.
    pub fn write_again(&self, from: Cursor, ring: &Ring<'_>) -> Tally {
        self.for_each(from, |record| {
            ring.write_again(record);
        })
    }

    fn for_each(&self, mut cursor: Cursor, mut then: impl FnMut(&Record<'_>)) -> Tally {
        let mut scratch = RecordBuffer::new();
        let mut tally = Tally::default();
        loop {
            match self.next(&mut cursor, &mut scratch) {
                Next::Record(record) => {
                    tally.whole += 1;
                    then(&record);
                }
                Next::Lost(records) => tally.lost = tally.lost.saturating_add(records),
                Next::Empty | Next::Skipped(_) | Next::Unfinished => return tally,
            }
        }
    }
}

impl Ring<'_> {
    fn is_whole(&self, sequence: u64, scratch: &mut RecordBuffer) -> bool {
        matches!(self.copy(sequence, scratch), Found::Whole { .. })
    }

    /// The sequence number after the last record that was begun, from what the memory holds.
    fn find_end(&self, begun: u64) -> u64 {
        let slots = self.layout.slot_count();
        let mut scratch = RecordBuffer::new();
        // Counts as far as a whole record proves it. The counter tells where to look first, so that usually
        // one record is all that has to be summed up.
        let mut proven = (0..slots.min(16))
            .filter_map(|back| begun.checked_sub(back))
            .find(|end| end.checked_sub(1).is_some_and(|newest| self.is_whole(newest, &mut scratch)))
            .unwrap_or(0);
        for index in 0..slots {
            let Some(slot) = self.layout.slot(index) else { continue };
            let end = slot.state.load(Ordering::Relaxed);
            if end > proven && end < u64::MAX && self.is_whole(end - 1, &mut scratch) {
                proven = end;
            }
        }
        // Records that were begun after the last whole one are lost, but they did exist, if the counter can be believed.
        if begun.checked_sub(proven).is_some_and(|unfinished| unfinished <= slots) { begun } else { proven }
    }
}
