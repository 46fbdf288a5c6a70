//! Gets the crash record out: to every console, then to the serial port.

use super::early::{self, Found, Turn};
use super::record::{self, Text};
use super::rescue::Rescue;
use super::{Scene, begin_stage, statement, stations};
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
/// When consoles take longer than this, everything is shown: drivers reset disks that do not answer, which may be the end.
const SHOW_NS: u64 = 500_000_000;

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
    let mut found = Found::new();
    let mut output = Output { scene, record: text, echo: None };
    begin_stage();
    write_to_consoles(rescue, (crash, ring), &mut output);
    begin_stage();
    early::rescue((Turn::First, scene.time_ns), rescue.give_up_damaged(), crash, ring, &mut found);
    let (late, risks) = (early::has_work(Turn::Last, scene.time_ns), rescue.has_risks());
    if late || risks {
        begin_stage();
        output.show(rescue, &found, false);
        begin_stage();
        early::rescue((Turn::Last, scene.time_ns), core::iter::empty(), crash, ring, &mut found);
        begin_stage();
        rescue.risk_all();
        write_to_consoles(rescue, (crash, ring), &mut output);
    }
    begin_stage();
    let ((all, durable), (found_all, found_durable)) = (rescue.tally(), found.tally());
    let (all, durable) = (all + found_all, durable + found_durable);
    if all > 0 && all == durable {
        ring.note_durable(ring.written());
    }
    let shown = screen::Crash { kind: record::kind(scene), reason, record: text, durable: (durable, all) };
    // SAFETY: whoever used the screen before was interrupted for good, or has returned.
    unsafe { screen::show_crash(&shown) };
    output.show(rescue, &found, true);
    if let Some(Some(echo)) = &mut output.echo {
        begin_stage();
        echo.say_all(
            format_args!("blockconsole: crashed, record durable on {durable} of {all} consoles"),
            clock::now_ns().saturating_add(SERIAL_NS),
        );
    }
    if all > 0 && all == durable { Ending::CrashDurable } else { Ending::CrashNotDurable }
}

/// Moves consoles on until there is nothing more to do, or no time. The serial port is slow, and so comes into it only when the disks are.
fn write_to_consoles(
    rescue: &mut Rescue,
    (crash, ring): (Crash<'static>, &'static Ring<'static>),
    output: &mut Output<'_>,
) {
    let begun = clock::now_ns();
    let mut deadline = begun.saturating_add(CONSOLES_NS);
    while !rescue.is_over() {
        rescue.step(crash, ring);
        let now = clock::now_ns();
        if now > deadline {
            return;
        }
        if now > begun.saturating_add(SHOW_NS) && !output.record.is_empty() {
            output.show(rescue, &Found::new(), false);
            // The disks are not to blame for that.
            deadline = deadline.saturating_add(clock::now_ns().saturating_sub(now));
            begin_stage();
        } else if now > begun.saturating_add(PATIENCE_NS)
            && let Some(echo) = output.echo()
        {
            echo.send_some();
        }
    }
}

/// What goes to the serial port.
struct Output<'s> {
    scene: &'s Scene,
    /// The crash record, until it has been shown.
    record: &'static str,
    /// The port, once it is needed; `None` in it if there is none.
    echo: Option<Option<Echo>>,
}

impl Output<'_> {
    fn echo(&mut self) -> Option<&mut Echo> {
        self.echo.get_or_insert_with(take_over_serial).as_mut()
    }

    /// Shows what is left of the log, the record, and what became of each console so far.
    fn show(&mut self, rescue: &Rescue, found: &Found, is_last: bool) {
        let (record, since_ns) = (core::mem::take(&mut self.record), self.scene.time_ns);
        let Some(echo) = self.echo() else { return };
        let deadline = clock::now_ns().saturating_add(SERIAL_NS);
        echo.send_text(record, deadline);
        let mut conclusion = Text::<192>::new();
        for case in rescue.cases() {
            conclusion.clear();
            // Memory; what does not fit is cut off.
            let _ = case.conclude(is_last, since_ns, &mut conclusion);
            echo.say_all(format_args!("crash: {}: {}", case.name(), conclusion.as_str()), deadline);
        }
        if rescue.damaged() > 0 {
            let damaged = rescue.damaged();
            echo.say_all(
                format_args!(
                    "crash: memory that describes {damaged} consoles was overwritten; the disks were searched"
                ),
                deadline,
            );
        }
        if rescue.left_out() > 0 {
            echo.say_all(format_args!("crash: {} more consoles got nothing: too many", rescue.left_out()), deadline);
        }
        for result in found.iter() {
            conclusion.clear();
            let _ = result.conclude(since_ns, &mut conclusion);
            echo.say_all(format_args!("crash: {}: {}", result.name(), conclusion.as_str()), deadline);
        }
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
