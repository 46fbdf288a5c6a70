//! Named steps of drivers, at which a crash can be made on purpose.

use crate::devices::disk;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Once;

/// The point that something is to happen at.
struct Trap {
    name: &'static str,
    action: fn(),
}

static ARMED: AtomicBool = AtomicBool::new(false);
static TRAP: Once<Trap> = Once::new();
static PASSAGES_LEFT: AtomicU64 = AtomicU64::new(0);

/// Whether there is a step of this name anywhere.
pub fn exists(name: &str) -> bool {
    let known = [nvme::checkpoint::ALL, &virtio_blk::CHECKPOINTS, &disk::CHECKPOINTS];
    known.iter().any(|points| points.contains(&name))
}

/// Lets `action` happen at the `count`th passage of a step, counted from 1. Only the first call counts.
pub fn arm(name: &'static str, count: u64, action: fn()) {
    TRAP.call_once(|| Trap { name, action });
    PASSAGES_LEFT.store(count.max(1), Ordering::Relaxed);
    ARMED.store(true, Ordering::Release);
}

/// Nothing happens any more at any step: for the crash path, which passes the same ones.
pub fn disarm() {
    ARMED.store(false, Ordering::Relaxed);
}

/// Passes a step. Called often, so it is one test unless something is armed.
#[inline]
pub fn pass(name: &'static str) {
    if ARMED.load(Ordering::Relaxed) {
        pass_armed(name);
    }
}

#[cold]
fn pass_armed(name: &'static str) {
    let Some(trap) = TRAP.get().filter(|trap| trap.name == name) else { return };
    let fires = PASSAGES_LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1);
    if fires {
        disarm();
        (trap.action)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FIRED: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn the_action_happens_once_at_the_given_passage() {
        let fired = || FIRED.load(Ordering::Relaxed);
        pass("step");
        arm("step", 2, || {
            FIRED.fetch_add(1, Ordering::Relaxed);
        });
        pass("other");
        pass("step");
        assert_eq!(fired(), 0);
        pass("step");
        pass("step");
        assert_eq!(fired(), 1);
    }
}
