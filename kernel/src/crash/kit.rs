//! Memory for a console that the crash path makes from nothing, and for finding it.

use super::stations::{Post, RawBuffer};
use alloc::boxed::Box;
use blockconsole::console::Name;
use core::cell::UnsafeCell;
use partition::Places;
use platform::DmaBuffer;
use spin::Once;

/// Bytes of each buffer: the log of a start, and a crash record.
const BUFFER_BYTES: usize = 16 << 10;
/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;

static KIT: Once<Kit> = Once::new();

/// Memory for one console at a time.
pub(super) struct Kit {
    /// Where it publishes its target, its buffers, and itself.
    pub(super) post: &'static Post,
    read: RawBuffer,
    work: UnsafeCell<Work>,
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
    let memory = Post::new(Name::new("rehearsal"), BUFFER_BYTES).zip(RawBuffer::allocate(PIECE));
    let Some((post, read)) = memory else { return };
    KIT.call_once(|| Kit {
        post: Box::leak(Box::new(post)),
        read,
        work: UnsafeCell::new(Work { scratch: [0; PIECE], places: Places::new() }),
    });
}

/// The memory, if there is any.
pub(super) fn get() -> Option<&'static Kit> {
    KIT.get()
}

impl Kit {
    /// What a disk is searched with, and what it is read through.
    ///
    /// # Safety
    /// Nobody may use what was handed out before any more, and no device either.
    #[allow(clippy::mut_from_ref, reason = "one at a time has it, as the contract says")]
    pub(super) unsafe fn work(&self) -> (&mut Work, DmaBuffer) {
        // SAFETY: the caller's promise.
        unsafe { (&mut *self.work.get(), self.read.make()) }
    }
}
