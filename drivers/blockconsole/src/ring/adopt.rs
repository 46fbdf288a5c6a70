//! Taking over the ring that a previous boot left in memory.

use super::Ring;
use super::identity::{Mark, RingIdentity, Title};
use super::layout::Layout;
use super::reader::{Cursor, Found, Next};
use super::record::RecordBuffer;
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
/// Nothing in the memory is trusted: a record is there if its checksum says so, for this boot, sequence number and
/// place, and if the newest such record is less than a lap away.
pub struct Adopted<'a> {
    ring: Ring<'a>,
    oldest: u64,
    end: u64,
    whole: u64,
}

impl<'a> Adopted<'a> {
    pub(super) fn find(words: &'a [AtomicU64]) -> Result<Self, NotAdopted> {
        let layout = Layout::new(words).ok_or(NotAdopted::TooSmall)?;
        let title = Title::load(&layout).ok_or(NotAdopted::NoIdentity)?;
        let ring = Ring { layout, title, key: title.key() };
        let mut scratch = RecordBuffer::new();
        let mut is_whole = |sequence| matches!(ring.copy(sequence, &mut scratch), Found::Whole { .. });
        let slots = layout.slot_count();
        let newest = (0..slots)
            .filter_map(|index| layout.slot(index)?.state.load(Ordering::Relaxed).checked_sub(1))
            .filter(|sequence| is_whole(*sequence))
            .max();
        let Some(newest) = newest else { return Ok(Self { ring, oldest: 0, end: 0, whole: 0 }) };
        let first = (newest + 1).saturating_sub(slots);
        let mut oldest = newest;
        let mut whole = 0;
        for sequence in (first..=newest).rev() {
            if is_whole(sequence) {
                oldest = sequence;
                whole += 1;
            }
        }
        // What was begun after the newest whole record is lost as well, if the counter can be believed.
        let begun = layout.begun.load(Ordering::Relaxed);
        let end = if begun > newest && begun - newest <= slots { begun } else { newest + 1 };
        Ok(Self { ring, oldest, end, whole })
    }

    /// Whose ring it was.
    pub const fn identity(&self) -> RingIdentity {
        self.ring.identity()
    }

    /// The sequence number of the oldest record that is left.
    pub const fn oldest(&self) -> u64 {
        self.oldest
    }

    /// The sequence number after the last one that was begun.
    pub const fn written(&self) -> u64 {
        self.end
    }

    /// Number of whole records that are left.
    pub const fn whole(&self) -> u64 {
        self.whole
    }

    /// Number of records from the oldest on that are torn, damaged, or were never finished.
    pub const fn torn(&self) -> u64 {
        (self.end - self.oldest) - self.whole
    }

    /// Every record before this sequence number was on disk, on every console, by what the previous boot noted.
    pub fn durable(&self) -> u64 {
        Mark::new(&self.ring.layout, self.ring.key).get().min(self.end)
    }

    /// A cursor at the oldest record that is left.
    pub const fn cursor_oldest(&self) -> Cursor {
        Cursor::at(self.oldest)
    }

    /// A cursor at the first record that may not have reached the disk.
    pub fn cursor_durable(&self) -> Cursor {
        Cursor::at(self.durable())
    }

    /// A cursor at the record with this sequence number, whether it is there or not.
    pub const fn cursor_at(&self, sequence: u64) -> Cursor {
        Cursor::at(sequence)
    }

    /// Takes the next record, as [`Ring::next`] does. What is torn comes as [`Next::Lost`]; nothing is ever unfinished.
    pub fn next<'b>(&self, cursor: &mut Cursor, scratch: &'b mut RecordBuffer) -> Next<'b> {
        let from = cursor.sequence();
        if from >= self.end {
            return Next::Empty;
        }
        for sequence in from.max(self.oldest)..self.end {
            if let Found::Whole { time_ns, meta } = self.ring.copy(sequence, scratch) {
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
}
