//! Memory: free frames, page tables, the heap, and memory for devices.
//!
//! ```text
//! boot loader's map ─► frames ─┬─► heap (grows page by page, in the kernel's own window)
//!                              ├─► DMA buffers (contiguous, seen through the map of all physical memory)
//!                              └─► page tables
//! ```
//! Nothing is given back but the heap's pieces to the heap. The record ring has a fixed place of its own, so that it is found
//! again after a reset.

pub mod dma;
pub mod frames;
pub mod heap;
pub mod paging;
pub mod ring_area;

use crate::arch::acpi;
use crate::survey;
use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use frames::Frames;
use paging::AddressSpace;
use spin::Mutex;

/// Why there is no memory to work with. The boot loader did not do what the kernel's configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The loader did not map physical memory.
    NoPhysicalMap,
    /// No free memory of the size that is needed.
    OutOfMemory,
    /// The page tables have no free place for the kernel's window.
    NoWindow,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoPhysicalMap => "the boot loader did not map physical memory",
            Self::OutOfMemory => "not enough free memory",
            Self::NoWindow => "the page tables are full",
        })
    }
}

/// Frames and page tables, under one lock. Taken at start and when the heap grows, never on the crash path.
struct Memory {
    frames: Frames,
    space: AddressSpace,
}

static MEMORY: Mutex<Option<Memory>> = Mutex::new(None);
/// Where physical memory is mapped.
static PHYSICAL_OFFSET: AtomicU64 = AtomicU64::new(0);

/// What was found and done, to be logged when there is a log.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Free memory at first, in bytes.
    pub total: u64,
    /// The machine's memory, as far as it is for programs: what is free, and what the boot loader and the kernel take.
    pub all: u64,
    /// So much of it is left unused, because it lies in too many pieces.
    pub lost: u64,
    /// Memory that came between the kernel and address 0 has been unmapped.
    pub null_was_mapped: bool,
    /// Guard pages that could not be unmapped.
    pub guards_missing: usize,
}

/// Takes stock of physical memory and takes the page tables over. To be called once, at start.
///
/// # Errors
/// When the kernel cannot work with what the boot loader handed over.
pub fn init(boot_info: &BootInfo, guards: &[u64]) -> Result<Report, Error> {
    let offset = boot_info.physical_memory_offset.into_option().ok_or(Error::NoPhysicalMap)?;
    let mut frames = Frames::new();
    for region in boot_info.memory_regions.iter().filter(|region| region.kind == MemoryRegionKind::Usable) {
        frames.add(region.start..region.end);
    }
    PHYSICAL_OFFSET.store(offset, Ordering::Relaxed);
    // SAFETY: the boot loader vouches for the offset, and nobody else changes the page tables in use.
    let mut space = unsafe { AddressSpace::take_over(offset, boot_info.recursive_index.into_option()) }?;
    let null_was_mapped = space.unmap_page(0);
    let guards_missing = guards.iter().filter(|&&guard| !space.unmap_page(guard)).count();
    let (total, lost) = (frames.total(), frames.lost());
    let ours = |kind| matches!(kind, MemoryRegionKind::Usable | MemoryRegionKind::Bootloader);
    let regions = boot_info.memory_regions.iter().filter(|region| ours(region.kind));
    let all = regions.map(|region| region.end.saturating_sub(region.start)).fold(0, u64::saturating_add);
    *MEMORY.lock() = Some(Memory { frames, space });
    Ok(Report { total, all, lost, null_was_mapped, guards_missing })
}

/// Takes the locks of memory and heap for ever: for crashes on purpose.
pub(crate) fn hold_locks() {
    core::mem::forget(MEMORY.try_lock());
    heap::hold_lock();
}

/// Free memory now and at first, in bytes.
pub fn usage() -> (u64, u64) {
    MEMORY.lock().as_ref().map_or((0, 0), |memory| (memory.frames.free(), memory.frames.total()))
}

