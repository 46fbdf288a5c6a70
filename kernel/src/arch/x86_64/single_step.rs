//! Counting instructions by the trap flag: how a crash is made at any one of them.
//!
//! While it is on, the processor raises a debug exception after each instruction. Interrupt gates clear the flag, so a
//! handler that is to be counted as well calls [`resume`].

use super::trap::Frame;
use core::arch::asm;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Instructions left; 0: nothing is counted.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// What happens then: a `fn(&Frame)`, which gets what was interrupted.
static ACTION: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Lets `action` happen in the debug exception after `count` instructions from now.
pub fn start(count: u64, action: fn(&Frame)) {
    ACTION.store(action as *mut (), Ordering::Relaxed);
    LEFT.store(count.max(1), Ordering::Relaxed);
    resume();
}

/// Nothing is counted any more.
pub fn stop() {
    // The flag first: an exception that nobody counts any more would be a crash.
    // SAFETY: clears the trap flag, and changes nothing else.
    unsafe { asm!("pushfq", "and dword ptr [rsp], ~0x100", "popfq") };
    LEFT.store(0, Ordering::Relaxed);
}

/// Goes on counting in an interrupt's handler, if there is counting at all.
#[inline]
pub fn resume() {
    if LEFT.load(Ordering::Relaxed) != 0 {
        // SAFETY: sets the trap flag; its handler returns to the next instruction with all registers as they were.
        unsafe { asm!("pushfq", "or dword ptr [rsp], 0x100", "popfq") };
    }
}

/// A debug exception came. `false` if nobody was counting.
pub fn on_debug(frame: &Frame) -> bool {
    let left = LEFT.load(Ordering::Relaxed);
    if left == 0 {
        return false;
    }
    LEFT.store(left - 1, Ordering::Relaxed);
    if left == 1
        && let action = ACTION.load(Ordering::Relaxed)
        && !action.is_null()
    {
        // SAFETY: `start` made the pointer of a function of this type.
        let action = unsafe { core::mem::transmute::<*mut (), fn(&Frame)>(action) };
        action(frame);
    }
    true
}
