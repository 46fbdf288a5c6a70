//! What a driver may ask of the machine it runs on.
//!
//! Drivers name no architecture and no kernel: registers, DMA memory and time come in
//! through [`Platform`]. The crate `platform-fake` has adversarial stand-ins for tests: DMA memory at
//! another address than the processor's, a clock that moves when it is told to, and
//! registers that answer from a model device. (A crate, not a feature of this one: a feature that a test
//! switches on would bring `std` into the kernel as well.)
#![no_std]

pub mod clock;
pub mod dma;
pub mod registers;

pub use clock::{Clock, Deadline};
pub use dma::{DmaBuffer, SharedMemory};
pub use registers::Registers;

/// A machine, as a driver sees it. Cheap to clone: a handle.
pub trait Platform: Clock + Clone {
    /// A window of device registers.
    type Registers: Registers;

    /// Sets aside DMA memory, zeroed, physically contiguous, aligned to `align` bytes (a power of two, at
    /// least [`dma::PAGE_SIZE`] is honoured). Called at start only; such memory is never given back.
    ///
    /// Returns `None` when there is not enough.
    fn allocate_dma(&self, len: usize, align: usize) -> Option<DmaBuffer>;

    /// Maps `len` bytes of device registers at a bus address, uncached.
    ///
    /// Returns `None` when the window cannot be mapped (it is not aligned to 4 bytes, is empty, or lies beyond what the
    /// processor can address).
    fn map_registers(&self, bus_address: u64, len: usize) -> Option<Self::Registers>;

    /// Marks a named step of a driver, such as `nvme.submit.after_doorbell`, where a crash can be injected
    /// to prove that it can be recovered from. Does nothing unless the platform wants to: a driver calls it at
    /// each step, holding whatever it holds there, and lists its names in a public constant.
    #[inline]
    fn checkpoint(&self, _name: &'static str) {}
}
