//! A controller as one side of the machine drives it: queues, requests, phases.
//!
//! There are two engines for each controller. The *main* one brings the controller up and carries all
//! traffic. The *crash* one lies dormant, with an admin queue pair, an I/O queue pair and PRP lists of its own;
//! it is woken on the spare I/O queue pair that the main engine made for it, or by a reset of its own. They share
//! nothing but the registers and one word, [`SpareFlag`], in which the main engine says whether that
//! spare pair exists at the moment.
//!
//! Everything is driven by [`Engine::service`], which looks at what has changed and never waits.
//! The phases of bringing a controller up are in `init`, time-outs in `recovery`.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use block::{Completion, Error, ErrorKind, Refused, Request, State, Tag};
use platform::{DmaBuffer, Platform, Registers};

use crate::admin::{Admin, QueuePlace};
use crate::checkpoint;
use crate::config::{Config, Timeouts};
use crate::event::{Cause, Event, Events, Failure, ResetReason};
use crate::identify::ControllerInfo;
use crate::init::Phase;
use crate::io::Io;
use crate::log_page::{Log, LogKind};
use crate::namespace::Member;
use crate::recovery::Abort;
use crate::spec::CompletionEntry;
use crate::spec::register::{self, ALL_ONES, Capabilities, csts};
use crate::status::Status;
use crate::watch::Watch;

/// How often the status register and the deadlines are looked at: a register read costs as much as many
/// looks at a queue.
pub(crate) const CHECK_INTERVAL_NS: u64 = 1_000_000;
/// Completions that make no sense, before the controller is reset.
pub(crate) const MAX_STRAYS: u32 = 16;
/// Resets in a row without a completed command in between, before the controller is given up.
pub(crate) const MAX_FRUITLESS_RESETS: u32 = 3;

/// One side's view of a controller.
pub(crate) struct Engine<P: Platform> {
    pub(crate) platform: P,
    pub(crate) registers: Arc<P::Registers>,
    pub(crate) capabilities: Capabilities,
    pub(crate) role: Role,
    pub(crate) timeouts: Timeouts,
    pub(crate) config: Config,
    pub(crate) admin: Admin,
    pub(crate) io: Io,
    pub(crate) phase: Phase,
    pub(crate) info: Option<ControllerInfo>,
    pub(crate) write_cache_on: bool,
    /// The device has not refused a scatter gather list yet.
    pub(crate) trusts_segments: bool,
    pub(crate) members: Vec<Member>,
    /// Active namespaces that are still to be looked at.
    pub(crate) candidates: Vec<u32>,
    pub(crate) events: Events,
    pub(crate) attempts_left: u8,
    pub(crate) reset_began: u64,
    pub(crate) next_check: u64,
    pub(crate) strays: u32,
    pub(crate) fruitless_resets: u32,
    /// The reset under way is the last: the controller is stopped and left so.
    pub(crate) hopeless: bool,
    pub(crate) abort: Option<Abort>,
    pub(crate) log: LogRequest,
    /// Whether it will be tried once more when it is given up: it has completed a command since the last time.
    pub(crate) may_revive: bool,
    /// When it is tried once more, if it was given up.
    pub(crate) revival_ns: Option<u64>,
}

/// Which of the two engines this is.
pub(crate) enum Role {
    /// The one that carries the traffic.
    Main {
        /// The queue pair that it makes for the other one.
        spare: QueuePlace,
        /// Where it says so.
        flag: SpareFlag,
        /// Whether the controller allows a second pair.
        granted: bool,
    },
    /// The one that waits for a crash.
    Crash {
        /// Where the other one says that the spare pair exists.
        flag: SpareFlag,
        /// The I/O queue pairs that are in use when this one takes over.
        watches: [Watch; 2],
    },
}

/// Whether the spare queue pair exists: the one word that the main engine writes and the crash engine reads.
/// It is not a bool, so that memory gone wild does not look like one.
#[derive(Clone)]
pub(crate) struct SpareFlag(Arc<AtomicU32>);