/// Lends the free memory that begins `offset` bytes behind the start of all that is free to a test, with its physical address. Nobody
/// gets memory meanwhile, and what it held is of no interest to anybody. `None` where nothing is free, or not in one piece.
pub(crate) fn with_free<R>(offset: u64, len: u64, test: impl FnOnce(u64, &mut FreeMemory<'_>) -> R) -> Option<R> {
    let memory = MEMORY.lock();
    let address = memory.as_ref()?.frames.free_at(offset, len)?;
    let start = mapped(address)?.cast::<u64>();
    // SAFETY: free memory is nobody else's, and stays free while the lock is held; the boot loader mapped all of physical memory. Frames
    // are aligned, and any bytes are valid words.
    let words = unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), usize::try_from(len / 8).ok()?) };
    Some(test(address, &mut FreeMemory(words)))
}

/// Free memory, for a test.
pub(crate) struct FreeMemory<'m>(&'m mut [u64]);

impl survey::memory::Words for FreeMemory<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn write(&mut self, index: usize, value: u64) {
        if let Some(word) = self.0.get_mut(index) {
            // SAFETY: a reference is valid. Volatile, so that the write is made.
            unsafe { core::ptr::from_mut(word).write_volatile(value) };
        }
    }

    fn read(&self, index: usize) -> u64 {
        // SAFETY: as for `write`.
        self.0.get(index).map_or(0, |word| unsafe { core::ptr::from_ref(word).read_volatile() })
    }

    fn forget(&mut self) {
        /// Bytes of a cache line; no processor has smaller ones.
        const LINE: usize = 64;
        for word in self.0.iter().step_by(LINE / 8) {
            // SAFETY: every 64-bit processor has the instruction, which changes no memory.
            unsafe { core::arch::x86_64::_mm_clflush(core::ptr::from_ref(word).cast()) };
        }
        // SAFETY: as above.
        unsafe { core::arch::x86_64::_mm_mfence() };
    }
}

/// Where the processor sees a physical address.
fn mapped(physical: u64) -> Option<NonNull<u8>> {
    NonNull::new((PHYSICAL_OFFSET.load(Ordering::Relaxed).checked_add(physical)?) as *mut u8)
}

/// Maps device registers, uncached; `None` where there is no memory for page tables, or the place makes no sense.
pub fn map_registers(physical: u64, len: usize) -> Option<NonNull<u8>> {
    let mut memory = MEMORY.lock();
    let Memory { frames, space } = memory.as_mut()?;
    space.map_registers(physical, len as u64, frames)
}

/// Firmware's tables, seen through the map of physical memory, or else through one of their own.
///
/// Addresses come from firmware, which may say anything: what is read is looked up in the page tables first. What is not mapped, but
/// lies in memory that firmware keeps, is mapped: boot loaders leave such memory out above 4 GiB, and some machines have their tables there.
pub struct FirmwareMemory;

impl acpi::Memory for FirmwareMemory {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        let end = address.checked_add(len as u64)?;
        if address == 0 || end > 1 << 52 {
            return None;
        }
        let mut memory = MEMORY.lock();
        let Memory { frames, space } = memory.as_mut()?;
        let start = mapped(address)?;
        let start = match space.is_mapped_as(start.as_ptr().addr() as u64, address, len as u64) {
            true => start,
            false if is_kept_by_firmware(address, end) => space.map_tables(address, len as u64, frames)?,
            false => return None,
        };
        // SAFETY: just looked up, or mapped: all these bytes are mapped, and stay so. The firmware's tables lie in memory that is not free,
        // so that nothing writes there; where an address is a wrong one, any bytes are valid.
        Some(unsafe { core::slice::from_raw_parts(start.as_ptr(), len) })
    }
}

/// Whether firmware's map has all of this in regions that are not for us.
fn is_kept_by_firmware(start: u64, end: u64) -> bool {
    let regions = survey::firmware_regions().iter();
    regions
        .filter(|region| match region.kind {
            MemoryRegionKind::Usable | MemoryRegionKind::Bootloader => false,
            // UEFI 2.10, section 7.2.3: unusable memory, devices. ACPI 6.5, section 15: unusable memory.
            MemoryRegionKind::UnknownUefi(kind) => !matches!(kind, 8 | 11 | 12),
            MemoryRegionKind::UnknownBios(kind) => kind != 5,
            _ => true,
        })
        .any(|region| region.start <= start && end <= region.end)
}
