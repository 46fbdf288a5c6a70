//! How far a queue is, for whoever cannot ask its owner.
//!
//! The owner writes one word, the last of the queue's memory, before it makes a request available. Together with the device's used index
//! it tells, at any instruction at which the owner may have been interrupted, how many requests the device has not answered.

use core::sync::atomic::{Ordering, compiler_fence};

use platform::SharedMemory;

/// Bytes of the word: a mark, by which memory gone wild does not look like one; where the used index is; how many requests there were.
pub(crate) const WORD: usize = 8;
const MARK: u64 = 0x5651_0000_0000_0000;
const MARK_MASK: u64 = 0xFFFF_0000_0000_0000;

/// A look at somebody else's queue.
pub(crate) struct Watch {
    memory: SharedMemory,
}

/// Notes in a queue's memory how many requests there were since it was made, wrapping around, and where their answers are counted.
/// What the owner does next, the device sees after this.
#[inline]
pub(crate) fn note(memory: &SharedMemory, used_index: usize, available: u16) {
    memory.write(place(memory), MARK | u64::from(used_index as u32) << 16 | u64::from(available));
    compiler_fence(Ordering::SeqCst);
}

const fn place(memory: &SharedMemory) -> usize {
    memory.len().saturating_sub(WORD)
}

impl Watch {
    /// A look at the queue in this memory.
    pub(crate) const fn new(memory: SharedMemory) -> Self {
        Self { memory }
    }

    /// How many requests the device was given, or is given at this moment, and has not answered; `None` if the word was
    /// overwritten.
    pub(crate) fn unanswered(&self) -> Option<u16> {
        let word: u64 = self.memory.read(place(&self.memory))?;
        if word == 0 {
            return Some(0);
        }
        let used: u16 = self.memory.read((word >> 16) as u32 as usize).filter(|_| word & MARK_MASK == MARK)?;
        Some((word as u16).wrapping_sub(used))
    }

    /// The device was reset, and knows nothing of the queue any more. Only when its owner never runs again.
    pub(crate) fn retire(&self) {
        self.memory.write(place(&self.memory), 0_u64);
    }
}
