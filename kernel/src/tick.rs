//! The timer tick: writes out logs, and notices when the program hangs.
//!
//! 10 ms after the last one ended, the local APIC interrupts whatever runs. The handler has a stack of its own, saves the SSE state, takes locks
//! only if they are free, and allocates nothing. It also gives a virtual machine's watchdog new time, so that a
//! processor that no interrupt reaches any more gets a non-maskable one, or a reset.

use crate::arch::apic::{self, LocalApic};
use crate::arch::trap::Frame;
use crate::arch::{clock, cpu, single_step, watchdog};
use crate::devices::platform::{Machine, MappedRegisters};
use crate::{consoles, crash, logger, screen, serial_log};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use platform::Platform;
use spin::Once;

/// Time from the end of a tick to the next one.
pub const PERIOD_NS: u64 = 10_000_000;
/// How long the serial port may send in a tick.
const SERIAL_NS: u64 = PERIOD_NS / 10;
/// How long the screen may be written to in a tick.
const SCREEN_NS: u64 = PERIOD_NS / 10;
/// Time that the watchdog is given. Short, as a hang of this kind helps nobody; long against a host that is busy.
const WATCHDOG_SECONDS: u8 = 4;
/// The watchdog is a device: it gets new time once a second, not at each tick.
const WATCHDOG_PERIOD_NS: u64 = 1_000_000_000;

static APIC: Once<LocalApic<MappedRegisters>> = Once::new();
/// Goes up with every sign of life of the program.
static YIELDS: AtomicU64 = AtomicU64::new(0);
/// The signs of life when they were last looked at, and when they last changed.
static SEEN: AtomicU64 = AtomicU64::new(0);
static SEEN_AT: AtomicU64 = AtomicU64::new(0);
/// Time without a sign of life after which the program counts as hung; 0: never.
static HANG_NS: AtomicU64 = AtomicU64::new(0);
/// Ticks since the last sign of life.
static SILENT_TICKS: AtomicU64 = AtomicU64::new(0);
/// Records that ticks wrote, which are no signs of life of the program's.
static OWN_RECORDS: AtomicU64 = AtomicU64::new(0);
/// When there was a tick last.
static LAST: AtomicU64 = AtomicU64::new(0);
/// A tick that is this late does not come any more.
const OVERDUE_NS: u64 = 2_000_000_000;
/// Ticks that a program must have slept through to be hung, whatever the clock says: a virtual machine may have been stopped
/// for a while.
const MOST_SILENT_TICKS: u64 = 50;
/// When what the crash path does with interrupts on takes too long, on the kernel's clock.
static LIMIT: AtomicU64 = AtomicU64::new(0);
static RUNNING: AtomicBool = AtomicBool::new(false);
static WATCHDOG: AtomicBool = AtomicBool::new(false);
static WATCHDOG_DUE: AtomicU64 = AtomicU64::new(0);

/// Starts the tick. Returns `false` where there is no timer to drive it; logs are then written out only when the program yields.
pub fn start(hang_ms: u64, use_watchdog: bool) -> bool {
    let window = match apic::window_address() {
        Some(address) => match Machine.map_registers(address, apic::WINDOW) {
            Some(window) => Some(window),
            None => return false,
        },
        None => None,
    };
    // SAFETY: the window is what `window_address` says, and traps are set up before the tick is started.
    let apic = APIC.call_once(|| unsafe { LocalApic::enable(window) });
    HANG_NS.store(hang_ms.saturating_mul(1_000_000), Ordering::Relaxed);
    SEEN_AT.store(clock::now_ns(), Ordering::Relaxed);
    LAST.store(clock::now_ns(), Ordering::Relaxed);
    RUNNING.store(true, Ordering::Relaxed);
    if !apic.start_tick(PERIOD_NS) {
        RUNNING.store(false, Ordering::Relaxed);
        return false;
    }
    if use_watchdog {
        watchdog::start(WATCHDOG_SECONDS);
    }
    WATCHDOG.store(use_watchdog, Ordering::Relaxed);
    cpu::enable_interrupts();
    true
}

/// Whether there is a tick.
pub fn is_running() -> bool {
    RUNNING.load(Ordering::Relaxed)
}

/// The program is alive. Whatever yields calls this; a long computation that does not log may do so too.
#[inline]
pub fn alive() {
    YIELDS.fetch_add(1, Ordering::Relaxed);
}

/// Whether the tick has not come for long, though it should have: interrupts are off, for good.
pub fn is_overdue(now_ns: u64) -> bool {
    is_running() && now_ns.saturating_sub(LAST.load(Ordering::Relaxed)) > OVERDUE_NS
}

