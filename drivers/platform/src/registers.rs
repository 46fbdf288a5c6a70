//! Device registers: little-endian words at byte offsets of a window.

/// A window of device registers.
///
/// Offsets are bytes from the window's start. An offset that does not lie wholly inside the window reads as all
/// ones and swallows writes, just as a device that is gone: a driver that computed an offset from what a device told it
/// cannot reach anything else. Accesses are neither merged, split, nor reordered with each other, and every earlier
/// write to DMA memory is visible to the device before a register write is.
pub trait Registers {
    /// Size of the window in bytes.
    fn len(&self) -> usize;

    /// Whether the window is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads 8 bits.
    fn read8(&self, offset: usize) -> u8;
    /// Reads 16 bits; the offset must be a multiple of 2.
    fn read16(&self, offset: usize) -> u16;
    /// Reads 32 bits; the offset must be a multiple of 4.
    fn read32(&self, offset: usize) -> u32;
    /// Writes 8 bits.
    fn write8(&self, offset: usize, value: u8);
    /// Writes 16 bits; the offset must be a multiple of 2.
    fn write16(&self, offset: usize, value: u16);
    /// Writes 32 bits; the offset must be a multiple of 4.
    fn write32(&self, offset: usize, value: u32);

    /// Reads 64 bits as two 32-bit accesses, the lower one first.
    fn read64(&self, offset: usize) -> u64 {
        let low = self.read32(offset);
        let high = self.read32(offset.saturating_add(4));
        u64::from(high) << 32 | u64::from(low)
    }

    /// Writes 64 bits as two 32-bit accesses, the lower one first.
    fn write64(&self, offset: usize, value: u64) {
        self.write32(offset, value as u32);
        self.write32(offset.saturating_add(4), (value >> 32) as u32);
    }
}
