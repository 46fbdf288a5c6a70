//! The loader for UEFI: `\EFI\BOOT\BOOTX64.EFI` on a disk's EFI system partition.
//!
//! The kernel is `\blockconsole\kernel` on the partition that the loader was started from, the command line the text in
//! `\blockconsole\cmdline.txt` beside it; without that file it is empty.
//!
//! Everything that can fail is done while firmware still runs, so that its screen can show the reason.
#![no_std]
#![no_main]

mod files;
mod graphics;
mod medium;
mod memory;
mod tell;

use boot::hand_over::{MAX_COMMAND_LINE, clean_command_line};
use boot::machine::exit::{Reason, exit, tell_host};
use boot::machine::{bridge, cpu};
use boot::{Error, Job, load, log};
use core::ffi::c_void;
use core::panic::PanicInfo;
use core::time::Duration;
use uefi::table::cfg::ConfigTableEntry;
use uefi::{Guid, Handle, Status, boot as firmware, system};

freestanding::memory_functions!();

/// Time for which an error stays on the screen before firmware goes on.
const READING_TIME: Duration = Duration::from_secs(20);

enum Never {}

/// Where firmware enters. Returns only if the kernel cannot be started.
///
/// # Safety
/// Firmware's own call: both arguments are what UEFI 2.10, section 4.1, says.
#[unsafe(no_mangle)]
unsafe extern "efiapi" fn _start(image: Handle, table: *const c_void) -> Status {
    // SAFETY: firmware gave us both, and they are set before anything uses them.
    unsafe {
        firmware::set_image_handle(image);
        uefi::table::set_system_table(table.cast());
    }
    let error = match start() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    log::error(format_args!("{error}; {}", error.advice()));
    tell::everywhere(0, log::Level::Info);
    if !tell::has_firmware() {
        // Neither its screen, nor its disks, nor anybody to return to.
        exit(Reason::Error);
    }
    // The disk may fail, or hang: so it comes after the rest.
    let mark = log::mark();
    medium::write_last_words();
    tell::everywhere(mark, log::Level::Info);
    // Where there is nobody to tell, firmware goes on with what else it can start.
    tell_host(Reason::Error);
    firmware::stall(READING_TIME);
    Status::LOAD_ERROR
}

fn start() -> Result<Never, Error> {
    log::info(format_args!("blockconsole loader {}, UEFI", env!("CARGO_PKG_VERSION")));
    tell::on_screen(0, log::Level::Info);
    let revision = system::uefi_revision();
    let (vendor, version) = (system::firmware_vendor(), system::firmware_revision());
    log::info(format_args!("firmware {vendor} {version:#x}, UEFI {revision}"));
    // The timer that would reset the machine is for boot loaders that hang; a kernel has one of its own. It may be missing.
    let _ = firmware::set_watchdog_timer(0, 0x1_0000, None);
    let features = cpu::Features::read();
    cpu::check(features)?;

    let kernel = files::read_kernel()?;
    let mut text = [0; 4 * MAX_COMMAND_LINE];
    let (text, size) = files::read_command_line(&mut text);
    let mut command_line = [0; MAX_COMMAND_LINE];
    let len = clean_command_line(text, size, &mut command_line);

    let map = memory::map()?;
    memory::log(&map);
    let job = Job {
        kernel,
        kernel_physical: kernel.as_ptr().addr() as u64,
        command_line: &command_line[..len],
        rsdp: acpi_root(),
        smbios: table(ConfigTableEntry::SMBIOS3_GUID).or_else(|| table(ConfigTableEntry::SMBIOS_GUID)),
        framebuffer: graphics::framebuffer(),
        gib_pages: features.gib_pages,
        bridge: bridge::code(),
    };
    let mut frames = memory::set_aside(boot::memory_needed(&job, &map)?)?;
    let loaded = load(job, &mut frames, &map)?;
    // SAFETY: `check` found four levels of tables, and firmware maps memory at its own address.
    let bridge_table = unsafe { bridge::build(&mut frames, &loaded)? };
    tell::everywhere(0, log::Level::Warn);
    log::info(format_args!("leaving firmware, starting the kernel"));

    // SAFETY: nothing of firmware is used from here on, but the memory that it left us.
    let map = unsafe { firmware::exit_boot_services(None) };
    tell::leave_firmware();
    let mut map = memory::convert(&map)?;
    // SAFETY: `check` succeeded. The loader's own data are writable; firmware does not run any more.
    unsafe { cpu::prepare() };
    let entry = loaded.finish(&mut frames, &mut map)?;
    // SAFETY: all that `enter` asks for was done above; firmware puts programs into the lower half.
    unsafe { bridge::enter(entry, bridge_table) }
}

/// Physical address of one of the tables that firmware leaves.
fn table(guid: Guid) -> Option<u64> {
    system::with_config_table(|tables| {
        tables.iter().find(|table| table.guid == guid).map(|table| table.address.addr() as u64)
    })
}

/// Physical address of the ACPI root pointer, the newer one if there are two.
fn acpi_root() -> Option<u64> {
    let address = table(ConfigTableEntry::ACPI2_GUID).or_else(|| table(ConfigTableEntry::ACPI_GUID));
    match address {
        Some(address) => log::info(format_args!("ACPI root pointer at {address:#x}")),
        None => log::warn(format_args!("firmware has no ACPI tables")),
    }
    address
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    log::error(format_args!("the loader failed: {info}"));
    tell::everywhere(0, log::Level::Info);
    exit(Reason::Crash)
}
