//! The record ring: one log for all writers, read by every console.
//!
//! Any number of writers put records in, any number of readers take them out, each at its own pace, and no one ever
//! waits for anyone. A writer overwrites the oldest records; a reader that was overtaken is told exactly how many it
//! missed. A write may be interrupted at any point by one that goes on to write as well, an NMI handler included, to
//! any depth. Nothing is allocated, nothing is `unsafe`: all shared memory is [`AtomicU64`] words, and what a word
//! holds is never trusted.
//!
//! # Structure
//! Two rings in one piece of memory (`layout.rs`), and a counter for each:
//!
//! ```text
//!   begun ────► slots   one of 4 words for each record: state, position, meta, checksum
//!   reserved ─► data    the records' time, target and text, one after the other, of any length
//! ```
//!
//! The record with sequence number `s` has slot `s % slots`; its data are the words from `position` on, modulo the
//! size of the data ring. Both counters only grow, in 64 bits, and so never come round. Sequence numbers are dense
//! and start at 0 for each boot: what a reader missed is a difference of two numbers.
//!
//! # States of a slot
//! For the record `s`, its slot's `state` word means:
//!
//! | state | while `s < begun` |
//! |---|---|
//! | less than `s + 1` | *begun*: some writer has this number, and has not finished |
//! | `s + 1` | *committed*: position, meta, checksum and data are there |
//! | more than `s + 1` | *overwritten*: the record a lap later is committed |
//!
//! and once `begun > s + slots` or `reserved > position + size of the data ring`, `s` is *lost*, whatever its state.
//!
//! # Writing
//! 1. The text is formatted into words on the writer's stack. Only this takes long, may panic, or may log itself;
//!    nothing is reserved yet, so nothing is left behind.
//! 2. `fetch_add` on `begun` gives the sequence number, `fetch_add` on `reserved` the position. From here on the
//!    record is the writer's own: what interrupts it gets other numbers.
//! 3. A release fence; the data, then position, meta and checksum, by relaxed stores.
//! 4. `state` is set to `s + 1` by compare-and-swap, unless the slot already belongs to a newer record. A failed
//!    attempt means that a writer that is whole laps late committed just then. As many attempts can fail as there are
//!    such writers, so a write takes a bounded number of steps: the ring is wait-free.
//!
//! # Reading
//! 1. `s` must be less than `begun` (else there is nothing), and not a lap behind (else the reader is told how many
//!    it lost).
//! 2. `state`, by an acquire load, must be `s + 1`; then meta, position, checksum and data are copied by relaxed loads.
//! 3. An acquire fence; if `s` is lost by now, what was copied is thrown away and counted.
//! 4. The checksum must fit, or else the record is thrown away and counted.
//!
//! # Ordering
//! Four pairs, named where they stand in the code:
//! - `commit`: the compare-and-swap of `state`, release (`writer.rs`), with a reader's load of it, acquire
//!   (`reader.rs`). Who sees a record committed sees all of it.
//! - `lap`: a release fence between raising the counters and the first store (`writer.rs`), with an acquire fence
//!   between the last load and looking at the counters again (`reader.rs`). Who copied a word that a newer record had
//!   already replaced sees the counter that says so.
//! - `reuse`: the same compare-and-swap, with the load of `state`, acquire, by the *next writer* of the slot
//!   (`writer.rs`). What a finished writer stored in the slot does not land on its successor's.
//! - `birth`: fences between erasing the identity, clearing the slots, and writing the new identity
//!   ([`Ring::create`]), with a reset. A valid identity never stands over slots that are half cleared.
//!
//! On x86-64 all of these cost nothing but the locked instructions, of which a write has three.
//!
//! # What the checksum is for
//! The protocol alone keeps readers from mixing up two records, as long as no writer is delayed for more than a whole
//! lap *between its own stores*. One that is (its CPU was stopped, or an interrupt logged a mebibyte) writes over
//! newer records when it goes on. Nothing can prevent that without making somebody wait. It is found out instead: the
//! checksum of each record covers its data, meta, position and sequence number, and is seeded with the boot's key. A
//! damaged record is counted as lost; it is never returned. The same checksum tells the next boot what in the memory
//! is whole.
//!
//! The two counters have no checksum, being counted up by anybody at any time. Should something wild write over them,
//! the slots still prove what is there: [`Ring::mend`] puts them right in a crash, and [`Ring::adopt`] believes them
//! only as far as the slots bear them out.
//!
//! # Writers that die
//! A record that was begun and never finished stays *begun* for ever. What its readers do is up to them
//! ([`Patience`]): in a crash, when nothing else runs any more, they skip it with a mark. Otherwise they wait for it
//! while the ring is not in danger of lapping them, and skip it with a mark after that.
//!
//! # After a reset
//! The memory stays as it is over a reset that does not cut the power, and the next boot finds in it what its
//! predecessor could not write to disk: [`Ring::adopt`] reads it, [`succeed`] has two rings take turns, so that the
//! old one is there until the new one has taken over what matters. On hardware whose caches lose unwritten lines in a
//! reset, the memory should be mapped write-through; lines lost nevertheless cost the records in them, and no others.
//!
//! ```
//! use blockconsole::ring::{Next, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity};
//! use core::sync::atomic::AtomicU64;
//!
//! let memory = [const { AtomicU64::new(0) }; 4096];
//! let ring = Ring::create(&memory, RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 })?;
//! let header = RecordHeader { time_ns: 1_500_000, cpu: 0, level: blockconsole::Level::Info };
//! ring.write(header, "disk", format_args!("{} blocks", 7));
//!
//! let mut cursor = ring.cursor_oldest();
//! let mut scratch = RecordBuffer::new();
//! let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) else { panic!() };
//! assert_eq!((record.sequence, record.target, record.text), (0, "disk", "7 blocks"));
//! assert_eq!(ring.next(&mut cursor, &mut scratch, Patience::Wait), Next::Empty);
//! # Ok::<(), blockconsole::ring::RingError>(())
//! ```

