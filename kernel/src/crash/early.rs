//! Crashes before a disk's consoles were found.
//!
//! While a device is being started and searched, an entry here says how to reset it. The crash path, once it is done with the consoles that
//! were known, starts each such device anew by its crash side, searches it as the kernel would have, and writes to what it
//! finds, one console after the other, with one set of memory for all.

use super::kit::{self, Kit, Work};
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
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Most devices that are being started at a time.
const MAX: usize = 16;
/// Most namespaces of a controller that are searched.
const MAX_NAMESPACES: usize = 8;
static DEVICES: [AtomicPtr<Early>; MAX] = [const { AtomicPtr::new(null_mut()) }; MAX];

/// A device whose consoles are not known yet.
pub struct Early {
    way: UnsafeCell<Way>,
    settled: AtomicBool,
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
    let early: &'static Early =
        Box::leak(Box::new(Early { way: UnsafeCell::new(way), settled: AtomicBool::new(false) }));
    place.store((&raw const *early).cast_mut(), Ordering::Release);
    Some(early)
}

impl Early {
    /// The device's consoles are known now, or it has none, or it did not come up.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }
}

/// What became of the consoles that were found.
pub(super) struct Found {
    results: [Option<Result>; MAX_FOUND],
}

/// Most consoles that are reported.
const MAX_FOUND: usize = 8;

/// A console that was found after the crash.
#[derive(Clone, Copy)]
pub(super) struct Result {
    pub(super) name: Name,
    outcome: Outcome,
    /// When that was known, on the kernel's clock.
    at_ns: u64,
}

impl Result {
    pub(super) fn is_durable(&self) -> bool {
        self.outcome == Outcome::Done
    }

    /// What the serial port says of it; times are since `since_ns`.
    pub(super) fn conclude(&self, since_ns: u64, out: &mut impl fmt::Write) -> fmt::Result {
        match self.outcome {
            Outcome::Done => write!(out, "durable after {} us", self.at_ns.saturating_sub(since_ns) / 1000),
            Outcome::Failed(reason) => write!(out, "failed: {reason}"),
            Outcome::Working => out.write_str("not done in time"),
        }
    }
}

impl Found {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Result> {
        self.results.iter().flatten()
    }

    fn add(&mut self, result: Result) {
        if let Some(slot) = self.results.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(result);
        }
    }
}

/// Looks after all devices whose consoles are not known. Returns when that is done, or at `deadline_ns`.
///
/// `others` are disks whose consoles were known, until what was known of them was overwritten.
pub(super) fn rescue(
    others: impl Iterator<Item = &'static Station>,
    crash: Crash<'static>,
    ring: &Ring<'_>,
    deadline_ns: u64,
) -> Found {
    let mut found = Found { results: [None; MAX_FOUND] };
    let Some(kit) = kit::get() else { return found };
    // SAFETY: the entries are null, or were made of leaked boxes.
    let devices = DEVICES.iter().filter_map(|place| unsafe { place.load(Ordering::Acquire).as_ref() });
    for early in devices.filter(|early| !early.settled.load(Ordering::Acquire)) {
        // SAFETY: this is the crash path, the only one to touch it, and the reference ends with the turn of the loop.
        match unsafe { &mut *early.way.get() } {
            Way::Nvme { number, controller } => {
                controller.recover();
                while controller.state() == State::Recovering && clock::now_ns() < deadline_ns {
                    controller.poll();
                    cpu::relax();
                }
                for index in 0..MAX_NAMESPACES {
                    let Some(namespace) = controller.port(index) else { break };
                    let name = Name::nvme(*number, namespace.info().id);
                    let mut port = Disk::nvme_crash(namespace);
                    search(name, &mut port, kit, &mut found, (crash, ring, deadline_ns));
                }
            }
            Way::Virtio(station) => search_station(station, kit, &mut found, (crash, ring, deadline_ns)),
        }
    }
    for station in others {
        search_station(station, kit, &mut found, (crash, ring, deadline_ns));
    }
    found
}

fn search_station(
    station: &'static Station,
    kit: &'static Kit,
    found: &mut Found,
    (crash, ring, deadline_ns): (Crash<'static>, &Ring<'_>, u64),
) {
    // SAFETY: this is the crash path, and the reference ends with the call.
    let port = unsafe { station.port() };
    port.recover();
    // Nothing is in flight, so that nothing is lost.
    while port.state() == State::Recovering && clock::now_ns() < deadline_ns {
        let _ = port.poll();
        cpu::relax();
    }
    search(station.name, port, kit, found, (crash, ring, deadline_ns));
}

/// Searches a disk, and writes to the consoles on it.
fn search(
    name: Name,
    port: &mut Disk,
    kit: &'static Kit,
    found: &mut Found,
    (crash, ring, deadline_ns): (Crash<'static>, &Ring<'_>, u64),
) {
    if port.state() != State::Ready {
        return;
    }
    // SAFETY: this is the crash path, and nobody else uses it; no device has the memory, as the one before was reset or is dead.
    let (Work { scratch, places }, buffer) = unsafe { kit.work() };
    let block_size = port.geometry().block_size;
    let settings = consoles::settings();
    let mut idle = cpu::relax;
    let mut reader = scan::reader(port, buffer, &mut idle);
    scan::search(&mut reader, scratch, places, &name, settings, &mut |_| ());
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
        // SAFETY: the console before is done, or its device was given up: consoles of one disk come one after the other, and the
        // next disk's buffers are used only when this one has nothing in flight any more.
        let _ = Console::new(config, &kit.post.cell, unsafe { kit.post.take_buffers() });
        // SAFETY: as above; the one that was just made is gone again.
        let resumed = kit.post.cell.load().and_then(|target| unsafe { kit.post.resume(&target, crash) });
        let Ok(resumed) = resumed else { continue };
        let outcome = write(resumed, port, ring, deadline_ns);
        found.add(Result { name, outcome, at_ns: clock::now_ns() });
        if outcome == Outcome::Working {
            // Something is in flight, in memory that the next one would use.
            return;
        }
    }
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
