//! From the boot loader's hand-over to a machine that logs.

use crate::arch::exit::{Action, Ending};
use crate::arch::{clock, cpu, descriptors, exit, rtc, stacks};
use crate::command_line::CommandLine;
use crate::memory::{self, ring_area};
use crate::{Kernel, crash, image, logger, serial_log, tick};
use blockconsole::ring::{Ring, RingIdentity};
use bootloader_api::BootInfo;

/// A machine that has just been entered.
pub struct Start {
    boot_info: &'static mut BootInfo,
}

impl Start {
    /// For [`program!`](crate::program!).
    #[doc(hidden)]
    pub fn new(boot_info: &'static mut BootInfo) -> Self {
        Self { boot_info }
    }

    /// Brings the machine up: traps, memory, clock, log, serial port.
    pub fn bring_up(self) -> Kernel {
        let boot_info: &'static BootInfo = self.boot_info;
        clock::start();
        crash::install_traps();
        descriptors::load();
        let stack = boot_info.kernel_stack_bottom;
        stacks::register(stack..stack.saturating_add(boot_info.kernel_stack_len));
        let (command_line, loader_log) = ramdisk(boot_info);
        let words = CommandLine::parse(command_line);
        crash::configure(&words);

        let memory = match memory::init(boot_info, &stacks::guards()) {
            Ok(report) => report,
            Err(error) => fail(format_args!("no memory: {error}")),
        };
        let clock_source = clock::calibrate();
        let wall_clock = rtc::read();
        let Some(area) = ring_area::take() else { fail(format_args!("no memory for the log")) };
        let identity = RingIdentity {
            boot_id: cpu::time_stamp() ^ wall_clock.map_or(0, |time| time.unix_seconds()) << 32,
            build_id: image::build_id(),
            boot_seconds: wall_clock.map_or(0, |time| time.unix_seconds()),
        };
        match Ring::create(area.words, identity) {
            Ok(ring) => logger::start(ring),
            Err(error) => fail(format_args!("no log: {error}")),
        }
        log::set_max_level(words.log_level);
        if words.serial {
            serial_log::start();
        }
        log::info!("blockconsole {} at {wall_clock:?}", env!("CARGO_PKG_VERSION"));
        log::info!("clock {clock_source:?} {} {memory:?}", clock::frequency());
        let _ = loader_log;
        for word in words.unknown() {
            log::warn!("command line: {word} is not understood");
        }
        if !tick::start(words.hang_ms, words.watchdog) {
            log::warn!("no timer tick: logs are written out only when the program yields");
        }
        Kernel::new(words, boot_info)
    }
}

/// The command line and the loader's log, which travel as the ramdisk with a NUL in between.
fn ramdisk(boot_info: &BootInfo) -> (&'static str, &'static [u8]) {
    let Some(start) = boot_info.ramdisk_addr.into_option().filter(|&start| start != 0) else { return ("", &[]) };
    let Ok(len) = usize::try_from(boot_info.ramdisk_len) else { return ("", &[]) };
    // SAFETY: the boot loader mapped the ramdisk there, and leaves it to the kernel, which never writes to it.
    let bytes: &'static [u8] = unsafe { core::slice::from_raw_parts(start as *const u8, len) };
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let text = parts.next().unwrap_or_default();
    let text = match core::str::from_utf8(text) {
        Ok(text) => text,
        // What is valid up to the first byte that is not.
        Err(error) => text.get(..error.valid_up_to()).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or(""),
    };
    (text, parts.next().unwrap_or_default())
}

/// Says on the serial port why nothing works, and ends.
fn fail(why: core::fmt::Arguments<'_>) -> ! {
    serial_log::cry(format_args!("blockconsole: error: {why}"));
    exit::end(Ending::CrashNotDurable, Action::Exit)
}
