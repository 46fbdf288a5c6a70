//! How long each part of the boot took.

use super::TARGET;
use crate::arch::{clock, cpu};
use core::sync::atomic::{AtomicU64, Ordering};
use log::info;

/// What a boot comes to, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The kernel runs.
    Entered,
    /// It has memory, a clock and a log.
    Up,
    /// All devices have been found, and started.
    DevicesStarted,
    /// They are ready, and their consoles mounted.
    Mounted,
}

/// The time stamp counter when each was reached; 0: not yet.
static REACHED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// The boot has come this far. The clock need not run yet.
pub fn reached(phase: Phase) {
    if let Some(place) = REACHED.get(phase as usize) {
        place.store(cpu::time_stamp(), Ordering::Relaxed);
    }
}

/// Logs it all: microseconds. The loader's part is only known where the loader's log is.
pub(super) fn describe(survey_begun_ns: u64) {
    let [entered, up, started, mounted] =
        [0, 1, 2, 3].map(|index| REACHED.get(index).map_or(0, |place| clock::at(place.load(Ordering::Relaxed))));
    let us = |from: u64, to: u64| to.saturating_sub(from) / 1000;
    info!(
        target: TARGET,
        "timing: loader_us={} kernel_us={} devices_us={} mount_us={} survey_us={}",
        us(0, entered),
        us(entered, up),
        us(up, started),
        us(started, mounted),
        us(survey_begun_ns, clock::now_ns())
    );
}