mod adopt;
pub(crate) mod checksum;
mod draft;
mod identity;
mod layout;
pub(crate) mod reader;
pub(crate) mod record;
mod succession;
mod writer;

pub use adopt::{Adopted, NotAdopted, Tally};
pub use identity::RingIdentity;
pub use reader::{Cursor, Next, Patience};
pub use record::{MAX_TARGET, MAX_TEXT, Record, RecordBuffer, RecordHeader};
pub use succession::succeed;

use crate::sync::{AtomicU64, Ordering, fence};
use core::fmt;
use identity::{Mark, Title};
use layout::Layout;

/// The record ring, over memory that it neither owns nor moves: a handle. See the [module](self).
#[derive(Clone, Copy)]
pub struct Ring<'a> {
    layout: Layout<'a>,
    title: Title,
    /// What the checksums are seeded with.
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
    /// Makes an empty ring in this memory, whatever it held. Best aligned to 64 bytes.
    ///
    /// Nobody should still be writing to a ring that lay there before: that could not corrupt anything but records,
    /// which would then be counted as lost.
    ///
    /// # Errors
    /// If the memory is too small.
    pub fn create(words: &'a [AtomicU64], identity: RingIdentity) -> Result<Self, RingError> {
        let ring = Self::prepare(words, Title { identity, generation: 1 })?;
        ring.entitle();
        Ok(ring)
    }

    /// Makes an empty ring that nobody would adopt yet.
    fn prepare(words: &'a [AtomicU64], title: Title) -> Result<Self, RingError> {
        let layout = Layout::new(words).ok_or(RingError::TooSmall(layout::MIN_WORDS))?;
        let key = title.key();
        Title::erase(&layout);
        // birth
        fence(Ordering::SeqCst);
        for sequence in 0..layout.slot_count() {
            if let Some(slot) = layout.slot(sequence) {
                slot.state.store(0, Ordering::Relaxed);
            }
        }
        layout.begun.store(0, Ordering::Relaxed);
        layout.reserved.store(0, Ordering::Relaxed);
        Mark::new(&layout, key).erase();
        Ok(Self { layout, title, key })
    }

    /// Makes the ring one that the next boot will adopt.
    fn entitle(&self) {
        // birth
        fence(Ordering::SeqCst);
        self.title.store(&self.layout);
    }

    /// Makes another handle to a ring that is in use in this memory, such as one that the loader made and wrote to.
    ///
    /// # Errors
    /// If there is none.
    pub fn attach(words: &'a [AtomicU64]) -> Result<Self, NotAdopted> {
        let layout = Layout::new(words).ok_or(NotAdopted::TooSmall)?;
        let title = Title::load(&layout).ok_or(NotAdopted::NoIdentity)?;
        Ok(Self { layout, title, key: title.key() })
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

    /// How much of the ring the records from this one on take up, in percent. At 100 the next one may overwrite it, or
    /// it is overwritten.
    pub fn percent_since(&self, sequence: u64) -> u64 {
        let percent = |part: u64, whole: u64| (part.saturating_mul(100) / whole.max(1)).min(100);
        let records = percent(self.written().saturating_sub(sequence), self.capacity());
        let data = self.layout.slot(sequence).map_or(0, |slot| {
            let (found, ours) = (slot.state.load(Ordering::Acquire), sequence.wrapping_add(1));
            let (reserved, position) = (&self.layout.reserved, slot.position.load(Ordering::Relaxed));
            match found == ours {
                true => percent(reserved.load(Ordering::Relaxed).saturating_sub(position), self.layout.data_words()),
                // Not written yet, or not whole; or overwritten, which the number of records shows.
                false => 0,
            }
        });
        records.max(data)
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
