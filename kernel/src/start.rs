//! From the boot loader's hand-over to a machine that logs.

use crate::arch::exit::{Action, Ending};
use crate::arch::{acpi, clock, cpu, descriptors, exit, machine_check, rtc, stacks};
use crate::command_line::CommandLine;
use crate::crash::kinds::Kind;
use crate::memory::{self, FirmwareMemory, ring_area};
use crate::previous::{Ended, Previous};
use crate::{Kernel, crash, devices, image, loader_log, logger, screen, serial_log, survey, tick};
use blockconsole::ring::{RecordHeader, RingIdentity, succeed};
use bootloader_api::BootInfo;
use core::fmt;
use log::{info, warn};

/// The machine's memory with which everything works, and how much of it may be firmware's.
const ENOUGH_MEMORY: u64 = 32 << 20;
const FIRMWARE_MEMORY: u64 = 1 << 20;

/// A machine that has just been entered.
pub struct Start {
    boot_info: &'static BootInfo,
}

impl Start {
    /// For [`program!`](crate::program!).
    #[doc(hidden)]
    pub fn new(boot_info: &'static mut BootInfo) -> Self {
        Self { boot_info }
    }

    /// Brings the machine up: traps, memory, clock, log, serial port, tick. Its disks are next:
    /// [`Kernel::find_consoles`].
    pub fn bring_up(self) -> Kernel {
        let boot_info = self.boot_info;
        clock::start();
        survey::reached(survey::Phase::Entered);
        crash::install_traps();
        descriptors::load();
        let stack = boot_info.kernel_stack_bottom;
        stacks::register(stack..stack.saturating_add(boot_info.kernel_stack_len));
        let Ramdisk { command_line, loader_log, words: loader_words } = ramdisk(boot_info);
        let words = CommandLine::parse(command_line);
        crash::configure(&words);
        let machine_check = machine_check::enable();

        let memory = match memory::init(boot_info, &stacks::guards()) {
            Ok(report) => report,
            Err(error) => fail(boot_info, format_args!("{error}")),
        };
        let clock_source = clock::calibrate();
        let (identity, previous) = start_log(&words, loader_log, boot_info);
        report(&words, &memory, clock_source, &identity);
        report_previous(previous.as_ref());
        if machine_check.has_failures() {
            warn!("machine check before this boot: {machine_check}");
        }
        if words.crash_help {
            for kind in Kind::ALL {
                info!("crash={}: {}", kind.name(), kind.description().trim());
            }
        }
        let (config, firmware) = find_firmware(boot_info, loader_log::smbios(loader_words));
        if !tick::start(words.hang_ms, words.watchdog) {
            warn!("no timer for the tick: the log is written out only when the program yields");
        }
        survey::reached(survey::Phase::Up);
        Kernel::new(words, identity, config, firmware, previous)
    }
}

/// Makes the record ring, puts into it what the boot before could not write and the loader's log, and lets the `log` facade write there.
fn start_log(words: &CommandLine<'_>, loader_log: &[u8], boot_info: &BootInfo) -> (RingIdentity, Option<Previous>) {
    let boot_seconds = rtc::read().map_or(0, |time| time.unix_seconds());
    let boot_id = cpu::time_stamp().rotate_left(32) ^ boot_seconds;
    let identity = RingIdentity { boot_id, build_id: image::build_id(), boot_seconds };
    let Some(area) = ring_area::take() else {
        fail(boot_info, format_args!("not enough memory for the log; give the machine 32 MiB"))
    };
    let mut previous = None;
    let made = succeed(area.words, identity, |ring, adopted| previous = Some(Previous::save(adopted, ring)));
    let ring = made.unwrap_or_else(|error| fail(boot_info, format_args!("no log: {error}")));
    let first_shown = ring.written();
    if let Some(first) = loader_log::lines(loader_log).next() {
        clock::start_earlier(first.time_stamp);
    }
    for line in loader_log::lines(loader_log) {
        let time_ns = clock::at(line.time_stamp);
        ring.write(RecordHeader { time_ns, cpu: 0, level: line.level }, "boot", format_args!("{}", line.text));
    }
    logger::start(ring, words.log_level);
    if words.serial {
        serial_log::start(first_shown);
    }
    screen::start(boot_info, first_shown);
    if !area.survives_reset() {
        warn!("the log is at {:#x}: after a reset, the next boot will not find it", area.physical.start);
    }
    (identity, previous)
}

