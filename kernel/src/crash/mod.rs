//! The crash path: whatever kills the program, its last words get out.
//!
//! ```text
//! exception ─┐                 ┌─ level 0: whole record ── consoles ── serial ── end
//! panic ─────┼─► enter(cause) ─┼─ level 1: a crash in the crash path: short record ── consoles ── serial ── end
//! NMI, hang ─┘   own stack     └─ level 2: the reason, on the serial port ── end
//! ```
//! Nothing here allocates, takes a lock that the crashed code may hold, or touches memory but what was set aside at
//! start. Each level has a stack and a scene of its own, so that what a crash in the crash path finds is as it was.

pub mod backtrace;
pub mod conditions;
pub mod early;
pub mod kinds;
pub(crate) mod kit;
pub mod plan;
pub mod provoke;
mod record;
pub mod rehearsal;
mod rescue;
mod statement;
pub mod stations;
mod write_out;

use crate::arch::exit::{self, Action, Ending};
use crate::arch::stacks::{self, CRASH_LEVELS};
use crate::arch::trap::{self, Frame, Hooks};
use crate::arch::{clock, cpu, descriptors, machine_check, single_step, switch};
use crate::command_line::{CommandLine, OnNmi};
use crate::{checkpoint, tick};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Why the crash path was entered.
#[derive(Clone, Copy)]
enum Cause {
    /// An exception; its frame is the scene's.
    Trap,
    /// A panic. Its information lies on the stack that panicked, which nobody uses any more.
    Panic(*const PanicInfo<'static>),
    /// A non-maskable interrupt.
    Nmi,
    /// The program gave no sign of life for too long.
    Hang,
}

/// What a level of crash knows about its cause.
struct Scene {
    cause: Cause,
    frame: Frame,
    /// The address of the last page fault.
    fault_address: u64,
    control: cpu::Control,
    /// What the processor says of a machine check.
    machine_check: machine_check::Report,
    /// When it happened.
    time_ns: u64,
}

impl Scene {
    const NOTHING: Self = Self {
        cause: Cause::Trap,
        frame: Frame::ZERO,
        fault_address: 0,
        control: cpu::Control { cr0: 0, cr3: 0, cr4: 0 },
        machine_check: machine_check::Report::NOTHING,
        time_ns: 0,
    };