/// For the crash path: does something that may hang, such as what a panic's message calls, and takes it for a crash in the crash
/// path if it is not done after `limit_ns`. Where there is no tick, nothing ends it but a watchdog.
pub fn run_limited(limit_ns: u64, action: impl FnOnce()) {
    let Some(apic) = APIC.get().filter(|_| is_running()) else { return action() };
    LIMIT.store(clock::now_ns().saturating_add(limit_ns), Ordering::Relaxed);
    // The crash may have come while an interrupt was being dealt with.
    apic.end_of_interrupt();
    apic.next_tick();
    cpu::enable_interrupts();
    action();
    cpu::disable_interrupts();
    apic.pause_tick();
}

/// Tries [`run_limited`] out, so that its code has run before it is needed. For the program's own thread.
pub fn rehearse() {
    if !is_running() {
        return;
    }
    run_limited(OVERDUE_NS, || ());
    in_crash(clock::now_ns(), &Frame::ZERO);
    cpu::enable_interrupts();
}

/// Stops tick and watchdog.
pub fn stop() {
    cpu::disable_interrupts();
    RUNNING.store(false, Ordering::Relaxed);
    if let Some(apic) = APIC.get() {
        apic.stop_tick();
    }
    if WATCHDOG.swap(false, Ordering::Relaxed) {
        watchdog::stop();
    }
}

/// The crash path has `seconds` before the watchdog, if it is used, ends it as well.
pub fn give_crash_time(seconds: u8) {
    if WATCHDOG.load(Ordering::Relaxed) {
        watchdog::start(seconds);
    }
}

/// Sends this processor a non-maskable interrupt, if there is an APIC to do it.
pub fn send_nmi_to_self() {
    if let Some(apic) = APIC.get() {
        apic.send_nmi_to_self();
    }
}

/// An interrupt came.
pub fn on_interrupt(frame: &Frame) {
    single_step::resume();
    if apic::LEGACY_VECTORS.contains(&frame.number()) {
        // Spurious: nothing to acknowledge.
        return;
    }
    if let Some(apic) = APIC.get() {
        apic.end_of_interrupt();
    }
    if frame.number() != apic::TICK_VECTOR {
        // Nobody asked for it: firmware left some device with interrupts on.
        return;
    }
    let now = clock::now_ns();
    if crash::has_begun() {
        in_crash(now, frame);
        return;
    }
    LAST.store(now, Ordering::Relaxed);
    crash::plan::in_tick();
    let written = written();
    look_for_life(now, frame);
    if WATCHDOG.load(Ordering::Relaxed) && now >= WATCHDOG_DUE.load(Ordering::Relaxed) {
        WATCHDOG_DUE.store(now + WATCHDOG_PERIOD_NS, Ordering::Relaxed);
        watchdog::start(WATCHDOG_SECONDS);
    }
    logger::tell_suppressed(now);
    consoles::pump_from_tick();
    serial_log::pump_for(SERIAL_NS);
    screen::pump_for(SCREEN_NS);
    OWN_RECORDS.fetch_add(self::written().wrapping_sub(written), Ordering::Relaxed);
    if let Some(apic) = APIC.get()
        && is_running()
    {
        apic.next_tick();
    }
}

/// A tick comes while the crash path lets interrupts in.
fn in_crash(now: u64, frame: &Frame) {
    if now >= LIMIT.load(Ordering::Relaxed) {
        crash::from_hang(frame);
    }
    if let Some(apic) = APIC.get() {
        apic.next_tick();
    }
}

/// Number of records in the log so far.
fn written() -> u64 {
    logger::ring().map_or(0, |ring| ring.written())
}

fn look_for_life(now: u64, frame: &Frame) {
    let limit = HANG_NS.load(Ordering::Relaxed);
    let records = written().wrapping_sub(OWN_RECORDS.load(Ordering::Relaxed));
    let signs = YIELDS.load(Ordering::Relaxed).wrapping_add(records);
    if SEEN.swap(signs, Ordering::Relaxed) != signs {
        SEEN_AT.store(now, Ordering::Relaxed);
        SILENT_TICKS.store(0, Ordering::Relaxed);
        return;
    }
    let ticks = SILENT_TICKS.fetch_add(1, Ordering::Relaxed);
    let silent_ns = now.saturating_sub(SEEN_AT.load(Ordering::Relaxed));
    let enough = (limit / PERIOD_NS / 2).min(MOST_SILENT_TICKS);
    if limit != 0 && silent_ns > limit && ticks >= enough {
        crash::from_hang(frame);
    }
}
