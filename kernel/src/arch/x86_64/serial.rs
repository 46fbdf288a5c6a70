//! The first serial port, by `uart_16550`, without any wait that has no end.

use super::port;
use core::sync::atomic::{AtomicU8, Ordering};
use uart_16550::backend::Backend;
use uart_16550::spec::registers::LSR;
use uart_16550::{BaudRate, Config, Uart16550};

/// COM1.
const BASE: u16 = 0x3F8;
/// Offset of the line status register.
const LINE_STATUS: u8 = 5;
/// Reads of the line status that an initialisation may take: about half a second of them.
const PATIENCE: u32 = 500_000;

/// Whether [`SerialPort::open`] found a port, and whether it has a FIFO.
static FOUND: AtomicU8 = AtomicU8::new(ABSENT);
const ABSENT: u8 = 0;
const WITH_FIFO: u8 = 1;
const WITHOUT_FIFO: u8 = 2;

/// Port accesses that lie to the crate's own waits once these have taken too long.
struct Ports {
    /// Reads of a busy line status left before the transmitter is declared empty; `None`: it is believed.
    patience: Option<u32>,
}

impl Backend for Ports {
    unsafe fn read(&mut self, offset: u8) -> u8 {
        // SAFETY: the port belongs to the serial port, which this type owns.
        let value: u8 = unsafe { port::read(BASE + u16::from(offset)) };
        let (LINE_STATUS, Some(patience)) = (offset, self.patience.as_mut()) else { return value };
        if value & LSR::TRANSMITTER_EMPTY.bits() == 0 {
            *patience = patience.saturating_sub(1);
        }
        if *patience == 0 { value | LSR::TRANSMITTER_EMPTY.bits() } else { value }
    }

    unsafe fn write(&mut self, offset: u8, value: u8) {
        // SAFETY: the port belongs to the serial port, which this type owns.
        unsafe { port::write(BASE + u16::from(offset), value) };
    }
}

/// The first serial port: 115,200 baud, 8 data bits, no parity.
pub struct SerialPort {
    uart: Uart16550<Ports>,
    chunk: usize,
}

impl SerialPort {
    /// Sets the port up; `None` where there is none.
    ///
    /// # Safety
    /// Nobody else may use the port while the result lives, but for a [`take_over`](Self::take_over).
    pub unsafe fn open() -> Option<Self> {
        // SAFETY: COM1's addresses are fixed on a PC, and the caller leaves them to us; a port that is not there reads as all ones.
        let mut uart = unsafe { Uart16550::new_with_backend(Ports { patience: Some(PATIENCE) }) };
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        uart.init(config).ok()?;
        uart.backend_mut().patience = None;
        let fifo = uart.fifo_enabled();
        FOUND.store(if fifo { WITH_FIFO } else { WITHOUT_FIFO }, Ordering::Relaxed);
        Some(Self { uart, chunk: if fifo { usize::MAX } else { 1 } })
    }

    /// A second handle on the port that [`open`](Self::open) set up, for the crash path.
    ///
    /// # Safety
    /// The holder of the first handle must never run again.
    pub unsafe fn take_over() -> Option<Self> {
        let chunk = match FOUND.load(Ordering::Relaxed) {
            WITH_FIFO => usize::MAX,
            WITHOUT_FIFO => 1,
            _ => return None,
        };
        // SAFETY: the port is set up, and the caller promises that nobody else uses it.
        let uart = unsafe { Uart16550::new_with_backend(Ports { patience: None }) };
        Some(Self { uart, chunk })
    }

    /// Sends as many bytes as the port takes at once, and says how many: 0 while it is busy, at most 16.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        self.uart.send_bytes(bytes.get(..self.chunk.min(bytes.len())).unwrap_or_default())
    }
}