    /// What is known of this cause, now.
    fn new(cause: Cause, frame: &Frame, time_ns: u64) -> Self {
        let is_machine_check = matches!(cause, Cause::Trap) && frame.number() == trap::MACHINE_CHECK;
        let machine_check = if is_machine_check { machine_check::report() } else { machine_check::Report::NOTHING };
        let (fault_address, control) = (cpu::fault_address(), cpu::control());
        Self { cause, frame: *frame, fault_address, control, machine_check, time_ns }
    }
}

struct Scenes([UnsafeCell<Scene>; CRASH_LEVELS]);

// SAFETY: each scene is written once, by the only one who got its level from `LEVEL`, before anybody reads it.
unsafe impl Sync for Scenes {}

static SCENES: Scenes = Scenes([const { UnsafeCell::new(Scene::NOTHING) }; CRASH_LEVELS]);
/// How many times the crash path was entered.
static LEVEL: AtomicUsize = AtomicUsize::new(0);
/// The crash path is done: the machine stands still, or is about to end.
static OVER: AtomicBool = AtomicBool::new(false);
static ACTION: AtomicU8 = AtomicU8::new(0);
static NMI_REPORTS: AtomicBool = AtomicBool::new(false);
static SHOW_STACK: AtomicBool = AtomicBool::new(true);

/// Seconds that a watchdog leaves a stage of the crash path, and the time in which non-maskable interrupts do not end it: who
/// presses the button twice, or a watchdog that comes when a hang was already noticed, must not cut a record short. Each
/// stage has shorter deadlines of its own.
const WATCHDOG_SECONDS: u8 = 12;
const UNDISTURBED_NS: u64 = 10_000_000_000;
/// Until when non-maskable interrupts are ignored, on the kernel's clock.
static UNDISTURBED_UNTIL: AtomicU64 = AtomicU64::new(0);

/// Lets all exceptions and interrupts end up where they belong.
pub fn install_traps() {
    trap::set_hooks(Hooks { fault: from_trap, debug: on_debug, nmi: on_nmi, interrupt: tick::on_interrupt });
}

/// Takes from the command line what concerns crashes.
pub fn configure(words: &CommandLine<'_>) {
    ACTION.store(words.action as u8, Ordering::Relaxed);
    NMI_REPORTS.store(words.on_nmi == OnNmi::Report, Ordering::Relaxed);
    SHOW_STACK.store(words.crash_stack, Ordering::Relaxed);
}

fn show_stack() -> bool {
    SHOW_STACK.load(Ordering::Relaxed)
}

fn action() -> Action {
    [Action::Exit, Action::Reboot, Action::Halt]
        .into_iter()
        .find(|&action| action as u8 == ACTION.load(Ordering::Relaxed))
        .unwrap_or_default()
}

/// Whether a crash is being dealt with.
pub fn has_begun() -> bool {
    LEVEL.load(Ordering::Relaxed) > 0
}

fn from_trap(frame: &Frame) -> ! {
    enter(Cause::Trap, frame)
}

/// The program's panic handler.
pub fn from_panic(info: &PanicInfo<'_>) -> ! {
    cpu::disable_interrupts();
    let mut frame = switch::here();
    // What the reader wants to see is not this function's own part of the stack but what lies above it.
    frame.rsp = frame.rbp;
    enter(Cause::Panic((&raw const *info).cast()), &frame)
}

/// The tick saw no sign of life; `frame` is where the program is.
pub fn from_hang(frame: &Frame) -> ! {
    enter(Cause::Hang, frame)
}

/// A non-maskable interrupt is to have come here.
fn from_nmi(frame: &Frame) -> ! {
    enter(Cause::Nmi, &Frame { vector: u64::from(trap::NMI), ..*frame })
}

fn on_debug(frame: &Frame) {
    if !single_step::on_debug(frame) {
        enter(Cause::Trap, frame);
    }
}

fn on_nmi(frame: &Frame) {
    if OVER.load(Ordering::Relaxed) {
        return;
    }
    if has_begun() && clock::now_ns() < UNDISTURBED_UNTIL.load(Ordering::Relaxed) {
        return;
    }
    provoke::in_nmi();
    // A report is for a program that goes on. One that keeps interrupts out will not.
    let hangs = tick::is_overdue(clock::now_ns());
    if has_begun() || hangs || !NMI_REPORTS.load(Ordering::Relaxed) {
        enter(Cause::Nmi, frame);
    }
    let trace = backtrace::Backtrace::of(frame);
    log::warn!("non-maskable interrupt at {:#x}, backtrace {:x?}", frame.rip, trace.addresses());
}

/// Takes the next level's stack, and crashes on it.
fn enter(cause: Cause, frame: &Frame) -> ! {
    cpu::disable_interrupts();
    single_step::stop();
    let time_ns = clock::now_ns();
    UNDISTURBED_UNTIL.store(time_ns.saturating_add(UNDISTURBED_NS), Ordering::Relaxed);
    descriptors::use_crash_stacks();
    let level = LEVEL.fetch_add(1, Ordering::SeqCst);
    checkpoint::enter_crash(level);
    let (Some(scene), Some(stack)) = (SCENES.0.get(level), stacks::CRASH.get(level)) else {
        exit::end(Ending::CrashNotDurable, action());
    };
    // SAFETY: the level is ours alone, so the scene is too.
    unsafe { *scene.get() = Scene::new(cause, frame, time_ns) };
    // SAFETY: the level's stack is ours alone and empty; `run` never returns.
    unsafe { switch::to_stack(stack.top(), run, level) }
}

/// A stage of the crash path begins, which has time of its own.
fn begin_stage() {
    UNDISTURBED_UNTIL.store(clock::now_ns().saturating_add(UNDISTURBED_NS), Ordering::Relaxed);
    tick::give_crash_time(WATCHDOG_SECONDS);
}

extern "C" fn run(level: usize) -> ! {
    begin_stage();
    plan::in_crash(level);
    // SAFETY: written by `enter`, which got here by this level, and never written again.
    let scenes: [&Scene; CRASH_LEVELS] = core::array::from_fn(|level| unsafe { &*SCENES.0[level].get() });
    let known = scenes.get(..=level).unwrap_or(&scenes);
    let ending = write_out::write_out(known);
    OVER.store(true, Ordering::Relaxed);
    tick::stop();
    exit::end(ending, action())
}
