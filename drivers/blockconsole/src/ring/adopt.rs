//! Taking over the ring that a previous boot left in memory.

use super::Ring;
use super::identity::RingIdentity;
use super::reader::{Cursor, Found, Next};
use super::record::{Record, RecordBuffer};
use crate::sync::{AtomicU64, Ordering};
use core::fmt;

/// Why there is no ring in some memory.
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
/// Nothing in the memory is trusted: a record is there if its checksum says so, for that boot, sequence number and
/// place. The counters are only believed if they agree with the records.
pub struct Adopted<'a> {
    ring: Ring<'a>,
    /// Sequence numbers from here to `end` are what may be there: at most two laps.
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
        let ring = Ring::attach(words)?;
        let begun = ring.written();
        let proven = ring.find_end(begun);
        // Records that were begun after the last whole one are lost, but they did exist, if the counter can be
        // believed.
        let end = if ring.is_likely(begun, proven) { begun } else { proven };
        Ok(Self { ring, first: proven.saturating_sub(ring.capacity()), end })
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

    /// Takes the next record, as [`Ring::next`] does. What is not whole comes as [`Next::Lost`]: nothing is waited
    /// for, or skipped.
    pub fn next<'b>(&self, cursor: &mut Cursor, scratch: &'b mut RecordBuffer) -> Next<'b> {
        let from = cursor.sequence();
        if from >= self.end {
            return Next::Empty;
        }
        for sequence in from.max(self.first)..self.end {
            if let Found::Whole { entry, .. } = self.ring.copy(sequence, scratch) {
                if sequence > from {
                    *cursor = Cursor::at(sequence);
                    return Next::Lost(sequence - from);
                }
                *cursor = Cursor::at(sequence + 1);
                return Next::Record(scratch.record(entry));
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
    /// Sets the counters right, if something that has no business there wrote over them, and says whether it did. What
    /// readers see of the ring hangs on these two words; all the others prove themselves.
    ///
    /// For the crash path, once nobody else is writing: a record that is written meanwhile may be lost.
    pub fn mend(&self) -> bool {
        let (begun, reserved) = (self.written(), self.layout.reserved.load(Ordering::Relaxed));
        let mut scratch = RecordBuffer::new();
        let is_newest = |end: u64, scratch: &mut RecordBuffer| {
            end.checked_sub(1).is_some_and(|newest| self.is_whole(newest, scratch)) && !self.is_whole(end, scratch)
        };
        // Usually the counter leads right to the newest record, and there is nothing behind it. It takes a while to look at all.
        let proven = if is_newest(begun, &mut scratch) { begun } else { self.find_end(begun) };
        let newest = proven.checked_sub(1).map(|newest| self.copy(newest, &mut scratch));
        let used = match newest {
            Some(Found::Whole { position, entry }) => position.wrapping_add(entry.meta.record_words() as u64),
            _ => 0,
        };
        // Records that were never finished have their places too, and one that was interrupted by the newest may have
        // got its place after that.
        let unfinished = begun.saturating_sub(proven).saturating_add(16);
        let slack = unfinished.saturating_mul(self.layout.max_record_words() as u64);
        let is_right = self.is_likely(begun, proven) && reserved.wrapping_sub(used) <= slack;
        if !is_right {
            self.layout.begun.store(proven, Ordering::Relaxed);
            self.layout.reserved.store(used, Ordering::Relaxed);
        }
        !is_right
    }

    /// Whether the counter can be believed: no more than a lap beyond the newest whole record.
    fn is_likely(&self, begun: u64, proven: u64) -> bool {
        begun.checked_sub(proven).is_some_and(|unfinished| unfinished <= self.capacity())
    }

    fn is_whole(&self, sequence: u64, scratch: &mut RecordBuffer) -> bool {
        matches!(self.copy(sequence, scratch), Found::Whole { .. })
    }

    /// The sequence number after the newest whole record.
    fn find_end(&self, begun: u64) -> u64 {
        let slots = self.layout.slot_count();
        let mut scratch = RecordBuffer::new();
        // The counter tells where to look first, so that usually one record is all that has to be summed up.
        let mut proven = (0..slots.min(16))
            .filter_map(|back| begun.checked_sub(back))
            .find(|end| end.checked_sub(1).is_some_and(|newest| self.is_whole(newest, &mut scratch)))
            .unwrap_or(0);
        for index in 0..slots {
            let Some(slot) = self.layout.slot(index) else { continue };
            let end = slot.state.load(Ordering::Relaxed);
            if end > proven && self.is_whole(end - 1, &mut scratch) {
                proven = end;
            }
        }
        proven
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::checksum::Checksum;
    use super::super::record::{MAX_TARGET, MAX_TEXT, Meta};
    use super::super::writer::bind;
    use super::*;
    use crate::level::Level;
    use std::vec::Vec;
    use std::{format, vec};

    const IDENTITY: RingIdentity = RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 };

    /// Puts a record into the memory as no writer would, with a checksum that fits.
    fn forge(ring: &Ring<'_>, sequence: u64, position: u64, meta: Meta, words: &[u64]) {
        let (straight, wrapped) = ring.layout.data(position);
        let mut checksum = Checksum::new(ring.key);
        for (cell, word) in straight.iter().chain(wrapped).zip(words) {
            cell.store(*word, Ordering::Relaxed);
            checksum.push(*word);
        }
        let slot = ring.layout.slot(sequence).unwrap();
        slot.position.store(position, Ordering::Relaxed);
        slot.meta.store(meta.encode(), Ordering::Relaxed);
        slot.checksum.store(bind(checksum, meta, position, sequence), Ordering::Relaxed);
        slot.state.store(sequence.wrapping_add(1), Ordering::Relaxed);
    }

    fn meta(target_len: usize, text_len: usize) -> Meta {
        Meta { text_len, target_len, level: Level::Info, truncated: false, cpu: 0 }
    }

    fn read_all(adopted: &Adopted<'_>) -> Vec<(u64, std::string::String)> {
        let mut cursor = adopted.cursor_oldest();
        let mut scratch = RecordBuffer::new();
        let mut all = vec![];
        loop {
            match adopted.next(&mut cursor, &mut scratch) {
                Next::Record(record) => all.push((record.sequence, format!("{}|{}", record.target, record.text))),
                Next::Lost(_) => {}
                _ => return all,
            }
        }
    }

    #[test]
    fn forged_records_do_no_harm() {
        let memory: Vec<AtomicU64> = (0..1_000).map(|_| AtomicU64::new(0)).collect();
        // Invalid UTF-8, and a target that ends inside a character.
        let ring = Ring::create(&memory, IDENTITY).unwrap();
        forge(&ring, 3, 0, meta(1, 7), &[0, u64::from_le_bytes(*b"\xff\xc3abc\xe2\x82!")]);
        forge(&ring, 4, 90, meta(1, 7), &[0, u64::from_le_bytes("éabcdé".as_bytes().try_into().unwrap())]);
        let adopted = Ring::adopt(&memory).unwrap();
        assert_eq!(read_all(&adopted), [(3, "?|?abc??!".into()), (4, "|éabcdé".into())]);
        assert_eq!((adopted.written(), adopted.tally(adopted.cursor_at(0)).lost), (5, 3));
        // The last sequence numbers of all, and a position beyond the end.
        for sequence in [u64::MAX - 1, u64::MAX] {
            let ring = Ring::create(&memory, IDENTITY).unwrap();
            ring.layout.begun.store(u64::MAX, Ordering::Relaxed);
            forge(&ring, sequence, u64::MAX, meta(0, 8), &[0, u64::from_le_bytes(*b"the end.")]);
            let adopted = Ring::adopt(&memory).unwrap();
            // The state of the very last would be 0, which means that there is none.
            let expected = if sequence == u64::MAX { vec![] } else { vec![(sequence, "|the end.".into())] };
            assert_eq!(read_all(&adopted), expected);
        }
        // Longer than the ring allows, or than a record may be.
        for (target_len, text_len) in [(0, MAX_TEXT), (MAX_TARGET, 0xfff), (0x7f, 0)] {
            let ring = Ring::create(&memory[..200], IDENTITY).unwrap();
            forge(&ring, 0, 0, meta(target_len, text_len), &[7; 100]);
            assert_eq!(read_all(&Ring::adopt(&memory[..200]).unwrap()), []);
        }
    }

    #[test]
    fn a_live_reader_survives_the_same() {
        let memory: Vec<AtomicU64> = (0..200).map(|_| AtomicU64::new(0)).collect();
        let ring = Ring::create(&memory, IDENTITY).unwrap();
        ring.layout.begun.store(u64::MAX, Ordering::Relaxed);
        ring.layout.reserved.store(u64::MAX - 2, Ordering::Relaxed);
        forge(&ring, u64::MAX - 1, u64::MAX - 3, meta(0, 0), &[1]);
        let mut scratch = RecordBuffer::new();
        let mut cursor = ring.cursor_at(0);
        for _ in 0..100 {
            if ring.next(&mut cursor, &mut scratch, crate::ring::Patience::Crash) == Next::Empty {
                break;
            }
        }
        // Counters that are about to overflow only make the log useless, and nothing else.
        for _ in 0..40 {
            let header = crate::ring::RecordHeader { time_ns: 0, cpu: 0, level: Level::Info };
            ring.write(header, "t", format_args!("{}", 1));
            ring.next(&mut cursor, &mut scratch, crate::ring::Patience::Wait);
            let _ = ring.cursor_oldest();
        }
    }
}
