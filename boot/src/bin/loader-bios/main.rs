//! The loader for BIOS: the second stage behind the master boot record.
//!
//! Kernel and command line are files on the disk's EFI system partition, the same that machines with UEFI use:
//! see `boot::image_layout`.
#![no_std]
#![no_main]

mod call;
mod disk;
mod entry;
mod graphics;
mod mbr;
mod memory;
mod tell;

use boot::disk::fat::Volume;
use boot::disk::{DiskError, Partition, gpt};
use boot::hand_over::{MAX_COMMAND_LINE, clean_command_line};
use boot::image_layout::{COMMAND_LINE, KERNEL};
use boot::last_words::{self, Memory};
use boot::machine::build_id::build_id;
use boot::machine::exceptions::{self, Frame};
use boot::machine::exit::{Reason, exit};
use boot::machine::{bridge, cpu};
use boot::memory_map::LOW_MEMORY_END;
use boot::{Error, Frames, Job, load, log, rsdp};
use call::Bios;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

freestanding::memory_functions!();

enum Never {}

/// Called by the entry code, on the loader's own stack.
extern "C" fn main(drive: u32) -> ! {
    // SAFETY: called once, in long mode, with interrupts off, on the only processor that runs.
    unsafe { exceptions::install(exception) };
    // SAFETY: called once; the master boot record is done, and nothing but BIOS's own data is below it.
    let mut bios = unsafe { Bios::new() };
    let error = match start(&mut bios, drive as u8) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    log::error(format_args!("{error}; {}", error.advice()));
    graphics::text(&mut bios);
    tell::everywhere(Some(&mut bios), 0, log::Level::Info);
    // The disk may fail, or hang: so it comes after the rest.
    let mark = log::mark();
    write_last_words(&mut bios, drive as u8);
    tell::everywhere(Some(&mut bios), mark, log::Level::Info);
    exit(Reason::Error)
}

/// Writes the log to the console of the disk that the machine was started from.
fn write_last_words(bios: &mut Bios, drive: u8) {
    let reason: Result<(), Error> = (|| {
        memory::open_a20(bios)?;
        let map = memory::map(bios)?;
        // SAFETY: as in `start`, whose own frames are gone: what they held is not needed any more.
        let mut frames = unsafe { Frames::new(&map, core::iter::empty(), core::ptr::null_mut())? };
        let refused = Error::OutOfMemory { purpose: "the log", wanted: Memory::SIZE, free: frames.free() };
        let range = frames.allocate(Memory::SIZE).ok_or(refused)?;
        let start = core::ptr::with_exposed_provenance_mut(range.start as usize);
        // SAFETY: just allocated: zeroed, of whole pages, mapped, and never given out again.
        let memory = unsafe { Memory::new(start) };
        let ticks = ticks_per_us(bios);
        last_words::write(&mut disk::Disk::open(bios, drive)?, memory, build_id(), ticks);
        Ok(())
    })();
    if let Err(error) = reason {
        log::warn(format_args!("this log is not on the disk: {error}"));
    }
}

/// How fast the time stamp counter runs; 0 if BIOS does not say.
fn ticks_per_us(bios: &mut Bios) -> u64 {
    const WAIT_US: u32 = 2000;
    let before = log::time_stamp();
    // SAFETY: waits, and writes to BIOS's own memory only.
    let answer = unsafe { bios.call(0x15, call::Registers { eax: 0x8600, edx: WAIT_US, ..Default::default() }) };
    let ticks = log::time_stamp().saturating_sub(before);
    if answer.carry() { 0 } else { ticks / u64::from(WAIT_US) }
}

fn start(bios: &mut Bios, drive: u8) -> Result<Never, Error> {
    log::info(format_args!("blockconsole loader {}, BIOS", env!("CARGO_PKG_VERSION")));
    let features = cpu::Features::read();
    cpu::check(features)?;
    memory::check_low()?;
    memory::open_a20(bios)?;
    let mut map = memory::map(bios)?;
    for region in map.regions() {
        log::info(format_args!("memory {:#014x}..{:#014x} {:?}", region.start, region.end, region.kind));
    }
    // SAFETY: memory below 4 GiB is mapped at its own address. What the map says is usable from 1 MiB on is used by nobody: this
    // program, its stack and BIOS's data lie below.
    let mut frames = unsafe { Frames::new(&map, core::iter::empty(), core::ptr::null_mut())? };
    let mut command_line = [0; MAX_COMMAND_LINE];
    let (kernel, len) = read_files(bios, drive, &mut frames, &mut command_line)?;
    let rsdp = acpi_root();
    // While there is a text screen.
    tell::everywhere(Some(bios), 0, log::Level::Warn);
    let framebuffer = graphics::framebuffer(bios);
    // SAFETY: `check` succeeded; the loader's own pages are all writable, and it uses neither global pages nor process-context
    // identifiers.
    unsafe { cpu::prepare() };
    let job = Job {
        kernel,
        kernel_physical: kernel.as_ptr().addr() as u64,
        command_line: &command_line[..len],
        rsdp,
        smbios: None,
        framebuffer,
        gib_pages: features.gib_pages,
        bridge: bridge::code(),
    };
    let loaded = load(job, &mut frames, &map)?;
    // SAFETY: the entry code's tables have four levels, and map themselves at their own address.
    let bridge_table = unsafe { bridge::build(&mut frames, &loaded)? };
    log::info(format_args!("starting the kernel, {} KiB of memory left below 4 GiB", frames.free() / 1024));
    let entry = loaded.finish(&mut frames, &mut map)?;
    // SAFETY: all that `enter` asks for was done above; the loader lies below 1 MiB.
    unsafe { bridge::enter(entry, bridge_table) }
}

