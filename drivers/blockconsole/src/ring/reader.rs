//! The reader's side.

use super::Ring;
use super::checksum::Checksum;
use super::record::{Entry, Meta, Record, RecordBuffer};
use super::writer::bind;
use crate::level::Level;
use crate::sync::{AtomicU64, Ordering, fence};

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

/// As [`Next`], for readers that have the record stay in the buffer.
pub(crate) enum Taken {
    Record(Entry),
    Lost(u64),
    Skipped(u64),
    Unfinished,
    Empty,
}

/// What there is of one record.
pub(super) enum Found {
    /// It is whole, and its bytes are in the buffer.
    Whole { entry: Entry, position: u64 },
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

    /// How grave a record is, if it is there, by what its slot says: for readers that leave some out without a look at them.
    pub fn level(&self, sequence: u64) -> Option<Level> {
        let slot = self.layout.slot(sequence)?;
        // commit
        let is_there = slot.state.load(Ordering::Acquire) == sequence.wrapping_add(1);
        Meta::decode(slot.meta.load(Ordering::Relaxed)).filter(|_| is_there).map(|meta| meta.level)
    }

    /// Takes the next record, or says why there is none. Takes a bounded number of steps.
    ///
    /// From one cursor, each sequence number comes up exactly once: as a [`Next::Record`], among those of a
    /// [`Next::Lost`], or as [`Next::Skipped`].
    pub fn next<'b>(&self, cursor: &mut Cursor, scratch: &'b mut RecordBuffer, patience: Patience) -> Next<'b> {
        match self.take(cursor, scratch, patience) {
            Taken::Record(entry) => Next::Record(scratch.record(entry)),
            Taken::Lost(records) => Next::Lost(records),
            Taken::Skipped(sequence) => Next::Skipped(sequence),
            Taken::Unfinished => Next::Unfinished,
            Taken::Empty => Next::Empty,
        }
    }

    /// As [`next`](Self::next), but the record stays in the buffer.
    pub(crate) fn take(&self, cursor: &mut Cursor, scratch: &mut RecordBuffer, patience: Patience) -> Taken {
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
                Found::Whole { entry, .. } => {
                    cursor.advance(1);
                    return Taken::Record(entry);
                }
                Found::Unfinished if patience == Patience::Crash || self.is_given_up(cursor, begun) => {
                    let sequence = cursor.sequence;
                    cursor.advance(1);
                    return Taken::Skipped(sequence);
                }
                Found::Unfinished => return Taken::Unfinished,
            }
        }
        if lost > 0 { Taken::Lost(lost) } else { Taken::Empty }
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
        let mut sums = Sums::new(Checksum::new(self.key));
        sums.checksum.push(time_ns);
        let places = buffer.words_mut();
        let places = places.get_mut(..count - 1).unwrap_or_default();
        let (places, wrapped_places) = places.split_at_mut(straight.len().min(count - 1));
        sums.copy(straight, places);
        sums.copy(wrapped, wrapped_places);
        if bind(sums.checksum, meta, position, sequence) != expected {
            return Found::Lost;
        }
        Found::Whole { entry: Entry { sequence, time_ns, meta, is_plain: sums.are_plain(&meta) }, position }
    }

    /// Whether the data at a position are not yet overwritten when so many words have been reserved.
    fn is_within_lap(&self, position: u64, reserved: u64) -> bool {
        reserved.wrapping_sub(position) <= self.layout.data_words()
    }
}

/// What is found out about a record's words while they are copied.
struct Sums {
    checksum: Checksum,
    /// The last word, of which some bytes may be no text.
    last: u64,
    /// The high bit of each byte that is special in any word before that one.
    special: u64,
}

const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
const ONES: u64 = u64::from_ne_bytes([1; 8]);

impl Sums {
    const fn new(checksum: Checksum) -> Self {
        Self { checksum, last: SPACES, special: 0 }
    }

    #[inline(always)]
    fn copy(&mut self, cells: &[AtomicU64], places: &mut [[u8; 8]]) {
        let Self { mut checksum, mut last, mut special } = *self;
        for (cell, place) in cells.iter().zip(places) {
            let word = cell.load(Ordering::Relaxed);
            checksum.push(word);
            *place = word.to_le_bytes();
            special |= specials(last);
            last = word;
        }
        *self = Self { checksum, last, special };
    }

    /// Whether all text is ASCII without control characters.
    const fn are_plain(&self, meta: &Meta) -> bool {
        let rest = (meta.target_len + meta.text_len) % 8;
        // What fills the last word up is as good as spaces.
        let last = if rest == 0 { self.last } else { self.last | SPACES << (8 * rest) };
        (self.special | specials(last)) & HIGH_BITS == 0
    }
}

/// The high bit of each byte that is not from 20h to 7Eh, and others. (Of bytes of 80h and more it may touch the next one too, but
/// then there is one in any case.)
#[inline(always)]
const fn specials(word: u64) -> u64 {
    !(word | HIGH_BITS).wrapping_sub(SPACES) | word.wrapping_add(ONES) | word
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn the_level_of_a_record_is_told_while_it_is_there() {
        let memory: std::vec::Vec<AtomicU64> = (0..200).map(|_| AtomicU64::new(0)).collect();
        let identity = crate::ring::RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 };
        let ring = Ring::create(&memory, identity).unwrap();
        for (sequence, level) in (0..).zip(Level::ALL.into_iter().cycle()).take(50) {
            assert_eq!(ring.level(sequence), None);
            let header = crate::ring::RecordHeader { time_ns: 0, cpu: 0, level };
            ring.write(header, "t", format_args!("x"));
            assert_eq!(ring.level(sequence), Some(level));
        }
        assert_eq!(ring.level(0), None, "overwritten");
    }

    #[test]
    fn only_printable_ascii_is_plain() {
        for len in 1..=16 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut bytes = [0; 16];
                    bytes[..len].fill(b'~');
                    bytes[at] = byte;
                    let cells = bytes.as_chunks().0.iter().map(|word| AtomicU64::new(u64::from_le_bytes(*word)));
                    let cells: std::vec::Vec<_> = cells.take(len.div_ceil(8)).collect();
                    let mut sums = Sums::new(Checksum::new(0));
                    sums.copy(&cells, &mut [[0; 8]; 2]);
                    let meta = Meta { text_len: len, target_len: 0, level: Level::Info, truncated: false, cpu: 0 };
                    assert_eq!(sums.are_plain(&meta), (b' '..=b'~').contains(&byte), "{byte:#x} at {at} of {len}");
                }
            }
        }
    }
}
