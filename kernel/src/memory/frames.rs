//! Physical memory: what is free of it, handed out for good.
//!
//! Everything here is set aside at start and kept, so there is nothing to give back: each free region is used up from
//! its start.

use core::ops::Range;

/// Size of a frame.
pub const FRAME: u64 = 4096;

/// Memory below this is left to the firmware and to what starts other processors.
const LOWEST: u64 = 1 << 20;

/// Most regions that are kept: the largest ones.
const MAX_REGIONS: usize = 64;

/// Free physical memory.
pub struct Frames {
    /// Unused slots are empty ranges.
    regions: [Range<u64>; MAX_REGIONS],
    total: u64,
    lost: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Frames {
    /// No memory at all.
    pub const fn new() -> Self {
        Self { regions: [const { 0..0 }; MAX_REGIONS], total: 0, lost: 0 }
    }

    /// Adds a free region, reduced to whole frames above 1 MiB. Regions must not overlap. Where there are too many, the smallest one
    /// is left unused. Returns `false` when it was not added: nothing is left of it, or it is the smallest one of too many.
    pub fn add(&mut self, region: Range<u64>) -> bool {
        let Some(start) = region.start.max(LOWEST).checked_next_multiple_of(FRAME) else { return false };
        let end = region.end & !(FRAME - 1);
        if start >= end {
            return false;
        }
        self.total = self.total.saturating_add(end - start);
        self.insert(start..end)
    }

    /// Puts a region where there is room, or where the smallest one is, if it is smaller; what is left unused is counted as lost.
    fn insert(&mut self, region: Range<u64>) -> bool {
        let size = |region: &Range<u64>| region.end.saturating_sub(region.start);
        let lost = match self.regions.iter_mut().min_by_key(|slot| size(slot)) {
            Some(smallest) if size(smallest) < size(&region) => size(&core::mem::replace(smallest, region.clone())),
            _ => size(&region),
        };
        self.lost = self.lost.saturating_add(lost);
        lost != size(&region)
    }

    /// Takes exactly this range, which must be free as a whole and made of whole frames.
    pub fn take_exactly(&mut self, wanted: Range<u64>) -> bool {
        if wanted.is_empty() || !wanted.start.is_multiple_of(FRAME) || !wanted.end.is_multiple_of(FRAME) {
            return false;
        }
        let found = self.regions.iter_mut().find(|region| region.start <= wanted.start && wanted.end <= region.end);
        let Some(region) = found else { return false };
        let (before, after) = (region.start..wanted.start, wanted.end..region.end);
        // With no slot left, something is lost, but nothing handed out twice.
        let before_is_larger = before.end - before.start > after.end - after.start;
        let (larger, smaller) = if before_is_larger { (before, after) } else { (after, before) };
        *region = larger;
        if !smaller.is_empty() {
            self.insert(smaller);
        }
        true
    }

    /// Takes `len` bytes (rounded up to whole frames) of contiguous memory, aligned to `align`, a power of two. Returns the address.
    ///
    /// What lies before the alignment in the region is kept as a region of its own, if there is room to keep it.
    pub fn take(&mut self, len: u64, align: u64) -> Option<u64> {
        let len = len.checked_next_multiple_of(FRAME).filter(|&len| len > 0)?;
        let align = align.max(FRAME);
        let place = |region: &Range<u64>| {
            let start = region.start.checked_next_multiple_of(align)?;
            let end = start.checked_add(len)?;
            (end <= region.end).then_some(start..end)
        };
        // The smallest region that fits: large ones stay whole for large requests.
        let fits = self.regions.iter().filter_map(|region| Some((region.end - region.start, place(region)?)));
        let (_, range) = fits.min_by_key(|(size, _)| *size)?;
        let start = range.start;
        self.take_exactly(range).then_some(start)
    }

    /// The address of what is free `offset` bytes behind the start of all that is; `None` where that is not `len` bytes in one piece.
    pub fn free_at(&self, offset: u64, len: u64) -> Option<u64> {
        let mut offset = offset;
        for region in self.regions.iter().filter(|region| !region.is_empty()) {
            let size = region.end - region.start;
            if offset < size {
                return (len <= size - offset).then_some(region.start + offset);
            }
            offset -= size;
        }
        None
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        self.regions.iter().map(|region| region.end.saturating_sub(region.start)).sum()
    }

    /// Bytes that were free at first.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that are left unused because they lie in too many pieces.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;

    fn frames(regions: &[(u64, u64)]) -> Frames {
        let mut frames = Frames::new();
        for &(start, end) in regions {
            frames.add(start..end);
        }
        frames
    }

    #[test]
    fn low_memory_and_broken_frames_are_left_out() {
        let mut frames = Frames::new();
        assert!(!frames.add(0..0xA_0000));
        assert!(!frames.add(2 * MIB + 1..2 * MIB + 4097));
        assert!(frames.add(0x8000..2 * MIB + 5));
        assert!(!frames.add(u64::MAX - 4000..u64::MAX), "no frame starts there");
        assert_eq!(frames.free(), MIB);
    }

    #[test]
    fn of_too_many_regions_the_largest_are_kept() {
        let mut frames = Frames::new();
        for number in 1..=200 {
            frames.add(number * MIB..number * MIB + number * FRAME);
        }
        let kept: u64 = (200 - MAX_REGIONS as u64 + 1..=200).sum();
        let all: u64 = (1..=200).sum();
        assert_eq!(frames.free(), kept * FRAME);
        assert_eq!((frames.total(), frames.lost()), (all * FRAME, (all - kept) * FRAME));
        assert!(!frames.add(300 * MIB..300 * MIB + FRAME), "smaller than all that are kept");
        assert_eq!(frames.free(), kept * FRAME);
        assert!(frames.take(200 * FRAME, FRAME).is_some() && frames.take(200 * FRAME, FRAME).is_none());
    }

    #[test]
    fn nothing_is_handed_out_twice() {
        let mut frames = frames(&[(MIB, 3 * MIB), (16 * MIB, 20 * MIB), (5 * MIB, 5 * MIB + 8192)]);
        let free = frames.free();
        let mut taken: Vec<Range<u64>> = Vec::new();
        let mut random = 12345u64;
        assert!(frames.take_exactly(17 * MIB..18 * MIB));
        taken.push(17 * MIB..18 * MIB);
        for _ in 0..2000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let len = (random >> 33) % 40_000 + 1;
            let align = 1 << ((random >> 50) % 16);
            let Some(start) = frames.take(len, align) else { continue };
            assert!(start.is_multiple_of(align));
            taken.push(start..start + len.next_multiple_of(FRAME));
        }
        taken.sort_by_key(|range| range.start);
        assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start));
        let sum: u64 = taken.iter().map(|range| range.end - range.start).sum();
        assert!(sum + frames.free() <= free);
        assert!(taken.len() > 100);
    }

    #[test]
    fn an_exact_range_is_taken_once() {
        let mut frames = frames(&[(MIB, 32 * MIB)]);
        assert!(frames.take_exactly(16 * MIB..17 * MIB));
        assert!(!frames.take_exactly(16 * MIB..17 * MIB));
        assert!(!frames.take_exactly(31 * MIB..33 * MIB), "beyond the region");
        assert!(!frames.take_exactly(2 * MIB + 1..3 * MIB), "not whole frames");
        assert_eq!(frames.free(), 30 * MIB);
    }

    #[test]
    fn what_is_free_is_counted_through() {
        let frames = frames(&[(MIB, 2 * MIB), (16 * MIB, 17 * MIB)]);
        assert_eq!(frames.free_at(0, FRAME), Some(MIB));
        assert_eq!(frames.free_at(MIB - FRAME, FRAME), Some(2 * MIB - FRAME));
        assert_eq!(frames.free_at(MIB - FRAME, 2 * FRAME), None, "not in one piece");
        assert_eq!(frames.free_at(MIB + FRAME, FRAME), Some(16 * MIB + FRAME));
        assert_eq!(frames.free_at(2 * MIB, FRAME), None);
    }

    #[test]
    fn too_much_is_refused() {
        let mut frames = frames(&[(MIB, 2 * MIB)]);
        assert_eq!(frames.take(MIB + 1, 1), None);
        assert_eq!(frames.take(u64::MAX, 1), None);
        assert_eq!(frames.take(0, 1), None);
        assert_eq!(frames.take(FRAME, 1 << 63), None);
        assert_eq!(frames.take(MIB, 1), Some(MIB));
        assert_eq!(frames.take(1, 1), None);
    }
}
