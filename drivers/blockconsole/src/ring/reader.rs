//! The reader's side.

use super::Ring;
use super::checksum::Checksum;
use super::record::{Meta, Record, RecordBuffer};
use super::writer::bind;
use crate::sync::{Ordering, fence};

/// Where a reader is. Plain data: it may be kept anywhere, and used with the ring it came from at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    sequence: u64,
    /// One more than the data position at which the record here was first found unfinished; 0 if it was not.
    stalled: u64,
}

impl Cursor {
    /// The sequence number of the next record.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) const fn at(sequence: u64) -> Self {
        Self { sequence, stalled: 0 }
    }

    fn advance(&mut self, records: u64) {
        *self = Self::at(self.sequence.saturating_add(records));
    }
}

/// What a reader does at a record that was begun but is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Come back later: its writer is at work, or was interrupted. Not for ever: once a quarter of the ring has been
    /// written since, the writer is taken for dead and the record is skipped, before newer records are lost for its
    /// sake.
    Wait,
    /// Skip it: the other processors have been stopped, nobody will finish it.
    Crash,
}

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'b> {
    /// A record; the cursor moved on past it.
    Record(Record<'b>),
    /// So many records were overwritten before they could be read; the cursor moved on past them.
    Lost(u64),
    /// The record with this sequence number was begun but never finished; the cursor moved on past it.
    Skipped(u64),
    /// The next record is not finished yet; the cursor stays.
    Unfinished,
    /// There is nothing more.
    Empty,
}

/// What there is of one record.
pub(super) enum Found {
    /// It is whole, and its bytes are in the buffer.
    Whole { time_ns: u64, meta: Meta, position: u64 },
    /// It is overwritten, in part or altogether.
    Lost,
    /// It was begun, and that is all.
    Unfinished,
}

impl Ring<'_> {
    /// A cursor at the oldest record that is still there.
    pub fn cursor_oldest(&self) -> Cursor {
        let begun = self.written();
        let reserved = self.layout.reserved.load(Ordering::Relaxed);
        let oldest = begun.saturating_sub(self.layout.slot_count());
        let is_there = |sequence: &u64| {
            self.layout.slot(*sequence).is_none_or(|slot| {
                let whole = slot.state.load(Ordering::Acquire) == sequence.wrapping_add(1);
                !whole || self.is_within_lap(slot.position.load(Ordering::Relaxed), reserved)
            })
        };
        Cursor::at((oldest..begun).find(is_there).unwrap_or(begun))
    }

    /// A cursor after the newest record.
    pub fn cursor_newest(&self) -> Cursor {
        Cursor::at(self.written())
    }

    /// A cursor at the record with this sequence number, whether it is there or not.
    pub fn cursor_at(&self, sequence: u64) -> Cursor {
        Cursor::at(sequence)
    }

    /// Takes the next record, or says why there is none. Takes a bounded number of steps.
    ///
    /// From one cursor, each sequence number comes up exactly once: as a [`Next::Record`], among those of a
    /// [`Next::Lost`], or as [`Next::Skipped`].
    pub fn next<'b>(&self, cursor: &mut Cursor, scratch: &'b mut RecordBuffer, patience: Patience) -> Next<'b> {
        let mut lost = 0_u64;
        for _ in 0..=self.layout.slot_count() {
            let begun = self.written();
            if cursor.sequence >= begun {
                break;
            }
            let oldest = begun.saturating_sub(self.layout.slot_count());
            if cursor.sequence < oldest {
                lost = lost.saturating_add(oldest - cursor.sequence);
                *cursor = Cursor::at(oldest);
            }
            match self.read(cursor.sequence, scratch) {
                Found::Lost => {
                    lost = lost.saturating_add(1);
                    cursor.advance(1);
                }
                _ if lost > 0 => break,
                Found::Whole { time_ns, meta, .. } => {
                    let sequence = cursor.sequence;
                    cursor.advance(1);
                    return Next::Record(scratch.record(sequence, time_ns, meta));
                }
                Found::Unfinished if patience == Patience::Crash || self.is_given_up(cursor, begun) => {
                    let sequence = cursor.sequence;
                    cursor.advance(1);
                    return Next::Skipped(sequence);
                }
                Found::Unfinished => return Next::Unfinished,
            }
        }
        if lost > 0 { Next::Lost(lost) } else { Next::Empty }
    }

    /// Whether so much was written since the record at the cursor was begun that its writer must be dead.
    fn is_given_up(&self, cursor: &mut Cursor, begun: u64) -> bool {
        let reserved = self.layout.reserved.load(Ordering::Relaxed);
        if cursor.stalled == 0 {
            cursor.stalled = reserved.wrapping_add(1);
        }
        begun - cursor.sequence > self.layout.slot_count() / 4
            || reserved.wrapping_sub(cursor.stalled - 1) > self.layout.data_words() / 4
    }

    /// Copies a record out, and checks that nobody overwrote it meanwhile.
    fn read(&self, sequence: u64, buffer: &mut RecordBuffer) -> Found {
        let found = self.copy(sequence, buffer);
        // lap: if any of the loads above saw a store of a newer record, then these see the counters that it raised.
        fence(Ordering::Acquire);
        let begun = self.layout.begun.load(Ordering::Relaxed);
        let reserved = self.layout.reserved.load(Ordering::Relaxed);
        if begun.wrapping_sub(sequence) > self.layout.slot_count() {
            return Found::Lost;
        }
        match found {
            Found::Whole { position, .. } if !self.is_within_lap(position, reserved) => Found::Lost,
            found => found,
        }
    }

    /// Copies a record out as it is now. What comes out is whole, by its checksum.
    pub(super) fn copy(&self, sequence: u64, buffer: &mut RecordBuffer) -> Found {
        let Some(slot) = self.layout.slot(sequence) else { return Found::Lost };
        // commit
        if slot.state.load(Ordering::Acquire) != sequence.wrapping_add(1) {
            return Found::Unfinished;
        }
        let position = slot.position.load(Ordering::Relaxed);
        let meta = Meta::decode(slot.meta.load(Ordering::Relaxed));
        let expected = slot.checksum.load(Ordering::Relaxed);
        let Some(meta) = meta else { return Found::Lost };
        let count = meta.record_words();
        let (straight, wrapped) = self.layout.data(position);
        let (Some((time, straight)), true) = (straight.split_first(), count <= self.layout.max_record_words()) else {
            return Found::Lost;
        };
        let time_ns = time.load(Ordering::Relaxed);
        let mut checksum = Checksum::new(self.key);
        checksum.push(time_ns);
        let mut places = buffer.words_mut().iter_mut().take(count - 1);
        for cells in [straight, wrapped] {
            for (cell, place) in cells.iter().zip(places.by_ref()) {
                let word = cell.load(Ordering::Relaxed);
                checksum.push(word);
                *place = word.to_le_bytes();
            }
        }
        let whole = bind(checksum, meta, position, sequence) == expected;
        if whole { Found::Whole { time_ns, meta, position } } else { Found::Lost }
    }

    /// Whether the data at a position are not yet overwritten when so many words have been reserved.
    fn is_within_lap(&self, position: u64, reserved: u64) -> bool {
        reserved.wrapping_sub(position) <= self.layout.data_words()
    }
}
