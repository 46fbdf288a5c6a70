//! A running machine, as its program uses it.

use crate::arch::exit::{Action, Ending};
use crate::arch::{clock, cpu, exit};
use crate::command_line::CommandLine;
use crate::crash::plan::Plan;
use crate::{devices, serial_log, tick};
use blockconsole::ring::RingIdentity;

/// A machine that runs: traps, memory, clock, log, and after [`find_consoles`](Self::find_consoles) its disks.
///
/// Logging is for everybody, by the `log` crate. This handle is for the program's main loop: who calls [`pump`](Self::pump) often gets
/// the log out at once, and who does not has the timer tick do it.
pub struct Kernel {
    /// The command line, understood.
    pub words: CommandLine<'static>,
    identity: RingIdentity,
    config: devices::pci::Config,
    plan: Option<Plan>,
}

impl Kernel {
    pub(crate) fn new(words: CommandLine<'static>, identity: RingIdentity, config: devices::pci::Config) -> Self {
        Self { words, identity, config, plan: None }
    }

    /// Looks for disks, and for consoles on them.
    pub fn find_consoles(&mut self) {}

    /// Lets the crash that the command line asks for happen when it is due, counted from now on.
    pub fn plan_crash(&mut self) {
        self.plan = Plan::new(&self.words);
    }

    /// Moves the log on towards the disks and the serial port. Never waits.
    pub fn pump(&mut self) {
        tick::alive();
        if let Some(plan) = &self.plan {
            plan.poll();
        }
        serial_log::pump();
    }

    /// Pumps, and sleeps until the next interrupt when there is nothing to do.
    pub fn wait(&mut self) {
        self.pump();
        cpu::wait_for_interrupt();
    }

    /// Waits until the ring has room for more lines, so that none is lost on the slowest console.
    pub fn wait_for_room(&mut self) {
        self.pump();
    }

    /// Waits for the crash that the command line asks for, if it does.
    pub fn wait_for_planned_crash(&mut self) {
        while let Some(plan) = &self.plan {
            if clock::now_ns() >= plan.due_ns() {
                plan.poll();
            }
            self.wait();
        }
    }

    /// Logs what the machine is.
    pub fn describe(&self) {
        log::info!("{:?} {}", self.identity, self.config.is_extended());
    }

    /// Writes out everything, makes it durable, and ends the run.
    pub fn finish(self) -> ! {
        tick::stop();
        serial_log::say(format_args!("blockconsole: finished"));
        exit::end(Ending::Finished, Action::Exit)
    }
}
