//! Time that only moves forward, and deadlines in it.

/// A clock that never stops and never goes back.
pub trait Clock {
    /// Nanoseconds since some fixed point, the same for all handles of a machine.
    fn now_ns(&self) -> u64;

    /// Tells the processor that the caller is polling. May do nothing.
    fn relax(&self) {}

    /// The moment `ns` nanoseconds from now.
    fn deadline(&self, ns: u64) -> Deadline {
        Deadline(self.now_ns().saturating_add(ns))
    }

    /// Lets `ns` nanoseconds pass: for hardware that must be left alone so long.
    fn pause(&self, ns: u64) {
        let end = self.deadline(ns);
        while !self.is_past(end) {
            self.relax();
        }
    }

    /// Whether a deadline has passed.
    fn is_past(&self, deadline: Deadline) -> bool {
        self.now_ns() >= deadline.0
    }
}

/// A moment by which something must have happened, in the [`Clock`]'s nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub u64);
