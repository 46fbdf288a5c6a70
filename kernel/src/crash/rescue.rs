//! Writes the rest of the log and the crash record to every console.
//!
//! Consoles are polled in turn, so that a disk that hangs holds up no other. Those that had nothing in flight go first, on all
//! disks. Where something was in flight, the controller is reset, for all of its disks, once the others are done: a virtual
//! machine stands still while a controller that is being reset waits for its requests, and for ever if one of them hangs. So
//! those that seem to hang come last of all, when even the serial port has everything.

use super::stations::{self, Post, Station, Successor};
use crate::arch::{clock, cpu};
use crate::devices::disk::Commands;
use crate::devices::find::Controller;
use block::BlockDevice;
use blockconsole::console::{self, BadTarget, Crash, Outcome, Reason};
use blockconsole::ring::Ring;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Most consoles that are written to.
pub(super) const MAX: usize = 32;

/// The consoles, and how far each is.
pub(super) struct Rescue {
    cases: [Option<Case>; MAX],
    /// Controllers that have been reset.
    resets: [Option<Controller>; stations::MAX_DISKS],
    /// Consoles that an earlier level of crash was done with: they have their record, and are left alone.
    earlier: usize,
    damaged: usize,
    /// When it was begun.
    since_ns: u64,
    /// Whether consoles whose disks seem to hang may have their turn.
    risks_all: bool,
}

/// How long a disk that has requests is left to finish them before it is reset. A sound one is done by then, mostly, and QEMU's
/// NVMe controller does not always survive a reset amid requests.
const FINISH_NS: u64 = 500_000;
/// How long consoles that need a reset leave the others alone at most.
const GIVE_WAY_NS: u64 = 1_000_000_000;
/// A disk that has something, and for so long has not answered anything, seems to hang.
const HANGS_NS: u64 = 50_000_000;

/// Consoles that have everything, over all levels.
static DURABLE: AtomicUsize = AtomicUsize::new(0);

/// A console that is to get the crash record.
pub(super) struct Case {
    station: &'static Station,
    post: &'static Post,
    /// Whether something of it was in flight, so that it began with a reset.
    was_reset: bool,
    progress: Progress,
}

enum Progress {
    /// It has not been begun.
    Waiting {
        /// Whether something of it was with the device.
        in_flight: bool,
        /// Whether its controller must be reset first.
        doubtful: bool,
        /// Whether the disk seems to hang.
        hangs: bool,
    },
    Working(u8, &'static mut Successor),
    /// All is durable, since this time.
    Durable(u64),
    Failed(Reason),
    /// What is known of it cannot be trusted, so that it is not touched.
    Damaged(BadTarget),
}

impl Rescue {
    /// Finds out what there is to do on these disks. With `trust_nothing`, every controller is reset first.
    pub(super) fn new(stations: impl Iterator<Item = &'static Station>, trust_nothing: bool) -> Self {
        let mut cases = [const { None }; MAX];
        let since_ns = clock::now_ns();
        let posts = stations.flat_map(|station| station.posts().map(move |post| (station, post)));
        let found = posts.filter_map(|(station, post)| {
            let progress = match post.cell.load() {
                Ok(target) if target.is_idle => return None,
                Ok(target) => {
                    let doubtful = trust_nothing || target.in_flight || station.is_suspect();
                    let hangs = target.in_flight && station.silent_ns() > HANGS_NS;
                    Progress::Waiting { in_flight: target.in_flight, doubtful, hangs }
                }
                // It is only just being made.
                Err(BadTarget::Empty | BadTarget::Idle) => return None,
                Err(error) => Progress::Damaged(error),
            };
            Some(Case { station, post, was_reset: false, progress })
        });
        for (slot, case) in cases.iter_mut().zip(found) {
            *slot = Some(case);
        }
        let earlier = DURABLE.load(Ordering::Relaxed);
        Self { cases, resets: [None; stations::MAX_DISKS], earlier, damaged: 0, since_ns, risks_all: false }
    }

    /// All consoles.
    pub(super) fn cases(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().flatten()
    }

