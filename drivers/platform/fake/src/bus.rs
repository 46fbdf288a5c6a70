//! DMA memory at other addresses than the processor's.

use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use crate::lock;
use platform::DmaBuffer;
use platform::dma::PAGE_SIZE;

/// The bus as devices see it: pieces of DMA memory with gaps between them. Clones are handles of the same bus.
#[derive(Clone)]
pub struct Bus(Arc<Mutex<Arena>>);

/// An access by a device to an address where it has no business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusFault {
    /// The first byte's bus address.
    pub bus_address: u64,
    /// How many bytes.
    pub len: usize,
    /// Whether the device was writing.
    pub write: bool,
}

struct Arena {
    pieces: Vec<Piece>,
    /// Bus address below which the next piece goes.
    ceiling: u64,
    /// Bytes that may still be set aside.
    left: usize,
    faults: Vec<BusFault>,
}

struct Piece {
    bus_address: u64,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory behind `start` is plain bytes that are never freed; a pointer to them is not tied to a thread.
unsafe impl Send for Piece {}

/// Where the first piece lies: above 4 GiB, so that cut off addresses show.
const TOP: u64 = 0x7_5432_0000;
/// Unused addresses between two pieces.
const GAP: u64 = 0x1_3000;

impl Default for Bus {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Arena { pieces: Vec::new(), ceiling: TOP, left: usize::MAX, faults: Vec::new() })))
    }
}

impl Bus {
    /// Sets aside zeroed memory, for good (it is never freed, as on the real machine). Later pieces lie at lower
    /// bus addresses, so that nothing is adjacent that happens to be so for the processor.
    pub fn allocate(&self, len: usize, align: usize) -> Option<DmaBuffer> {
        let align = align.max(PAGE_SIZE);
        let layout = Layout::from_size_align(len, align).ok()?;
        let mut arena = lock(&self.0);
        if len == 0 || len > arena.left {
            return None;
        }
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let bus_address = arena.ceiling.checked_sub(len as u64 + GAP)? & !(align as u64 - 1);
        arena.ceiling = bus_address;
        arena.left -= len;
        arena.pieces.push(Piece { bus_address, start, len });
        // SAFETY: freshly allocated, zeroed, aligned to a page, never freed; the processor uses it by this
        // handle only, and `Bus::read` and `Bus::write`, which play the device, access it through the raw
        // pointer.
        Some(unsafe { DmaBuffer::from_raw_parts(start, bus_address, len) })
    }

    /// Lets at most `bytes` more be set aside.
    pub fn limit(&self, bytes: usize) {
        lock(&self.0).left = bytes;
    }

    /// Reads as a device.
    ///
    /// # Errors
    /// A [`BusFault`] when the range is not wholly inside one piece; it is remembered.
    pub fn read(&self, bus_address: u64, out: &mut [u8]) -> Result<(), BusFault> {
        let start = self.find(bus_address, out.len(), false)?;
        // SAFETY: `find` checked that the range lies in a piece, which is valid for ever; `out` is a Rust
        // reference of the test's, and no `DmaBuffer` hands out references while a device uses it.
        unsafe { std::ptr::copy(start.as_ptr(), out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Writes as a device.
    ///
    /// # Errors
    /// A [`BusFault`] when the range is not wholly inside one piece; it is remembered.
    pub fn write(&self, bus_address: u64, data: &[u8]) -> Result<(), BusFault> {
        let start = self.find(bus_address, data.len(), true)?;
        // SAFETY: as in `read`, the other way round.
        unsafe { std::ptr::copy(data.as_ptr(), start.as_ptr(), data.len()) };
        Ok(())
    }

    /// The faults so far. A test of a driver ends by asserting that there are none.
    pub fn faults(&self) -> Vec<BusFault> {
        lock(&self.0).faults.clone()
    }

    /// Bytes set aside so far.
    pub fn allocated(&self) -> usize {
        lock(&self.0).pieces.iter().map(|piece| piece.len).sum()
    }

    fn find(&self, bus_address: u64, len: usize, write: bool) -> Result<NonNull<u8>, BusFault> {
        let mut arena = lock(&self.0);
        let inside = arena.pieces.iter().find_map(|piece| {
            let offset = usize::try_from(bus_address.checked_sub(piece.bus_address)?).ok()?;
            // SAFETY: the end is within the piece, so the offset is too.
            (offset.checked_add(len)? <= piece.len).then(|| unsafe { piece.start.add(offset) })
        });
        inside.ok_or_else(|| {
            let fault = BusFault { bus_address, len, write };
            arena.faults.push(fault);
            fault
        })
    }
}
