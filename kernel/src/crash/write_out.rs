//! Gets the crash record out: to every console, then to the serial port.

use super::record::{self, Circumstances, Text};
use super::{Scene, show_stack};
use crate::arch::exit::Ending;
use crate::arch::{clock, cpu};
use crate::serial_log;
use blockconsole::crash::MAX_RECORD;
use core::cell::UnsafeCell;
use core::fmt::Write;

/// How long the serial port may take for all that is left to show.
const SERIAL_NS: u64 = 10_000_000_000;

/// Memory of the crash path.
struct Memory {
    reason: Text<2048>,
    record: [u8; MAX_RECORD],
}

struct Set(UnsafeCell<Memory>);

// SAFETY: used by `write_out` only. A crash in it ends the one that was interrupted for good, before it starts anew.
unsafe impl Sync for Set {}

static MEMORY: Set = Set(UnsafeCell::new(Memory { reason: Text::new(), record: [0; MAX_RECORD] }));

/// Writes out what is known; `scenes` are those of all levels so far, and the last one is why we are here.
pub(super) fn write_out(scenes: &[&Scene]) -> Ending {
    // SAFETY: see `Set`.
    let memory = unsafe { &mut *MEMORY.0.get() };
    let Some(scene) = scenes.last() else { return Ending::CrashNotDurable };
    memory.reason = Text::new();
    record::write_reason(scene, &mut memory.reason);
    let circumstances = Circumstances {
        id: cpu::time_stamp(),
        reason: memory.reason.as_str(),
        devices: &[],
        short: scenes.len() > 1,
        show_stack: show_stack(),
    };
    let len = record::make(scene, &circumstances, &mut memory.record);
    let text = core::str::from_utf8(memory.record.get(..len).unwrap_or_default()).unwrap_or("");
    // SAFETY: whoever used the serial port before was interrupted for good.
    if let Some(mut echo) = unsafe { serial_log::take_over() } {
        let deadline = clock::now_ns().saturating_add(SERIAL_NS);
        echo.send_text(text, deadline);
        echo.say(format_args!("blockconsole: crashed, record durable on {} of {} consoles", 0, 0));
        echo.flush(deadline);
    }
    let _ = memory.reason.write_str("");
    Ending::CrashNotDurable
}