/// The first lines of a boot.
fn report(words: &CommandLine<'_>, memory: &memory::Report, clock_source: clock::Source, identity: &RingIdentity) {
    let time = rtc::read();
    let time: &dyn fmt::Display = time.as_ref().map_or(&"an unknown time", |time| time);
    info!("kernel {}, build {}, at {time}", env!("CARGO_PKG_VERSION"), Hex(&identity.build_id));
    info!("clock: {} kHz, {clock_source}", clock::frequency() / 1000);
    info!("memory: {} KiB free", memory.total / 1024);
    if memory.all < ENOUGH_MEMORY - FIRMWARE_MEMORY {
        let (has, wants) = (memory.all >> 20, ENOUGH_MEMORY >> 20);
        warn!("this machine has {has} MiB of memory: blockconsole wants {wants}, and may miss lines or consoles");
    }
    if memory.lost > 0 {
        warn!("memory: {} KiB are left unused: free memory lies in too many pieces", memory.lost / 1024);
    }
    if memory.null_was_mapped {
        info!("memory: address 0 was mapped, and is not any more");
    }
    if memory.guards_missing > 0 {
        warn!("memory: {} stacks have no guard page", memory.guards_missing);
    }
    for word in words.unknown() {
        warn!("command line: \"{word}\" is not understood");
    }
}

/// How the boot before ended, where memory still tells.
fn report_previous(previous: Option<&Previous>) {
    let Some(previous) = previous else { return };
    match (previous.ended, previous.recovered.whole) {
        (Ended::Finished, 0) => info!("the boot {previous} {}", previous.ended),
        (ended, 0) => warn!("the boot {previous} {ended}; all that it logged is on the disks"),
        (ended, lines) => warn!("the boot {previous} {ended}; {lines} lines of it are recovered"),
    }
}

/// What the firmware's tables say: how to reach configuration space, how to switch off, and its byte code.
fn find_firmware(boot_info: &'static BootInfo, smbios: Option<u64>) -> (devices::pci::Config, &'static [u8]) {
    static MEMORY: FirmwareMemory = FirmwareMemory;
    let root = boot_info.rsdp_addr.into_option().or_else(|| acpi::search_root_pointer(&MEMORY));
    survey::note_firmware(boot_info, root, smbios);
    let tables = root.and_then(|root| acpi::Tables::find(&MEMORY, root));
    match &tables {
        Some(tables) => {
            if let Some(power_off) = tables.power_off() {
                acpi::set_power_off(power_off);
            }
        }
        None => info!("no ACPI tables"),
    }
    let program = tables.as_ref().and_then(acpi::Tables::program).unwrap_or_default();
    (devices::pci::Config::new(tables.as_ref()), program)
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What travels as the ramdisk, with a NUL between the parts; the last two may be missing.
#[derive(Default)]
struct Ramdisk {
    command_line: &'static str,
    loader_log: &'static [u8],
    words: &'static [u8],
}

fn ramdisk(boot_info: &BootInfo) -> Ramdisk {
    let Some(start) = boot_info.ramdisk_addr.into_option().filter(|&start| start != 0) else {
        return Ramdisk::default();
    };
    let Ok(len) = usize::try_from(boot_info.ramdisk_len) else { return Ramdisk::default() };
    // SAFETY: the boot loader mapped the ramdisk there, and leaves it to the kernel, which never writes to it.
    let bytes: &'static [u8] = unsafe { core::slice::from_raw_parts(start as *const u8, len) };
    let mut parts = bytes.splitn(3, |&byte| byte == 0);
    let text = parts.next().unwrap_or_default();
    // What is valid up to the first byte that is not.
    let command_line = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    Ramdisk { command_line, loader_log: parts.next().unwrap_or_default(), words: parts.next().unwrap_or_default() }
}

/// Says on the serial port and on the screen why nothing works, and ends: in a virtual machine. A real one stops with that on its screen.
fn fail(boot_info: &BootInfo, why: fmt::Arguments<'_>) -> ! {
    serial_log::cry(format_args!("blockconsole: error: {why}"));
    screen::cry(boot_info, format_args!("blockconsole: error: {why}"));
    exit::stay_on();
    exit::end(Ending::CrashNotDurable, Action::Exit)
}
