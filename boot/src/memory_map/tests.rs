//! Tests of the map, against one that is kept byte by byte.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const KINDS: [MemoryRegionKind; 3] =
    [MemoryRegionKind::Usable, MemoryRegionKind::Bootloader, MemoryRegionKind::UnknownBios(2)];

fn check_order(map: &MemoryMap) {
    for region in map.regions() {
        assert!(region.start < region.end);
    }
    for pair in map.regions().windows(2) {
        assert!(pair[0].end <= pair[1].start);
        assert!(pair[0].end < pair[1].start || pair[0].kind != pair[1].kind, "adjacent regions of one kind");
    }
}

proptest! {
    #[test]
    fn marking_is_painting(marks in proptest::collection::vec((0_u64..100, 0_u64..40, 0_usize..3), 0..40)) {
        let mut map = MemoryMap::new();
        let mut painted = [None; 140];
        for (start, len, kind) in marks {
            map.mark(start..start + len, KINDS[kind]).unwrap();
            painted[start as usize..(start + len) as usize].fill(Some(KINDS[kind]));
        }
        check_order(&map);
        let mut seen = [None; 140];
        for region in map.regions() {
            seen[region.start as usize..region.end as usize].fill(Some(region.kind));
        }
        prop_assert_eq!(seen, painted);
    }

    #[test]
    fn firmware_maps_of_any_kind_are_taken(
        entries in proptest::collection::vec((any::<u64>(), any::<u64>(), 0_usize..3), 0..60)
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(start, len, kind)| (start, len, KINDS[kind])).collect();
        let mut map = MemoryMap::from_firmware(entries.iter().copied()).unwrap();
        check_order(&map);
        for (start, len, kind) in entries {
            if kind != MemoryRegionKind::Usable && len != 0 && start < ADDRESSES_END {
                let inside = |r: &&MemoryRegion| r.start <= start && start < r.end;
                let found = map.regions().iter().find(inside).unwrap();
                prop_assert!(found.kind != MemoryRegionKind::Usable);
            }
        }
        map.finish().unwrap();
        for region in map.regions().iter().filter(|r| r.kind == MemoryRegionKind::Usable) {
            prop_assert!(region.start >= LOW_MEMORY_END);
            prop_assert!(region.start < region.end && (region.start | region.end).is_multiple_of(4096));
        }
    }
}

#[test]
fn reserved_wins_over_usable_in_any_order() {
    let usable = (0x10_0000, 0x10_0000, MemoryRegionKind::Usable);
    let reserved = (0x18_0000, 0x1000, MemoryRegionKind::UnknownBios(2));
    for entries in [[usable, reserved], [reserved, usable]] {
        let map = MemoryMap::from_firmware(entries.into_iter()).unwrap();
        let kinds: Vec<_> = map.regions().iter().map(|region| region.kind).collect();
        assert_eq!(kinds, [MemoryRegionKind::Usable, MemoryRegionKind::UnknownBios(2), MemoryRegionKind::Usable]);
    }
}

#[test]
fn what_no_page_table_can_name_is_left_out() {
    let usable = |start, len| (start, len, MemoryRegionKind::Usable);
    let entries =
        [usable(0xFFFF_FFFF_FFFF_F001, 0x800), usable(ADDRESSES_END - 0x1000, u64::MAX), usable(0x10_0000, 0x1000)];
    let mut map = MemoryMap::from_firmware(entries.into_iter()).unwrap();
    map.finish().unwrap();
    let regions: Vec<_> = map.regions().iter().map(|region| region.start..region.end).collect();
    assert_eq!(regions, [0x10_0000..0x10_1000, ADDRESSES_END - 0x1000..ADDRESSES_END]);
    // The same from a map that was made otherwise.
    map.mark(0xFFFF_FFFF_FFFF_F001..u64::MAX, MemoryRegionKind::Usable).unwrap();
    // SAFETY: nothing is allocated.
    let frames = unsafe { crate::Frames::new(&map, core::iter::empty(), core::ptr::null_mut()) }.unwrap();
    assert_eq!(frames.free(), 0x1000);
}

#[test]
fn one_region_too_many_is_refused_and_changes_nothing() {
    let mut map = MemoryMap::new();
    for number in 0..MAX_REGIONS as u64 {
        map.mark(number * 0x2000..number * 0x2000 + 0x1000, MemoryRegionKind::Usable).unwrap();
    }
    let before = map.regions().to_vec();
    assert_eq!(map.mark(u64::MAX - 1..u64::MAX, MemoryRegionKind::Usable), Err(TooManyRegions));
    assert_eq!(map.mark(0x400..0x800, MemoryRegionKind::Bootloader), Err(TooManyRegions));
    assert_eq!(map.regions(), before);
    // What joins two regions makes room.
    map.mark(0x1000..0x2000, MemoryRegionKind::Usable).unwrap();
    assert_eq!(map.regions().len(), MAX_REGIONS - 1);
}