/// Reads the kernel's file into memory of its own, and the command line; returns the file, and the line's length.
fn read_files(
    bios: &mut Bios,
    drive: u8,
    frames: &mut Frames,
    command_line: &mut [u8; MAX_COMMAND_LINE],
) -> Result<(&'static [u8], usize), Error> {
    let mut disk = disk::Disk::open(bios, drive)?;
    let (first, count) = gpt::find_system_partition(&mut disk)?;
    log::info(format_args!("drive {drive:#x}, EFI system partition at sector {first}, {count} sectors"));
    let mut volume = Volume::open(Partition::new(&mut disk, first, count))?;
    let file = match volume.find(KERNEL) {
        Err(DiskError::NoSuchFile) => {
            return Err(Error::NoKernel("put it at \\blockconsole\\kernel on the EFI system partition"));
        }
        found => found?,
    };
    let size = u64::from(file.size());
    let refused = Error::OutOfMemory { purpose: "the kernel's file", wanted: size, free: frames.free() };
    let range = frames.allocate(size).ok_or(refused)?;
    let start = core::ptr::with_exposed_provenance_mut(range.start as usize);
    // SAFETY: just allocated, zeroed and mapped; the kernel's file stays there, and `frames` never gives it out again.
    let buffer: &'static mut [u8] = unsafe { core::slice::from_raw_parts_mut(start, size as usize) };
    let read = volume.read(file, buffer)?;
    log::info(format_args!("kernel file {KERNEL}, {read} bytes"));
    let mut text = [0; 4 * MAX_COMMAND_LINE];
    let (read, size) = match volume.find(COMMAND_LINE).and_then(|file| Ok((volume.read(file, &mut text)?, file.size())))
    {
        Ok(found) => found,
        Err(DiskError::NoSuchFile) => {
            log::warn(format_args!("no {COMMAND_LINE}: the command line is empty"));
            (0, 0)
        }
        Err(error) => {
            log::warn(format_args!("cannot read {COMMAND_LINE}: {error}"));
            (0, 0)
        }
    };
    Ok((buffer, clean_command_line(&text[..read], size.into(), command_line)))
}

/// Physical address of the ACPI root pointer: in the first KiB of BIOS's extended data area, or in its ROM.
fn acpi_root() -> Option<u64> {
    let segment = core::ptr::with_exposed_provenance::<u16>(0x40E);
    // SAFETY: BIOS's data area, mapped and aligned.
    let extended = u64::from(unsafe { segment.read_volatile() }) * 16;
    let places = [(extended, 1024), (0xE_0000, LOW_MEMORY_END - 0xE_0000)];
    let found = places.into_iter().filter(|(start, _)| *start != 0).find_map(|(start, size)| {
        let memory = core::ptr::with_exposed_provenance(start as usize);
        // SAFETY: below 1 MiB and 64 KiB, mapped, any bytes are valid, and nobody writes there now.
        let memory = unsafe { core::slice::from_raw_parts(memory, size as usize) };
        rsdp::find(memory).map(|offset| start + offset as u64)
    });
    match found {
        Some(address) => log::info(format_args!("ACPI root pointer at {address:#x}")),
        None => log::warn(format_args!("no ACPI root pointer")),
    }
    found
}

/// Tells what failed in the loader itself, and ends.
fn fail() -> ! {
    static FAILED: AtomicBool = AtomicBool::new(false);
    // What fails while it is told is not told.
    if !FAILED.swap(true, Ordering::Relaxed) {
        tell::failure(|| {
            if graphics::is_on() {
                // SAFETY: whoever used BIOS before does not run any more.
                graphics::text(&mut unsafe { Bios::new() });
            }
        });
    }
    exit(Reason::Crash)
}

extern "C" fn exception(frame: &Frame) -> ! {
    log::error(format_args!("the loader failed: {frame}"));
    fail()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    log::error(format_args!("the loader failed: {info}"));
    fail()
}
