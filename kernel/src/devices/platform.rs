//! The machine as drivers see it.

use crate::arch::port::{self, PortRead, PortWrite};
use crate::arch::{clock, cpu};
use crate::checkpoint;
use crate::memory;
use core::ptr::NonNull;
use platform::{Clock, DmaBuffer, Platform, Registers};

/// The machine: a handle without state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Clock for Machine {
    #[inline]
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    #[inline]
    fn relax(&self) {
        cpu::relax();
    }
}

impl Platform for Machine {
    type Registers = MappedRegisters;

    fn allocate_dma(&self, len: usize, align: usize) -> Option<DmaBuffer> {
        memory::dma::allocate(len, align)
    }

    fn map_registers(&self, bus_address: u64, len: usize) -> Option<MappedRegisters> {
        Some(MappedRegisters { start: memory::map_registers(bus_address, len)?, len })
    }

    #[inline]
    fn checkpoint(&self, name: &'static str) {
        checkpoint::pass(name);
    }
}

/// Device registers in memory, mapped uncached for good.
#[derive(Debug)]
pub struct MappedRegisters {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: device registers belong to no thread, and every access to them is a single volatile one.
unsafe impl Send for MappedRegisters {}
// SAFETY: as for `Send`.
unsafe impl Sync for MappedRegisters {}

impl MappedRegisters {
    fn word<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let size = size_of::<T>();
        let inside = offset.checked_add(size).is_some_and(|end| end <= self.len);
        if !inside || !offset.is_multiple_of(size) {
            return None;
        }
        // SAFETY: the offset lies inside the window, which is mapped as a whole.
        Some(unsafe { self.start.add(offset) }.cast())
    }

    fn read<T>(&self, offset: usize, nothing: T) -> T {
        match self.word::<T>(offset) {
            // SAFETY: inside the window and aligned (the window's start is aligned to 4, and no wider words are read).
            Some(word) => unsafe { word.read_volatile() },
            None => nothing,
        }
    }

    fn write<T>(&self, offset: usize, value: T) {
        // Stores to DMA memory, which is cached, are visible before this one: x86 keeps stores in order, also those
        // to uncached memory (SDM vol. 3, 9.2.2); the fence keeps the compiler from reordering them.
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        if let Some(word) = self.word::<T>(offset) {
            // SAFETY: as in `read`.
            unsafe { word.write_volatile(value) };
        }
    }
}

impl Registers for MappedRegisters {
    fn len(&self) -> usize {
        self.len
    }

    fn read8(&self, offset: usize) -> u8 {
        self.read(offset, u8::MAX)
    }

    fn read16(&self, offset: usize) -> u16 {
        self.read(offset, u16::MAX)
    }

    fn read32(&self, offset: usize) -> u32 {
        self.read(offset, u32::MAX)
    }

    fn write8(&self, offset: usize, value: u8) {
        self.write(offset, value);
    }

    fn write16(&self, offset: usize, value: u16) {
        self.write(offset, value);
    }

    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }
}

/// Device registers in I/O ports, as those of legacy virtio devices.
#[derive(Clone, Copy, Debug)]
pub struct PortRegisters {
    first: u16,
    len: u16,
}

impl PortRegisters {
    /// A window of I/O ports.
    ///
    /// # Safety
    /// The ports must be those of a device that the holder drives.
    pub const unsafe fn new(first: u16, len: u16) -> Self {
        Self { first, len }
    }

    fn port<T>(&self, offset: usize) -> Option<u16> {
        let offset = u16::try_from(offset).ok()?;
        let end = offset.checked_add(size_of::<T>() as u16)?;
        if end > self.len || !usize::from(offset).is_multiple_of(size_of::<T>()) {
            return None;
        }
        self.first.checked_add(offset)
    }

    fn read<T: PortRead>(&self, offset: usize, nothing: T) -> T {
        let Some(port) = self.port::<T>(offset) else { return nothing };
        // SAFETY: a register of the device that the holder drives.
        let value = unsafe { port::read(port) };
        // What the device wrote to memory before it set the register is read after it.
        port_fence();
        value
    }

    fn write<T: PortWrite>(&self, offset: usize, value: T) {
        if let Some(port) = self.port::<T>(offset) {
            // What stands in DMA memory stands there before the device is told of it.
            port_fence();
            // SAFETY: as in `read`.
            unsafe { port::write(port, value) };
        }
    }
}

/// Port instructions are told to the compiler as ones that touch no memory, so that it may move memory accesses past them. The processor
/// itself does not: they wait for all stores before them, and what follows waits for them (SDM vol. 1, 19.6).
fn port_fence() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

impl Registers for PortRegisters {
    fn len(&self) -> usize {
        usize::from(self.len)
    }

    fn read8(&self, offset: usize) -> u8 {
        self.read(offset, u8::MAX)
    }

    fn read16(&self, offset: usize) -> u16 {
        self.read(offset, u16::MAX)
    }

    fn read32(&self, offset: usize) -> u32 {
        self.read(offset, u32::MAX)
    }

    fn write8(&self, offset: usize, value: u8) {
        self.write(offset, value);
    }

    fn write16(&self, offset: usize, value: u16) {
        self.write(offset, value);
    }

    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }
}
