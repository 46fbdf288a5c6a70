//! Gets the crash record out: to every console, then to the serial port.

use super::early::{self, Found};
use super::record::{self, Circumstances, Text};
use super::rescue::{self, Rescue};
use super::{Scene, show_stack};
use crate::arch::clock;
use crate::arch::exit::Ending;
use crate::consoles;
use crate::logger;
use crate::previous;
use crate::serial_log::{self, Echo};
use blockconsole::Level;
use blockconsole::console::Crash;
use blockconsole::crash::MAX_RECORD;
use blockconsole::ring::RecordHeader;
use core::cell::UnsafeCell;
use core::fmt::Write;
use core::mem::MaybeUninit;

/// How long consoles may take, all together.
const CONSOLES_NS: u64 = 5_000_000_000;
/// How long the serial port may take for all that is left to show.
const SERIAL_NS: u64 = 5_000_000_000;
/// Consoles that take longer than this share the time with the serial port.
const PATIENCE_NS: u64 = 20_000_000;

/// Memory of the crash path.
struct Memory {
    reason: Text<2048>,
    record: [u8; MAX_RECORD],
    states: [Text<96>; rescue::MAX],
    names: [Text<32>; rescue::MAX],
    rescue: MaybeUninit<Rescue>,
    echo: MaybeUninit<Option<Echo>>,
    serial: serial_log::Memory,
}

struct Set(UnsafeCell<Memory>);

// SAFETY: used by `write_out` only. A crash in it ends the one that was interrupted for good, before it starts anew.
unsafe impl Sync for Set {}

static MEMORY: Set = Set(UnsafeCell::new(Memory {
    reason: Text::new(),
    record: [0; MAX_RECORD],
    states: [const { Text::new() }; rescue::MAX],
    names: [const { Text::new() }; rescue::MAX],
    rescue: MaybeUninit::uninit(),
    echo: MaybeUninit::uninit(),
    serial: serial_log::Memory::new(),
}));

/// Writes out what is known; `scenes` are those of all levels so far, and the last one is why we are here.
pub(super) fn write_out(scenes: &[&Scene]) -> Ending {
    let Some((scene, earlier)) = scenes.split_last() else { return Ending::CrashNotDurable };
    // SAFETY: see `Set`. What a level before left in it is overwritten before it is read.
    let memory: &'static mut Memory = unsafe { &mut *MEMORY.0.get() };
    let Memory { reason, record, states, names, rescue, echo, serial } = memory;
    tell_reason(scene, earlier, reason);
    let reason: &'static Text<2048> = reason;
    let reason = reason.as_str();
    // SAFETY: whoever used the serial port before was interrupted for good.
    let echo = echo.write(unsafe { serial_log::take_over(serial) });
    let Some(ring) = logger::ring().filter(|_| earlier.len() < 2) else {
        return say_reason(scene, reason, echo.as_mut());
    };
    let header = RecordHeader { time_ns: clock::now_ns(), cpu: 0, level: Level::Error };
    ring.write(header, previous::TARGET, format_args!("{}{}: {reason}", previous::CRASHED, record::kind(scene)));

    let rescue = rescue.write(Rescue::new(!earlier.is_empty()));
    let text = make_record(scene, earlier, reason, rescue, (states, names), record);
    let crash = Crash { facts: consoles::facts(), record: text.as_bytes(), until: ring.written() };
    let begun = clock::now_ns();
    let deadline = begun.saturating_add(CONSOLES_NS);
    while !rescue.is_over() {
        rescue.step(crash, ring);
        let now = clock::now_ns();
        if now > deadline {
            break;
        }
        if now > begun.saturating_add(PATIENCE_NS)
            && let Some(echo) = echo
        {
            echo.send_some();
        }
    }
    let lost = rescue.give_up_damaged();
    let found = early::rescue(lost, crash, ring, deadline);
    let (all, durable) = rescue.tally();
    let (all, durable) = (all + found.iter().count(), durable + found.iter().filter(|it| it.is_durable()).count());
    if all > 0 && all == durable {
        ring.note_durable(ring.written());
    }
    if let Some(echo) = echo {
        show(scene, text, rescue, &found, echo);
        echo.say_all(
            format_args!("blockconsole: crashed, record durable on {durable} of {all} consoles"),
            clock::now_ns().saturating_add(SERIAL_NS),
        );
    }
    if all > 0 && all == durable { Ending::CrashDurable } else { Ending::CrashNotDurable }
}

