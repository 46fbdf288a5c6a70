//! Page frames: who owns which physical memory while the loader runs.

use crate::elf::PAGE;
use crate::memory_map::{KEPT_MEMORY, LOW_MEMORY_END, MemoryMap, TooManyRegions};
use bootloader_api::info::MemoryRegionKind;
use core::ops::Range;

/// The loader allocates below this address only: 4 GiB, which every front door can reach.
const TOP: u64 = 1 << 32;

/// Physical memory that is free, and what was allocated of it.
///
/// Memory comes from the map's usable regions between 1 MiB and 4 GiB, without [`KEPT_MEMORY`] and without what the
/// front door reserved, lowest addresses first. It is never given back.
pub struct Frames {
    /// Usable: free. Bootloader: allocated from here. Anything else: not ours.
    ledger: MemoryMap,
    window: *mut u8,
}

impl Frames {
    /// Takes charge of a machine's free memory.
    ///
    /// # Errors
    /// If the map is too fragmented.
    ///
    /// # Safety
    /// Where the map says usable, from 1 MiB to 4 GiB, but for `reserved` and [`KEPT_MEMORY`], physical address `p` must be
    /// readable and writable at `window + p`, and nobody else may use it as long as this exists.
    pub unsafe fn new(
        map: &MemoryMap,
        reserved: impl Iterator<Item = Range<u64>>,
        window: *mut u8,
    ) -> Result<Self, TooManyRegions> {
        let not_ours = MemoryRegionKind::UnknownBios(0);
        let mut ledger = MemoryMap::new();
        for region in map.regions().iter().filter(|region| region.kind == MemoryRegionKind::Usable) {
            let Some(start) = region.start.max(LOW_MEMORY_END).checked_next_multiple_of(PAGE) else { continue };
            ledger.mark(start..region.end.min(TOP) & !(PAGE - 1), region.kind)?;
        }
        for range in reserved.chain([KEPT_MEMORY]) {
            let end = range.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
            ledger.mark(range.start & !(PAGE - 1)..end, not_ours)?;
        }
        Ok(Self { ledger, window })
    }

    /// Allocates whole pages for `size` bytes, physically contiguous and zeroed; returns their addresses, or `None` when
    /// there is no such piece left.
    pub fn allocate(&mut self, size: u64) -> Option<Range<u64>> {
        let size = size.max(1).checked_next_multiple_of(PAGE)?;
        let fits = |start: u64, end: u64| end - start >= size;
        let usable = self.ledger.regions().iter().filter(|region| region.kind == MemoryRegionKind::Usable);
        let start = usable.clone().find(|region| fits(region.start, region.end))?.start;
        let range = start..start + size;
        self.ledger.mark(range.clone(), MemoryRegionKind::Bootloader).ok()?;
        self.bytes_mut(range.clone())?.fill(0);
        Some(range)
    }

    /// Bytes that are still free.
    pub fn free(&self) -> u64 {
        self.ledger.total(MemoryRegionKind::Usable)
    }

    /// What was allocated.
    pub fn allocated(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let ours = |region: &&bootloader_api::info::MemoryRegion| region.kind == MemoryRegionKind::Bootloader;
        self.ledger.regions().iter().filter(ours).map(|region| region.start..region.end)
    }

    /// Allocated memory; `None` if any of it is not.
    pub fn bytes_mut(&mut self, range: Range<u64>) -> Option<&mut [u8]> {
        let (start, len) = self.locate(range)?;
        // SAFETY: the range was allocated from memory that `new`'s caller gave us; zeroed memory is initialised, and
        // `&mut self` makes this the only reference into it.
        Some(unsafe { core::slice::from_raw_parts_mut(start, len) })
    }

    /// Allocated memory; `None` if any of it is not.
    pub fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        let (start, len) = self.locate(range)?;
        // SAFETY: as in `bytes_mut`; shared references live no longer than `&self`.
        Some(unsafe { core::slice::from_raw_parts(start, len) })
    }

    fn locate(&self, range: Range<u64>) -> Option<(*mut u8, usize)> {
        if range.start > range.end || !self.ledger.is_all(range.clone(), MemoryRegionKind::Bootloader) {
            return None;
        }
        let len = usize::try_from(range.end - range.start).ok()?;
        Some((self.window.wrapping_add(usize::try_from(range.start).ok()?), len))
    }
}
