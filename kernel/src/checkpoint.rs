//! Named steps of drivers, at which a crash can be made on purpose.

use crate::consoles;
use crate::devices::disk;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use spin::Once;

/// The point that something is to happen at.
struct Trap {
    name: &'static str,
    action: fn(),
}

/// Which trap is set: none, or one of [`TRAPS`], counted from 1.
static SET: AtomicUsize = AtomicUsize::new(0);
static TRAPS: [Once<Trap>; 2] = [Once::new(), Once::new()];
static PASSAGES_LEFT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// When a trap is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From now on.
    Now = 0,
    /// From the beginning of the crash path on.
    InCrash = 1,
}

/// Whether there is a step of this name anywhere.
pub fn exists(name: &str) -> bool {
    let known = [nvme::checkpoint::ALL, &virtio_blk::CHECKPOINTS, &disk::CHECKPOINTS, &consoles::CHECKPOINTS];
    known.iter().any(|points| points.contains(&name))
}

/// Lets `action` happen at the `count`th passage of a step, counted from 1. For each `when`, only the first call counts.
pub fn arm(when: When, name: &'static str, count: u64, action: fn()) {
    let index = when as usize;
    TRAPS[index].call_once(|| Trap { name, action });
    PASSAGES_LEFT[index].store(count.max(1), Ordering::Relaxed);
    if when == When::Now {
        SET.store(index + 1, Ordering::Release);
    }
}

/// The crash path begins, at this level: from here on only traps for it happen, and those at its first level only.
pub(crate) fn enter_crash(level: usize) {
    let index = When::InCrash as usize;
    let is_set = level == 0 && TRAPS[index].is_completed();
    SET.store(if is_set { index + 1 } else { 0 }, Ordering::Relaxed);
}

/// Passes a step. Called often, so it is one test unless something is armed.
#[inline]
pub fn pass(name: &'static str) {
    let set = SET.load(Ordering::Relaxed);
    if set != 0 {
        pass_armed(set - 1, name);
    }
}

#[cold]
fn pass_armed(index: usize, name: &'static str) {
    let (Some(trap), Some(left)) = (TRAPS.get(index).and_then(Once::get), PASSAGES_LEFT.get(index)) else { return };
    if trap.name != name {
        return;
    }
    let fires = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1);
    if fires {
        SET.store(0, Ordering::Relaxed);
        (trap.action)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FIRED: AtomicU64 = AtomicU64::new(0);

    fn fire() {
        FIRED.fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn actions_happen_once_at_the_given_passage() {
        let fired = || FIRED.load(Ordering::Relaxed);
        pass("step");
        arm(When::Now, "step", 2, fire);
        arm(When::InCrash, "other", 1, fire);
        for name in ["other", "step"] {
            pass(name);
        }
        assert_eq!(fired(), 0);
        pass("step");
        pass("step");
        assert_eq!(fired(), 1);
        enter_crash(0);
        pass("step");
        assert_eq!(fired(), 1);
        pass("other");
        pass("other");
        assert_eq!(fired(), 2);
        enter_crash(1);
        pass("other");
        assert_eq!(fired(), 2);
    }

    #[test]
    fn steps_are_known_by_name() {
        for name in ["disk.flush", "console.tile", "nvme.submit.after_doorbell", "virtio.notify.after"] {
            assert!(exists(name), "{name}");
        }
        assert!(!exists("disk"));
    }
}