impl SpareFlag {
    const LIVE: u32 = 0x4E56_5351;

    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU32::new(0)))
    }

    pub(crate) fn set(&self, live: bool) {
        self.0.store(if live { Self::LIVE } else { 0 }, Ordering::SeqCst);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::LIVE
    }
}

/// A log page that was asked for.
#[expect(clippy::large_enum_variant, reason = "there is one of it, and a box would be an allocation after the start")]
pub(crate) enum LogRequest {
    /// None.
    None,
    /// It is on its way.
    Pending(LogKind),
    /// It is here.
    Done(Result<Log, Error>),
}

impl<P: Platform> Engine<P> {
    /// Looks at what has changed, and acts on it. Never waits.
    pub(crate) fn service(&mut self) {
        match self.phase {
            Phase::Dormant => {}
            Phase::Dead(_) => self.revive(),
            Phase::Ready => self.drive_ready(),
            _ => self.drive_phase(),
        }
    }

    /// The state as an owner sees it; `None` for the controller as a whole.
    pub(crate) fn state(&self, owner: Option<usize>) -> State {
        match self.phase {
            Phase::Ready => owner.map_or(State::Ready, |owner| self.member_state(owner)),
            Phase::Dormant if self.can_wake() => owner.map_or(State::Ready, |owner| self.member_state(owner)),
            Phase::Dormant => State::Dead(ErrorKind::NotReady.into()),
            Phase::Dead(failure) => State::Dead(failure.error()),
            _ => State::Recovering,
        }
    }

    fn member_state(&self, owner: usize) -> State {
        match self.members.get(owner).map(|member| member.condition) {
            Some(Ok(())) => State::Ready,
            Some(Err(error)) => State::Dead(error),
            None => State::Dead(ErrorKind::Gone.into()),
        }
    }

    /// Whether the dormant crash engine can go to work at once: the spare pair exists, and the controller runs.
    fn can_wake(&self) -> bool {
        let Role::Crash { flag, .. } = &self.role else { return false };
        if self.members.is_empty() {
            return false;
        }
        let running = |status: u32| status & (csts::READY | csts::FATAL | csts::SHUTDOWN_MASK) == csts::READY;
        flag.is_live() && self.status().is_some_and(running)
    }

    /// The controller status register; `None` if the controller is gone.
    pub(crate) fn status(&self) -> Option<u32> {
        let status = self.registers.read32(register::CSTS);
        (status != ALL_ONES).then_some(status)
    }

    /// Takes a request and hands it to the device.
    pub(crate) fn submit(
        &mut self,
        owner: usize,
        tag: Tag,
        request: Request<DmaBuffer>,
    ) -> Result<(), Refused<DmaBuffer>> {
        let refuse = |error: Error, request| Err(Refused { error, request });
        if matches!(self.phase, Phase::Dormant) && self.can_wake() {
            self.phase = Phase::Ready;
        }
        if !matches!(self.phase, Phase::Ready) || self.member_state(owner) != State::Ready {
            return refuse(ErrorKind::NotReady.into(), request);
        }
        let Some(member) = self.members.get_mut(owner) else { return refuse(ErrorKind::Gone.into(), request) };
        if let Err(error) = member.check(&request) {
            return refuse(error, request);
        }
        if member.in_use >= member.geometry.queue_depth {
            return refuse(ErrorKind::QueueFull.into(), request);
        }
        let (nsid, block_size) = (member.info.id, member.info.block_size);
        let segments = self.trusts_segments && self.info.is_some_and(|info| info.has_scatter_gather);
        let mut request = request;
        if let Request::Read { buffer, blocks, .. } = &mut request {
            poison(buffer, *blocks, block_size);
        }
        let now = self.platform.now_ns();
        let index = match self.io.take(owner, tag, request, now) {
            Ok(index) => index,
            Err(request) => return refuse(ErrorKind::QueueFull.into(), request),
        };
        member.in_use += 1;
        self.platform.checkpoint(checkpoint::SUBMIT_SLOT_TAKEN);
        let Some(command) = self.io.command(index, nsid, block_size, segments) else {
            member.in_use -= 1;
            // A slot that was just taken has its request.
            let request = self.io.untake(index).unwrap_or(Request::Flush);
            return refuse(ErrorKind::BadRequest.into(), request);
        };
        self.platform.checkpoint(checkpoint::SUBMIT_LIST_WRITTEN);
        self.io.issue(&self.platform, &*self.registers, index, &command, now);
        Ok(())
    }

