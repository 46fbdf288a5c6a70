//! Loads a kernel into an address space of its own.
//!
//! The address space has, and nothing else:
//!
//! | what | where | how |
//! |---|---|---|
//! | the kernel's segments | where they are linked, or for a relocatable kernel at `kernel_base` | as each segment says, never writable and executable |
//! | physical memory, if the kernel asks for it | `physical_memory` | writable, but for what the kernel's segments have read-only; everything below 4 GiB and all memory above, in whole GiB |
//! | the stack, with an unmapped page below | `kernel_stack` | writable |
//! | boot information and memory regions | `boot_info` | writable |
//! | command line and the loader's log | `ramdisk_memory` | writable |
//! | the framebuffer, if there is one | `framebuffer` | writable |
//! | the page through which the loader enters it | any address | executable |
//!
//! Names are those of `bootloader_api::config::Mappings`; what the kernel leaves open there goes to the upper half.

use crate::elf::{Access, Elf, MAX_SEGMENTS, PAGE};
use crate::error::Error;
use crate::frames::Frames;
use crate::hand_over::{self, Block, allocate};
use crate::log;
use crate::memory_map::{E820_ACPI, E820_NVS, MemoryMap};
use crate::paging::{AddressSpace, SLOT};
use crate::place::Places;
use crate::relocate;
use bootloader_api::config::{Mapping, Mappings};
use bootloader_api::info::{FrameBuffer, FrameBufferInfo, MemoryRegionKind, MemoryRegions, Optional, TlsTemplate};
use bootloader_api::{BootInfo, BootloaderConfig};
use core::ops::Range;

const GIB: u64 = 1 << 30;
const MIB2: u64 = 2 << 20;
/// Largest stack that a kernel may ask for.
const MAX_STACK: u64 = 64 << 20;
/// Most pieces of a kernel that are read-only.
const MAX_READ_ONLY: usize = 2 * MAX_SEGMENTS;

/// What is to be started, and on what.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The kernel's file.
    pub kernel: &'a [u8],
    /// Physical address of that file; it stays there.
    pub kernel_physical: u64,
    /// The command line, as [`hand_over::clean_command_line`] leaves it.
    pub command_line: &'a [u8],
    /// Physical address of the ACPI root pointer.
    pub rsdp: Option<u64>,
    /// Physical address of an SMBIOS entry point, where firmware says it: a BIOS's lies where the kernel finds it.
    pub smbios: Option<u64>,
    /// Physical address of the framebuffer, and its shape.
    pub framebuffer: Option<(u64, FrameBufferInfo)>,
    /// Whether the processor has pages of 1 GiB.
    pub gib_pages: bool,
    /// The code through which the kernel is entered: see [`Entry::bridge`].
    pub bridge: &'a [u8],
}

/// How the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Physical address of the kernel's top page table.
    pub page_table: u64,
    /// Virtual address of the kernel's first instruction.
    pub address: u64,
    /// The first address above the stack: a multiple of 16.
    pub stack_top: u64,
    /// Virtual address of the boot information.
    pub boot_info: u64,
    /// Virtual address, in the upper half, of a read-only executable page of the kernel's address space with the
    /// [`Job::bridge`]. A loader maps it at the same address in its own, and goes through it.
    pub bridge: u64,
}

/// A kernel in memory, all but the memory map and the log handed over.
pub struct Loaded<'a> {
    job: Job<'a>,
    space: AddressSpace,
    info: BootInfo,
    block: Block,
    ramdisk: Block,
    entry: Entry,
}