    /// Number of consoles, and of those that have everything; those included that an earlier level of crash was done with.
    pub(super) fn tally(&self) -> (usize, usize) {
        let durable = self.cases().filter(|case| matches!(case.progress, Progress::Durable(_)));
        (self.earlier + self.cases().count(), self.earlier + durable.count())
    }

    /// Disks of which nothing is known any more that can be trusted. Their consoles count no longer: who searches the disk
    /// counts what it finds.
    pub(super) fn give_up_damaged(&mut self) -> impl Iterator<Item = &'static Station> {
        let is_damaged = |case: &Case| matches!(case.progress, Progress::Damaged(_));
        let mut stations = [None; stations::MAX_DISKS];
        for (slot, station) in stations.iter_mut().zip(stations::all()) {
            let mut own = self.cases().filter(|case| core::ptr::eq(case.station, station)).peekable();
            *slot = (own.peek().is_some() && own.all(is_damaged)).then_some(station);
        }
        for case in &mut self.cases {
            let is_given_up =
                |case: &Case| stations.iter().flatten().any(|station| core::ptr::eq(case.station, *station));
            if case.as_ref().is_some_and(is_given_up) {
                self.damaged += 1;
                *case = None;
            }
        }
        stations.into_iter().flatten()
    }

    /// Number of consoles of which nothing is known any more.
    pub(super) fn damaged(&self) -> usize {
        self.damaged
    }

    /// Whether there is nothing left to do, but for disks that seem to hang, until [`risk_all`](Self::risk_all).
    pub(super) fn is_over(&self) -> bool {
        !self.cases().any(|case| match case.progress {
            Progress::Waiting { hangs, .. } => self.risks_all || !hangs,
            Progress::Working(..) => true,
            _ => false,
        })
    }

    /// Gives disks their turn that seem to hang: it may be the end. `false` if there are none.
    pub(super) fn risk_all(&mut self) -> bool {
        self.risks_all = true;
        self.cases().any(|case| matches!(case.progress, Progress::Waiting { .. }))
    }

    /// Moves every console on. Never waits.
    pub(super) fn step(&mut self, crash: Crash<'static>, ring: &Ring<'_>) {
        for index in 0..MAX {
            self.begin(index, crash);
        }
        for case in self.cases.iter_mut().flatten() {
            case.pump(ring);
        }
        self.distribute_completions();
        cpu::relax();
    }

    /// Begins with a console, if it is its turn.
    fn begin(&mut self, index: usize, crash: Crash<'static>) {
        let Some(Some(case)) = self.cases.get(index) else { return };
        let Progress::Waiting { in_flight, doubtful, hangs } = case.progress else { return };
        let (station, post) = (case.station, case.post);
        if hangs && !self.risks_all {
            return;
        }
        if doubtful {
            let is_reset = self.resets.contains(&Some(station.controller));
            if !is_reset && self.has_to_wait(station.controller, in_flight) {
                return;
            }
            if !is_reset {
                if let Some(slot) = self.resets.iter_mut().find(|slot| slot.is_none()) {
                    *slot = Some(station.controller);
                }
                // SAFETY: this is the crash path, and the reference ends here.
                unsafe { station.port() }.recover();
            }
        }
        let progress = resume(post, doubtful, crash);
        if let Some(Some(case)) = self.cases.get_mut(index) {
            case.was_reset = in_flight;
            case.progress = progress;
        }
    }

    /// Whether others come before the reset of a controller: those on it that need none, and if requests may hold the
    /// reset up, those on other controllers that cannot be held up.
    fn has_to_wait(&self, controller: Controller, in_flight: bool) -> bool {
        let waited_ns = clock::now_ns().saturating_sub(self.since_ns);
        if in_flight && waited_ns < FINISH_NS {
            return true;
        }
        let gives_way = in_flight && waited_ns < GIVE_WAY_NS;
        self.cases().any(|other| match other.progress {
            Progress::Working(..) if other.station.controller == controller => true,
            Progress::Waiting { doubtful: false, .. } => other.station.controller == controller || gives_way,
            Progress::Waiting { in_flight: false, .. } => other.station.controller != controller && gives_way,
            Progress::Working(..) => !other.was_reset && gives_way,
            _ => false,
        })
    }

