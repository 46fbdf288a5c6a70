//! The machine's memory map: sorted regions that do not overlap.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::fmt;
use core::ops::Range;

/// Most regions that a map holds.
pub const MAX_REGIONS: usize = 512;

/// Physical memory that the loader neither uses nor clears, so that what a kernel left there survives
/// a reset: 32 MiB to 34 MiB. The kernel gets it as whatever the firmware says it is.
pub const KEPT_MEMORY: Range<u64> = 0x0200_0000..0x0220_0000;

/// The lowest memory that is used or handed out: real mode, firmware and option ROMs live below it.
pub const LOW_MEMORY_END: u64 = 0x10_0000;

/// The end of the addresses that page tables can name (Intel SDM volume 3A, section 4.1.4): firmware that lists anything beyond is wrong.
pub const ADDRESSES_END: u64 = 1 << 52;

/// E820 type of usable memory (ACPI 6.5, section 15, "AddressRangeMemory").
pub const E820_USABLE: u32 = 1;
/// E820 type of memory with ACPI tables, which an operating system may reuse.
pub const E820_ACPI: u32 = 3;
/// E820 type of memory that firmware uses across sleep.
pub const E820_NVS: u32 = 4;

/// The map has no room for another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRegions;

impl fmt::Display for TooManyRegions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the memory map has more than {MAX_REGIONS} regions")
    }
}

/// Regions in ascending order, none empty, no two overlapping, no two adjacent ones of the same kind.
#[derive(Clone)]
pub struct MemoryMap {
    regions: [MemoryRegion; MAX_REGIONS],
    len: usize,
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryMap {
    /// A map of nothing.
    pub const fn new() -> Self {
        Self { regions: [MemoryRegion::empty(); MAX_REGIONS], len: 0 }
    }

    /// The map that firmware describes, in entries of start, length and kind, in any order. Where entries overlap, the one that is
    /// not usable counts, and the later one of several. What lies beyond [`ADDRESSES_END`] is left out.
    ///
    /// # Errors
    /// If there are too many regions.
    pub fn from_firmware<I>(entries: I) -> Result<Self, TooManyRegions>
    where
        I: Iterator<Item = (u64, u64, MemoryRegionKind)> + Clone,
    {
        let mut map = Self::new();
        let usable = |kind| kind == MemoryRegionKind::Usable;
        let range = |start: u64, len: u64| start..start.saturating_add(len).min(ADDRESSES_END);
        for (start, len, kind) in entries.clone().filter(|entry| usable(entry.2)) {
            map.mark(range(start, len), kind)?;
        }
        for (start, len, kind) in entries.filter(|entry| !usable(entry.2)) {
            map.mark(range(start, len), kind)?;
        }
        Ok(map)
    }

    /// The kind of a region with an E820 type.
    pub const fn e820_kind(number: u32) -> MemoryRegionKind {
        match number {
            E820_USABLE => MemoryRegionKind::Usable,
            other => MemoryRegionKind::UnknownBios(other),
        }
    }

    /// The regions.
    pub fn regions(&self) -> &[MemoryRegion] {
        &self.regions[..self.len]
    }

    /// Makes a range of addresses a region of this kind, whatever was there. An empty range changes nothing.
    ///
    /// # Errors
    /// If there are too many regions; the map is unchanged then.
    pub fn mark(&mut self, range: Range<u64>, kind: MemoryRegionKind) -> Result<(), TooManyRegions> {
        let Range { mut start, mut end } = range;
        if start >= end {
            return Ok(());
        }
        // Regions `first..last` touch the range; those of the same kind are merged into it, others are cut.
        let first = self.regions().partition_point(|region| region.end < start);
        let last = self.regions().partition_point(|region| region.start <= end);
        let mut pieces = [MemoryRegion::empty(); 3];
        let mut count = 0;
        let mut tail = None;
        if let Some(region) = self.regions()[first..last].first() {
            if region.kind == kind {
                start = start.min(region.start);
            } else if region.start < start {
                pieces[count] = MemoryRegion { start: region.start, end: start, kind: region.kind };
                count += 1;
            }
        }
        if let Some(region) = self.regions()[first..last].last() {
            if region.kind == kind {
                end = end.max(region.end);
            } else if region.end > end {
                tail = Some(MemoryRegion { start: end, end: region.end, kind: region.kind });
            }
        }
        pieces[count] = MemoryRegion { start, end, kind };
        count += 1;
        if let Some(tail) = tail {
            pieces[count] = tail;
            count += 1;
        }
        let len = self.len - (last - first) + count;
        if len > MAX_REGIONS {
            return Err(TooManyRegions);
        }
        self.regions.copy_within(last..self.len, first + count);
        self.regions[first..first + count].copy_from_slice(&pieces[..count]);
        self.len = len;
        Ok(())
    }

    /// Makes those parts of a range that are of one kind another kind.
    ///
    /// # Errors
    /// If there are too many regions; some may be marked then.
    pub fn change(
        &mut self,
        range: Range<u64>,
        from: MemoryRegionKind,
        to: MemoryRegionKind,
    ) -> Result<(), TooManyRegions> {
        let mut at = range.start;
        while let Some(region) = self.regions().iter().find(|r| r.end > at && r.kind == from).copied() {
            if region.start >= range.end {
                break;
            }
            let piece = region.start.max(at)..region.end.min(range.end);
            at = piece.end;
            self.mark(piece, to)?;
        }
        Ok(())
    }

    /// Whether every byte of a range is of this kind.
    pub fn is_all(&self, range: Range<u64>, kind: MemoryRegionKind) -> bool {
        let whole = |region: &MemoryRegion| region.start <= range.start && range.end <= region.end;
        self.regions().iter().any(|region| region.kind == kind && whole(region))
    }

    /// Bytes of this kind.
    pub fn total(&self, kind: MemoryRegionKind) -> u64 {
        self.regions().iter().filter(|region| region.kind == kind).map(|region| region.end - region.start).sum()
    }

    /// Shrinks usable regions to whole pages, and takes low memory away from whoever gets the map.
    ///
    /// # Errors
    /// If there are too many regions.
    pub fn finish(&mut self) -> Result<(), TooManyRegions> {
        self.change(0..LOW_MEMORY_END, MemoryRegionKind::Usable, MemoryRegionKind::Bootloader)?;
        let page = crate::elf::PAGE;
        for region in &mut self.regions[..self.len] {
            if region.kind == MemoryRegionKind::Usable {
                region.start = region.start.checked_next_multiple_of(page).unwrap_or(u64::MAX);
                region.end &= !(page - 1);
            }
        }
        let mut kept = 0;
        for at in 0..self.len {
            if self.regions[at].start < self.regions[at].end {
                self.regions[kept] = self.regions[at];
                kept += 1;
            }
        }
        self.len = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
