//! Writes the rest of the log and the crash record to every console.
//!
//! Consoles are polled in turn, so that a disk that hangs holds up no other. Where a write was in flight, the disk's answers are awaited:
//! nothing can overtake what is written after that. Where there is no way to the disk without a reset of its controller, that is
//! made then, for all of its disks, once its other consoles are done. A reset amid requests is the last resort: a virtual machine
//! stands still while a controller that is being reset waits for its requests, and for ever if one of them hangs; and QEMU's NVMe
//! controller (7.2) does not survive one that overtakes a doorbell. So disks that seem to hang come last of all, when even the serial
//! port has everything.

use super::stations::{self, Post, Station, Successor};
use crate::arch::{clock, cpu};
use crate::devices::disk::Commands;
use crate::devices::find::Controller;
use block::{BlockDevice, ErrorKind, State};
use blockconsole::console::{self, BadTarget, Crash, Outcome, Reason, Target};
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
    /// Consoles that an earlier level of crash was done with, and those of them that have their record. They are left alone.
    earlier: (usize, usize),
    /// Consoles for which there is no room here.
    left_out: usize,
    damaged: usize,
    /// When it was begun.
    since_ns: u64,
    /// Whether consoles whose disks seem to hang may have their turn.
    risks_all: bool,
}

/// How long a disk is left to finish its requests before it is reset, where it is not known whether it has. A sound one is done
/// by then, mostly.
const FINISH_NS: u64 = 500_000;
/// How long consoles that need a reset leave the others alone at most.
const GIVE_WAY_NS: u64 = 1_000_000_000;
/// A disk that has something, and for so long has not answered it, seems to hang.
pub(super) const HANGS_NS: u64 = 50_000_000;

/// Consoles that have everything, and those that failed, over all levels.
static DURABLE: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);

/// A console that is to get the crash record.
pub(super) struct Case {
    station: &'static Station,
    post: &'static Post,
    /// Boot, tile and round where it was, if that is known.
    position: Option<(u32, u32, u32)>,
    /// Whether it began with a reset that requests may have held up.
    was_reset: bool,
    progress: Progress,
}

enum Progress {
    /// It has not been begun.
    Waiting {
        /// Whether a request of it, or of its neighbours on the disk, was with the device.
        in_flight: bool,
        /// Whether a write of its own was: until that is answered, it might overtake what is written now.
        writes: bool,
        /// Whether its controller must be reset first: there is no other way, or it cannot be trusted.
        must_reset: bool,
        /// Whether the disk seems to hang.
        hangs: bool,
    },
    Working(u8, &'static mut Successor),
    /// All is durable, since this time.
    Durable(u64),
    Failed(Reason),
    /// What is known of it cannot be trusted, so that it is not touched.
    Damaged(BadTarget),
    /// It had stopped before the crash, as the log says: its disk was given up, or refused. It is only spoken of.
    Stopped,
}

impl Rescue {
    /// Finds out what there is to do on these disks. With `trust_nothing`, every controller is reset first.
    pub(super) fn new(stations: impl Iterator<Item = &'static Station>, trust_nothing: bool) -> Self {
        let mut cases = [const { None }; MAX];
        let since_ns = clock::now_ns();
        let posts = stations.flat_map(|station| station.posts().map(move |post| (station, post)));
        let found = posts.filter_map(|(station, post)| {
            let target = post.cell.load();
            let position = target.as_ref().ok().and_then(Target::position);
            let progress = match target {
                // At a later level it may be one that has its record.
                Ok(target) if target.is_idle && trust_nothing => return None,
                Ok(target) if target.is_idle => Progress::Stopped,
                Ok(target) => {
                    // SAFETY: this is the crash path, or its rehearsal, and the reference ends here.
                    let is_ready = unsafe { station.port() }.state() == State::Ready;
                    let must_reset = trust_nothing || station.is_suspect() || !is_ready;
                    let in_flight = target.in_flight || station.is_busy();
                    let hangs = in_flight && station.silent_ns() > HANGS_NS;
                    Progress::Waiting { in_flight, writes: target.in_flight, must_reset, hangs }
                }
                // It is only just being made.
                Err(BadTarget::Empty | BadTarget::Idle) => return None,
                Err(error) => Progress::Damaged(error),
            };
            Some(Case { station, post, position, was_reset: false, progress })
        });
        let mut left_out = 0;
        for case in found {
            let is_stopped = case.is_stopped();
            let no_use = |slot: &Option<Case>| slot.as_ref().is_none_or(|other| !is_stopped && other.is_stopped());
            let place = cases.iter().position(Option::is_none).or_else(|| cases.iter().position(no_use));
            match place.and_then(|place| cases.get_mut(place)) {
                Some(slot) => *slot = Some(case),
                None => left_out += usize::from(!is_stopped),
            }
        }
        let durable = DURABLE.load(Ordering::Relaxed);
        let earlier = (durable + FAILED.load(Ordering::Relaxed), durable);
        let resets = [None; stations::MAX_DISKS];
        let mut rescue = Self { cases, resets, earlier, left_out, damaged: 0, since_ns, risks_all: false };
        rescue.spread_hangs();
        rescue
    }

