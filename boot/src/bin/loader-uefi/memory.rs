//! Firmware's memory map, and memory taken from it.

use boot::elf::PAGE;
use boot::memory_map::{KEPT_MEMORY, LOW_MEMORY_END, MemoryMap};
use boot::{Error, Frames, log};
use bootloader_api::info::MemoryRegionKind;
use uefi::boot::{self as firmware, AllocateType, MemoryType};
use uefi::mem::memory_map::{MemoryMap as _, MemoryMapOwned};

/// Where the loader allocates: below 4 GiB.
const TOP: u64 = 1 << 32;

/// The machine's memory, as the kernel would find it.
pub(crate) fn map() -> Result<MemoryMap, Error> {
    let unreadable = |error: uefi::Error| Error::Unreadable { what: "the memory map", status: error.status().0 as u64 };
    convert(&firmware::memory_map(MemoryType::LOADER_DATA).map_err(unreadable)?)
}

/// Translates firmware's map. What belongs to firmware's boot services, and to the loader, is usable: it is free when the kernel
/// runs, but for what the loader marks.
pub(crate) fn convert(map: &MemoryMapOwned) -> Result<MemoryMap, Error> {
    let entries = map.entries().map(|entry| {
        let kind = match entry.ty {
            MemoryType::CONVENTIONAL
            | MemoryType::BOOT_SERVICES_CODE
            | MemoryType::BOOT_SERVICES_DATA
            | MemoryType::LOADER_CODE
            | MemoryType::LOADER_DATA => MemoryRegionKind::Usable,
            other => MemoryRegionKind::UnknownUefi(other.0),
        };
        (entry.phys_start, entry.page_count.saturating_mul(PAGE), kind)
    });
    Ok(MemoryMap::from_firmware(entries)?)
}

/// Puts the map on record.
pub(crate) fn log(map: &MemoryMap) {
    for region in map.regions() {
        log::info(format_args!("memory {:#014x}..{:#014x} {:?}", region.start, region.end, region.kind));
    }
}

/// Takes whole pages for `size` bytes from firmware, zeroed: the highest free ones below 4 GiB, outside the memory that is kept
/// across resets.
pub(crate) fn allocate(purpose: &'static str, size: u64) -> Result<*mut u8, Error> {
    let unreadable = |error: uefi::Error| Error::Unreadable { what: "the memory map", status: error.status().0 as u64 };
    let map = firmware::memory_map(MemoryType::LOADER_DATA).map_err(unreadable)?;
    let size = size.max(1).next_multiple_of(PAGE);
    let conventional = |entry: &&firmware::MemoryDescriptor| entry.ty == MemoryType::CONVENTIONAL;
    let pieces = map.entries().filter(conventional).flat_map(|entry| {
        let start = entry.phys_start.max(LOW_MEMORY_END);
        let end = entry.phys_start.saturating_add(entry.page_count.saturating_mul(PAGE)).min(TOP);
        [(start, end.min(KEPT_MEMORY.start)), (start.max(KEPT_MEMORY.end), end)]
    });
    let free = pieces.clone().map(|(start, end)| end.saturating_sub(start)).sum();
    let best = pieces.filter(|(start, end)| end.saturating_sub(*start) >= size).map(|(_, end)| end - size).max();
    let refused = Error::OutOfMemory { purpose, wanted: size, free };
    let address = AllocateType::Address(best.ok_or(refused)?);
    let start = firmware::allocate_pages(address, MemoryType::LOADER_DATA, (size / PAGE) as usize);
    let start = start.map_err(|_| refused)?.as_ptr();
    // SAFETY: firmware just gave us these pages, and maps them at their own address.
    unsafe { start.write_bytes(0, size as usize) };
    Ok(start)
}

/// Sets memory aside for everything that the kernel is given.
pub(crate) fn set_aside(size: u64) -> Result<Frames, Error> {
    let start = allocate("the kernel", size)?.expose_provenance() as u64;
    let mut ours = MemoryMap::new();
    ours.mark(start..start + size.next_multiple_of(PAGE), MemoryRegionKind::Usable)?;
    // SAFETY: all that this map has is memory that was just taken for nobody else, mapped at its own address.
    Ok(unsafe { Frames::new(&ours, core::iter::empty(), core::ptr::null_mut())? })
}