    fn distribute_completions(&mut self) {
        for index in 0..MAX {
            let Some(Some(case)) = self.cases.get(index) else { break };
            if !case.is_at_work() {
                continue;
            }
            let station = case.station;
            // SAFETY: this is the crash path, and the reference ends with the turn of the loop.
            let port = unsafe { station.port() };
            while let Some(completion) = port.poll() {
                let owner = console::owner(completion.tag);
                let working = self.cases.iter_mut().flatten().filter(|case| core::ptr::eq(case.station, station));
                let mut consoles = working.filter_map(|case| match &mut case.progress {
                    Progress::Working(index, successor) if *index == owner => Some(successor),
                    _ => None,
                });
                if let Some(successor) = consoles.next() {
                    // One that is not its own comes back, and is nobody's.
                    let _ = successor.complete(completion);
                }
            }
        }
    }
}

/// Lets a console take over; its controller has been reset where that was needed.
#[inline(never)]
fn resume(post: &'static Post, is_reset: bool, crash: Crash<'static>) -> Progress {
    let mut target = match post.cell.load() {
        Ok(target) => target,
        Err(error) => return Progress::Damaged(error),
    };
    // It would ask for the reset that it has had.
    target.in_flight &= !is_reset;
    // SAFETY: once a level; at the second level everything is doubtful, so that the reset came first.
    match unsafe { post.resume(&target, crash) } {
        Ok(successor) => Progress::Working(target.index, successor),
        Err(error) => Progress::Damaged(error),
    }
}

impl Case {
    fn is_at_work(&self) -> bool {
        matches!(self.progress, Progress::Working(..))
    }

    fn pump(&mut self, ring: &Ring<'_>) {
        let Progress::Working(_, successor) = &mut self.progress else { return };
        let now = clock::now_ns();
        // SAFETY: this is the crash path, and the reference ends with the call.
        successor.pump(unsafe { self.station.port() }, ring, now);
        match successor.outcome() {
            Outcome::Working => {}
            Outcome::Done => {
                self.progress = Progress::Durable(now);
                if self.station.controller != Controller::None {
                    DURABLE.fetch_add(1, Ordering::Relaxed);
                }
            }
            Outcome::Failed(reason) => self.progress = Progress::Failed(reason),
        }
    }

    /// The console's name.
    pub(super) fn name(&self) -> console::Name {
        self.post.name
    }

    /// What the crash record says of it.
    pub(super) fn describe(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match &self.progress {
            Progress::Waiting { in_flight, doubtful, hangs } => {
                out.write_str(match (*hangs, *in_flight) {
                    (true, _) => "logging, writes in flight without an answer",
                    (_, true) => "logging, writes in flight",
                    _ => "logging, nothing in flight",
                })?;
                if *doubtful { out.write_str(", to be reset") } else { Ok(()) }
            }
            Progress::Damaged(error) => write!(out, "not touched: {error}"),
            _ => out.write_str("being written"),
        }
    }

    /// What the serial port says of it in the end, or before disks that seem to hang are reset, which may be the end; times are
    /// since `since_ns`.
    pub(super) fn conclude(&self, is_last: bool, since_ns: u64, out: &mut impl fmt::Write) -> fmt::Result {
        // SAFETY: this is the crash path, and the reference ends with the call.
        let commands: Commands = unsafe { self.station.port() }.commands();
        match &self.progress {
            Progress::Durable(at) => {
                write!(out, "durable after {} us, {commands}", at.saturating_sub(since_ns) / 1000)
            }
            Progress::Failed(reason) => write!(out, "failed: {reason}, {commands}"),
            Progress::Damaged(error) => write!(out, "not touched: {error}"),
            Progress::Waiting { hangs: true, .. } if !is_last => {
                write!(out, "does not answer; reset once all else is done")
            }
            Progress::Working(..) | Progress::Waiting { .. } => write!(out, "not done in time, {commands}"),
        }
    }
}
