//! The crash that the command line asks for, and when it is due.

use super::conditions::Conditions;
use super::kinds::Kind;
use super::{provoke, stations};
use crate::arch::trap::Frame;
use crate::arch::{clock, single_step};
use crate::checkpoint::{self, When};
use crate::command_line::CommandLine;
use crate::{previous, tick};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Once;

/// A crash to come.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    kind: Kind,
    due: Due,
    mark: Option<&'static str>,
    corrupt: bool,
    conditions: Conditions,
}

/// When a crash is due.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// So many nanoseconds after the program began.
    After(u64),
    /// At this time of the kernel's clock.
    At(u64),
    /// So many instructions after the program began.
    Instructions(u64),
    /// In the first timer tick after the program began.
    Tick,
}

/// What is a point like the steps of drivers, but for instructions to be counted.
const INSTRUCTION: &str = "instruction";
/// The same, but counted from when all devices have been found and told to start. Before that, the crash path knows of no disk, or
/// not of all.
const INSTRUCTION_OF_START: &str = "start.instruction";
/// The same for the handler of the timer tick.
const TICK: &str = "tick";
/// The plan is for the next tick.
static AT_TICK: AtomicBool = AtomicBool::new(false);

/// The plan that something else than the main loop carries out: a step of a driver, an instruction.
static ARMED: Once<Plan> = Once::new();
/// Instructions after which the crash path is to crash; 0: none.
static INSTRUCTIONS_IN_CRASH: AtomicU64 = AtomicU64::new(0);

/// Levels of the crash path that are to crash as well.
static LEVELS: AtomicU64 = AtomicU64::new(0);

/// Instructions after which it is carried out, once all devices have been found; 0: none.
static INSTRUCTIONS_IN_START: AtomicU64 = AtomicU64::new(0);

impl Plan {
    /// What the command line asks for. A crash at a step of a driver is armed here, and happens there: `None` then. Any other
    /// waits for [`from_now`](Self::from_now).
    pub fn new(words: &CommandLine<'static>) -> Option<Self> {
        match words.crash_again {
            Some((INSTRUCTION, count)) => INSTRUCTIONS_IN_CRASH.store(count, Ordering::Relaxed),
            Some((point, count)) => arm(When::InCrash, point, count, crash_again),
            None => {}
        }
        LEVELS.store(words.crash_levels, Ordering::Relaxed);
        let planned = words.crash?;
        let after = Due::After(planned.after_ms.saturating_mul(1_000_000));
        let plan = Self {
            kind: planned.kind,
            due: after,
            mark: words.mark,
            corrupt: words.crash_corrupt,
            conditions: words.crash_with,
        };
        let at = match planned.kind {
            // By itself, at the first passage.
            Kind::PanicInDriver => words.crash_at.or(Some((planned.point, 1))),
            _ => words.crash_at,
        };
        match at {
            None => Some(plan),
            Some((INSTRUCTION, count)) => Some(Self { due: Due::Instructions(count), ..plan }),
            Some((INSTRUCTION_OF_START, count)) => {
                ARMED.call_once(|| plan);
                INSTRUCTIONS_IN_START.store(count, Ordering::Relaxed);
                None
            }
            Some((TICK, _)) => Some(Self { due: Due::Tick, ..plan }),
            Some((point, count)) => {
                ARMED.call_once(|| plan);
                arm(When::Now, point, count, carry_out_armed);
                None
            }
        }
    }

    /// The same, with its time counted from now on.
    #[must_use]
    pub fn from_now(self) -> Self {
        match self.due {
            Due::After(after) => Self { due: Due::At(clock::now_ns().saturating_add(after)), ..self },
            Due::At(_) => self,
            Due::Tick => {
                ARMED.call_once(|| self);
                AT_TICK.store(true, Ordering::Release);
                self
            }
            Due::Instructions(count) => {
                ARMED.call_once(|| self);
                single_step::start(count, at_instruction);
                self
            }
        }
    }

    /// Crashes if it is time to.
    pub fn poll(&self) {
        if let Due::At(at) = self.due
            && clock::now_ns() >= at
        {
            self.carry_out();
        }
    }

    /// When it is due, on the kernel's clock, if that is known.
    pub fn due_ns(&self) -> Option<u64> {
        match self.due {
            Due::At(at) => Some(at),
            Due::After(_) | Due::Instructions(_) | Due::Tick => None,
        }
    }

    /// Whether it comes by itself if the program only waits.
    pub fn is_to_come(&self) -> bool {
        match self.due {
            Due::At(_) => true,
            Due::Tick => tick::is_running(),
            Due::After(_) | Due::Instructions(_) => false,
        }
    }

    fn carry_out(&self) -> ! {
        self.prepare();
        provoke::crash(self.kind)
    }

    fn prepare(&self) {
        log::info!(target: previous::TARGET, "{}{}", previous::ON_PURPOSE, self.kind.name());
        if let Some(mark) = self.mark {
            log::info!("mark {mark}");
        }
        if self.corrupt {
            stations::corrupt();
        }
        self.conditions.bring_about();
    }
}

fn carry_out_armed() {
    if let Some(plan) = ARMED.get() {
        plan.carry_out();
    }
}

/// So many instructions have been executed. What is interrupted by an NMI then is the next one of them, not this.
fn at_instruction(frame: &Frame) {
    match ARMED.get() {
        Some(plan) if plan.kind == Kind::Nmi => {
            plan.prepare();
            super::from_nmi(frame);
        }
        Some(plan) => plan.carry_out(),
        None => {}
    }
}

fn again_at_instruction(frame: &Frame) {
    super::from_nmi(frame);
}

fn crash_again() {
    panic!("provoked in the crash path by crash.again");
}

fn arm(when: When, point: &'static str, count: u64, action: fn()) {
    if !checkpoint::exists(point) {
        log::warn!("command line: there is no step \"{point}\" at which to crash");
    }
    checkpoint::arm(when, point, count, action);
}

/// Lets the program panic at the `count`th passage of this step of a driver or of the console, counted from 1: what
/// `crash=panic-in-driver:STEP` does. Only the first such call counts, a crash on the command line included. `false` if there is no such
/// step.
pub fn at_step(step: &'static str, count: u64) -> bool {
    if !checkpoint::exists(step) {
        return false;
    }
    checkpoint::arm(When::Now, step, count, || provoke::crash(Kind::PanicInDriver));
    true
}

/// All devices have been found, and told to start.
pub(crate) fn devices_are_known() {
    let count = INSTRUCTIONS_IN_START.swap(0, Ordering::Relaxed);
    if count != 0 {
        single_step::start(count, at_instruction);
    }
}

/// The timer ticks.
pub(crate) fn in_tick() {
    if AT_TICK.load(Ordering::Acquire) {
        carry_out_armed();
    }
}

/// The crash path has begun, at this level.
pub(super) fn in_crash(level: usize) {
    let count = INSTRUCTIONS_IN_CRASH.swap(0, Ordering::Relaxed);
    if level == 0 && count != 0 {
        single_step::start(count, again_at_instruction);
    }
    if (level as u64) < LEVELS.load(Ordering::Relaxed) {
        panic!("provoked in the crash path by crash.levels");
    }
}
