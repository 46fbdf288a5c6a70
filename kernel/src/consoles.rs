//! All consoles of the machine: found on its disks, and pumped.
//!
//! ```text
//! Starting ── ready ──► scan: places with a console's header ──► Running: disk, its consoles, its crash station
//!     └────── dead ───► named in the log                            └── dead, or 10 failures ──► named in the log
//! ```
//! One lock guards it all. The program's main loop waits for it; the tick takes it only if it is free. The crash path
//! does not take it: what it needs stands in [`crash::stations`].

use crate::arch::{clock, cpu};
use crate::checkpoint;
use crate::crash::stations::{BUFFERS, Station};
use crate::devices::disk::{Disk, Name};
use crate::devices::event::Reporter;
use crate::devices::find::{Progress, Ready, Starting};
use crate::devices::platform::Machine;
use crate::previous::FINISHED;
use crate::{logger, scan, serial_log, survey, tick};
use alloc::vec::Vec;
use block::{Access, BlockDevice, State, WriteCache};
use blockconsole::console::{self, Config, Console};
use blockconsole::last_boot::End;
use blockconsole::marks::BootFacts;
use blockconsole::place::Place;
use blockconsole::ring::Ring;
use log::{debug, info, warn};
use partition::ExplicitExtents;
use platform::{DmaBuffer, Platform};
use spin::{Mutex, Once};

/// Size of each: four of them keep a device busy while one is filled.
const BUFFER_BYTES: usize = 160 << 10;

/// How long a disk that is to be taken out may take to answer what is in flight and to shut down.
const SHUT_DOWN_NS: u64 = 2_000_000_000;

type DiskConsole = Console<'static, DmaBuffer, BUFFERS>;

/// Steps at which a crash can be made, beside those of disks: a console that is being mounted waits for its disk; a console has
/// just entered a tile.
pub const CHECKPOINTS: [&str; 2] = ["console.mount", "console.tile"];

/// What all consoles are told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What a boot's first line says.
    pub facts: BootFacts<'static>,
    /// Nanoseconds after which text is padded and written.
    pub pad_ns: u64,
    /// The only console to be used.
    pub uuid: Option<u32>,
    /// A log file's place.
    pub extents: Option<ExplicitExtents<'static>>,
    /// Whether the serial port is told what is durable.
    pub acknowledge: bool,
    /// Nanoseconds that a disk may take to answer, if not the drivers' own.
    pub disk_patience_ns: Option<u64>,
}

/// The consoles, and the devices that they may yet come from.
pub struct Consoles {
    starting: Vec<Starting>,
    running: Vec<Running>,
    /// Disks without a console. They are shut down in the end, like the others.
    others: Vec<(Name, Disk)>,
    /// What is known to be reachable by several controllers.
    media: Vec<(Name, nvme::NamespaceNames)>,
    acknowledged: u64,
}

/// A disk with consoles.
struct Running {
    name: Name,
    disk: Disk,
    reporter: Reporter,
    consoles: Vec<DiskConsole>,
    /// Where each of them lies.
    places: Vec<Place>,
    station: &'static Station,
    was_ready: bool,
    /// Requests of its consoles that were with it when they were pumped last.
    requests: usize,
    /// The console that is pumped first: each in turn, because a short queue may have room for one only.
    first: usize,
    /// Consoles that stopped because the disk was dead, a bit each: they go on if it comes back.
    stopped: u64,
    /// The disk is to be taken out, once everything before this record is durable.
    leaving_at: Option<u64>,
}

static CONSOLES: Mutex<Consoles> = Mutex::new(Consoles {
    starting: Vec::new(),
    running: Vec::new(),
    others: Vec::new(),
    media: Vec::new(),
    acknowledged: 0,
});

/// What all consoles are told; for the crash path too, which takes no lock.
static SETTINGS: Once<Settings> = Once::new();

/// Says what all consoles are told. Only the first call counts.
pub fn configure(settings: Settings) {
    SETTINGS.call_once(|| settings);
}

/// What all consoles are told, once they are told anything.
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get()
}

/// What a boot's first line says.
pub fn facts() -> BootFacts<'static> {
    let unknown = BootFacts { version: env!("CARGO_PKG_VERSION"), build_id: &[], started: None };
    settings().map_or(unknown, |settings| settings.facts)
}

/// Takes up devices that have been started.
pub fn add(starting: Vec<Starting>) {
    CONSOLES.lock().starting.extend(starting);
}

/// Moves everything on. Never waits for a device, except while partition tables are read.
pub fn pump() {
    pump_at(clock::now_ns());
}

