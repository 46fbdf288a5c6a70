//! The record ring's place: fixed, so that it is found after a reset.

use super::{MEMORY, mapped};
use core::ops::Range;
use core::sync::atomic::AtomicU64;

/// Physical address, on every machine that has free memory there. Lower memory is of no use: at each reset, OVMF unpacks itself
/// there, below 32 MiB.
pub const PLACE: u64 = 32 << 20;
/// Two rings: this boot's, and the one that the boot before left.
pub const LEN: u64 = 2 << 20;

/// The ring's memory.
pub struct Area {
    /// Its words. They hold whatever memory held when the machine came up.
    pub words: &'static [AtomicU64],
    /// Where it is.
    pub physical: Range<u64>,
}

impl Area {
    /// Whether the next boot will look here.
    pub fn survives_reset(&self) -> bool {
        self.physical.start == PLACE
    }
}

/// Sets the memory aside: at [`PLACE`] if that is free, anywhere else otherwise. `None` when there is none.
pub fn take() -> Option<Area> {
    let mut memory = MEMORY.lock();
    let frames = &mut memory.as_mut()?.frames;
    let start = if frames.take_exactly(PLACE..PLACE + LEN) { PLACE } else { frames.take(LEN, 1)? };
    let words = mapped(start)?.cast::<AtomicU64>();
    // SAFETY: the frames were free and are nobody else's now, for good; the boot loader mapped all of physical memory. Any
    // bytes are valid words, and memory that was never written reads as something.
    let words = unsafe { core::slice::from_raw_parts(words.as_ptr(), (LEN / 8) as usize) };
    Some(Area { words, physical: start..start + LEN })
}
