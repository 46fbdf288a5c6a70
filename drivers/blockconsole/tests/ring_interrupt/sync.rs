//! Atomics that call a handler before a chosen access: an interrupt.

use std::cell::{Cell, RefCell};
pub(crate) use std::sync::atomic::Ordering;
use std::sync::atomic::{self, Ordering::Relaxed};

thread_local! {
    /// Accesses of this thread so far.
    static ACCESSES: Cell<u64> = const { Cell::new(0) };
    /// At which access to call the handler.
    static DUE: Cell<u64> = const { Cell::new(u64::MAX) };
    /// Whether `fetch_add` is a load and a store, to show that this would be noticed.
    pub(crate) static BROKEN: Cell<bool> = const { Cell::new(false) };
    static HANDLER: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Calls the handler once, before the access after so many more.
pub(crate) fn interrupt_after(accesses: u64, handler: impl FnOnce() + 'static) {
    DUE.set(ACCESSES.get() + accesses);
    HANDLER.set(Some(Box::new(handler)));
}

/// Takes the handler back, if it was not called.
pub(crate) fn cancel_interrupt() -> bool {
    DUE.set(u64::MAX);
    HANDLER.take().is_some()
}

/// How many accesses something takes.
pub(crate) fn accesses_of(action: impl FnOnce()) -> u64 {
    let before = ACCESSES.get();
    action();
    ACCESSES.get() - before
}

fn access() {
    let now = ACCESSES.get();
    ACCESSES.set(now + 1);
    if now == DUE.get() {
        DUE.set(u64::MAX);
        if let Some(handler) = HANDLER.take() {
            handler();
        }
    }
}

/// As in `core`, but for the interrupts.
#[derive(Debug)]
pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) const fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        access();
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        access();
        self.0.store(value, order);
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        access();
        if BROKEN.get() {
            let old = self.0.load(order);
            access();
            self.0.store(old + value, order);
            return old;
        }
        self.0.fetch_add(value, order)
    }

    pub(crate) fn compare_exchange(&self, from: u64, to: u64, ok: Ordering, failed: Ordering) -> Result<u64, u64> {
        access();
        self.0.compare_exchange(from, to, ok, failed)
    }

    /// The value, without this counting as an access.
    pub(crate) fn peek(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets the value, without this counting as an access.
    pub(crate) fn poke(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}

pub(crate) fn fence(order: Ordering) {
    access();
    atomic::fence(order);
}
