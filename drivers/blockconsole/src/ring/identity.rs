//! Whose ring it is, and how much of it is on disk: what the next boot has to know.
//!
//! The identity is written twice, at either end of the memory, each copy with a checksum of its own; one is enough.
//! Words of a copy: magic, format, size of the memory in words, generation, boot id, build id (3 words), time of the
//! boot, checksum, zeroes.
//!
//! The durable mark is written to two places in turn, so that there is always a whole one: value, checksum.

use super::checksum::Checksum;
use super::layout::{IDENTITY_WORDS, Layout};
use crate::sync::{AtomicU64, Ordering, fence};

const MAGIC: u64 = u64::from_le_bytes(*b"bconring");
/// Goes up with every change of what lies where, or of what it means.
const FORMAT: u64 = 1;
/// Words of a copy that its checksum covers.
const COVERED: usize = 9;

/// Which boot a ring belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingIdentity {
    /// A number that no other boot has: random, or the time stamp counter for want of better.
    pub boot_id: u64,
    /// The program's build id.
    pub build_id: [u8; 20],
    /// When the boot began, in seconds since 1970 (UTC); 0 if that is not known.
    pub boot_seconds: u64,
}

/// A boot's identity, and the ring's place in the succession of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Title {
    pub(super) identity: RingIdentity,
    pub(super) generation: u64,
}

impl Title {
    /// What the checksums of all that belongs to this boot are seeded with.
    pub(super) fn key(&self) -> u64 {
        Checksum::of(MAGIC, &[self.identity.boot_id, self.generation])
    }

    fn encode(&self, words: usize) -> [u64; IDENTITY_WORDS] {
        let mut out = [0; IDENTITY_WORDS];
        let mut build = [0; 24];
        build[..20].copy_from_slice(&self.identity.build_id);
        out[..5].copy_from_slice(&[MAGIC, FORMAT, words as u64, self.generation, self.identity.boot_id]);
        for (word, bytes) in out[5..8].iter_mut().zip(build.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        out[8] = self.identity.boot_seconds;
        out[COVERED] = Checksum::of(FORMAT, &out[..COVERED]);
        out
    }

    fn decode(copy: &[u64; IDENTITY_WORDS], words: usize) -> Option<Self> {
        let [magic, format, size, generation, boot_id, build_0, build_1, build_2, boot_seconds, checksum, ..] = *copy;
        let whole = checksum == Checksum::of(FORMAT, &copy[..COVERED]);
        if magic != MAGIC || format != FORMAT || size != words as u64 || !whole {
            return None;
        }
        let mut build = [0; 24];
        for (bytes, word) in build.as_chunks_mut().0.iter_mut().zip([build_0, build_1, build_2]) {
            *bytes = word.to_le_bytes();
        }
        let mut build_id = [0; 20];
        build_id.copy_from_slice(&build[..20]);
        Some(Self { identity: RingIdentity { boot_id, build_id, boot_seconds }, generation })
    }

    /// Writes both copies.
    pub(super) fn store(&self, layout: &Layout<'_>) {
        let words = self.encode(layout.words);
        for copy in layout.identity {
            for (cell, word) in copy.iter().zip(words) {
                cell.store(word, Ordering::Relaxed);
            }
        }
    }

    /// Makes both copies worthless, so that nobody adopts what stands there.
    pub(super) fn erase(layout: &Layout<'_>) {
        for cell in layout.identity.into_iter().flatten() {
            cell.store(0, Ordering::Relaxed);
        }
    }

    /// Finds a copy that is whole.
    pub(super) fn load(layout: &Layout<'_>) -> Option<Self> {
        layout.identity.into_iter().find_map(|copy| {
            let copy = core::array::from_fn(|i| copy[i].load(Ordering::Relaxed));
            Self::decode(&copy, layout.words)
        })
    }
}

/// The two places of the durable mark.
pub(super) struct Mark<'a> {
    places: [[&'a AtomicU64; 2]; 2],
    key: u64,
}

impl<'a> Mark<'a> {
    pub(super) fn new(layout: &Layout<'a>, key: u64) -> Self {
        let [value_0, checksum_0, _, _, value_1, checksum_1, ..] = layout.mark;
        Self { places: [[value_0, checksum_0], [value_1, checksum_1]], key }
    }

    fn checksum(&self, value: u64) -> u64 {
        Checksum::of(!self.key, &[value])
    }

    fn values(&self) -> [Option<u64>; 2] {
        self.places.map(|[value, checksum]| {
            let value = value.load(Ordering::Relaxed);
            (checksum.load(Ordering::Relaxed) == self.checksum(value)).then_some(value)
        })
    }

    /// The greatest value that was noted and is whole; 0 if there is none.
    pub(super) fn get(&self) -> u64 {
        self.values().into_iter().flatten().max().unwrap_or(0)
    }

    /// Notes a value, unless a greater one is there.
    ///
    /// It goes where there is no whole value or the smaller one, so that a reset in the middle leaves the other. Two
    /// callers at a time may spoil each other's place; what is left is then an older mark, which costs the next boot
    /// some lines that it writes twice, and none that it leaves out.
    pub(super) fn raise(&self, value: u64) {
        let [first, second] = self.values();
        if first.max(second).is_some_and(|noted| noted >= value) {
            return;
        }
        let [place_0, place_1] = self.places;
        let [value_cell, checksum_cell] = if first <= second { place_0 } else { place_1 };
        value_cell.store(value, Ordering::Relaxed);
        // Not for the checksum's sake, which shows any mixture, but so that the mark never runs ahead of
        // what it speaks of as other processors see it.
        fence(Ordering::Release);
        checksum_cell.store(self.checksum(value), Ordering::Relaxed);
    }

    /// Takes both values away.
    pub(super) fn erase(&self) {
        for [value, checksum] in self.places {
            value.store(0, Ordering::Relaxed);
            checksum.store(!self.checksum(0), Ordering::Relaxed);
        }
    }
}
