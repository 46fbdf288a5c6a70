//! An engine and its handles, and the lock between them that nobody waits for.

use core::sync::atomic::{AtomicBool, Ordering};

use platform::Platform;
use spin::Mutex;

use crate::engine::Engine;
use crate::event::ResetReason;

/// An engine that several handles use.
pub(crate) struct Shared<P: Platform> {
    engine: Mutex<Engine<P>>,
    /// Somebody asked for a reset while the engine was in use.
    wants_reset: AtomicBool,
}

impl<P: Platform> Shared<P> {
    pub(crate) const fn new(engine: Engine<P>) -> Self {
        Self { engine: Mutex::new(engine), wants_reset: AtomicBool::new(false) }
    }

    /// Does something with the engine, at once; `None`, without having called `action`, if somebody else is doing so.
    pub(crate) fn with<R>(&self, action: impl FnOnce(&mut Engine<P>) -> R) -> Option<R> {
        let mut engine = self.engine.try_lock()?;
        if self.wants_reset.swap(false, Ordering::SeqCst) {
            engine.begin_reset(ResetReason::Asked);
        }
        Some(action(&mut engine))
    }

    /// Starts a reset: now, or when the engine is next used.
    pub(crate) fn recover(&self) {
        self.wants_reset.store(true, Ordering::SeqCst);
        let _ = self.with(|_| ());
    }
}
