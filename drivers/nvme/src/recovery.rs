//! Deadlines of commands, and what is done about those that are late.
//!
//! ```text
//!   no progress, or a command at its limit ──► Abort ──► it completes ──► go on
//!                                                │
//!                                                ├─ answered, but not aborted ──► spared up to its limit ─┐
//!                                                └─ not answered ─────────────────────────────────────────┤
//!   fatal status, strays, admin command late, no Abort possible ──────────────────────────────────────────┤
//!                                                                     ready, or dead ◄── controller reset ◄┘
//!   all ones ───────────────────────────────► dead ──► 30 s later, if it had worked and has stopped: reset, once
//! ```
//!
//! The Abort asks two things: whether the command can be ended, and whether the controller is alive at all. One
//! that answers is, and its medium is slow: what is late gets all the time that a command may take. One that
//! does not is reset.

use platform::Platform;

use crate::admin::{self, Answer};
use crate::checkpoint;
use crate::engine::{Engine, LogRequest, MAX_FRUITLESS_RESETS, Role};
use crate::event::{Cause, Event, ResetReason};
use crate::log_page::Log;
use crate::slots::Slots;
use crate::spec::admin::NOT_ABORTED;
use crate::spec::register::csts;
use crate::status::Status;

/// How long after it was given up a controller is tried once more, and how often it is looked at then until it has stopped.
const REVIVAL_NS: u64 = 30_000_000_000;
const REVIVAL_INTERVAL_NS: u64 = 1_000_000_000;

/// An Abort under way.
#[derive(Clone, Copy)]
pub(crate) struct Abort {
    index: usize,
    command_id: u16,
    deadline: u64,
}

impl Abort {
    /// Whether it is for this slot's command.
    pub(crate) fn is_for(&self, index: usize, command_id: Option<u16>) -> bool {
        self.index == index && Some(self.command_id) == command_id
    }
}

impl<P: Platform> Engine<P> {
    /// Looks at the controller's status and at deadlines, as long as anything is in flight.
    pub(crate) fn check(&mut self, now: u64) {
        if self.io.flying().is_empty() && !self.admin.is_busy() {
            self.abort = None;
            return;
        }
        let Some(status) = self.status() else { return self.die(Cause::Gone) };
        if status & csts::FATAL != 0 {
            return self.begin_reset(ResetReason::FatalStatus);
        }
        if status & csts::READY == 0 {
            return self.begin_reset(ResetReason::NotReady);
        }
        if let Some(abort) = self.abort {
            return self.check_abort(abort, now);
        }
        if self.admin.is_late(now) {
            return self.begin_reset(ResetReason::AdminLate);
        }
        let late = self.io.late(now, &self.timeouts);
        if !late.is_empty() && !self.can_abort_later(late, now) {
            self.act_on_late(late, now);
        }
    }

    fn act_on_late(&mut self, late: Slots, now: u64) {
        for index in late {
            let owner = self.io.owner(index);
            let namespace = self.members.get(owner).map_or(0, |member| member.info.id);
            let waited_ns = self.io.waited(index, now);
            self.events.push(Event::Late { command: self.io.name(index, namespace), waited_ns });
            self.io.mark_overdue(index);
        }
        let candidate = self.io.not_spared(late).next();
        let command = candidate.and_then(|index| Some((index, self.io.command_id(index)?)));
        match command {
            Some((index, command_id)) if self.can_abort() => self.send_abort(index, command_id, now),
            _ => self.begin_reset(ResetReason::Late),
        }
    }

    /// Whether there is an admin queue to send an Abort by. The crash engine has none on the spare pair, and no time.
    fn can_abort(&self) -> bool {
        self.timeouts.abort_ns != 0 && !self.admin.is_busy() && matches!(self.role, Role::Main { .. })
    }

