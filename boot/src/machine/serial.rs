//! The first serial port, polled.

use super::port;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

/// COM1.
const BASE: u16 = 0x3F8;
pub(super) const DATA: u16 = BASE;
const INTERRUPT_ENABLE: u16 = BASE + 1;
const FIFO_CONTROL: u16 = BASE + 2;
const LINE_CONTROL: u16 = BASE + 3;
const MODEM_CONTROL: u16 = BASE + 4;
pub(super) const LINE_STATUS: u16 = BASE + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Polls for room in the transmitter before the port is given up: several times what a byte takes at 115,200 bit/s.
const PATIENCE: u32 = 100_000;
/// The same for a port that has taken a byte before. In a virtual machine it is the reader on the host who may be slow.
const LONG_PATIENCE: u32 = 5_000_000;

static GIVEN_UP: AtomicBool = AtomicBool::new(false);
static HAS_WORKED: AtomicBool = AtomicBool::new(false);

/// The first serial port at 115,200 bit/s, 8 data bits, no parity, 1 stop bit. Never fails, and waits
/// a bounded time: a port that is not there, or takes nothing, swallows what is written.
#[derive(Clone, Copy, Debug)]
pub struct Serial(());

impl Serial {
    /// Sets the port up.
    pub fn new() -> Self {
        let settings = [
            (INTERRUPT_ENABLE, 0x00),
            (LINE_CONTROL, 0x80), // The next two set the divisor: 1.
            (DATA, 0x01),
            (INTERRUPT_ENABLE, 0x00),
            (LINE_CONTROL, 0x03),
            (FIFO_CONTROL, 0x07),
            (MODEM_CONTROL, 0x03),
        ];
        for (port, value) in settings {
            // SAFETY: these ports belong to the first serial port, or to nothing; it does no DMA.
            unsafe { port::write8(port, value) };
        }
        Self(())
    }

    /// Writes one byte; a line feed gets a carriage return in front.
    pub fn write_byte(&mut self, byte: u8) {
        if byte == b'\n' {
            self.write_raw(b'\r');
        }
        self.write_raw(byte);
    }

    fn write_raw(&mut self, byte: u8) {
        if GIVEN_UP.load(Ordering::Relaxed) {
            return;
        }
        let patience = if HAS_WORKED.load(Ordering::Relaxed) { LONG_PATIENCE } else { PATIENCE };
        for _ in 0..patience {
            // SAFETY: reading the line status has no effect on memory.
            let status = unsafe { port::read8(LINE_STATUS) };
            if status == 0xFF {
                break;
            }
            if status & TRANSMITTER_EMPTY != 0 {
                HAS_WORKED.store(true, Ordering::Relaxed);
                // SAFETY: writing the port sends a byte, and touches no memory.
                unsafe { port::write8(DATA, byte) };
                return;
            }
        }
        GIVEN_UP.store(true, Ordering::Relaxed);
    }
}

impl Default for Serial {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.write_byte(byte));
        Ok(())
    }
}