/// The same for who has just looked at the clock.
pub(crate) fn pump_at(now_ns: u64) {
    let Some(ring) = logger::ring() else { return };
    CONSOLES.lock().pump(ring, now_ns);
}

/// Moves on what the tick may: everything but devices that are still being started.
pub fn pump_from_tick() {
    let Some(ring) = logger::ring() else { return };
    if let Some(mut consoles) = CONSOLES.try_lock() {
        consoles.pump_running(ring, clock::now_ns());
    }
}

/// Waits until every device that was started has come up or not, and its consoles have been mounted or not; at most
/// until `deadline_ns`. What takes longer comes later.
pub fn settle(deadline_ns: u64) {
    loop {
        pump();
        tick::alive();
        serial_log::pump_share();
        let settled = {
            let consoles = CONSOLES.lock();
            consoles.starting.is_empty()
                && consoles.all().all(|console| !console.is_active() || console.position().is_some())
        };
        if settled {
            return;
        }
        if clock::now_ns() > deadline_ns {
            warn!("some disks are slow to start; their consoles will come later");
            return;
        }
        cpu::relax();
    }
}

/// Takes the lock for ever: for crashes on purpose.
pub(crate) fn hold_lock() {
    core::mem::forget(CONSOLES.try_lock());
}

/// Number of consoles that are logging, or about to.
pub fn active() -> usize {
    CONSOLES.lock().all().filter(|console| console.is_active()).count()
}

/// Every record before this one is durable on each console that is active; `None` if none is.
pub fn durable() -> Option<u64> {
    CONSOLES.lock().durable()
}

/// Asks every console to write and flush everything before this record.
pub fn finish(sequence: u64) {
    CONSOLES
        .lock()
        .running
        .iter_mut()
        .flat_map(|running| &mut running.consoles)
        .for_each(|console| console.finish(sequence));
}

/// Shuts down the controllers of all disks that want to be, when everything is durable and nothing is to follow: until
/// `deadline_ns` at most. No console is pumped meanwhile, or ever again.
pub fn shut_down(deadline_ns: u64) {
    let mut consoles = CONSOLES.lock();
    let Consoles { running, others, .. } = &mut *consoles;
    loop {
        let disks = running.iter_mut().map(|running| &mut running.disk).chain(others.iter_mut().map(|(_, disk)| disk));
        // Each of them is asked each time.
        let is_busy = disks.fold(false, |is_busy, disk| !disk.shut_down() | is_busy);
        if !is_busy || clock::now_ns() > deadline_ns {
            return;
        }
        cpu::relax();
    }
}

/// Lets go of what a device's name begins: its consoles write out what was logged until now, for which they have until `until_ns`, and
/// stop; then it is shut down. To be called until it returns `true`, which a device that does nothing of this holds up for a while only.
pub fn let_go(device: &str, until_ns: u64) -> bool {
    let mut consoles = CONSOLES.lock();
    let Consoles { running, others, .. } = &mut *consoles;
    let (written, now) = (logger::ring().map_or(0, |ring| ring.written()), clock::now_ns());
    let running = running.iter_mut().filter(|running| running.name.device() == device);
    // Each of them is asked each time.
    let are_idle = running.fold(true, |idle, running| running.let_go(written, now >= until_ns) & idle);
    let others = others.iter_mut().filter(|(name, _)| name.device() == device);
    let are_shut_down = others.fold(are_idle, |idle, (_, disk)| disk.shut_down() & idle);
    are_shut_down || now >= until_ns.saturating_add(SHUT_DOWN_NS)
}

/// Lends each disk that has a console to `use_it`, with the first console's name and place: for programs that write to
/// tiles of their own, which the log must be far away from. Nothing is logged to any disk meanwhile.
///
/// Everything must be durable: a completion that belongs to a console would be taken for the borrower's. The borrower leaves
/// nothing in flight.
pub fn on_each_disk(mut use_it: impl FnMut(&str, &mut Disk, &Place)) {
    for running in &mut CONSOLES.lock().running {
        if let (Some(console), Some(place)) = (running.consoles.first(), running.places.first()) {
            use_it(console.name().as_str(), &mut running.disk, place);
        }
    }
}

/// Logs which consoles there are.
pub fn describe() {
    let consoles = CONSOLES.lock();
    for console in consoles.all() {
        let name = console.name();
        match (console.identity(), console.position()) {
            (Some((uuid, boot)), Some((tile, round, _))) => {
                let last = match console.kept_crashes() {
                    0 if boot == 1 => "none",
                    0 => "no crash record",
                    _ => "crashed",
                };
                info!(
                    target: survey::TARGET,
                    "console: {name} uuid={uuid:08x} boot={boot} tile={tile} round={round} boot_before=\"{last}\""
                );
            }
            _ => info!(target: survey::TARGET, "console: {name} not logging"),
        }
    }
    if consoles.all().next().is_none() {
        info!(target: survey::TARGET, "console: none: there is no console, as no disk or partition carries a header");
    }
}