    /// Takes one completion of an owner's.
    pub(crate) fn take_done(&mut self, owner: usize) -> Option<Completion<DmaBuffer>> {
        let completion = self.io.take_done(owner)?;
        if let Some(member) = self.members.get_mut(owner) {
            member.in_use = member.in_use.saturating_sub(1);
        }
        Some(completion)
    }

    fn drive_ready(&mut self) {
        let now = self.platform.now_ns();
        self.reap(now);
        if !matches!(self.phase, Phase::Ready) {
            // A reset has begun: nothing may be handed to the controller any more.
            return;
        }
        if self.io.has_waiting() {
            self.reissue(now);
        }
        if self.admin.is_busy() {
            self.drive_admin();
        }
        if now >= self.next_check && matches!(self.phase, Phase::Ready) {
            self.next_check = now.saturating_add(CHECK_INTERVAL_NS);
            self.check(now);
        }
    }

    /// Deals with completions: at most a queue full of them, whatever the device puts there meanwhile.
    fn reap(&mut self, now: u64) {
        for _ in 0..self.io.queue().entries() {
            let Some(entry) = self.io.queue().peek() else { break };
            self.platform.checkpoint(checkpoint::COMPLETE_ENTRY_READ);
            self.io.queue_mut().advance();
            self.complete(&entry, now);
        }
        if self.io.owes_room() {
            self.platform.checkpoint(checkpoint::COMPLETE_BEFORE_DOORBELL);
            self.io.queue_mut().acknowledge(&*self.registers);
            self.platform.checkpoint(checkpoint::COMPLETE_AFTER_DOORBELL);
        }
        if self.strays > MAX_STRAYS {
            self.begin_reset(ResetReason::Protocol);
        }
    }

    fn complete(&mut self, entry: &CompletionEntry, now: u64) {
        if !self.io.queue().is_sane(entry) {
            return self.stray("wrong submission queue, or a head outside of it");
        }
        let Some(index) = self.io.find(entry.command_id) else {
            return self.stray("no such command in flight");
        };
        self.io.note_progress(now);
        let status = Status::from_completion(entry.status);
        if status.is_success() {
            self.fruitless_resets = 0;
            self.may_revive = true;
            self.io.finish(index, Ok(()));
        } else {
            self.failed(index, status, now);
        }
    }

    /// Counts a completion that makes no sense. The command that it should have been for, if any, will be late.
    pub(crate) fn stray(&mut self, what: &'static str) {
        self.strays = self.strays.saturating_add(1);
        self.events.push(Event::Protocol(what));
    }

    fn failed(&mut self, index: usize, status: Status, now: u64) {
        let owner = self.io.owner(index);
        let command = self.io.name(index, self.members.get(owner).map_or(0, |member| member.info.id));
        let attempts = self.io.attempts(index);
        if self.io.is_segment(index) && status.may_be_about_sgl() {
            // Not a failure of the request's, so it is not counted as one.
            if core::mem::replace(&mut self.trusts_segments, false) {
                self.events.push(Event::NoScatterGather);
            }
            self.io.wait(index, now);
            return;
        }
        let was_late = self.abort.is_some_and(|abort| abort.is_for(index, self.io.command_id(index)));
        let retry_at = now.saturating_add(self.retry_delay(status, attempts));
        let in_time = self.io.waited(index, retry_at) < self.timeouts.command_ns;
        if status.is_worth_a_retry() && attempts <= self.config.retries && in_time && !was_late {
            self.events.push(Event::Retried { command, status, attempts });
            self.io.wait(index, retry_at);
            return;
        }
        self.events.push(Event::Failed { command, status, attempts });
        let error = status.to_error();
        let kind = if was_late { ErrorKind::TimedOut } else { error.kind };
        self.io.finish(index, Err(Error::with_status(kind, error.device_status)));
    }

