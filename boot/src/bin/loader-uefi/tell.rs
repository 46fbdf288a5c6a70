//! Shows the log: on firmware's screen, and on the serial port.

use boot::log::{self, Level};
use boot::machine::serial::Serial;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};
use uefi::system;

/// Shows lines of at least this level, from a mark on: on firmware's console, and on the first serial port, which may be part of it.
pub(crate) fn everywhere(from: usize, level: Level) {
    on_screen(from, level);
    let mut serial = Serial::new();
    log::for_each_line(from, level, |line| {
        let _ = serial.write_str("boot: ");
        line.for_each(|byte| serial.write_byte(byte));
        serial.write_byte(b'\n');
    });
}

/// Shows lines of at least this level, from a mark on, on firmware's console, as long as there is one.
pub(crate) fn on_screen(from: usize, level: Level) {
    if !has_firmware() {
        return;
    }
    log::for_each_line(from, level, |line| {
        system::with_stdout(|console| {
            let _ = console.write_str("boot: ");
            for byte in &mut *line {
                let _ = console.write_char(if byte.is_ascii() { byte.into() } else { '?' });
            }
            let _ = console.write_char('\n');
        });
    });
}

/// Whether firmware has been left.
static IS_GONE: AtomicBool = AtomicBool::new(false);

/// Firmware is left: nothing of it is used from here on.
pub(crate) fn leave_firmware() {
    IS_GONE.store(true, Ordering::Relaxed);
}

/// Whether firmware still runs, with its screen, its disks, and all that the loader was started by.
pub(crate) fn has_firmware() -> bool {
    // SAFETY: the pointer was set to firmware's table, which stays.
    let has_console = uefi::table::system_table_raw().is_some_and(|table| !unsafe { table.as_ref() }.stdout.is_null());
    has_console && !IS_GONE.load(Ordering::Relaxed)
}