/// The reason in a sentence, with what had happened before.
fn tell_reason(scene: &Scene, earlier: &[&Scene], out: &mut Text<2048>) {
    out.clear();
    record::write_reason(scene, out);
    for earlier in earlier.iter().rev() {
        // Its message, if it has one, may be what crashed: only what is plain data is said again.
        let _ = match record::place(earlier) {
            Some(place) => write!(
                out,
                "; this was in the crash path of a {} at {}:{}",
                record::kind(earlier),
                place.file,
                place.line
            ),
            None => {
                write!(out, "; this was in the crash path of a {} at {:#x}", record::kind(earlier), earlier.frame.rip)
            }
        };
    }
}

/// Makes the crash record, and returns its text.
fn make_record(
    scene: &Scene,
    earlier: &[&Scene],
    reason: &str,
    rescue: &Rescue,
    (states, names): (&mut [Text<96>; rescue::MAX], &mut [Text<32>; rescue::MAX]),
    record: &'static mut [u8; MAX_RECORD],
) -> &'static str {
    for ((case, state), name) in rescue.cases().zip(states.iter_mut()).zip(names.iter_mut()) {
        state.clear();
        name.clear();
        // Both are memory; what does not fit is cut off.
        let _ = write!(name, "{}", case.name());
        let _ = case.describe(state);
    }
    let mut devices = [("", ""); rescue::MAX];
    let mut count = 0;
    for ((device, state), name) in devices.iter_mut().zip(states.iter()).zip(names.iter()).take(rescue.cases().count())
    {
        *device = (name.as_str(), state.as_str());
        count += 1;
    }
    let circumstances = Circumstances {
        id: crash_id(scene),
        reason,
        devices: devices.get(..count).unwrap_or_default(),
        short: !earlier.is_empty(),
        show_stack: show_stack(),
    };
    let len = record::make(scene, &circumstances, record);
    core::str::from_utf8(record.get(..len).unwrap_or_default()).unwrap_or_default()
}

/// Tells this crash from others: the boot's id, and the moment.
fn crash_id(scene: &Scene) -> u64 {
    logger::ring().map_or(0, |ring| ring.identity().boot_id) ^ scene.time_ns.rotate_left(20)
}

/// Shows on the serial port what is left of the log, the record, and what became of each console.
fn show(scene: &Scene, record: &str, rescue: &Rescue, found: &Found, echo: &mut Echo) {
    let deadline = clock::now_ns().saturating_add(SERIAL_NS);
    echo.send_text(record, deadline);
    let mut conclusion = Text::<192>::new();
    for case in rescue.cases() {
        conclusion.clear();
        // Memory; what does not fit is cut off.
        let _ = case.conclude(scene.time_ns, &mut conclusion);
        echo.say_all(format_args!("crash: {}: {}", case.name(), conclusion.as_str()), deadline);
    }
    if rescue.damaged() > 0 {
        let damaged = rescue.damaged();
        echo.say_all(
            format_args!("crash: memory that describes {damaged} consoles was overwritten; the disks were searched"),
            deadline,
        );
    }
    for result in found.iter() {
        conclusion.clear();
        let _ = result.conclude(scene.time_ns, &mut conclusion);
        echo.say_all(format_args!("crash: {}: {}", result.name, conclusion.as_str()), deadline);
    }
}

/// All that is left when there is no log, or the crash path crashes again and again.
fn say_reason(scene: &Scene, reason: &str, echo: Option<&mut Echo>) -> Ending {
    let kind = record::kind(scene);
    match echo {
        Some(echo) => {
            let deadline = clock::now_ns().saturating_add(SERIAL_NS);
            echo.say_all(format_args!("blockconsole: crashed: {kind}: {reason}"), deadline);
            echo.say_all(format_args!("blockconsole: crashed, record durable on 0 of 0 consoles"), deadline);
        }
        None => serial_log::cry(format_args!("blockconsole: crashed: {kind}: {reason}")),
    }
    Ending::CrashNotDurable
}
