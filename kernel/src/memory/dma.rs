//! Memory that devices reach: contiguous frames.

use super::{MEMORY, mapped};
use platform::DmaBuffer;

/// Sets memory aside for good, zeroed, at the same address for the processor's bus and for devices (there is no IOMMU in
/// the way that the kernel switches on).
pub fn allocate(len: usize, align: usize) -> Option<DmaBuffer> {
    if !align.is_power_of_two() {
        return None;
    }
    let physical = MEMORY.lock().as_mut()?.frames.take(len as u64, align as u64)?;
    let start = mapped(physical)?;
    // SAFETY: the frames were free and are nobody else's now; the boot loader mapped all of physical memory. Zeroing makes the
    // bytes initialised.
    unsafe {
        start.write_bytes(0, len);
        Some(DmaBuffer::from_raw_parts(start, physical, len))
    }
}