    /// A reset is for all disks of a controller: where one of them seems to hang, none of the others may have it made.
    fn spread_hangs(&mut self) {
        for index in 0..MAX {
            let Some(Some(case)) = self.cases.get(index) else { continue };
            let controller = case.station.controller;
            if !matches!(case.progress, Progress::Waiting { hangs: true, .. }) {
                continue;
            }
            for other in self.cases.iter_mut().flatten().filter(|other| other.station.controller == controller) {
                if let Progress::Waiting { must_reset: true, hangs, .. } = &mut other.progress {
                    *hangs = true;
                }
            }
        }
    }

    /// All consoles.
    pub(super) fn cases(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().flatten()
    }

    /// Those that had not stopped before.
    fn live(&self) -> impl Iterator<Item = &Case> {
        self.cases().filter(|case| !case.is_stopped())
    }

    /// The boot's number, if it is the same on all consoles.
    pub(super) fn boot(&self) -> Option<u32> {
        let mut numbers = self.live().filter_map(|case| case.position).map(|(boot, ..)| boot);
        let first = numbers.next()?;
        numbers.all(|number| number == first).then_some(first)
    }

    /// Number of consoles, and of those that have everything; those included that an earlier level of crash was done with,
    /// and that there was no room for.
    pub(super) fn tally(&self) -> (usize, usize) {
        let durable = self.cases().filter(|case| matches!(case.progress, Progress::Durable(_)));
        let (all, earlier_durable) = self.earlier;
        (all + self.left_out + self.live().count(), earlier_durable + durable.count())
    }

