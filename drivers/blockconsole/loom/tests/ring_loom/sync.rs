//! The model checker's atomics, with interrupts and missing orderings.

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::Ordering;
use std::cell::{Cell, RefCell};

loom::thread_local! {
    /// What befalls this thread at one of its next accesses, and how many there are before that.
    static PLAN: RefCell<Option<(u64, Fate)>> = RefCell::new(None);
    /// Whether this thread is dead: nothing that it stores gets anywhere.
    static DEAD: Cell<bool> = Cell::new(false);
}

std::thread_local! {
    /// What is missing. All threads of a model are run by one thread, so this concerns them all.
    static MISSING: Cell<Option<Missing>> = const { Cell::new(None) };
}

/// What may befall a thread.
pub(crate) enum Fate {
    Interrupt(Box<dyn FnOnce()>),
    Death,
}

/// Lets this happen to the current thread before its access after so many more.
pub(crate) fn plan(accesses: u64, fate: Fate) {
    PLAN.with(|plan| plan.replace(Some((accesses, fate))));
}

/// Whether what was planned for the current thread has happened.
pub(crate) fn has_happened() -> bool {
    PLAN.with(|plan| plan.borrow().is_none())
}

/// Ordering that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Missing {
    /// All accesses are relaxed.
    Orders,
    /// Fences do nothing.
    Fences,
}

/// Takes some of the ordering away.
pub(crate) fn take_away(missing: Missing) {
    MISSING.set(Some(missing));
}

fn order(order: Ordering) -> Ordering {
    if MISSING.get() == Some(Missing::Orders) { Ordering::Relaxed } else { order }
}

/// Whether the access takes place.
fn access() -> bool {
    let fate = PLAN.with(|plan| {
        let mut plan = plan.borrow_mut();
        match plan.take()? {
            (0, fate) => Some(fate),
            (accesses, fate) => {
                *plan = Some((accesses - 1, fate));
                None
            }
        }
    });
    match fate {
        Some(Fate::Interrupt(handler)) => handler(),
        Some(Fate::Death) => DEAD.with(|dead| dead.set(true)),
        None => {}
    }
    DEAD.with(|dead| !dead.get())
}

#[derive(Debug)]
pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> u64 {
        access();
        self.0.load(order(ordering))
    }

    pub(crate) fn store(&self, value: u64, ordering: Ordering) {
        if access() {
            self.0.store(value, order(ordering));
        }
    }

    pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        if access() { self.0.fetch_add(value, order(ordering)) } else { 0 }
    }

    pub(crate) fn compare_exchange(&self, from: u64, to: u64, ok: Ordering, failed: Ordering) -> Result<u64, u64> {
        if access() { self.0.compare_exchange(from, to, order(ok), order(failed)) } else { Ok(from) }
    }
}

pub(crate) fn fence(ordering: Ordering) {
    if access() && MISSING.get() != Some(Missing::Fences) {
        atomic::fence(ordering);
    }
}
