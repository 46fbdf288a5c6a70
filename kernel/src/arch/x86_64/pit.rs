//! The 8254 interval timer: a clock of known rate to measure others by.

use super::{cpu, port};

/// The timer's input clock.
const HZ: u64 = 1_193_182;
/// Data port of channel 2.
const CHANNEL_2: u16 = 0x42;
/// Mode and command register.
const COMMAND: u16 = 0x43;
/// Channel 2's gate (bit 0) and the speaker (bit 1).
const GATE: u16 = 0x61;
/// Channel 2, low byte then high byte, mode 0 (counts down once).
const COUNT_DOWN: u8 = 0b1011_0000;
/// Channel 2, latch the count.
const LATCH: u8 = 0b1000_0000;

/// How long a measurement takes, in the timer's ticks: 4 ms.
const WINDOW: u16 = (HZ * 4 / 1000) as u16;
/// Readings of the same count after which the timer is given up. One takes some microseconds on a real machine, and a tick of
/// the timer lasts one; an emulator that counts instructions may take many.
const PATIENCE: u32 = 10_000;

/// Measurements that are made at most, until one was not held up.
const ATTEMPTS: u32 = 8;

/// Measures the rate of the time stamp counter, in Hz. `None` where there is no such timer.
pub fn measure_time_stamp_rate() -> Option<u64> {
    measure(start, read_once)
}

/// A reading of the timer.
#[derive(Clone, Copy)]
struct Reading {
    /// The time stamp in its middle, and what the reading took.
    time_stamp: u64,
    took: u64,
    count: u16,
}

/// A machine that is not given the processor for a while may miss that the count has wrapped around, which takes 55 ms. Its time
/// stamps show that they jumped; the rate looks higher than it is, never lower.
fn measure(start: impl Fn(), mut read_once: impl FnMut() -> Reading) -> Option<u64> {
    let mut lowest: Option<u64> = None;
    for _ in 0..ATTEMPTS {
        start();
        let (rate, was_held_up) = measure_once(&mut read_once)?;
        lowest = Some(lowest.map_or(rate, |lowest| lowest.min(rate)));
        if !was_held_up {
            return Some(rate);
        }
    }
    lowest
}

/// A rate, and whether the longest step from one reading to the next was most of the time.
fn measure_once(read_once: &mut impl FnMut() -> Reading) -> Option<(u64, bool)> {
    let first = read(read_once);
    let (mut last, mut longest, mut patience) = (first, 0, PATIENCE);
    while patience > 0 {
        let next = read_once();
        longest = longest.max(next.time_stamp.saturating_sub(last.time_stamp));
        if first.count.wrapping_sub(next.count) >= WINDOW {
            let end = read(read_once);
            longest = longest.max(end.time_stamp.saturating_sub(next.time_stamp));
            let time_stamps = end.time_stamp.checked_sub(first.time_stamp)?;
            return Some((rate(time_stamps, first.count.wrapping_sub(end.count))?, longest > time_stamps / 2));
        }
        patience = if next.count == last.count { patience - 1 } else { PATIENCE };
        last = next;
    }
    None
}

/// Time stamp ticks and timer ticks of the same stretch, as a rate.
fn rate(time_stamps: u64, ticks: u16) -> Option<u64> {
    let rate = u128::from(time_stamps) * u128::from(HZ) / u128::from(ticks).max(1);
    u64::try_from(rate).ok()
}

fn start() {
    // SAFETY: channel 2 drives nothing but the speaker, which is switched off here.
    unsafe {
        let gate: u8 = port::read(GATE);
        port::write(GATE, gate & !0b10 | 0b01);
        port::write(COMMAND, COUNT_DOWN);
        port::write(CHANNEL_2, 0xFFu8);
        port::write(CHANNEL_2, 0xFFu8);
    }
}

fn read_once() -> Reading {
    let before = cpu::time_stamp();
    // SAFETY: as in `start`; latching a count does not disturb it.
    let count = unsafe {
        port::write(COMMAND, LATCH);
        let low: u8 = port::read(CHANNEL_2);
        let high: u8 = port::read(CHANNEL_2);
        u16::from_le_bytes([low, high])
    };
    let took = cpu::time_stamp().wrapping_sub(before);
    Reading { time_stamp: before.wrapping_add(took / 2), took, count }
}

/// The quickest of a few readings: an interruption in the middle of one would shift it.
fn read(read_once: &mut impl FnMut() -> Reading) -> Reading {
    let mut best = read_once();
    for _ in 0..4 {
        let next = read_once();
        if next.took < best.took {
            best = next;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn rates_are_in_hertz() {
        assert_eq!(rate(2_000_000, 1193), Some(2_000_305_113));
        assert_eq!(rate(1, 0), Some(HZ));
    }

    /// A machine whose time stamp counter has 3 GHz, which is held up for `hold_ms` at each of these readings.
    fn measured(hold_ms: u64, holds: impl Fn(u32) -> bool) -> Option<u64> {
        const STAMP_HZ: u64 = 3_000_000_000;
        let (now, readings) = (Cell::new(123_456_789u64), Cell::new(0));
        measure(
            || (),
            || {
                let (took, number) = (15_000, readings.replace(readings.get() + 1));
                now.set(now.get() + took + if holds(number) { hold_ms * (STAMP_HZ / 1000) } else { 0 });
                let ticks = u128::from(now.get()) * u128::from(HZ) / u128::from(STAMP_HZ);
                Reading { time_stamp: now.get(), took, count: 0_u16.wrapping_sub(ticks as u16) }
            },
        )
    }

    #[test]
    fn a_machine_that_is_held_up_still_measures_the_right_rate() {
        let is_right = |rate: Option<u64>| rate.is_some_and(|rate| rate.abs_diff(3_000_000_000) < 10_000_000);
        assert!(is_right(measured(0, |_| false)));
        for hold_ms in [3, 20, 54, 56, 90, 130] {
            for at in [3, 20, 300, 700, 810] {
                assert!(is_right(measured(hold_ms, |number| number == at)), "{hold_ms} ms at reading {at}");
                assert!(is_right(measured(hold_ms, |number| number % 1700 == at)), "{hold_ms} ms, again and again");
            }
        }
        // Held up each time, it takes the lowest: too high, but it ends.
        assert!(measured(60, |number| number % 100 == 50).is_some());
    }

    #[test]
    fn a_timer_that_stands_still_is_given_up() {
        assert_eq!(measure(|| (), || Reading { time_stamp: 1, took: 1, count: 7 }), None);
    }
}
