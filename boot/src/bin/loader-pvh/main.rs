//! The loader for PVH: QEMU's `-kernel`, and other virtual machine monitors.
//!
//! Module 1 is the kernel; where the command line comes from, `StartInfo::command_line` says.
#![no_std]
#![no_main]

mod entry;

use boot::hand_over::MAX_COMMAND_LINE;
use boot::log;
use boot::machine::exceptions::{self, Frame};
use boot::machine::exit::{Reason, exit};
use boot::machine::serial::Serial;
use boot::machine::{bridge, cpu};
use boot::memory_map::{KEPT_MEMORY, MemoryMap};
use boot::pvh::{Memory, StartInfo};
use boot::{Error, Frames, Job, load};
use core::fmt::Write;
use core::ops::Range;
use core::panic::PanicInfo;

freestanding::memory_functions!();

unsafe extern "C" {
    static __image_start: [u8; 0];
    static __image_end: [u8; 0];
}

/// Physical memory below 4 GiB, which the entry code has mapped. Address 0 stands for nothing.
struct Reachable;

impl Memory for Reachable {
    fn read(&self, range: Range<u64>) -> Option<&[u8]> {
        if range.start == 0 || range.start > range.end || range.end > 1 << 32 {
            return None;
        }
        let start = core::ptr::with_exposed_provenance(range.start as usize);
        // SAFETY: mapped, readable, and any bytes are valid. Nothing writes there as long as these bytes are in use: what is read
        // before frames are allocated is copied, and the kernel's file is kept out of them.
        Some(unsafe { core::slice::from_raw_parts(start, (range.end - range.start) as usize) })
    }
}

/// Called by the entry code, on the loader's own stack.
extern "C" fn main(start_info: u32) -> ! {
    // SAFETY: called once, in long mode, with interrupts off, on the only processor that runs.
    unsafe { exceptions::install(exception) };
    let error = match start(start_info.into()) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    log::error(format_args!("{error}; {}", error.advice()));
    tell(log::Level::Info);
    exit(Reason::Error)
}

enum Never {}

fn start(start_info: u64) -> Result<Never, Error> {
    log::info(format_args!("blockconsole loader {}, PVH", env!("CARGO_PKG_VERSION")));
    let features = cpu::Features::read();
    cpu::check(features)?;
    // SAFETY: just checked; the loader's own pages are all writable, and it uses neither global pages nor process-context
    // identifiers.
    unsafe { cpu::prepare() };
    let info = StartInfo::read(&Reachable, start_info)?;
    let mut map = MemoryMap::from_firmware(info.memory_map())?;
    log_machine(&info, &map);

    let no_kernel = Error::NoKernel("give it as the first module (QEMU: -initrd)");
    let kernel_range = info.modules().first().cloned().filter(|module| !module.is_empty()).ok_or(no_kernel)?;
    let kernel = Reachable.read(kernel_range.clone()).ok_or(no_kernel)?;
    if kernel_range.start < KEPT_MEMORY.end && KEPT_MEMORY.start < kernel_range.end {
        log::warn(format_args!("the kernel's file lies in the memory that is kept across resets"));
    }
    let mut command_line = [0; MAX_COMMAND_LINE];
    let len = info.command_line(&Reachable, &mut command_line);

    let image = (&raw const __image_start).addr() as u64..(&raw const __image_end).addr() as u64;
    // SAFETY: physical memory below 4 GiB is mapped at its own address. What the map says is usable is used by nobody but this program,
    // whose image is kept out, and the kernel's file, which is, too.
    let mut frames = unsafe { Frames::new(&map, [image, kernel_range.clone()].into_iter(), core::ptr::null_mut())? };
    let job = Job {
        kernel,
        kernel_physical: kernel_range.start,
        command_line: &command_line[..len],
        rsdp: info.rsdp,
        smbios: None,
        framebuffer: None,
        gib_pages: features.gib_pages,
        bridge: bridge::code(),
    };
    let loaded = load(job, &mut frames, &map)?;
    // SAFETY: the entry code's tables have four levels, and map themselves at their own address.
    let bridge_table = unsafe { bridge::build(&mut frames, &loaded)? };
    tell(log::Level::Warn);
    log::info(format_args!("starting the kernel, {} KiB of memory left below 4 GiB", frames.free() / 1024));
    let entry = loaded.finish(&mut frames, &mut map)?;
    // SAFETY: all that `enter` asks for was done above; the loader lies at 1 MiB.
    unsafe { bridge::enter(entry, bridge_table) }
}

fn log_machine(info: &StartInfo<'_>, map: &MemoryMap) {
    log::info(format_args!("start information version {}, {} modules", info.version, info.claimed_modules));
    match info.rsdp {
        Some(address) => log::info(format_args!("ACPI root pointer at {address:#x}")),
        None => log::info(format_args!("no ACPI root pointer")),
    }
    for region in map.regions() {
        log::info(format_args!("memory {:#014x}..{:#014x} {:?}", region.start, region.end, region.kind));
    }
}

/// Prints the log's lines of at least this level.
fn tell(level: log::Level) {
    let mut serial = Serial::new();
    log::for_each_line(0, level, |line| {
        let _ = serial.write_str("boot: ");
        line.for_each(|byte| serial.write_byte(byte));
        serial.write_byte(b'\n');
    });
}

extern "C" fn exception(frame: &Frame) -> ! {
    log::error(format_args!("the loader failed: {frame}"));
    tell(log::Level::Info);
    exit(Reason::Crash)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    log::error(format_args!("the loader failed: {info}"));
    tell(log::Level::Info);
    exit(Reason::Crash)
}
