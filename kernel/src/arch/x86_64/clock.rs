//! Nanoseconds since the kernel's start, from the time stamp counter.
//!
//! The counter's rate comes from, in this order: CPUID leaf 15h, the hypervisor's timing leaf, a
//! measurement against the interval timer, and failing all, a guess that is named as such.

use super::{cpu, pit};
use core::sync::atomic::{AtomicU64, Ordering};

/// Where the counter's rate was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// CPUID leaf 15h.
    Processor,
    /// The hypervisor's timing leaf (4000_0010h).
    Hypervisor,
    /// Measured against the interval timer.
    IntervalTimer,
    /// Nothing answered: 1 GHz, so that deadlines still pass.
    Guess,
}

impl core::fmt::Display for Source {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Processor => "as the processor says",
            Self::Hypervisor => "as the hypervisor says",
            Self::IntervalTimer => "measured against the interval timer",
            Self::Guess => "a guess, as there is nothing to measure it against",
        })
    }
}

static START: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds a tick, as a 32.32 fixed-point number.
static SCALE: AtomicU64 = AtomicU64::new(0);
static FREQUENCY: AtomicU64 = AtomicU64::new(0);

const GUESS_HZ: u64 = 1_000_000_000;
/// Rates outside of this are taken for a wrong answer.
const PLAUSIBLE_HZ: core::ops::RangeInclusive<u64> = 10_000_000..=20_000_000_000;

/// Starts the clock at 0. Time stands still until [`calibrate`] knows the rate.
pub fn start() {
    START.store(cpu::time_stamp(), Ordering::Relaxed);
}

/// Counts time from a moment before [`start`], of which the counter was read, if that is a minute ago at most.
pub fn start_earlier(time_stamp: u64) {
    let minute = frequency().saturating_mul(60);
    let start = START.load(Ordering::Relaxed);
    if start.checked_sub(time_stamp).is_some_and(|before| before < minute) {
        START.store(time_stamp, Ordering::Relaxed);
    }
}

/// Nanoseconds from the start until the counter had this value; 0 if it had that before.
pub fn at(time_stamp: u64) -> u64 {
    to_ns(time_stamp.saturating_sub(START.load(Ordering::Relaxed)), SCALE.load(Ordering::Relaxed))
}

/// Finds the counter's rate; takes up to 4 ms where it has to be measured.
pub fn calibrate() -> Source {
    let found = [Source::Processor, Source::Hypervisor, Source::IntervalTimer].into_iter().find_map(|source| {
        let rate = match source {
            Source::Processor => processor_rate(),
            Source::Hypervisor => hypervisor_rate(),
            Source::IntervalTimer => pit::measure_time_stamp_rate(),
            Source::Guess => None,
        };
        Some((source, rate.filter(|rate| PLAUSIBLE_HZ.contains(rate))?))
    });
    let (source, rate) = found.unwrap_or((Source::Guess, GUESS_HZ));
    FREQUENCY.store(rate, Ordering::Relaxed);
    SCALE.store(scale(rate), Ordering::Relaxed);
    source
}

/// Nanoseconds since [`start`]; 0 before [`calibrate`].
#[inline]
pub fn now_ns() -> u64 {
    at(cpu::time_stamp())
}

/// Ticks a second.
pub fn frequency() -> u64 {
    FREQUENCY.load(Ordering::Relaxed)
}

fn scale(hz: u64) -> u64 {
    ((1_000_000_000u128 << 32) / u128::from(hz.max(1))).try_into().unwrap_or(u64::MAX)
}

#[inline]
fn to_ns(ticks: u64, scale: u64) -> u64 {
    ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
}

/// SDM vol. 2, CPUID leaf 15h: crystal frequency and the counter's ratio to it.
fn processor_rate() -> Option<u64> {
    let [denominator, numerator, crystal, _] = cpu::leaf(0x15);
    if denominator == 0 || numerator == 0 || crystal == 0 {
        return None;
    }
    Some(u64::from(crystal) * u64::from(numerator) / u64::from(denominator))
}

/// The leaf in which VMware, and KVM when it is told to, give the counter's rate in kHz.
fn hypervisor_rate() -> Option<u64> {
    if !cpu::is_virtual() {
        return None;
    }
    let [kilohertz, ..] = cpu::leaf(0x4000_0010);
    Some(u64::from(kilohertz) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_ticks_is_a_second() {
        for hz in [10_000_000, 1_000_000_000, 2_995_200_123, 20_000_000_000u64] {
            let ns = to_ns(hz, scale(hz));
            assert!((999_999_990..=1_000_000_000).contains(&ns), "{hz} Hz: {ns}");
        }
    }

    #[test]
    fn a_century_does_not_overflow() {
        let hz = 5_000_000_000;
        let century = 100 * 365 * 86_400;
        let ns = to_ns(century * hz, scale(hz));
        assert_eq!(ns / 1_000_000_000, century - 1);
    }
}