impl Consoles {
    fn all(&self) -> impl Iterator<Item = &DiskConsole> {
        self.running.iter().flat_map(|running| &running.consoles)
    }

    fn durable(&self) -> Option<u64> {
        self.all().filter(|console| console.is_active()).map(|console| console.durable()).min()
    }

    fn pump(&mut self, ring: &Ring<'_>, now_ns: u64) {
        if self.starting.is_empty() {
            self.pump_running(ring, now_ns);
        } else {
            // Which moves the others on as well, while partition tables are read.
            self.pump_starting(ring);
            self.pump_running(ring, clock::now_ns());
            self.note_durable(ring);
        }
    }

    fn pump_starting(&mut self, ring: &Ring<'_>) {
        for starting in core::mem::take(&mut self.starting) {
            match starting.poll() {
                Progress::Going(starting) => self.starting.push(starting),
                Progress::Over(ready, early) => {
                    if let Some(early) = early {
                        early.begin_search(clock::now_ns());
                    }
                    for ready in ready {
                        self.take_up(ready, ring);
                    }
                    if let Some(early) = early {
                        early.settle();
                    }
                }
            }
        }
    }

    fn pump_running(&mut self, ring: &Ring<'_>, now_ns: u64) {
        // Each of them is pumped.
        let has_moved = self.running.iter_mut().fold(false, |moved, running| running.pump(ring, now_ns) | moved);
        if has_moved {
            self.note_durable(ring);
        }
    }

    /// Tells everybody who wants to know what is durable everywhere.
    fn note_durable(&mut self, ring: &Ring<'_>) {
        let Some(durable) = self.durable() else { return };
        if durable > self.acknowledged {
            self.acknowledged = durable;
            ring.note_durable(durable);
            if settings().is_some_and(|settings| settings.acknowledge) {
                serial_log::acknowledge(durable);
            }
        }
    }

    /// Looks for consoles on a disk that has become ready.
    fn take_up(&mut self, ready: Ready, ring: &Ring<'_>) {
        let Some(settings) = settings() else { return };
        let Ready { name, mut disk, station } = ready;
        let medium = disk.medium();
        let same = self.media.iter().find(|(_, other)| medium.is_some_and(|medium| medium.is_same_medium(other)));
        if let Some((other, _)) = same {
            info!("{name}: left alone, as it is the same medium as {other}");
            self.others.push((name, disk));
            return;
        }
        self.media.extend(medium.map(|medium| (name, medium)));
        let geometry = disk.geometry();
        info!(
            "{name}: {} KiB in blocks of {}, {:?}",
            geometry.bytes() / 1024,
            geometry.block_size,
            geometry.write_cache
        );
        if geometry.write_cache == WriteCache::Unknown {
            info!("{name}: the host offers no flush: what is written is as durable as the host makes it");
        }
        if let Access::ReadOnly(why) = geometry.access {
            info!("{name}: takes no writes: {why}");
        }
        let running = &mut self.running;
        let places = scan::find_consoles(&name, &mut disk, settings, &mut || {
            tick::alive();
            serial_log::pump_share();
            running.iter_mut().for_each(|running| {
                running.pump(ring, clock::now_ns());
            });
        });
        if places.is_empty() {
            self.others.push((name, disk));
            return;
        }
        let mut consoles = Vec::new();
        let mut taken = Vec::new();
        for (index, (name, place)) in (0u8..).zip(places) {
            let buffers = (0..BUFFERS).map_while(|_| Machine.allocate_dma(BUFFER_BYTES, platform::dma::PAGE_SIZE));
            let Ok(buffers) = <[DmaBuffer; BUFFERS]>::try_from(buffers.collect::<Vec<_>>()) else {
                warn!("{name}: not enough memory for a console");
                break;
            };
            let config = Config {
                index,
                name: console::Name::new(name.as_str()),
                place,
                expected: settings.uuid,
                facts: settings.facts,
                pad_ns: settings.pad_ns,
            };
            let Some(cell) = station.add_console(config.name) else {
                warn!("{name}: too many consoles");
                break;
            };
            consoles.push(Console::new(config, cell, buffers));
            taken.push(place);
        }
        let reporter = Reporter::new();
        let places = taken;
        self.running.push(Running {
            name,
            disk,
            reporter,
            consoles,
            places,
            station,
            was_ready: false,
            requests: 0,
            first: 0,
            stopped: 0,
            leaving_at: None,
        });
    }
}

