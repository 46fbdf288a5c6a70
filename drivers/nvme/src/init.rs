//! From any state to ready: reset, enabling, queues, namespaces.
//!
//! ```text
//!   start_reset
//!      │ enabled, but not ready yet            ┌──────────── another attempt ◄── failed
//!      ├───────────────► Settling ──┐          │
//!      │                            ▼          ▼
//!      └──────────────────────► Disabling ──► Enabling ──► Preparing(step) ──► Ready
//!                                   │
//!                                   └─ does not stop by the deadline ──► Dead
//! ```
//!
//! Every phase has a deadline, and looks at the status register for all ones (the controller is gone) and, once
//! it is enabled, for a fatal failure. What was in flight is given up when the controller has stopped: not
//! before, since until then it may still use the buffers, and not later, since from then on it cannot. One that never
//! stops keeps them: nobody else gets them, so that its transfers hurt nobody, and its bus mastering can stay on. (To
//! switch that off takes configuration space, which the crash path must do without.)

use core::fmt;

use platform::{Platform, Registers};

use crate::admin::Answer;
use crate::checkpoint;
use crate::engine::{CHECK_INTERVAL_NS, Engine, MAX_STRAYS, Role};
use crate::event::{Cause, Event, Failure, ResetReason};
use crate::prepare::Step;
use crate::spec::register::{self, ALL_ONES, TIMEOUT_UNIT_NS, cc, csts};
use crate::watch::Watch;

/// How often bringing a controller up is attempted in one reset.
const ATTEMPTS: u8 = 2;
/// How long a controller that does not say so may take to shut down (base 3.6.1 leaves it open).
const SHUTDOWN_NS: u64 = 10_000_000_000;
/// The longest that a controller's own idea of it is believed.
const MAX_SHUTDOWN_NS: u64 = 45_000_000_000;

/// What an engine is doing.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    /// The main engine before it is first polled: whoever needs the crash side can get hold of it before
    /// anything happens.
    Fresh,
    /// The crash engine before it is needed: the controller is the main engine's.
    Dormant,
    /// Somebody enabled the controller, and it is not ready yet: it must not be disabled before it is (base 3.5.1).
    Settling {
        /// By when it must be ready.
        deadline: u64,
    },
    /// The controller was told to stop.
    Disabling {
        /// The ready bit means nothing before.
        check_from: u64,
        /// By when it must have stopped.
        deadline: u64,
    },
    /// The controller was told to start.
    Enabling {
        /// By when it must be ready.
        deadline: u64,
    },
    /// An admin command is in flight.
    Preparing(Step),
    /// Requests can go in.
    Ready,
    /// The controller was told to shut down.
    ShuttingDown {
        /// By when it must have done so.
        deadline: u64,
    },
    /// Nothing works; only a reset may change that.
    Dead(Failure),
}