/// Loads a kernel. `map` is the machine's memory, as far as known yet: it decides what is mapped.
///
/// # Errors
/// See [`Error`]. Allocated memory is not given back then: the machine can only be reset.
pub fn load<'a>(job: Job<'a>, frames: &mut Frames, map: &MemoryMap) -> Result<Loaded<'a>, Error> {
    let elf = Elf::parse(job.kernel)?;
    let config = configuration(&elf)?;
    let mappings = config.mappings;
    let space = AddressSpace::new(frames, job.gib_pages)?;
    let places = Places::new(mappings.dynamic_range_start, mappings.dynamic_range_end);
    let info = BootInfo::new(MemoryRegions::from(&mut [][..]));
    let mut loader = Loader { mappings, frames, space, places, info, read_only: [const { 0..0 }; MAX_READ_ONLY] };

    // What is linked to an address takes it first.
    if !elf.is_relocatable() {
        loader.take_kernel(&elf)?;
    }
    let physical_memory = loader.place_physical_memory(map)?;
    if elf.is_relocatable() {
        loader.place_kernel(&elf)?;
    }
    loader.load_kernel(&elf)?;
    if let Some(offset) = physical_memory {
        loader.map_physical_memory(map, offset)?;
    }
    loader.map_tables()?;
    if let Some((physical, shape)) = job.framebuffer {
        loader.map_framebuffer(physical, shape)?;
    }
    let stack_top = loader.map_stack(config.kernel_stack_size)?;
    let boot_info = loader.block("boot information", mappings.boot_info, hand_over::BLOCK_SIZE)?;
    let ramdisk = loader.block("the command line", mappings.ramdisk_memory, hand_over::RAMDISK_SIZE)?;
    let bridge = loader.map_bridge(job.bridge)?;

    let Loader { space, mut info, .. } = loader;
    info.kernel_addr = job.kernel_physical;
    info.kernel_len = job.kernel.len() as u64;
    info.rsdp_addr = job.rsdp.into();
    let address = elf.entry().wrapping_add(info.kernel_image_offset);
    let entry = Entry { page_table: space.root(), address, stack_top, boot_info: boot_info.address, bridge };
    Ok(Loaded { job, space, info, block: boot_info, ramdisk, entry })
}

/// How many bytes [`load`] allocates at most, for a front door that must set them aside first.
///
/// # Errors
/// What is wrong with the kernel's file.
pub fn memory_needed(job: &Job<'_>, map: &MemoryMap) -> Result<u64, Error> {
    let elf = Elf::parse(job.kernel)?;
    let stack = configuration(&elf)?.kernel_stack_size.clamp(PAGE, MAX_STACK);
    let segments: u64 = elf.segments().map(|segment| segment.pages().end - segment.pages().start).sum();
    let framebuffer = job.framebuffer.map_or(0, |(_, shape)| shape.byte_len as u64);
    let mapped = memory_gib(map).map(|range| range.end - range.start).sum::<u64>();
    // A table for every 2 MiB in small pages and every GiB in large ones, one more above each, and for each of the things
    // that are mapped one of every level, twice where a border runs through them.
    let things = 16 + elf.segments().count() as u64;
    let tables = (segments + stack + framebuffer) / MIB2 + mapped / GIB + mapped / SLOT + things * 8;
    let blocks = hand_over::BLOCK_SIZE + hand_over::RAMDISK_SIZE + job.bridge.len() as u64 + 8 * PAGE;
    Ok((segments + stack + blocks + tables * PAGE).next_multiple_of(PAGE))
}

impl Loaded<'_> {
    /// How the kernel will be entered.
    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// The kernel's address space.
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// Hands over the machine's final memory map, and the log as it is now. Allocates nothing.
    ///
    /// # Errors
    /// If the map is too long.
    pub fn finish(mut self, frames: &mut Frames, map: &mut MemoryMap) -> Result<Entry, Error> {
        let file = self.job.kernel_physical..self.job.kernel_physical + self.job.kernel.len() as u64;
        let pages = file.start & !(PAGE - 1)..file.end.next_multiple_of(PAGE);
        hand_over::mark_ours(map, frames, core::iter::once(pages))?;
        let len = hand_over::write_ramdisk(frames, &self.ramdisk, self.job.command_line, self.job.smbios);
        self.info.ramdisk_addr = Optional::Some(self.ramdisk.address);
        self.info.ramdisk_len = len;
        hand_over::write_boot_info(frames, &self.block, self.info, map);
        Ok(self.entry)
    }
}

/// What the kernel asks for; the defaults if it has no such section.
fn configuration(elf: &Elf<'_>) -> Result<BootloaderConfig, Error> {
    let Some(section) = elf.section(".bootloader-config")? else {
        log::warn(format_args!("the kernel has no section .bootloader-config: defaults taken"));
        return Ok(BootloaderConfig::new_default());
    };
    BootloaderConfig::deserialize(section).map_err(Error::Configuration)
}

