//! The iB700 watchdog, as QEMU has it: what ends a hang with interrupts off.

use super::{cpu, port};

/// Writing starts it, and starts it anew.
const START: u16 = 0x443;
/// Writing stops it.
const STOP: u16 = 0x441;

/// Starts the watchdog, or gives it new time. Seconds are rounded down to an even number from 2 to 30.
///
/// Whether there is one cannot be told: it has nothing to read. On a real machine the ports may be anything, so
/// this does nothing there.
pub fn start(seconds: u8) {
    if cpu::is_virtual() {
        // SAFETY: in a virtual machine the port is the watchdog's, or nothing.
        unsafe { port::write(START, code(seconds)) };
    }
}

/// Stops the watchdog.
pub fn stop() {
    if cpu::is_virtual() {
        // SAFETY: in a virtual machine the port is the watchdog's, or nothing.
        unsafe { port::write(STOP, 0u8) };
    }
}

/// The card's code for a time: 0 is 30 seconds, 14 is 2 seconds.
fn code(seconds: u8) -> u8 {
    (30 - seconds.clamp(2, 30)).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_the_time_down() {
        assert_eq!([0, 2, 3, 4, 5, 29, 30, 255].map(code), [14, 14, 14, 13, 13, 1, 0, 0]);
    }
}
