//! Where in its memory a ring keeps what.
//!
//! | words | content |
//! |---|---|
//! | 0..16 | identity, first copy (`identity.rs`) |
//! | 16 | number of records begun: the next sequence number |
//! | 17 | number of data words reserved: the next position |
//! | 18..24 | unused, so that the counters have a cache line to themselves |
//! | 24..32 | durable mark, twice (`identity.rs`) |
//! | 32.. | `slots` slots of 4 words: state, position, meta, checksum |
//! | … | data, all that remains |
//! | last 16 | identity, second copy |

use super::record::MAX_RECORD_WORDS;
use crate::sync::AtomicU64;

/// Words of one copy of the identity.
pub(super) const IDENTITY_WORDS: usize = 16;
const COUNTER_WORDS: usize = 8;
const MARK_WORDS: usize = 8;
const FIXED_WORDS: usize = 2 * IDENTITY_WORDS + COUNTER_WORDS + MARK_WORDS;
/// Words of a slot.
const SLOT_WORDS: usize = 4;
/// A slot, and the least data that goes with it: 64 bytes. Between that and the double of it, as the number of slots
/// is a power of two; in 1 MiB: 8192 slots, and 96 bytes of data for each.
const WORDS_PER_RECORD: usize = SLOT_WORDS + 8;

/// The least number of words that make a ring.
pub(super) const MIN_WORDS: usize = FIXED_WORDS + 2 * WORDS_PER_RECORD;

/// One record's place among the slots. See the [module](super) for its states.
pub(super) struct Slot<'a> {
    pub(super) state: &'a AtomicU64,
    pub(super) position: &'a AtomicU64,
    pub(super) meta: &'a AtomicU64,
    pub(super) checksum: &'a AtomicU64,
}

/// A ring's memory, cut into its parts. All bounds follow from the memory's size alone, never from its contents.
#[derive(Clone, Copy)]
pub(super) struct Layout<'a> {
    pub(super) identity: [&'a [AtomicU64; IDENTITY_WORDS]; 2],
    pub(super) begun: &'a AtomicU64,
    pub(super) reserved: &'a AtomicU64,
    pub(super) mark: &'a [AtomicU64; MARK_WORDS],
    slots: &'a [[AtomicU64; SLOT_WORDS]],
    data: &'a [AtomicU64],
    /// All the memory, in words.
    pub(super) words: usize,
}

impl<'a> Layout<'a> {
    /// Cuts the memory up; `None` if there is too little of it.
    pub(super) fn new(memory: &'a [AtomicU64]) -> Option<Self> {
        if memory.len() < MIN_WORDS {
            return None;
        }
        let (first, rest) = memory.split_first_chunk()?;
        let (counters, rest) = rest.split_first_chunk::<COUNTER_WORDS>()?;
        let (mark, rest) = rest.split_first_chunk()?;
        let (rest, second) = rest.split_last_chunk()?;
        let slots = 1 << (rest.len() / WORDS_PER_RECORD).checked_ilog2()?;
        let (slots, data) = rest.split_at_checked(slots * SLOT_WORDS)?;
        let [begun, reserved, ..] = counters;
        let (slots, _) = slots.as_chunks();
        Some(Self { identity: [first, second], begun, reserved, mark, slots, data, words: memory.len() })
    }

    /// Number of slots, a power of two.
    pub(super) const fn slot_count(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Number of data words.
    pub(super) const fn data_words(&self) -> u64 {
        self.data.len() as u64
    }

    /// The most data words that one record may take: half of them all, so that a record is never its own next lap.
    pub(super) fn max_record_words(&self) -> usize {
        (self.data.len() / 2).min(MAX_RECORD_WORDS)
    }

    /// The slot of the record with this sequence number, and of all a multiple of `slot_count` away.
    #[inline]
    pub(super) fn slot(&self, sequence: u64) -> Option<Slot<'a>> {
        let index = sequence as usize & self.slots.len().wrapping_sub(1);
        let [state, position, meta, checksum] = self.slots.get(index)?;
        Some(Slot { state, position, meta, checksum })
    }

    /// The data words from a position on, up to the end of the memory and then from its beginning: one lap in all.
    #[inline]
    pub(super) fn data(&self, position: u64) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let index = (position % (self.data.len() as u64).max(1)) as usize;
        let (wrapped, straight) = self.data.split_at_checked(index).unwrap_or((&[], self.data));
        (straight, wrapped)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn memory(words: usize) -> Vec<AtomicU64> {
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_mebibyte_is_divided_as_documented() {
        let memory = memory((1 << 20) / 8);
        let layout = Layout::new(&memory).unwrap();
        assert_eq!(layout.slot_count(), 8192);
        assert_eq!(layout.data_words() / layout.slot_count(), 11, "just under 96 bytes");
        assert_eq!(layout.max_record_words(), MAX_RECORD_WORDS);
    }

    #[test]
    fn every_size_is_cut_without_overlap_or_waste() {
        assert!(Layout::new(&memory(MIN_WORDS - 1)).is_none());
        for words in MIN_WORDS..MIN_WORDS + 600 {
            let memory = memory(words);
            let layout = Layout::new(&memory).unwrap();
            assert!(layout.slot_count().is_power_of_two() && layout.slot_count() >= 2);
            assert_eq!(layout.slots.len() * SLOT_WORDS + layout.data.len() + FIXED_WORDS, words);
            assert!(layout.data_words() >= 8 * layout.slot_count());
            let (straight, wrapped) = layout.data(u64::MAX);
            assert_eq!(straight.len() + wrapped.len(), layout.data.len());
        }
    }
}