    /// Disks of which nothing is known any more that can be trusted. Their consoles count no longer: who searches the disk
    /// counts what it finds.
    pub(super) fn give_up_damaged(&mut self) -> impl Iterator<Item = &'static Station> {
        let is_damaged = |case: &Case| matches!(case.progress, Progress::Damaged(_));
        let mut stations = [None; stations::MAX_DISKS];
        for (slot, station) in stations.iter_mut().zip(stations::all()) {
            let mut own = self.live().filter(|case| core::ptr::eq(case.station, station)).peekable();
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

    /// Number of consoles for which there was no room.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether there are consoles whose disks seem to hang.
    pub(super) fn has_risks(&self) -> bool {
        self.cases().any(|case| matches!(case.progress, Progress::Waiting { .. }))
    }

    /// Gives disks their turn that seem to hang: it may be the end.
    pub(super) fn risk_all(&mut self) {
        self.risks_all = true;
    }

    /// Moves every console on. Never waits.
    pub(super) fn step(&mut self, crash: Crash<'static>, ring: &Ring<'_>) {
        for index in 0..MAX {
            self.begin(index, crash);
        }
        for case in self.cases.iter_mut().flatten() {
            let is_reset = self.resets.contains(&Some(case.station.controller));
            case.pump(ring, is_reset);
        }
        self.distribute_completions();
        cpu::relax();
    }

    /// Begins with a console, if it is its turn.
    fn begin(&mut self, index: usize, crash: Crash<'static>) {
        let Some(Some(case)) = self.cases.get(index) else { return };
        let Progress::Waiting { writes, must_reset, hangs, .. } = case.progress else { return };
        let (station, post) = (case.station, case.post);
        if hangs && !self.risks_all {
            return;
        }
        let is_reset = self.resets.contains(&Some(station.controller));
        let unanswered = match is_reset || !(must_reset || writes) {
            true => Some(0),
            // SAFETY: this is the crash path, and the reference ends here.
            false => unsafe { station.port() }.unanswered(),
        };
        let is_quiet = unanswered == Some(0);
        if !is_quiet && !self.has_had_time(index, unanswered.is_some()) {
            return;
        }
        let resets = !is_reset && (must_reset || !is_quiet);
        if resets {
            // Nobody else uses the port once there is nothing to wait for.
            if self.has_to_wait(station.controller, is_quiet) {
                return;
            }
            if let Some(slot) = self.resets.iter_mut().find(|slot| slot.is_none()) {
                *slot = Some(station.controller);
            }
            // SAFETY: this is the crash path, and the reference ends here.
            unsafe { station.port() }.recover();
        }
        let progress = resume(post, crash);
        if let Some(Some(case)) = self.cases.get_mut(index) {
            case.was_reset = resets && !is_quiet;
            case.progress = progress;
        }
    }

    /// Whether a disk that has requests was left the time to finish them. One of which it is known that it has not is put off.
    fn has_had_time(&mut self, index: usize, is_known: bool) -> bool {
        let waited_ns = clock::now_ns().saturating_sub(self.since_ns);
        if !is_known || self.risks_all {
            return waited_ns >= FINISH_NS;
        }
        if waited_ns >= HANGS_NS
            && let Some(Some(Case { progress: Progress::Waiting { hangs, .. }, .. })) = self.cases.get_mut(index)
        {
            *hangs = true;
            self.spread_hangs();
        }
        false
    }

    /// Whether others come before the reset of a controller: those on it that need none, and if requests may hold the
    /// reset up, as the controller is not quiet, those on other controllers that cannot be held up.
    fn has_to_wait(&self, controller: Controller, is_quiet: bool) -> bool {
        let gives_way = !is_quiet && clock::now_ns().saturating_sub(self.since_ns) < GIVE_WAY_NS;
        self.cases().any(|other| match other.progress {
            Progress::Working(..) if other.station.controller == controller => true,
            Progress::Waiting { must_reset: false, hangs: false, .. } => {
                other.station.controller == controller || gives_way
            }
            Progress::Waiting { in_flight: false, .. } => other.station.controller != controller && gives_way,
            Progress::Working(..) => !other.was_reset && gives_way,
            _ => false,
        })
    }

    fn distribute_completions(&mut self) {
        for index in 0..MAX {
            let Some(Some(case)) = self.cases.get(index) else { continue };
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

/// Lets a console take over; its controller has answered everything, or has been reset.
#[inline(never)]
fn resume(post: &'static Post, crash: Crash<'static>) -> Progress {
    let target = match post.cell.load() {
        Ok(target) => target,
        Err(error) => return Progress::Damaged(error),
    };
    // SAFETY: once a level; at the second level all controllers must be reset, and were before this.
    match unsafe { post.resume(&target, crash) } {
        Ok(successor) => Progress::Working(target.index, successor),
        Err(error) => Progress::Damaged(error),
    }
}

impl Case {
    fn is_stopped(&self) -> bool {
        matches!(self.progress, Progress::Stopped)
    }

    fn is_at_work(&self) -> bool {
        matches!(self.progress, Progress::Working(..))
    }

    fn pump(&mut self, ring: &Ring<'_>, is_reset: bool) {
        let Progress::Working(_, successor) = &mut self.progress else { return };
        let now = clock::now_ns();
        // SAFETY: this is the crash path, and the reference ends with the function.
        let port = unsafe { self.station.port() };
        if let State::Dead(error) = port.state()
            && error.kind != ErrorKind::Gone
            && !is_reset
        {
            // The way without a reset leads nowhere. With one there is a second, last of all. The console that took over is
            // interrupted here, before it gives up, so that another can take over from it.
            self.progress = Progress::Waiting { in_flight: true, writes: true, must_reset: true, hangs: true };
            return;
        }
        successor.pump(port, ring, now);
        match successor.outcome() {
            Outcome::Working => {}
            Outcome::Done => {
                self.progress = Progress::Durable(now);
                if self.station.controller != Controller::None {
                    DURABLE.fetch_add(1, Ordering::Relaxed);
                }
            }
            Outcome::Failed(reason) => {
                self.progress = Progress::Failed(reason);
                FAILED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The console's name.
    pub(super) fn name(&self) -> console::Name {
        self.post.name
    }

    /// What the crash record says of it.
    pub(super) fn describe(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match &self.progress {
            Progress::Waiting { in_flight, must_reset, hangs, .. } => {
                out.write_str("logging")?;
                if let Some((boot, tile, round)) = self.position {
                    write!(out, ", boot {boot}, tile {tile}, round {round}")?;
                }
                match (self.station.requests(), *in_flight) {
                    (Some(requests), true) if requests > 0 => write!(out, ", {requests} in flight")?,
                    (_, true) => out.write_str(", requests in flight")?,
                    (_, false) => out.write_str(", nothing in flight")?,
                }
                if *hangs {
                    out.write_str(" without an answer")?;
                }
                write!(out, ", {} errors", self.station.errors())?;
                if *must_reset { out.write_str(", to be reset") } else { Ok(()) }
            }
            Progress::Damaged(error) => write!(out, "not touched: {error}"),
            Progress::Stopped => write!(out, "had stopped, {} errors", self.station.errors()),
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
            Progress::Stopped => out.write_str("had stopped before the crash, and gets nothing"),
            Progress::Waiting { hangs: true, .. } if !is_last => {
                write!(out, "does not answer; reset once all else is done")
            }
            Progress::Working(..) | Progress::Waiting { .. } if is_last => write!(out, "not done in time, {commands}"),
            Progress::Working(..) | Progress::Waiting { .. } => write!(out, "not done yet, {commands}"),
        }
    }
}
