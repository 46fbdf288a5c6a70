//! Memory for a console that the crash path makes from nothing, and for finding it.
//!
//! There are four sets of it. One that a device may still write to, because it was given up or a crash in the crash path came
//! between, is not used any more.

use super::stations::{Post, RawBuffer};
use alloc::boxed::Box;
use blockconsole::console::Name;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use partition::Places;
use platform::DmaBuffer;
use spin::Once;

/// Bytes of each buffer: the log of a start, and a crash record.
const BUFFER_BYTES: usize = 16 << 10;
/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;

static KITS: [Once<Kit>; 4] = [const { Once::new() }; 4];

/// Memory for one console at a time.
pub(super) struct Kit {
    /// Where it publishes its target, its buffers, and itself.
    pub(super) post: &'static Post,
    read: RawBuffer,
    work: UnsafeCell<Work>,
    /// A device may have some of it.
    taken: AtomicBool,
}

// SAFETY: `work` is handed out by a function whose contract says that one at a time uses it.
unsafe impl Sync for Kit {}

/// What a disk is searched with.
pub(super) struct Work {
    /// What it is read through.
    pub(super) scratch: [u8; PIECE],
    /// What is found.
    pub(super) places: Places,
}

/// Sets the memory aside. Until it is, and if there is too little, there is no [`get`].
pub(crate) fn prepare() {
    for kit in &KITS {
        let memory = Post::new(Name::new("rehearsal"), BUFFER_BYTES).zip(RawBuffer::allocate(PIECE));
        let Some((post, read)) = memory else { return };
        kit.call_once(|| Kit {
            post: Box::leak(Box::new(post)),
            read,
            work: UnsafeCell::new(Work { scratch: [0; PIECE], places: Places::new() }),
            taken: AtomicBool::new(false),
        });
    }
}

/// Memory that no device has, if there is any.
pub(super) fn get() -> Option<&'static Kit> {
    KITS.iter().filter_map(Once::get).find(|kit| !kit.taken.load(Ordering::Relaxed))
}

impl Kit {
    /// What a disk is searched with, and what it is read through. Until it is given [back](Self::give_back), nobody else [`get`]s
    /// the memory.
    ///
    /// # Safety
    /// Nobody may use what was handed out before any more.
    #[allow(clippy::mut_from_ref, reason = "one at a time has it, as the contract says")]
    pub(super) unsafe fn take(&self) -> (&mut Work, DmaBuffer) {
        self.taken.store(true, Ordering::Relaxed);
        // SAFETY: the caller's promise; no device has the memory, as it was not taken before, or was given back.
        unsafe { (&mut *self.work.get(), self.read.make()) }
    }

    /// No device has any of the memory, and what [`take`](Self::take) returned is gone.
    pub(super) fn give_back(&self) {
        self.taken.store(false, Ordering::Relaxed);
    }
}
