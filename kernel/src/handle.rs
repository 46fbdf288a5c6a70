//! A running machine, as its program uses it.

use crate::arch::exit::{Action, Ending};
use crate::arch::{clock, cpu, exit};
use crate::command_line::CommandLine;
use crate::consoles::{self, Settings};
use crate::crash::plan::Plan;
use crate::devices::find::{self, Numbers};
use crate::previous::{self, Previous};
use crate::{devices, image, logger, serial_log, tick};
use blockconsole::marks::BootFacts;
use blockconsole::ring::RingIdentity;
use log::{info, warn};
use partition::ExplicitExtents;

/// A machine that runs: traps, memory, clock, log, and after [`find_consoles`](Self::find_consoles) its disks.
///
/// Logging is for everybody, by the `log` crate. This handle is for the program's main loop: who calls [`pump`](Self::pump) often gets
/// the log out at once, and who does not has the timer tick do it.
pub struct Kernel {
    /// The command line, understood.
    pub words: CommandLine<'static>,
    /// The boot before, as far as memory still tells.
    pub previous: Option<Previous>,
    identity: RingIdentity,
    config: devices::pci::Config,
    plan: Option<Plan>,
}

impl Kernel {
    pub(crate) fn new(
        words: CommandLine<'static>,
        identity: RingIdentity,
        config: devices::pci::Config,
        previous: Option<Previous>,
    ) -> Self {
        Self { words, previous, identity, config, plan: None }
    }

    /// Looks for disks, and for consoles on them. Waits until each has come up, for a few seconds at most: those that are
    /// slower come later, while the program runs.
    pub fn find_consoles(&mut self) {
        let mut numbers = Numbers::default();
        let mut starting = find::start_pci(&self.config, &mut numbers);
        starting.extend(find::start_mmio(self.words.mmio_devices(), &mut numbers));
        let extents = self
            .words
            .extents
            .map(ExplicitExtents::parse)
            .and_then(|extents| extents.inspect_err(|error| warn!("command line: bcon.extents: {error}")).ok());
        let settings = Settings {
            facts: BootFacts {
                version: env!("CARGO_PKG_VERSION"),
                build_id: image::build_id_note(),
                started: Some(self.identity.boot_seconds).filter(|&seconds| seconds != 0),
            },
            pad_ns: self.words.pad_ms.saturating_mul(1_000_000),
            uuid: self.words.console_uuid,
            extents,
            acknowledge: self.words.acknowledge,
        };
        consoles::add(starting, settings);
        consoles::settle(clock::now_ns().saturating_add(SETTLE_NS));
        if consoles::active() == 0 {
            warn!("no disk or partition carries a console: the log is nowhere but on the serial port");
        }
    }

    /// Lets the crash that the command line asks for happen when it is due, counted from now on. Not if the boot before
    /// was ended by such a crash and a reset: once is enough.
    pub fn plan_crash(&mut self) {
        if self.words.crash.is_some() && self.previous.is_some_and(|previous| previous.on_purpose) {
            info!("no crash on purpose: the boot before was ended by one");
            return;
        }
        self.plan = Plan::new(&self.words);
    }

    /// Moves the log on towards the disks and the serial port. Never waits.
    pub fn pump(&mut self) {
        tick::alive();
        if let Some(plan) = &self.plan {
            plan.poll();
        }
        consoles::pump();
        serial_log::pump_share();
    }

    /// Pumps, and sleeps until the next interrupt when there is nothing to do.
    pub fn wait(&mut self) {
        self.pump();
        serial_log::pump_for(IDLE_SERIAL_NS);
        cpu::wait_for_interrupt();
    }

    /// Waits until no console is more than so many records behind, so that none is lost on the slowest.
    pub fn wait_for_room(&mut self, most_behind: u64) {
        let Some(ring) = logger::ring() else { return };
        loop {
            self.pump();
            let written = ring.written();
            match consoles::durable() {
                Some(durable) if written.saturating_sub(durable) > most_behind => consoles::finish(written),
                _ => return,
            }
        }
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

    /// Configuration space of the machine's PCI functions.
    pub fn pci(&self) -> &devices::pci::Config {
        &self.config
    }

    /// Writes out everything, makes it durable, and ends the run.
    pub fn finish(mut self) -> ! {
        self.plan = None;
        info!(target: previous::TARGET, "{}", previous::FINISHED);
        if let Some(ring) = logger::ring() {
            let (written, deadline) = (ring.written(), clock::now_ns().saturating_add(FINISH_NS));
            consoles::finish(written);
            while consoles::durable().is_some_and(|durable| durable < written) && clock::now_ns() < deadline {
                self.pump();
            }
            if consoles::active() == 0 {
                // There is nobody for whom the next boot would have to save anything.
                ring.note_durable(ring.written());
            }
        }
        tick::stop();
        serial_log::say(format_args!("blockconsole: finished"));
        exit::end(Ending::Finished, Action::Exit)
    }
}

/// How long an idle program lets the serial port send at a time.
const IDLE_SERIAL_NS: u64 = 5_000_000;
/// How long the start of disks may take before the program goes on without them.
const SETTLE_NS: u64 = 5_000_000_000;
/// How long the last lines may take to become durable at the end of a run.
const FINISH_NS: u64 = 30_000_000_000;
