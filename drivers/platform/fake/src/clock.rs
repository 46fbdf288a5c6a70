//! A clock that moves when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use platform::Clock;

/// A clock that starts at 0 and moves when it is told to. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct FakeClock {
    now_ns: Arc<AtomicU64>,
    step_ns: Arc<AtomicU64>,
}

impl FakeClock {
    /// Lets `ns` nanoseconds pass.
    pub fn advance(&self, ns: u64) {
        self.now_ns.fetch_add(ns, Ordering::SeqCst);
    }

    /// From now on, lets `ns` nanoseconds pass after each look at the clock; 0 stops that.
    pub fn step_by(&self, ns: u64) {
        self.step_ns.store(ns, Ordering::SeqCst);
    }

    /// The time, without moving it.
    pub fn peek(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }
}

impl Clock for FakeClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.fetch_add(self.step_ns.load(Ordering::SeqCst), Ordering::SeqCst)
    }

    fn relax(&self) {
        let _ = self.now_ns();
    }
}
