//! Gets the crash record out: to every console, then to the serial port.

use super::early::{self, Found};
use super::record::{self, Text};
use super::rescue::Rescue;
use super::{Scene, statement, stations};
use crate::arch::clock;
use crate::arch::exit::Ending;
use crate::serial_log::{self, Echo};
use crate::{consoles, logger, previous, screen};
use blockconsole::Level;
use blockconsole::console::Crash;
use blockconsole::ring::{RecordHeader, Ring};
use core::cell::UnsafeCell;

/// How long consoles may take, all together.
const CONSOLES_NS: u64 = 5_000_000_000;
/// How long the serial port may take for all that is left to show.
const SERIAL_NS: u64 = 5_000_000_000;
/// Consoles that take longer than this share the time with the serial port.
const PATIENCE_NS: u64 = 20_000_000;

struct SerialMemory(UnsafeCell<serial_log::Memory>);

// SAFETY: used by `take_over_serial` only.
unsafe impl Sync for SerialMemory {}

static SERIAL: SerialMemory = SerialMemory(UnsafeCell::new(serial_log::Memory::new()));

/// The crash path's own way to the serial port. Called once a level: a crash in the crash path ends the one that it
/// interrupted for good.
fn take_over_serial() -> Option<Echo> {
    // SAFETY: whoever used the port, or this memory, before was interrupted for good.
    unsafe { serial_log::take_over(&mut *SERIAL.0.get()) }
}

/// Writes out what is known; `scenes` are those of all levels so far, and the last one is why we are here.
pub(super) fn write_out(scenes: &[&Scene]) -> Ending {
    let Some((scene, earlier)) = scenes.split_last() else { return Ending::CrashNotDurable };
    // SAFETY: whoever used these before, a level before this one or a rehearsal, was interrupted for good.
    let reason = unsafe { statement::reason(scene, earlier) };
    let Some(ring) = logger::ring().filter(|_| earlier.len() < 2) else {
        return say_reason(scene, reason, take_over_serial());
    };
    // Whoever wrote over memory may have written over the ring's counters, without which it shows nothing.
    let was_mended = ring.mend();
    logger::tell_suppressed(u64::MAX);
    let header = RecordHeader { time_ns: clock::now_ns(), cpu: 0, level: Level::Error };
    ring.write(header, previous::TARGET, format_args!("{}{}: {reason}", previous::CRASHED, record::kind(scene)));
    if was_mended {
        ring.write(header, previous::TARGET, format_args!("the log's counters were overwritten, and are mended"));
    }

    // SAFETY: as above.
    let (text, rescue) = unsafe { statement::make(stations::all(), scene, earlier, reason) };
    let crash = Crash { facts: consoles::facts(), record: text.as_bytes(), until: ring.written() };
    let begun = clock::now_ns();
    let deadline = begun.saturating_add(CONSOLES_NS);
    // The port is slow, and so comes into it only when the disks are.
    let mut echo = None;
    write_to_consoles(rescue, crash, ring, (begun, deadline), &mut echo);
    let lost = rescue.give_up_damaged();
    let found = early::rescue(lost, crash, ring, deadline);
    let (mut echo, mut to_show) = (echo.unwrap_or_else(take_over_serial), text);
    if rescue.risk_all() {
        if let Some(echo) = &mut echo {
            show(scene, core::mem::take(&mut to_show), rescue, &found, (echo, false));
        }
        let begun = clock::now_ns();
        write_to_consoles(rescue, crash, ring, (begun, begun.saturating_add(CONSOLES_NS)), &mut Some(None));
    }
    let (all, durable) = rescue.tally();
    let (all, durable) = (all + found.iter().count(), durable + found.iter().filter(|it| it.is_durable()).count());
    if all > 0 && all == durable {
        ring.note_durable(ring.written());
    }
    let shown = screen::Crash { kind: record::kind(scene), reason, record: text, durable: (durable, all) };
    // SAFETY: whoever used the screen before was interrupted for good, or has returned.
    unsafe { screen::show_crash(&shown) };
    if let Some(echo) = &mut echo {
        show(scene, to_show, rescue, &found, (echo, true));
        echo.say_all(
            format_args!("blockconsole: crashed, record durable on {durable} of {all} consoles"),
            clock::now_ns().saturating_add(SERIAL_NS),
        );
    }
    if all > 0 && all == durable { Ending::CrashDurable } else { Ending::CrashNotDurable }
}

/// Moves consoles on until there is nothing more to do, or no time.
fn write_to_consoles(
    rescue: &mut Rescue,
    crash: Crash<'static>,
    ring: &'static Ring<'static>,
    (begun, deadline): (u64, u64),
    echo: &mut Option<Option<Echo>>,
) {
    while !rescue.is_over() {
        rescue.step(crash, ring);
        let now = clock::now_ns();
        if now > deadline {
            return;
        }
        if now > begun.saturating_add(PATIENCE_NS)
            && let Some(echo) = echo.get_or_insert_with(take_over_serial)
        {
            echo.send_some();
        }
    }
}

/// Shows on the serial port what is left of the log, the record, and what became of each console.
fn show(scene: &Scene, record: &str, rescue: &Rescue, found: &Found, (echo, is_last): (&mut Echo, bool)) {
    let deadline = clock::now_ns().saturating_add(SERIAL_NS);
    echo.send_text(record, deadline);
    let mut conclusion = Text::<192>::new();
    for case in rescue.cases() {
        conclusion.clear();
        // Memory; what does not fit is cut off.
        let _ = case.conclude(is_last, scene.time_ns, &mut conclusion);
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
fn say_reason(scene: &Scene, reason: &str, echo: Option<Echo>) -> Ending {
    let kind = record::kind(scene);
    match echo {
        Some(mut echo) => {
            let deadline = clock::now_ns().saturating_add(SERIAL_NS);
            echo.say_all(format_args!("blockconsole: crashed: {kind}: {reason}"), deadline);
            echo.say_all(format_args!("blockconsole: crashed, record durable on 0 of 0 consoles"), deadline);
        }
        None => serial_log::cry(format_args!("blockconsole: crashed: {kind}: {reason}")),
    }
    Ending::CrashNotDurable
}
