//! Loads a kernel into an address space of its own.
//!
//! The address space has, and nothing else:
//!
//! | what | where | how |
//! |---|---|---|
//! | the kernel's segments | where they are linked, or for a relocatable kernel at `kernel_base` | as each segment says, never writable and executable |
//! | physical memory, if the kernel asks for it | `physical_memory` | writable; everything below 4 GiB and all memory above, in whole GiB |
//! | the stack, with an unmapped page below | `kernel_stack` | writable |
//! | boot information and memory regions | `boot_info` | writable |
//! | command line and the loader's log | `ramdisk_memory` | read-only |
//! | the framebuffer, if there is one | `framebuffer` | writable |
//! | the page through which the loader enters it | any address | executable |
//!
//! Names are those of `bootloader_api::config::Mappings`; what the kernel leaves open there goes to the upper half.

use crate::elf::{Access, Elf, PAGE, is_canonical};
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
    let mut places = Places::new(mappings.dynamic_range_start, mappings.dynamic_range_end);
    let mut space = AddressSpace::new(frames, job.gib_pages)?;
    let mut info = BootInfo::new(MemoryRegions::from(&mut [][..]));

    let base = take_kernel(&elf, &mut places, mappings.kernel_base)?;
    load_segments(&elf, base, frames, &mut space)?;
    info.kernel_addr = job.kernel_physical;
    info.kernel_len = job.kernel.len() as u64;
    info.kernel_image_offset = base;
    info.rsdp_addr = job.rsdp.into();
    info.tls_template = Optional::from(elf.tls().map(|tls| TlsTemplate {
        start_addr: tls.address.wrapping_add(base),
        file_size: tls.file_size,
        mem_size: tls.memory_size,
    }));

    map_machine(&job, &mappings, map, frames, &mut space, &mut places, &mut info)?;
    let stack_top = map_stack(&config, frames, &mut space, &mut places, &mut info)?;

    let mut block = |purpose, mapping, size, access, frames: &mut Frames| {
        let address = places.place(purpose, mapping, size, PAGE)?;
        Block::new(frames, &mut space, purpose, address, size, access)
    };
    let boot_info = block("boot information", mappings.boot_info, hand_over::BLOCK_SIZE, Access::ReadWrite, frames)?;
    let ramdisk = block("the command line", mappings.ramdisk_memory, hand_over::RAMDISK_SIZE, Access::Read, frames)?;
    let bridge = block("the entry page", Mapping::Dynamic, job.bridge.len() as u64, Access::ReadExecute, frames)?;
    if let Some(page) = frames.bytes_mut(bridge.physical.start..bridge.physical.start + job.bridge.len() as u64) {
        page.copy_from_slice(job.bridge);
    }
    let entry = Entry {
        page_table: space.root(),
        address: elf.entry().wrapping_add(base),
        stack_top,
        boot_info: boot_info.address,
        bridge: bridge.address,
    };
    Ok(Loaded { job, space, info, block: boot_info, ramdisk, entry })
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
        let kernel = self.job.kernel_physical..self.job.kernel_physical + self.job.kernel.len() as u64;
        let kernel = kernel.start & !(PAGE - 1)..kernel.end.next_multiple_of(PAGE);
        hand_over::mark_ours(map, frames, core::iter::once(kernel))?;
        let len = hand_over::write_ramdisk(frames, &self.ramdisk, self.job.command_line);
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

/// Takes the kernel's own addresses; returns what is to be added to those in its file.
fn take_kernel(elf: &Elf<'_>, places: &mut Places, mapping: Mapping) -> Result<u64, Error> {
    let pages = elf.pages();
    let size = pages.end - pages.start;
    if !elf.is_relocatable() {
        places.take("the kernel", pages.start, size)?;
        return Ok(0);
    }
    Ok(places.place("the kernel", mapping, size, PAGE)?.wrapping_sub(pages.start))
}

fn load_segments(elf: &Elf<'_>, base: u64, frames: &mut Frames, space: &mut AddressSpace) -> Result<(), Error> {
    for segment in elf.segments() {
        let pages = segment.pages();
        let address = pages.start.wrapping_add(base);
        let size = pages.end - pages.start;
        let physical = allocate(frames, "the kernel's segments", size)?;
        let start = physical.start + (segment.address - pages.start);
        // Inside the allocation: `parse` checked that a segment's data are not longer than its pages.
        if let Some(to) = frames.bytes_mut(start..start + segment.data.len() as u64) {
            to.copy_from_slice(segment.data);
        }
        space.map(frames, address, physical.start, size, segment.access)?;
        log::info(format_args!(
            "segment {:#x}..{:#x} {:?}, {} KiB at physical {:#x}",
            address,
            address.wrapping_add(size),
            segment.access,
            size / 1024,
            physical.start
        ));
    }
    if elf.is_relocatable() {
        let count = relocate::relocate(elf, base, frames, space)?;
        log::info(format_args!("kernel put at {base:#x}, {count} relocations"));
    }
    Ok(())
}

/// Maps physical memory, page tables and framebuffer, as the kernel wants it.
fn map_machine(
    job: &Job<'_>,
    mappings: &Mappings,
    map: &MemoryMap,
    frames: &mut Frames,
    space: &mut AddressSpace,
    places: &mut Places,
    info: &mut BootInfo,
) -> Result<(), Error> {
    if let Some(mapping) = mappings.physical_memory {
        let end = memory_gib(map).map(|range| range.end).max().unwrap_or(0);
        let align = if mapping == Mapping::Dynamic { SLOT } else { MIB2 };
        let offset = places.place("physical memory", mapping, end, align)?;
        for range in memory_gib(map) {
            space.map(frames, offset + range.start, range.start, range.end - range.start, Access::ReadWrite)?;
        }
        info.physical_memory_offset = Optional::Some(offset);
        log::info(format_args!("physical memory up to {end:#x} mapped at {offset:#x}"));
    }
    if let Some(mapping) = mappings.page_table_recursive {
        let address = places.place("recursive page tables", mapping, SLOT, SLOT)?;
        let index = (address >> 39 & 511) as u16;
        space.map_recursively(frames, index)?;
        info.recursive_index = Optional::Some(index);
    }
    if let Some((physical, shape)) = job.framebuffer {
        let offset = physical % PAGE;
        let size = offset.saturating_add(shape.byte_len as u64);
        let address = places.place("the framebuffer", mappings.framebuffer, size, PAGE)?;
        space.map(frames, address, physical - offset, size, Access::ReadWrite)?;
        // SAFETY: the front door vouches for the framebuffer, and the kernel is the only one to use it from then on.
        info.framebuffer = Optional::Some(unsafe { FrameBuffer::new(address + offset, shape) });
    }
    Ok(())
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

fn map_stack(
    config: &BootloaderConfig,
    frames: &mut Frames,
    space: &mut AddressSpace,
    places: &mut Places,
    info: &mut BootInfo,
) -> Result<u64, Error> {
    let size = config.kernel_stack_size.clamp(PAGE, MAX_STACK).next_multiple_of(PAGE);
    let guard = places.place("the kernel's stack", config.mappings.kernel_stack, PAGE + size, PAGE)?;
    let bottom = guard + PAGE;
    if !is_canonical(bottom) {
        return Err(Error::NoRoom { purpose: "the kernel's stack", fixed: Some(guard) });
    }
    let stack = Block::new(frames, space, "the kernel's stack", bottom, size, Access::ReadWrite)?;
    info.kernel_stack_bottom = stack.address;
    info.kernel_stack_len = size;
    Ok(bottom + size)
}
