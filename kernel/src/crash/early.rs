//! Crashes before a disk's consoles were found.
//!
//! While a device is being started and searched, an entry here says how to reset it. The crash path, once it is done with the consoles that
//! were known, resets all such devices by their crash sides. Whichever has come up is searched as the kernel would have, and what is found there
//! is written to, one console after the other, with one set of memory for all. A device whose search had been going on for long
//! when the crash came may hang; its reset waits until the serial port has shown everything.

use super::kit::{self, Work};
use super::rescue::HANGS_NS;
use super::stations::{self, Station, Successor};
use crate::arch::{clock, cpu};
use crate::devices::disk::{Disk, Name};
use crate::devices::platform::Machine;
use crate::{consoles, scan};
use alloc::boxed::Box;
use block::{BlockDevice, State};
use blockconsole::console::{self, Config, Console, Crash, Outcome};
use blockconsole::ring::Ring;
use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// Most devices that are being started at a time.
const MAX: usize = 16;
/// How long all devices of a turn may take, and each of them once it has come up.
const ALL_NS: u64 = 5_000_000_000;
const EACH_NS: u64 = 2_000_000_000;
/// How long a disk may take to be searched, or to take one console's record. Less than drivers leave a device without an answer before they
/// reset it of their own accord (`crash_timeouts` of NVMe): a virtual machine may not survive that, and others wait for their turn.
const STEP_NS: u64 = 1_000_000_000;
/// Most namespaces of a controller that are searched.
const MAX_NAMESPACES: usize = 8;
static DEVICES: [AtomicPtr<Early>; MAX] = [const { AtomicPtr::new(null_mut()) }; MAX];

/// A device whose consoles are not known yet.
pub struct Early {
    way: UnsafeCell<Way>,
    settled: AtomicBool,
    /// When its disks began to be searched, on the kernel's clock; 0: they are not.
    searched_since_ns: AtomicU64,
    /// It was asked for answers by the crash path, and did not give them.
    hangs: AtomicBool,
}

// SAFETY: `way` is touched by the crash path only, once nobody else runs; the rest is atomic.
unsafe impl Sync for Early {}

enum Way {
    Nvme { number: usize, controller: nvme::CrashController<Machine> },
    Virtio(&'static Station),
}

/// An NVMe controller is about to be started.
pub fn watch_nvme(number: usize, controller: nvme::CrashController<Machine>) -> Option<&'static Early> {
    watch(Way::Nvme { number, controller })
}

/// A virtio disk is about to be started.
pub fn watch_virtio(station: &'static Station) -> Option<&'static Early> {
    watch(Way::Virtio(station))
}

fn watch(way: Way) -> Option<&'static Early> {
    let place = DEVICES.iter().find(|place| place.load(Ordering::Relaxed).is_null())?;
    let early: &'static Early = Box::leak(Box::new(Early {
        way: UnsafeCell::new(way),
        settled: AtomicBool::new(false),
        searched_since_ns: AtomicU64::new(0),
        hangs: AtomicBool::new(false),
    }));
    place.store((&raw const *early).cast_mut(), Ordering::Release);
    Some(early)
}

impl Early {
    /// Its disks are searched from now on.
    pub fn begin_search(&self, now_ns: u64) {
        self.searched_since_ns.store(now_ns.max(1), Ordering::Relaxed);
    }

    /// The device's consoles are known now, or it has none, or it did not come up.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }

    /// Whether it may hang, for a crash at this time.
    fn turn(&self, crash_ns: u64) -> Turn {
        let since = self.searched_since_ns.load(Ordering::Relaxed);
        // A search that takes so long seems to hang.
        let is_long = since != 0 && crash_ns.saturating_sub(since) > HANGS_NS;
        if is_long || self.hangs.load(Ordering::Relaxed) { Turn::Last } else { Turn::First }
    }
}

/// When a device gets its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// At once.
    First,
    /// When everything has been shown, as its reset may be the end.
    Last,
}

/// What became of the consoles that were found.
pub(super) struct Found {
    results: [Option<Result>; MAX_FOUND],
    all: usize,
    durable: usize,
}

/// Most consoles that are spoken of.
const MAX_FOUND: usize = 16;

/// A console that was found after the crash, or a device that may have one.
#[derive(Clone, Copy)]
pub(super) struct Result {
    name: Name,
    end: End,
    /// When that was known, on the kernel's clock.
    at_ns: u64,
}

#[derive(Clone, Copy)]
enum End {
    Console(Outcome),
    /// The device was not searched, for this reason.
    Unsearched(&'static str),
}

impl Result {
    /// What it is called.
    pub(super) fn name(&self) -> &str {
        match self.end {
            End::Console(_) => self.name.as_str(),
            End::Unsearched(_) => self.name.device(),
        }
    }

