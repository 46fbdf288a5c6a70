//! Times of single operations, and what is said of them.

use kernel::arch::clock;
use kernel::serial_log;

/// Operations that a figure may have.
const MOST: usize = 10_000;

/// Collects the times of operations.
pub(crate) struct Stopwatch {
    each_ns: [u32; MOST],
    operations: usize,
    start_ns: u64,
}

impl Stopwatch {
    /// Without times.
    pub(crate) const fn new() -> Self {
        Self { each_ns: [0; MOST], operations: 0, start_ns: 0 }
    }

    /// Begins a figure.
    pub(crate) fn start(&mut self) {
        self.operations = 0;
        self.start_ns = clock::now_ns();
    }

    /// Notes an operation that began at `from_ns` and ends now.
    pub(crate) fn note(&mut self, from_ns: u64) {
        let ns = clock::now_ns().saturating_sub(from_ns);
        if let Some(slot) = self.each_ns.get_mut(self.operations) {
            *slot = u32::try_from(ns).unwrap_or(u32::MAX);
            self.operations += 1;
        }
    }

    /// Prints the figure.
    pub(crate) fn print(&mut self, disk: &str, what: &str, bytes: usize, depth: usize) {
        let total_ns = clock::now_ns().saturating_sub(self.start_ns);
        let Some(times) = self.each_ns.get_mut(..self.operations) else { return };
        times.sort_unstable();
        let median_ns = times.get(times.len() / 2).copied().unwrap_or(0);
        say(disk, what, (bytes, depth), self.operations, (total_ns, median_ns.into()));
    }
}

/// Prints the figure of operations of which only the total is known.
pub(crate) fn print_total(disk: &str, what: &str, bytes: usize, operations: usize, total_ns: u64) {
    say(disk, what, (bytes, 1), operations, (total_ns, total_ns / operations.max(1) as u64));
}

fn say(disk: &str, what: &str, (bytes, depth): (usize, usize), operations: usize, (total_ns, median_ns): (u64, u64)) {
    serial_log::say(format_args!(
        "bench: {disk} {what} bytes={bytes} depth={depth} operations={operations} total_ns={total_ns} median_ns={median_ns}"
    ));
}
