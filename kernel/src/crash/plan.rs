//! The crash that the command line asks for, and when it is due.

use super::kinds::Kind;
use super::provoke;
use crate::arch::clock;
use crate::checkpoint::{self, When};
use crate::command_line::CommandLine;
use crate::previous;
use spin::Once;

/// A crash to come.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    kind: Kind,
    after_ns: u64,
    due_ns: u64,
    mark: Option<&'static str>,
}

/// The plan that a step of a driver carries out.
static AT_STEP: Once<Plan> = Once::new();

impl Plan {
    /// What the command line asks for. A crash at a step of a driver is armed here, and happens there: `None` then. Any other
    /// waits for [`from_now`](Self::from_now).
    pub fn new(words: &CommandLine<'static>) -> Option<Self> {
        if let Some((point, count)) = words.crash_again {
            check_step(point);
            checkpoint::arm(When::InCrash, point, count, || panic!("provoked in the crash path by crash.again"));
        }
        let planned = words.crash?;
        let after_ns = planned.after_ms.saturating_mul(1_000_000);
        let plan = Self { kind: planned.kind, after_ns, due_ns: u64::MAX, mark: words.mark };
        let step = match planned.kind {
            Kind::PanicInDriver => Some((planned.point, 1)),
            _ => words.crash_at,
        };
        let Some((point, count)) = step else { return Some(plan) };
        check_step(point);
        AT_STEP.call_once(|| plan);
        checkpoint::arm(When::Now, point, count, || {
            if let Some(plan) = AT_STEP.get() {
                plan.carry_out();
            }
        });
        None
    }

    /// The same, with its time counted from now on.
    #[must_use]
    pub fn from_now(self) -> Self {
        Self { due_ns: clock::now_ns().saturating_add(self.after_ns), ..self }
    }

    /// Crashes if it is time to.
    pub fn poll(&self) {
        if clock::now_ns() >= self.due_ns {
            self.carry_out();
        }
    }

    /// When it is due, on the kernel's clock.
    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    fn carry_out(&self) -> ! {
        log::info!(target: previous::TARGET, "{}{}", previous::ON_PURPOSE, self.kind.name());
        if let Some(mark) = self.mark {
            log::info!("mark {mark}");
        }
        provoke::crash(self.kind)
    }
}

fn check_step(point: &str) {
    if !checkpoint::exists(point) {
        log::warn!("command line: there is no step \"{point}\" at which to crash");
    }
}