    /// What the serial port says of it; times are since `since_ns`.
    pub(super) fn conclude(&self, since_ns: u64, out: &mut impl fmt::Write) -> fmt::Result {
        match self.end {
            End::Console(Outcome::Done) => {
                write!(out, "durable after {} us", self.at_ns.saturating_sub(since_ns) / 1000)
            }
            End::Console(Outcome::Failed(reason)) => write!(out, "failed: {reason}"),
            End::Console(Outcome::Working) => out.write_str("not done in time"),
            End::Unsearched(why) => write!(out, "not searched for a console: {why}"),
        }
    }
}

impl Found {
    /// Nothing so far.
    pub(super) const fn new() -> Self {
        Self { results: [None; MAX_FOUND], all: 0, durable: 0 }
    }

    /// What is to be said of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Result> {
        self.results.iter().flatten()
    }

    /// Number of consoles, and of those that have everything. A device that was not searched counts as one that has not.
    pub(super) fn tally(&self) -> (usize, usize) {
        (self.all, self.durable)
    }

    fn add(&mut self, name: Name, end: End) {
        self.all += 1;
        self.durable += usize::from(matches!(end, End::Console(Outcome::Done)));
        if let Some(slot) = self.results.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(Result { name, end, at_ns: clock::now_ns() });
        }
    }
}

/// What is to be reset and searched.
#[derive(Clone, Copy)]
enum Job {
    Early(&'static Early),
    Station(&'static Station),
}

/// Devices whose consoles are not known.
fn unsettled(turn: Turn, crash_ns: u64) -> impl Iterator<Item = &'static Early> {
    // SAFETY: the entries are null, or were made of leaked boxes.
    let devices = DEVICES.iter().filter_map(|place| unsafe { place.load(Ordering::Acquire).as_ref() });
    devices.filter(move |early| !early.settled.load(Ordering::Acquire) && early.turn(crash_ns) == turn)
}

/// Whether there are devices to be looked after in this turn, for a crash at this time.
pub(super) fn has_work(turn: Turn, crash_ns: u64) -> bool {
    unsettled(turn, crash_ns).next().is_some()
}

/// Looks after all devices whose consoles are not known, and whose turn it is.
///
/// `others` are disks whose consoles were known, until what was known of them was overwritten.
pub(super) fn rescue(
    (turn, crash_ns): (Turn, u64),
    others: impl Iterator<Item = &'static Station>,
    crash: Crash<'static>,
    ring: &Ring<'_>,
    found: &mut Found,
) {
    let since_ns = clock::now_ns();
    let deadline_ns = since_ns.saturating_add(ALL_NS);
    let mut jobs = [None; MAX + stations::MAX_DISKS];
    let all = unsettled(turn, crash_ns).map(Job::Early).chain(others.map(Job::Station));
    for (slot, job) in jobs.iter_mut().zip(all) {
        *slot = Some((job, false));
    }
    while jobs.iter().any(Option::is_some) {
        for slot in &mut jobs {
            let Some((job, is_reset)) = slot else { continue };
            let (job, now) = (*job, clock::now_ns());
            if !*is_reset {
                // A reset amid requests is the last resort: see `rescue`.
                if turn == Turn::First && job.has_requests() {
                    if now < since_ns.saturating_add(HANGS_NS) {
                        continue;
                    }
                    if job.put_off() {
                        *slot = None;
                        continue;
                    }
                }
                job.reset();
                *is_reset = true;
            }
            match job.poll() {
                State::Recovering if now < deadline_ns => continue,
                State::Ready if now < deadline_ns => {
                    job.search((crash, ring, deadline_ns.min(now.saturating_add(EACH_NS))), found);
                }
                State::Dead(_) => found.add(job.name(), End::Unsearched("it does not come up")),
                State::Recovering | State::Ready => found.add(job.name(), End::Unsearched("there was no time left")),
            }
            *slot = None;
        }
        cpu::relax();
    }
}

impl Job {
    /// Whether the device is known to have requests that it has not answered.
    fn has_requests(self) -> bool {
        let unanswered = match self {
            // SAFETY: as in `reset`.
            Self::Early(early) => match unsafe { &mut *early.way.get() } {
                Way::Nvme { controller, .. } => controller.unanswered(),
                Way::Virtio(station) => return Self::Station(station).has_requests(),
            },
            // SAFETY: as in `reset`.
            Self::Station(station) => unsafe { station.port() }.unanswered(),
        };
        unanswered.is_some_and(|unanswered| unanswered > 0)
    }

    /// Leaves it for the last turn; `false` if it has none.
    fn put_off(self) -> bool {
        let Self::Early(early) = self else { return false };
        early.hangs.store(true, Ordering::Relaxed);
        true
    }