    /// Whether these need but wait for a log page, until an Abort can be sent: as long as none is at its limit.
    fn can_abort_later(&self, late: Slots, now: u64) -> bool {
        let is_in_time = |index| self.io.waited(index, now) < self.timeouts.command_ns;
        self.timeouts.abort_ns != 0 && matches!(self.log, LogRequest::Pending(_)) && late.into_iter().all(is_in_time)
    }

    fn send_abort(&mut self, index: usize, command_id: u16, now: u64) {
        let deadline = now.saturating_add(self.timeouts.abort_ns);
        self.events.push(Event::Aborting);
        let command = admin::abort(self.io.queue().id(), command_id);
        self.admin.send(&self.platform, &*self.registers, command, deadline);
        self.abort = Some(Abort { index, command_id, deadline });
        self.platform.checkpoint(checkpoint::ABORT_SENT);
    }

    /// An Abort has until its deadline to be answered, and the command to complete.
    fn check_abort(&mut self, abort: Abort, now: u64) {
        let is_flying = self.io.find(abort.command_id).is_some();
        if !is_flying && !self.admin.is_busy() {
            self.abort = None;
        } else if now >= abort.deadline {
            self.events.push(Event::AbortFailed);
            self.begin_reset(ResetReason::Late);
        }
    }

    /// Takes the answer to an Abort or to Get Log Page.
    pub(crate) fn drive_admin(&mut self) {
        match self.admin.poll(&self.platform, &*self.registers) {
            Answer::None => {}
            Answer::Stray => self.stray("no such admin command in flight"),
            Answer::Done(result) => match (self.abort, &self.log) {
                (Some(abort), _) => self.aborted(abort, result),
                (None, LogRequest::Pending(kind)) => {
                    let log = result.map(|_| Log::parse(*kind, self.admin.data()));
                    self.log = LogRequest::Done(log.map_err(Status::to_error));
                }
                (None, _) => {}
            },
        }
    }

    fn aborted(&mut self, abort: Abort, result: Result<u32, Status>) {
        let helped = result.is_ok_and(|result| result & NOT_ABORTED == 0);
        if self.io.find(abort.command_id).is_none() {
            // It completed by itself in the meantime.
            self.abort = None;
        } else if !helped {
            self.events.push(Event::AbortRefused);
            self.abort = None;
            self.io.spare_overdue();
        }
    }

    /// A controller that worked before it was given up may have been out of order for a while only: its firmware was busy or was
    /// renewed, or what holds it up in the host passes.
    pub(crate) fn plan_revival(&mut self, cause: Cause) {
        let may_pass = !matches!(cause, Cause::Gone | Cause::ShutDown | Cause::NoMemory | Cause::Unsupported(_));
        let may_revive = core::mem::replace(&mut self.may_revive, false);
        if may_pass && may_revive && matches!(self.role, Role::Main { .. }) {
            self.revival_ns = Some(self.after(REVIVAL_NS));
        }
    }

    /// Tries a controller that was given up once more, when it has stopped: one that does not stop may still be at its commands.
    pub(crate) fn revive(&mut self) {
        let now = self.platform.now_ns();
        if self.revival_ns.is_none_or(|at| now < at) {
            return;
        }
        match self.status() {
            None => self.revival_ns = None,
            Some(status) if status & csts::READY == 0 => self.begin_reset(ResetReason::Again),
            Some(_) => self.revival_ns = Some(now.saturating_add(REVIVAL_INTERVAL_NS)),
        }
    }

    /// Starts a reset. One that the driver wants itself is the last if several in a row have not helped: the
    /// controller is then stopped, so that it lets go of the buffers, and left so.
    pub(crate) fn begin_reset(&mut self, reason: ResetReason) {
        if matches!(reason, ResetReason::Start | ResetReason::Asked | ResetReason::Again) {
            self.fruitless_resets = 0;
        } else {
            self.fruitless_resets = self.fruitless_resets.saturating_add(1);
        }
        self.hopeless = self.fruitless_resets > MAX_FRUITLESS_RESETS;
        self.start_reset(reason);
    }
}