/// An address space under construction.
struct Loader<'f> {
    mappings: Mappings,
    frames: &'f mut Frames,
    space: AddressSpace,
    places: Places,
    info: BootInfo,
    /// Physical memory with what the kernel must not change; unused places have empty ranges.
    read_only: [Range<u64>; MAX_READ_ONLY],
}

impl Loader<'_> {
    /// Takes the addresses of a kernel that is linked to them.
    fn take_kernel(&mut self, elf: &Elf<'_>) -> Result<(), Error> {
        let pages = elf.pages();
        self.places.take("the kernel", pages.start, pages.end - pages.start)?;
        Ok(())
    }

    /// Finds a place for a relocatable kernel.
    fn place_kernel(&mut self, elf: &Elf<'_>) -> Result<(), Error> {
        let pages = elf.pages();
        let size = pages.end - pages.start;
        let start = self.places.place("the kernel", self.mappings.kernel_base, size, PAGE)?;
        self.info.kernel_image_offset = start.wrapping_sub(pages.start);
        Ok(())
    }

    fn load_kernel(&mut self, elf: &Elf<'_>) -> Result<(), Error> {
        let base = self.info.kernel_image_offset;
        for segment in elf.segments() {
            let pages = segment.pages();
            let physical = allocate(self.frames, "the kernel's segments", pages.end - pages.start)?;
            let start = physical.start + (segment.address - pages.start);
            // Inside the allocation: `parse` checked that a segment's data are not longer than its pages.
            if let Some(to) = self.frames.bytes_mut(start..start + segment.data.len() as u64) {
                to.copy_from_slice(segment.data);
            }
            for (piece, access) in elf.pieces(&segment) {
                let (address, size) = (piece.start.wrapping_add(base), piece.end - piece.start);
                let physical = physical.start + (piece.start - pages.start);
                self.space.map(self.frames, address, physical, size, access)?;
                // There are not more: a segment has three pieces at most, of which two are writable, or one alone.
                if let Some(free) =
                    self.read_only.iter_mut().find(|range| range.is_empty() && access != Access::ReadWrite)
                {
                    *free = physical..physical + size;
                }
                log::info(format_args!(
                    "kernel {address:#x}..{:#x} {access:?} at physical {physical:#x}",
                    address.wrapping_add(size)
                ));
            }
        }
        if elf.is_relocatable() {
            let count = relocate::relocate(elf, base, self.frames, &self.space)?;
            log::info(format_args!("kernel put at {base:#x}, {count} relocations"));
        }
        self.info.tls_template = Optional::from(elf.tls().map(|tls| TlsTemplate {
            start_addr: tls.address.wrapping_add(base),
            file_size: tls.file_size,
            mem_size: tls.memory_size,
        }));
        Ok(())
    }

    fn place_physical_memory(&mut self, map: &MemoryMap) -> Result<Option<u64>, Error> {
        let Some(mapping) = self.mappings.physical_memory else { return Ok(None) };
        let end = memory_gib(map).map(|range| range.end).max().unwrap_or(0);
        let align = if mapping == Mapping::Dynamic { SLOT } else { MIB2 };
        self.places.place("physical memory", mapping, end, align).map(Some)
    }

    fn map_physical_memory(&mut self, map: &MemoryMap, offset: u64) -> Result<(), Error> {
        self.read_only.sort_unstable_by_key(|range| range.start);
        for range in memory_gib(map) {
            let mut at = range.start;
            // The allocator's memory lies below 4 GiB, in the first range.
            for fixed in self.read_only.iter().filter(|fixed| !fixed.is_empty() && range.contains(&fixed.start)) {
                for (piece, access) in [(at..fixed.start, Access::ReadWrite), (fixed.clone(), Access::Read)] {
                    if !piece.is_empty() {
                        let (start, size) = (piece.start, piece.end - piece.start);
                        self.space.map(self.frames, offset + start, start, size, access)?;
                    }
                }
                at = fixed.end;
            }
            if at < range.end {
                self.space.map(self.frames, offset + at, at, range.end - at, Access::ReadWrite)?;
            }
        }
        self.info.physical_memory_offset = Optional::Some(offset);
        log::info(format_args!("physical memory mapped at {offset:#x}"));
        Ok(())
    }

    /// Maps the page tables into themselves, if the kernel wants it.
    fn map_tables(&mut self) -> Result<(), Error> {
        let Some(mapping) = self.mappings.page_table_recursive else { return Ok(()) };
        let address = self.places.place("recursive page tables", mapping, SLOT, SLOT)?;
        let index = (address >> 39 & 511) as u16;
        self.space.map_recursively(self.frames, index)?;
        self.info.recursive_index = Optional::Some(index);
        Ok(())
    }

    fn map_framebuffer(&mut self, physical: u64, shape: FrameBufferInfo) -> Result<(), Error> {
        let offset = physical % PAGE;
        let size = offset.saturating_add(shape.byte_len as u64);
        let address = self.places.place("the framebuffer", self.mappings.framebuffer, size, PAGE)?;
        self.space.map(self.frames, address, physical - offset, size, Access::ReadWrite)?;
        // SAFETY: the front door vouches for the framebuffer, and the kernel is the only one to use it from then on.
        self.info.framebuffer = Optional::Some(unsafe { FrameBuffer::new(address + offset, shape) });
        Ok(())
    }

    /// Makes the stack, with an unmapped page below it; returns its top.
    fn map_stack(&mut self, size: u64) -> Result<u64, Error> {
        let size = size.clamp(PAGE, MAX_STACK).next_multiple_of(PAGE);
        let guard = self.places.place("the kernel's stack", self.mappings.kernel_stack, PAGE + size, PAGE)?;
        let bottom = guard + PAGE;
        let physical = allocate(self.frames, "the kernel's stack", size)?;
        self.space.map(self.frames, bottom, physical.start, size, Access::ReadWrite)?;
        self.info.kernel_stack_bottom = bottom;
        self.info.kernel_stack_len = size;
        Ok(bottom + size)
    }

    fn block(&mut self, purpose: &'static str, mapping: Mapping, size: u64) -> Result<Block, Error> {
        let address = self.places.place(purpose, mapping, size, PAGE)?;
        let physical = allocate(self.frames, purpose, size)?;
        self.space.map(self.frames, address, physical.start, size, Access::ReadWrite)?;
        Ok(Block { physical, address })
    }

    fn map_bridge(&mut self, code: &[u8]) -> Result<u64, Error> {
        let purpose = "the entry page";
        let size = code.len() as u64;
        let address = self.places.place_in_upper_half(purpose, size)?;
        let physical = allocate(self.frames, purpose, size)?;
        if let Some(page) = self.frames.bytes_mut(physical.start..physical.start + size) {
            page.copy_from_slice(code);
        }
        self.space.map(self.frames, address, physical.start, size, Access::ReadExecute)?;
        Ok(address)
    }
}

/// The GiB-sized pieces of the physical address space that are mapped: the first four, for the sake of devices' registers, and
/// all that have memory in them.
fn memory_gib(map: &MemoryMap) -> impl Iterator<Item = Range<u64>> + '_ {
    let memory = map.regions().iter().filter(|region| match region.kind {
        MemoryRegionKind::Usable | MemoryRegionKind::Bootloader => true,
        MemoryRegionKind::UnknownBios(kind) => kind == E820_ACPI || kind == E820_NVS,
        // UEFI 2.10, section 7.2.3: all but reserved (0), unusable (8), and devices (11, 12).
        MemoryRegionKind::UnknownUefi(kind) => !matches!(kind, 0 | 8 | 11 | 12),
        _ => false,
    });
    let pieces = memory.map(|region| region.start & !(GIB - 1)..region.end.saturating_add(GIB - 1) & !(GIB - 1));
    let mut done = 0;
    core::iter::once(0..4 * GIB).chain(pieces).filter_map(move |range| {
        let piece = range.start.max(done)..range.end;
        done = done.max(range.end);
        (piece.start < piece.end).then_some(piece)
    })
}

#[cfg(test)]
mod tests;