    fn reset(self) {
        match self {
            // SAFETY: this is the crash path, the only one to touch it, and the reference ends here.
            Self::Early(early) => match unsafe { &mut *early.way.get() } {
                Way::Nvme { controller, .. } => controller.recover(),
                Way::Virtio(station) => Self::Station(station).reset(),
            },
            // SAFETY: as above.
            Self::Station(station) => unsafe { station.port() }.recover(),
        }
    }

    /// Moves the reset on.
    fn poll(self) -> State {
        match self {
            // SAFETY: as in `reset`.
            Self::Early(early) => match unsafe { &mut *early.way.get() } {
                Way::Nvme { controller, .. } => {
                    controller.poll();
                    controller.state()
                }
                Way::Virtio(station) => Self::Station(station).poll(),
            },
            Self::Station(station) => {
                // SAFETY: as in `reset`.
                let port = unsafe { station.port() };
                // Nobody waits for requests any more: they were those of a level before, or of whoever crashed.
                let _ = port.poll();
                port.state()
            }
        }
    }

    fn name(self) -> Name {
        match self {
            // SAFETY: as in `reset`.
            Self::Early(early) => match unsafe { &*early.way.get() } {
                Way::Nvme { number, .. } => Name::nvme(*number, 0),
                Way::Virtio(station) => station.name,
            },
            Self::Station(station) => station.name,
        }
    }

    fn search(self, what: (Crash<'static>, &Ring<'_>, u64), found: &mut Found) {
        match self {
            // SAFETY: as in `reset`.
            Self::Early(early) => match unsafe { &mut *early.way.get() } {
                Way::Nvme { number, controller } => {
                    for index in 0..MAX_NAMESPACES {
                        let Some(namespace) = controller.port(index) else { break };
                        let name = Name::nvme(*number, namespace.info().id);
                        search(name, &mut Disk::nvme_crash(namespace), what, found);
                    }
                }
                Way::Virtio(station) => Self::Station(station).search(what, found),
            },
            // SAFETY: as in `reset`.
            Self::Station(station) => search(station.name, unsafe { station.port() }, what, found),
        }
    }
}

/// Searches a disk, and writes to the consoles on it.
fn search(
    name: Name,
    port: &mut Disk,
    (crash, ring, deadline_ns): (Crash<'static>, &Ring<'_>, u64),
    found: &mut Found,
) {
    let Some(kit) = kit::get() else {
        return found.add(name, End::Unsearched("there is no memory that another device may not have"));
    };
    // SAFETY: this is the crash path, and nobody else uses it.
    let (Work { scratch, places }, buffer) = unsafe { kit.take() };
    let block_size = port.geometry().block_size;
    let settings = consoles::settings();
    let step_deadline_ns = || deadline_ns.min(clock::now_ns().saturating_add(STEP_NS));
    let search_deadline_ns = step_deadline_ns();
    let mut idle = || {
        cpu::relax();
        clock::now_ns() < search_deadline_ns
    };
    let mut reader = scan::reader(port, buffer, &mut idle);
    scan::search(&mut reader, scratch, places, &name, settings, &mut |_| ());
    if reader.into_buffer().is_none() {
        // Nor is the memory given back, which the device may have.
        return found.add(name, End::Unsearched("it does not answer"));
    }
    for place in places.iter() {
        let disk = name;
        let name = name.partition(place.partition);
        let Some(place) = scan::place(block_size, &place) else { continue };
        if stations::have(&disk, &place) {
            // The crash came between its console's making and the note that this disk needs no search any more.
            continue;
        }
        let config = Config {
            index: 0,
            name: console::Name::new(name.as_str()),
            place,
            expected: settings.and_then(|settings| settings.uuid),
            facts: crash.facts,
            pad_ns: 0,
        };
        // A console that is about to mount is what the target of this one says.
        // SAFETY: the console before is done, and left nothing with the device: otherwise the loop has ended.
        let _ = Console::new(config, &kit.post.cell, unsafe { kit.post.take_buffers() });
        // SAFETY: as above; the one that was just made is gone again.
        let resumed = kit.post.cell.load().and_then(|target| unsafe { kit.post.resume(&target, crash) });
        let Ok(resumed) = resumed else { continue };
        let outcome = write(resumed, port, ring, step_deadline_ns());
        found.add(name, End::Console(outcome));
        if resumed.in_flight() > 0 || port.state() != State::Ready {
            // The device may still have memory that the next one would use. It is not given back.
            return;
        }
    }
    kit.give_back();
}

fn write(console: &mut Successor, port: &mut Disk, ring: &Ring<'_>, deadline_ns: u64) -> Outcome {
    while console.outcome() == Outcome::Working && clock::now_ns() < deadline_ns {
        console.pump(port, ring, clock::now_ns());
        while let Some(completion) = port.poll() {
            // There is no other console at work.
            let _ = console.complete(completion);
        }
        cpu::relax();
    }
    console.outcome()
}