impl Phase {
    /// What is being done, for [`Failure::during`].
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Fresh => "about to start",
            Self::Dormant => "waiting for a crash",
            Self::Settling { .. } => "waiting for the controller to finish starting",
            Self::Disabling { .. } => "stopping the controller",
            Self::Enabling { .. } => "starting the controller",
            Self::Preparing(step) => step.name(),
            Self::Ready => "carrying requests",
            Self::ShuttingDown { .. } => "shutting down",
            Self::Dead(failure) => failure.during,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<P: Platform> Engine<P> {
    /// Starts a reset, from any phase and whatever the controller is doing.
    pub(crate) fn start_reset(&mut self, reason: ResetReason) {
        self.platform.checkpoint(checkpoint::RESET_BEGIN);
        if let Role::Main { flag, .. } = &self.role {
            flag.set(false);
        }
        self.events.push(Event::ResetBegun(reason));
        self.forget_admin();
        self.strays = 0;
        self.revival_ns = None;
        self.attempts_left = ATTEMPTS;
        self.reset_began = self.platform.now_ns();
        self.attempt();
    }

    fn attempt(&mut self) {
        self.attempts_left = self.attempts_left.saturating_sub(1);
        let (configuration, status) = (self.registers.read32(register::CC), self.registers.read32(register::CSTS));
        // The phase is set first, so that a failure is told as one of this phase.
        self.phase = Phase::Settling { deadline: self.after(self.ready_timeout()) };
        if configuration == ALL_ONES || status == ALL_ONES {
            return self.die(Cause::Gone);
        }
        if configuration & cc::ENABLE == 0 || status & (csts::READY | csts::FATAL) != 0 {
            self.disable();
        }
    }

    /// The moment `ns` from now.
    pub(crate) fn after(&self, ns: u64) -> u64 {
        self.platform.now_ns().saturating_add(ns)
    }

    /// How long the controller may take to stop: CAP.TO, of which 0 cannot be meant.
    fn stop_timeout(&self) -> u64 {
        self.capabilities.timeout_units().max(1) * TIMEOUT_UNIT_NS
    }

    /// How long it may take to become ready: newer controllers say so in another register, if it takes longer
    /// (base 3.5.3).
    fn ready_timeout(&self) -> u64 {
        let mut units = self.capabilities.timeout_units().max(1);
        if self.capabilities.has_ready_timeouts() {
            let with_media = self.registers.read32(register::CRTO);
            if with_media != ALL_ONES {
                units = units.max(u64::from(with_media & 0xFFFF));
            }
        }
        units * TIMEOUT_UNIT_NS
    }

    fn disable(&mut self) {
        let configuration = self.registers.read32(register::CC);
        self.registers.write32(register::CC, configuration & !(cc::ENABLE | cc::SHUTDOWN_MASK));
        self.platform.checkpoint(checkpoint::RESET_DISABLED);
        let check_from = self.after(self.config.ready_check_delay_ns);
        self.phase = Phase::Disabling { check_from, deadline: check_from.saturating_add(self.stop_timeout()) };
    }

    /// Drives every phase in which something is waited for.
    pub(crate) fn drive_phase(&mut self) {
        let now = self.platform.now_ns();
        match self.phase {
            Phase::Fresh => self.begin_reset(ResetReason::Start),
            Phase::Settling { deadline } => match self.status() {
                None => self.die(Cause::Gone),
                // If it never becomes ready, disabling it is all that is left to try.
                Some(status) if status & (csts::READY | csts::FATAL) != 0 || now >= deadline => self.disable(),
                Some(_) => {}
            },
            Phase::Disabling { check_from, .. } if now < check_from => {}
            Phase::Disabling { check_from, deadline } => match self.status() {
                None => self.die(Cause::Gone),
                // A fatal status goes with the reset, but need not. Where it stays it gets a moment to.
                Some(status) if status & csts::FATAL != 0 && now < check_from.saturating_add(TIMEOUT_UNIT_NS) => {}
                Some(status) if status & csts::READY == 0 => self.stopped(),
                Some(_) if now >= deadline => self.die(Cause::TimedOut),
                Some(_) => {}
            },
            Phase::Enabling { deadline } => match self.status() {
                None => self.die(Cause::Gone),
                Some(status) if status & csts::FATAL != 0 => self.fail(Cause::FatalStatus),
                Some(status) if status & csts::READY != 0 => self.started(),
                Some(_) if now >= deadline => self.fail(Cause::TimedOut),
                Some(_) => {}
            },
            Phase::Preparing(step) => self.drive_preparing(step, now),
            Phase::ShuttingDown { deadline } => match self.status() {
                None => self.die(Cause::Gone),
                Some(status) if status & csts::SHUTDOWN_MASK == csts::SHUTDOWN_COMPLETE => self.die(Cause::ShutDown),
                Some(_) if now >= deadline => self.die(Cause::TimedOut),
                Some(_) => {}
            },
            Phase::Dormant | Phase::Ready | Phase::Dead(_) => {}
        }
    }

    /// The controller has stopped, and so has every transfer of its: all memory is ours again.
    fn stopped(&mut self) {
        self.platform.checkpoint(checkpoint::RESET_STOPPED);
        self.io.give_up();
        if self.hopeless {
            return self.die(Cause::Hopeless);
        }
        self.admin.clear();
        self.io.queue_mut().clear();
        if let Role::Crash { watches, .. } = &self.role {
            watches.iter().for_each(Watch::retire);
            // From here on the controller is this engine's: the pair need not be a spare one, which there may not be.
            self.io.queue_mut().rename(1, self.capabilities);
        }
        self.platform.checkpoint(checkpoint::INIT_QUEUES_CLEARED);
        self.enable();
    }

    fn enable(&mut self) {
        let queue = self.admin.queue();
        let from_zero = u32::from(queue.entries().saturating_sub(1));
        self.registers.write32(register::AQA, from_zero << 16 | from_zero);
        self.registers.write64(register::ASQ, queue.submission_address());
        self.platform.checkpoint(checkpoint::INIT_ADMIN_QUEUE_HALF);
        self.registers.write64(register::ACQ, queue.completion_address());
        let command_set = if self.capabilities.has_nvm_command_set() { 0 } else { cc::CSS_ALL };
        let configuration = cc::SUBMISSION_ENTRY_64 | cc::COMPLETION_ENTRY_16 | command_set;
        // What may only change while the controller is disabled is written before it is enabled.
        self.registers.write32(register::CC, configuration);
        self.platform.checkpoint(checkpoint::INIT_BEFORE_ENABLE);
        self.registers.write32(register::CC, configuration | cc::ENABLE);
        self.platform.checkpoint(checkpoint::INIT_ENABLED);
        self.phase = Phase::Enabling { deadline: self.after(self.ready_timeout()) };
    }

    fn started(&mut self) {
        self.platform.checkpoint(checkpoint::INIT_READY);
        self.prepare(Step::Controller);
    }

    fn drive_preparing(&mut self, step: Step, now: u64) {
        match self.admin.poll(&self.platform, &*self.registers) {
            Answer::Done(result) => self.prepared(step, result),
            Answer::Stray => {
                self.stray("no such admin command in flight");
                if self.strays > MAX_STRAYS {
                    self.fail(Cause::Protocol("completions of unknown admin commands"));
                }
            }
            Answer::None if self.admin.is_late(now) => self.fail(Cause::TimedOut),
            Answer::None if now >= self.next_check => {
                self.next_check = now.saturating_add(CHECK_INTERVAL_NS);
                match self.status() {
                    None => self.die(Cause::Gone),
                    Some(status) if status & csts::FATAL != 0 => self.fail(Cause::FatalStatus),
                    Some(_) => {}
                }
            }
            Answer::None => {}
        }
    }

    /// An attempt to bring the controller up has failed. Another is made, unless it would fail alike.
    pub(crate) fn fail(&mut self, cause: Cause) {
        let permanent = matches!(cause, Cause::Gone | Cause::Unsupported(_) | Cause::NoMemory);
        if permanent || self.attempts_left == 0 {
            return self.die(cause);
        }
        self.events.push(Event::AttemptFailed(Failure { during: self.phase.name(), cause }));
        self.strays = 0;
        self.attempt();
    }

    /// Everything is there.
    pub(crate) fn finish_init(&mut self) {
        self.settle_members();
        self.platform.checkpoint(checkpoint::INIT_COMPLETE);
        self.phase = Phase::Ready;
        self.next_check = 0;
        self.strays = 0;
        if let Role::Main { flag, granted, .. } = &self.role {
            flag.set(*granted);
        }
        let took_ns = self.platform.now_ns().saturating_sub(self.reset_began);
        self.events.push(Event::ResetDone { took_ns });
    }

    /// Tells the controller to shut down (base 3.6.1). `false` if it is not ready, or requests are in flight.
    pub(crate) fn shut_down(&mut self) -> bool {
        if !matches!(self.phase, Phase::Ready) || !self.io.is_idle() || self.admin.is_busy() {
            return false;
        }
        if let Role::Main { flag, .. } = &self.role {
            flag.set(false);
        }
        let configuration = self.registers.read32(register::CC) & !cc::SHUTDOWN_MASK;
        self.registers.write32(register::CC, configuration | cc::SHUTDOWN_NORMAL);
        self.platform.checkpoint(checkpoint::SHUTDOWN_REQUESTED);
        let announced = self.info.map_or(0, |info| info.shutdown_ns);
        let deadline = self.after(announced.clamp(SHUTDOWN_NS, MAX_SHUTDOWN_NS));
        self.phase = Phase::ShuttingDown { deadline };
        true
    }
}