    /// How long to wait before another try: what the status asks for, or some time where the same answer is sure
    /// at once.
    fn retry_delay(&self, status: Status, attempts: u8) -> u64 {
        const NOT_READY_NS: u64 = 100_000_000;
        let asked = match (status.retry_delay(), &self.info) {
            (0, _) | (_, None) => 0,
            (index, Some(info)) => info.retry_delays_ns.get(usize::from(index) - 1).copied().unwrap_or(0),
        };
        match status.to_error().kind {
            ErrorKind::NotReady => asked.max(NOT_READY_NS * u64::from(attempts)),
            _ => asked,
        }
    }

    /// Makes commands again whose time has come.
    fn reissue(&mut self, now: u64) {
        for index in self.io.due(now) {
            let owner = self.io.owner(index);
            let member = self.members.get(owner).map(|member| (member.info.id, member.info.block_size));
            // Whatever it was that failed: pages are described in the plainest way.
            let command = member.and_then(|(nsid, block_size)| self.io.command(index, nsid, block_size, false));
            match command {
                Some(command) => self.io.issue(&self.platform, &*self.registers, index, &command, now),
                None => self.io.finish(index, Err(ErrorKind::BadRequest.into())),
            }
        }
    }

    /// Asks for a log page.
    pub(crate) fn request_log(&mut self, kind: LogKind) -> Result<(), Error> {
        if !matches!(self.phase, Phase::Ready) || matches!(self.role, Role::Crash { .. }) {
            return Err(ErrorKind::NotReady.into());
        }
        // An Abort that was answered is not over until its command is.
        if self.admin.is_busy() || self.abort.is_some() {
            return Err(ErrorKind::QueueFull.into());
        }
        let (id, bytes) = kind.request(self.info.map_or(1, |info| info.error_log_entries));
        let command = self.admin.log_page(id, bytes);
        let deadline = self.platform.now_ns().saturating_add(self.timeouts.admin_ns);
        self.admin.send(&self.platform, &*self.registers, command, deadline);
        self.log = LogRequest::Pending(kind);
        Ok(())
    }

    /// Ends for good, or until somebody asks for a reset, or for a while. The device may still use what it has.
    pub(crate) fn die(&mut self, cause: Cause) {
        let failure = Failure { during: self.phase.name(), cause };
        self.events.push(Event::Dead(failure));
        self.forget_admin();
        self.io.abandon(failure.error());
        self.phase = Phase::Dead(failure);
        self.plan_revival(cause);
    }

    /// Nobody waits for the admin command in flight any more.
    pub(crate) fn forget_admin(&mut self) {
        self.abort = None;
        if matches!(self.log, LogRequest::Pending(_)) {
            self.log = LogRequest::Done(Err(ErrorKind::Aborted.into()));
        }
    }
}

/// Spoils the start of each block that is to be read: should the device claim a read that it did not make, what stands
/// there must not be taken for what was read into this buffer before.
fn poison(buffer: &mut DmaBuffer, blocks: u32, block_size: u32) {
    const BYTES: usize = 16;
    for block in buffer.as_mut().chunks_mut(block_size as usize).take(blocks as usize) {
        let len = block.len().min(BYTES);
        if let Some(start) = block.get_mut(..len) {
            start.fill(0xA5);
        }
    }
}
