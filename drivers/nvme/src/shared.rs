//! Engines and their handles, and the locks between them that nobody waits for.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use block::{ErrorKind, State};
use platform::{Platform, Registers};
use spin::Mutex;

use crate::engine::Engine;
use crate::event::ResetReason;
use crate::spec::register::{self, ALL_ONES, csts};
use crate::watch::Watch;

/// One side of a controller, as its handles use it: the main driver, or the crash path.
pub(crate) trait Side<P: Platform> {
    /// Does something with the engine, at once; `None`, without having called `action`, if somebody else is doing so.
    fn with<R>(&self, action: impl FnOnce(&mut Engine<P>) -> R) -> Option<R>;

    /// Starts a reset: now, or when the engine is next used.
    fn recover(&self);

    /// The state while somebody else uses the engine.
    const BUSY: State;
}

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
}

impl<P: Platform> Side<P> for Shared<P> {
    fn with<R>(&self, action: impl FnOnce(&mut Engine<P>) -> R) -> Option<R> {
        let mut engine = self.engine.try_lock()?;
        if self.wants_reset.swap(false, Ordering::SeqCst) {
            engine.begin_reset(ResetReason::Asked);
        }
        Some(action(&mut engine))
    }

    fn recover(&self) {
        self.wants_reset.store(true, Ordering::SeqCst);
        let _ = self.with(|_| ());
    }

    /// Whoever holds the engine is making use of it, so the device is not known to be anything but ready.
    const BUSY: State = State::Ready;
}

/// The crash path's engines: the one that is used, and another for a crash in the middle of that.
pub(crate) struct CrashSide<P: Platform> {
    first: Shared<P>,
    reserve: Shared<P>,
    /// The first was found in use when a reset was asked for. A crash path is alone on the machine, so whoever
    /// uses it was interrupted for good.
    fell_back: AtomicBool,
    /// The I/O queue pairs of whoever was interrupted: the main engine, and the first one here.
    watches: [Watch; 2],
    registers: Arc<P::Registers>,
}

impl<P: Platform> CrashSide<P> {
    pub(crate) const fn new(
        first: Engine<P>,
        reserve: Engine<P>,
        watches: [Watch; 2],
        registers: Arc<P::Registers>,
    ) -> Self {
        let fell_back = AtomicBool::new(false);
        Self { first: Shared::new(first), reserve: Shared::new(reserve), fell_back, watches, registers }
    }

    /// How many I/O commands the controller has not answered; `None` if that cannot be said.
    pub(crate) fn unanswered(&self) -> Option<u32> {
        let mut sum = 0;
        for watch in &self.watches {
            sum += u32::from(watch.unanswered()?);
        }
        if sum == 0 {
            return Some(0);
        }
        match self.registers.read32(register::CSTS) {
            ALL_ONES => Some(0),
            status if status & csts::FATAL != 0 => None,
            // One that has been stopped has none, whatever it was told before.
            status if status & csts::READY == 0 => Some(0),
            _ => Some(sum),
        }
    }

    /// Does something with both engines, one after the other; `None` if one of them is in use.
    pub(crate) fn with_both(&self, action: impl Fn(&mut Engine<P>)) -> Option<()> {
        self.first.with(&action)?;
        self.reserve.with(&action)
    }

    fn current(&self) -> &Shared<P> {
        if self.fell_back.load(Ordering::SeqCst) { &self.reserve } else { &self.first }
    }
}

impl<P: Platform> Side<P> for CrashSide<P> {
    fn with<R>(&self, action: impl FnOnce(&mut Engine<P>) -> R) -> Option<R> {
        self.current().with(action)
    }

    fn recover(&self) {
        if self.first.engine.is_locked() {
            self.fell_back.store(true, Ordering::SeqCst);
        }
        self.current().recover();
    }

    /// Whoever holds it will not give it back: a reset moves on to the reserve.
    const BUSY: State = State::Dead(block::Error::new(ErrorKind::NotReady));
}
