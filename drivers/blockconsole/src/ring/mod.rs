//! The record ring: one log for all writers, read by every console.
//!
//! Any number of writers put records in, any number of readers take them out, each at a pace of its own. No one waits for anyone:
//! a writer overwrites the oldest, and a reader that was overtaken is told how many records it missed.

mod adopt;
mod checksum;
mod draft;
mod identity;
mod layout;
mod reader;
mod record;
mod writer;

pub use adopt::{Adopted, NotAdopted};
pub use identity::RingIdentity;
pub use reader::{Cursor, Next, Patience};
pub use record::{MAX_TARGET, MAX_TEXT, Record, RecordBuffer, RecordHeader};

use crate::sync::{AtomicU64, Ordering, fence};
use core::fmt;
use identity::{Mark, Title};
use layout::Layout;

/// The record ring, over memory that it neither owns nor moves. See the [module](self).
#[derive(Clone, Copy)]
pub struct Ring<'a> {
    layout: Layout<'a>,
    title: Title,
    key: u64,
}

/// Why a ring could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// It takes at least this many words.
    TooSmall(usize),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall(words) => write!(f, "a ring takes at least {words} words"),
        }
    }
}

impl core::error::Error for RingError {}

impl<'a> Ring<'a> {
    /// Makes an empty ring in this memory, whatever it held.
    ///
    /// Nobody may be writing to a ring that lay there before: that could not corrupt memory, but would lose records.
    ///
    /// # Errors
    /// If the memory is too small.
    pub fn create(words: &'a [AtomicU64], identity: RingIdentity) -> Result<Self, RingError> {
        let layout = Layout::new(words).ok_or(RingError::TooSmall(layout::MIN_WORDS))?;
        let title = Title { identity, generation: 1 };
        // A reset in the middle must not leave a valid identity over half-cleared slots.
        Title::erase(&layout);
        fence(Ordering::SeqCst);
        for sequence in 0..layout.slot_count() {
            if let Some(slot) = layout.slot(sequence) {
                slot.state.store(0, Ordering::Relaxed);
            }
        }
        layout.begun.store(0, Ordering::Relaxed);
        layout.reserved.store(0, Ordering::Relaxed);
        let key = title.key();
        Mark::new(&layout, key).erase();
        fence(Ordering::SeqCst);
        title.store(&layout);
        Ok(Self { layout, title, key })
    }

    /// Looks for a ring that a previous boot left in this memory.
    ///
    /// # Errors
    /// If there is none.
    pub fn adopt(words: &'a [AtomicU64]) -> Result<Adopted<'a>, NotAdopted> {
        Adopted::find(words)
    }

    /// Whose ring it is.
    pub const fn identity(&self) -> RingIdentity {
        self.title.identity
    }

    /// The sequence number after that of the newest record: as many as were ever begun.
    pub fn written(&self) -> u64 {
        self.layout.begun.load(Ordering::Relaxed)
    }

    /// The most records that the ring can hold, if they are short.
    pub const fn capacity(&self) -> u64 {
        self.layout.slot_count()
    }

    /// Notes, for the next boot, that every record *before* this sequence number is on disk, on every console
    /// there is. Never goes back. See [`Adopted::durable`].
    pub fn note_durable(&self, sequence: u64) {
        Mark::new(&self.layout, self.key).raise(sequence);
    }

    /// The greatest sequence number noted by [`note_durable`](Self::note_durable), or 0.
    pub fn durable(&self) -> u64 {
        Mark::new(&self.layout, self.key).get()
    }
}
