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
    if frame.number() != apic::TICK_VECTOR {
        // Spurious: nothing to acknowledge.
        return;
    }
    if let Some(apic) = APIC.get() {
        apic.end_of_interrupt();
    }
    crash::plan::in_tick();
    let now = clock::now_ns();
    look_for_life(now, frame);
    if WATCHDOG.load(Ordering::Relaxed) && now >= WATCHDOG_DUE.load(Ordering::Relaxed) {
        WATCHDOG_DUE.store(now + WATCHDOG_PERIOD_NS, Ordering::Relaxed);
        watchdog::start(WATCHDOG_SECONDS);
    }
    logger::tell_suppressed(now);
    consoles::pump_from_tick();
    serial_log::pump_for(SERIAL_NS);
    screen::pump_for(SCREEN_NS);
    if let Some(apic) = APIC.get()
        && is_running()
    {
        apic.next_tick();
    }
}

fn look_for_life(now: u64, frame: &Frame) {
    let limit = HANG_NS.load(Ordering::Relaxed);
    let signs = YIELDS.load(Ordering::Relaxed).wrapping_add(logger::ring().map_or(0, |ring| ring.written()));
    if SEEN.swap(signs, Ordering::Relaxed) != signs {
        SEEN_AT.store(now, Ordering::Relaxed);
    } else if limit != 0 && now.saturating_sub(SEEN_AT.load(Ordering::Relaxed)) > limit {
        crash::from_hang(frame);
    }
}
