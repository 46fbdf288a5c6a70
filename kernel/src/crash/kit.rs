//! Memory for a console that the crash path makes from nothing, and for finding it.

use super::stations::{BUFFERS, RawBuffer, Successor};
use blockconsole::console::{BadTarget, Console, Crash, Target, TargetCell};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
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
    /// Where it publishes its target.
    pub(super) cell: TargetCell,
    buffers: [RawBuffer; BUFFERS],
    read: RawBuffer,
    work: UnsafeCell<Work>,
    successor: UnsafeCell<MaybeUninit<Successor>>,
}

// SAFETY: `work` and `successor` are handed out by functions whose contracts say that one at a time uses them.
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
    let memory = RawBuffer::allocate_all(BUFFER_BYTES).zip(RawBuffer::allocate(PIECE));
    let Some((buffers, read)) = memory else { return };
    KIT.call_once(|| Kit {
        cell: TargetCell::new(),
        buffers,
        read,
        work: UnsafeCell::new(Work { scratch: [0; PIECE], places: Places::new() }),
        successor: UnsafeCell::new(MaybeUninit::uninit()),
    });
}

/// The memory, if there is any.
pub(super) fn get() -> Option<&'static Kit> {
    KIT.get()
}

impl Kit {
    /// The buffers of a console.
    ///
    /// # Safety
    /// Nobody may use those that were handed out before any more, and no device either.
    pub(super) unsafe fn buffers(&self) -> [DmaBuffer; BUFFERS] {
        // SAFETY: the caller's promise.
        self.buffers.each_ref().map(|raw| unsafe { raw.make() })
    }

    /// What a disk is searched with, and what it is read through.
    ///
    /// # Safety
    /// As for [`buffers`](Self::buffers).
    #[allow(clippy::mut_from_ref, reason = "one at a time has it, as the contract says")]
    pub(super) unsafe fn work(&self) -> (&mut Work, DmaBuffer) {
        // SAFETY: the caller's promise.
        unsafe { (&mut *self.work.get(), self.read.make()) }
    }

    /// Lets a console take over.
    ///
    /// # Errors
    /// If there is nothing to take over from.
    ///
    /// # Safety
    /// As for [`buffers`](Self::buffers), and for the console that this returned before.
    #[allow(clippy::mut_from_ref, reason = "one at a time has it, as the contract says")]
    pub(super) unsafe fn resume(
        &'static self,
        target: &Target,
        crash: Crash<'static>,
    ) -> Result<&'static mut Successor, BadTarget> {
        // SAFETY: the caller's promise.
        let (successor, buffers) = unsafe { (&mut *self.successor.get(), self.buffers()) };
        Console::resume(target, crash, &self.cell, buffers).map(|console| successor.write(console))
    }
}
