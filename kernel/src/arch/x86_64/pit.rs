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

/// Measures the rate of the time stamp counter, in Hz. `None` where there is no such timer.
pub fn measure_time_stamp_rate() -> Option<u64> {
    start();
    let first = read();
    let (mut last_count, mut patience) = (first.1, PATIENCE);
    while patience > 0 {
        let (_, count) = read_once();
        if first.1.wrapping_sub(count) >= WINDOW {
            let last = read();
            return rate(last.0.checked_sub(first.0)?, first.1.wrapping_sub(last.1));
        }
        patience = if count == last_count { patience - 1 } else { PATIENCE };
        last_count = count;
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

/// A reading: the time stamp in its middle, and the count.
fn read_once() -> ((u64, u64), u16) {
    let before = cpu::time_stamp();
    // SAFETY: as in `start`; latching a count does not disturb it.
    let count = unsafe {
        port::write(COMMAND, LATCH);
        let low: u8 = port::read(CHANNEL_2);
        let high: u8 = port::read(CHANNEL_2);
        u16::from_le_bytes([low, high])
    };
    let after = cpu::time_stamp();
    ((after.wrapping_sub(before), before.wrapping_add(after.wrapping_sub(before) / 2)), count)
}

/// The quickest of a few readings: an interruption in the middle of one would shift it.
fn read() -> (u64, u16) {
    let mut best = read_once();
    for _ in 0..4 {
        let next = read_once();
        if next.0.0 < best.0.0 {
            best = next;
        }
    }
    (best.0.1, best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_in_hertz() {
        assert_eq!(rate(2_000_000, 1193), Some(2_000_305_113));
        assert_eq!(rate(1, 0), Some(HZ));
    }
}
