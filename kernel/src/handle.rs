//! A running machine, as its program uses it.

use crate::arch::exit::{Action, Ending};
use crate::arch::{clock, cpu, exit};
use crate::command_line::CommandLine;
use crate::consoles::{self, Settings};
use crate::crash::kit;
use crate::crash::plan::{self, Plan};
use crate::crash::rehearsal::{self, Rehearsed};
use crate::devices::find::{self, Numbers};
use crate::previous::{self, Previous};
use crate::{devices, image, logger, screen, serial_log, survey, tick};
use blockconsole::marks::BootFacts;
use blockconsole::ring::RingIdentity;
use log::{debug, info, warn};
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
    /// The firmware's byte code.
    firmware: &'static [u8],
    plan: Option<Plan>,
}

/// How long an idle program lets the serial port send at a time.
const IDLE_SERIAL_NS: u64 = 5_000_000;
/// How long the start of disks may take before the program goes on without them.
const SETTLE_NS: u64 = 5_000_000_000;
/// How long the last lines may take to become durable at the end of a run.
const FINISH_NS: u64 = 30_000_000_000;
/// How long controllers may take to shut down. Most need a few milliseconds.
const SHUT_DOWN_NS: u64 = 10_000_000_000;

impl Kernel {
    pub(crate) fn new(
        words: CommandLine<'static>,
        identity: RingIdentity,
        config: devices::pci::Config,
        firmware: &'static [u8],
        previous: Option<Previous>,
    ) -> Self {
        Self { words, previous, identity, config, firmware, plan: None }
    }

    /// Looks for disks, and for consoles on them. Waits until each has come up, for a few seconds at most: those that are
    /// slower come later, while the program runs.
    ///
    /// The time of a crash that the command line asks for counts from the end of this.
    pub fn find_consoles(&mut self) {
        consoles::configure(self.settings());
        kit::prepare();
        self.arm_crash();
        let mut numbers = Numbers::default();
        let mut starting = find::start_pci(&self.config, &mut numbers);
        starting.extend(find::start_mmio(self.words.mmio_devices(), self.firmware, &mut numbers));
        consoles::add(starting);
        survey::reached(survey::Phase::DevicesStarted);
        // While they start: what may crash next is their drivers, and the consoles' mount.
        match rehearsal::rehearse() {
            failed @ Rehearsed::Failed(_) => warn!("rehearsal of the crash path: {failed}"),
            worked => debug!("rehearsal of the crash path: {worked}"),
        }
        plan::devices_are_known();
        consoles::settle(clock::now_ns().saturating_add(SETTLE_NS));
        survey::reached(survey::Phase::Mounted);
        self.plan = self.plan.map(Plan::from_now);
        if consoles::active() == 0 {
            logger::expect_no_console();
            warn!("no disk or partition carries a console: the log is nowhere but on the serial port");
        }
    }

    fn settings(&self) -> Settings {
        let words = &self.words;
        let extents = words
            .extents
            .map(ExplicitExtents::parse)
            .and_then(|extents| extents.inspect_err(|error| warn!("command line: bcon.extents: {error}")).ok());
        Settings {
            facts: BootFacts {
                version: env!("CARGO_PKG_VERSION"),
                build_id: image::build_id_note(),
                started: Some(self.identity.boot_seconds).filter(|&seconds| seconds != 0),
            },
            pad_ns: words.pad_ms.saturating_mul(1_000_000),
            uuid: words.console_uuid,
            extents,
            acknowledge: words.acknowledge,
            disk_patience_ns: words.disk_patience_ms.map(|ms| ms.saturating_mul(1_000_000)),
        }
    }

    /// Gets the crash ready that the command line asks for. Not if the boot before was ended by such a crash and a
    /// reset: once is enough.
    fn arm_crash(&mut self) {
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
        // One look at the clock for all.
        let now = clock::now_ns();
        devices::slots::poll(&self.config, now);
        consoles::pump_at(now);
        serial_log::pump_share_at(now);
    }

    /// Pumps, and sleeps until the next interrupt.
    pub fn wait(&mut self) {
        self.pump();
        serial_log::pump_for(IDLE_SERIAL_NS);
        // A crash that is due before the next tick is not slept over.
        let next_tick = clock::now_ns().saturating_add(tick::PERIOD_NS);
        let is_near = self.plan.and_then(|plan| plan.due_ns()).is_some_and(|due| due < next_tick);
        if !is_near {
            cpu::wait_for_interrupt();
        }
    }

    /// Waits until no console is more than so many records behind, so that none is lost on the slowest.
    pub fn wait_for_room(&mut self, most_behind: u64) {
        let Some(ring) = logger::ring() else { return };
        let mut wanted = 0;
        let mut is_behind = || {
            let written = ring.written();
            let is_behind = consoles::durable().is_some_and(|durable| written.saturating_sub(durable) > most_behind);
            if is_behind && wanted != written {
                wanted = written;
                consoles::finish(written);
            }
            is_behind
        };
        // What is wanted at once is said before the first turn, so that this one writes it.
        is_behind();
        self.pump();
        while is_behind() {
            self.pump();
        }
    }

    /// Configuration space of the machine's PCI functions.
    pub fn pci(&self) -> &devices::pci::Config {
        &self.config
    }

    /// Writes out everything, makes it durable, and ends the run. Before that, waits for the crash that the command line
    /// asks for, if it does.
    pub fn finish(mut self) -> ! {
        while self.plan.is_some_and(|plan| plan.is_to_come()) {
            self.wait();
        }
        logger::tell_suppressed(u64::MAX);
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
        screen::finish();
        consoles::shut_down(clock::now_ns().saturating_add(SHUT_DOWN_NS));
        serial_log::say(format_args!("blockconsole: finished"));
        exit::end(Ending::Finished, Action::Exit)
    }
}
