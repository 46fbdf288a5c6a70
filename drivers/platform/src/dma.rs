//! Memory that processor and device share.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// The unit in which DMA memory is set aside, and that device page lists count in.
pub const PAGE_SIZE: usize = 4096;

/// A physically contiguous piece of memory that a device can reach, owned by its holder.
///
/// There are two ways to use one, and a driver keeps to one of them at a time:
/// - as *data* ([`AsRef`], [`AsMut`]), while no device uses it;
/// - as *shared* memory, such as a queue, by the volatile accessors
///   [`read`](Self::read) and [`write`](Self::write), which a device may race with.
///
/// Dropping it does not free the memory: it was set aside for good, and a device may still know its address.
#[derive(Debug)]
pub struct DmaBuffer {
    start: NonNull<u8>,
    bus_address: u64,
    len: usize,
}

// SAFETY: the buffer owns its memory exclusively (contract of `from_raw_parts`), and nothing in it is tied to a thread.
unsafe impl Send for DmaBuffer {}
// SAFETY: through a shared reference there are only reads and volatile accesses to plain bytes, and the volatile ones
// are made through `&mut self` where they write.
unsafe impl Sync for DmaBuffer {}

/// Plain integers that shared memory is read and written in.
pub trait Word: private::Sealed {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

mod private {
    /// Keeps [`Word`](super::Word) to the four integers that have no padding and no invalid values.
    pub trait Sealed: Copy {
        /// The same integer, for accesses that race with others.
        type Atomic;
        fn load(from: &Self::Atomic) -> Self;
        fn store(self, to: &Self::Atomic);
    }
}

macro_rules! words {
    ($($word:ty: $atomic:ty),*) => {
        $(impl private::Sealed for $word {
            type Atomic = $atomic;

            #[inline]
            fn load(from: &$atomic) -> Self {
                from.load(Ordering::Relaxed)
            }

            #[inline]
            fn store(self, to: &$atomic) {
                to.store(self, Ordering::Relaxed);
            }
        })*
    };
}

words!(u8: AtomicU8, u16: AtomicU16, u32: AtomicU32, u64: AtomicU64);

impl DmaBuffer {
    /// Makes a buffer of memory that the caller gives away.
    ///
    /// # Safety
    /// `start` must be valid for reads and writes of `len` initialised bytes for ever, aligned to 8, used by nobody
    /// else on the processor, and contiguous for devices at `bus_address`.
    pub const unsafe fn from_raw_parts(start: NonNull<u8>, bus_address: u64, len: usize) -> Self {
        Self { start, bus_address, len }
    }

    /// Where devices see the first byte.
    pub const fn bus_address(&self) -> u64 {
        self.bus_address
    }

    /// Size in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cuts the buffer in two at byte `at`, which is rounded down to a multiple of 8 and capped to the length.
    pub fn split_at(self, at: usize) -> (Self, Self) {
        let at = at.min(self.len) & !7;
        // SAFETY: `at` is at most `len`, so that both pieces lie within the memory that `self` owned and gives up here;
        // a multiple of 8 keeps the alignment.
        unsafe {
            (
                Self::from_raw_parts(self.start, self.bus_address, at),
                Self::from_raw_parts(self.start.add(at), self.bus_address + at as u64, self.len - at),
            )
        }
    }

    /// Reads a word that a device may write at any time; `None` if it does not lie inside, aligned.
    #[inline]
    pub fn read<W: Word>(&self, offset: usize) -> Option<W> {
        let pointer = self.word::<W>(offset)?;
        // SAFETY: `word` checked bounds and alignment; every bit pattern is a valid `W`; volatile, because a
        // device may race.
        Some(unsafe { pointer.read_volatile() })
    }

    /// Writes a word that a device may read at any time; `false` if it does not lie inside, aligned.
    #[inline]
    pub fn write<W: Word>(&mut self, offset: usize, value: W) -> bool {
        let Some(pointer) = self.word::<W>(offset) else { return false };
        // SAFETY: `word` checked bounds and alignment, and `&mut self` keeps other accesses by the processor away.
        unsafe { pointer.write_volatile(value) };
        true
    }

    #[inline]
    fn word<W: Word>(&self, offset: usize) -> Option<NonNull<W>> {
        let offset = aligned_inside::<W>(offset, self.len)?;
        // SAFETY: `offset` is within the memory that `self` owns.
        Some(unsafe { self.start.add(offset) }.cast())
    }
}

/// The offset of a word, if it lies inside so many bytes, aligned to its own size.
#[inline]
fn aligned_inside<W>(offset: usize, len: usize) -> Option<usize> {
    let end = offset.checked_add(size_of::<W>())?;
    (end <= len && offset.is_multiple_of(size_of::<W>())).then_some(offset)
}

/// A piece of DMA memory that is shared for good: with a device, and by all copies of this handle. Words are never torn, and
/// accesses of different copies may race.
#[derive(Clone, Debug)]
pub struct SharedMemory {
    start: NonNull<u8>,
    bus_address: u64,
    len: usize,
}

// SAFETY: all accesses are atomic (see `word`), and nothing in the memory is tied to a thread.
unsafe impl Send for SharedMemory {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedMemory {}

impl From<DmaBuffer> for SharedMemory {
    fn from(buffer: DmaBuffer) -> Self {
        let DmaBuffer { start, bus_address, len } = buffer;
        Self { start, bus_address, len }
    }
}

impl SharedMemory {
    /// Where devices see the first byte.
    pub const fn bus_address(&self) -> u64 {
        self.bus_address
    }

    /// Size in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads a word; `None` if it does not lie inside, aligned.
    #[inline]
    pub fn read<W: Word>(&self, offset: usize) -> Option<W> {
        self.word::<W>(offset).map(W::load)
    }

    /// Writes a word; `false` if it does not lie inside, aligned.
    #[inline]
    pub fn write<W: Word>(&self, offset: usize, value: W) -> bool {
        self.word::<W>(offset).map(|word| value.store(word)).is_some()
    }

    #[inline]
    fn word<W: Word>(&self, offset: usize) -> Option<&W::Atomic> {
        let offset = aligned_inside::<W>(offset, self.len)?;
        // SAFETY: the memory was a `DmaBuffer`'s, so it is valid for ever and aligned to 8, and that buffer was given up for
        // this; `offset` is inside and aligned; an atomic has the layout of its word, for which any bytes will do; and the
        // processor gets at it by such atomics only.
        Some(unsafe { self.start.add(offset).cast::<W::Atomic>().as_ref() })
    }
}

impl AsRef<[u8]> for DmaBuffer {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` initialised bytes; the driver that holds the buffer does not use it
        // as data while a device writes to it (see the type's documentation), so nothing changes it while the
        // reference lives.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsMut<[u8]> for DmaBuffer {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_ref`, and `&mut self` makes the reference the only one.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// Orders earlier accesses to shared memory before later ones, as the processor and the devices of a
/// cache-coherent machine see them. Needed between a flag that a device sets and the data that it guards.
#[inline]
pub fn barrier() {
    fence(Ordering::SeqCst);
}