/// Logs how the boot before ended, as the disk tells it.
fn tell_end(name: console::Name, end: &End) {
    let End { boot, is_crash, .. } = end;
    // The line may have been cut off, but not so short a one.
    let has_finished = end.text().strip_suffix(FINISHED).is_some_and(|line| line.ends_with("INFO  kernel: "));
    match (is_crash, end.text()) {
        (true, "") => warn!("{name}: boot {boot} crashed"),
        (true, reason) => warn!("{name}: boot {boot} crashed: {reason}"),
        (false, _) if has_finished => debug!("{name}: boot {boot} finished"),
        (false, _) => warn!("{name}: boot {boot} was cut short"),
    }
}

impl Running {
    /// Moves its consoles on; `false` if there was nothing to do.
    fn pump(&mut self, ring: &Ring<'_>, now: u64) -> bool {
        let mut answers = self.requests == 0;
        let mut has_moved = false;
        while let Some(completion) = self.disk.poll() {
            self.station.note_pumping();
            (answers, has_moved) = (true, true);
            if completion.result.is_err() {
                self.station.note_error();
            }
            let owner = usize::from(console::owner(completion.tag));
            if let Some(console) = self.consoles.get_mut(owner) {
                // It is this console's: its index is its place in the list.
                let _ = console.complete(completion);
            }
        }
        let is_ready = self.disk.state() == State::Ready;
        if is_ready && !self.was_ready {
            self.station.arm(&self.disk);
            self.take_back();
        }
        let stays_ready = is_ready && self.was_ready;
        self.was_ready = is_ready;
        self.station.note_poll(now, answers);
        self.reporter.say(&self.name, &mut self.disk, now);
        let (first, count) = (self.first, self.consoles.len());
        self.first = if first + 1 < count { first + 1 } else { 0 };
        for index in (first..count).chain(0..first) {
            let is_quiet = self.consoles.get(index).is_none_or(|console| console.is_quiet(ring, now));
            if !(is_quiet && stays_ready) {
                self.station.note_pumping();
                has_moved = true;
                self.pump_one(index, ring, now);
            }
        }
        if has_moved {
            self.requests = self.consoles.iter().map(Console::in_flight).sum();
            self.station.note_pumped(self.requests);
        }
        has_moved
    }

    fn pump_one(&mut self, index: usize, ring: &Ring<'_>, now: u64) {
        let Some(console) = self.consoles.get_mut(index) else { return };
        let tile = console.position().map(|(tile, round, _)| (tile, round));
        console.pump(&mut self.disk, ring, now);
        match console.position().map(|(tile, round, _)| (tile, round)) {
            None if console.identity().is_none() && console.in_flight() > 0 => checkpoint::pass(CHECKPOINTS[0]),
            entered @ Some(_) if entered != tile => checkpoint::pass(CHECKPOINTS[1]),
            _ => {}
        }
        while let Some(event) = console.event() {
            match event {
                console::Event::NowLogging { .. } => {
                    info!("{event}");
                    if let Some(end) = console.take_last_boot() {
                        tell_end(console.name(), &end);
                    }
                }
                console::Event::NoLongerLogging { reason, .. } => {
                    warn!("{event}");
                    let is_dead = matches!(reason, console::Reason::Dead(_));
                    self.stopped |= u64::from(is_dead) << (index % 64);
                }
            }
        }
    }

    /// One step towards letting go of the disk, when everything before record `written` is durable; `true` if it is done.
    fn let_go(&mut self, written: u64, is_late: bool) -> bool {
        let goal = *self.leaving_at.get_or_insert(written);
        self.consoles.iter_mut().for_each(|console| console.finish(goal));
        let is_written = self.consoles.iter().all(|console| !console.is_active() || console.durable() >= goal);
        if is_written || is_late {
            self.disk.leave();
        }
        let is_stopped = self.consoles.iter().all(|console| !console.is_active() && console.in_flight() == 0);
        is_stopped && self.disk.shut_down()
    }

    /// The disk is ready, perhaps again after it had been dead: then its consoles get their buffers back, and go on.
    fn take_back(&mut self) {
        while let Some((tag, buffer)) = self.disk.reclaim() {
            if let Some(console) = self.consoles.get_mut(usize::from(console::owner(tag))) {
                console.add_buffer(buffer);
            }
        }
        let stopped = core::mem::take(&mut self.stopped);
        for (index, console) in self.consoles.iter_mut().enumerate() {
            if stopped >> (index % 64) & 1 != 0 {
                console.reattach();
            }
        }
    }
}
