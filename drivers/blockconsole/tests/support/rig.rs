//! A machine in miniature: a ring, disks, consoles, a clock moved by hand.

use block::{BlockDevice, State, WriteCache};
use block_fake::{Disk, Port};
use blockconsole::console::Config;
use blockconsole::console::{Console, Crash, Name, Outcome, PAD_NS, Pending, Target, TargetCell};
use blockconsole::marks::BootFacts;
use blockconsole::place::Place;
use blockconsole::ring::{RecordHeader, Ring, RingIdentity};
use blockconsole::{Event, Level};
use std::sync::atomic::AtomicU64;

pub const UUID: u32 = 0x1a2b_3c4d;
pub const FACTS: BootFacts<'static> =
    BootFacts { version: "0.1.0", build_id: &[0xab, 0xcd], started: Some(1_700_000_000) };

/// Buffers a console: 4 of 256 KiB, unless a test says otherwise.
pub const BUFFERS: usize = 4;
pub type TestConsole = Console<'static, Vec<u8>, BUFFERS>;

/// One boot of a machine with one disk.
pub struct Rig {
    pub disk: Disk,
    pub port: Port,
    pub ring: Ring<'static>,
    pub console: TestConsole,
    pub cell: &'static TargetCell,
    pub now_ns: u64,
    pub events: Vec<Event>,
    pub lines: u64,
}

/// A ring in memory of its own.
pub fn ring(words: usize) -> Ring<'static> {
    let memory: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    Ring::create(memory.leak(), RingIdentity { boot_id: 7, build_id: [0; 20], boot_seconds: 0 }).expect("a ring")
}

pub fn config(place: Place) -> Config<'static> {
    Config { index: 3, name: Name::new("ram0"), place, expected: None, facts: FACTS, pad_ns: PAD_NS }
}

pub fn buffers(size: usize) -> [Vec<u8>; BUFFERS] {
    // Not zeroes: what is not written shows.
    core::array::from_fn(|_| vec![b'#'; size])
}

impl Rig {
    /// Boots a machine with this disk, all of which is a console.
    pub fn boot(disk: &Disk) -> Self {
        Self::boot_with(disk, 256 * 1024, |_| {})
    }

    /// Boots it with buffers of this size, and a changed configuration.
    pub fn boot_with(disk: &Disk, buffer: usize, change: impl FnOnce(&mut Config<'static>)) -> Self {
        let port = disk.port();
        let cell: &'static TargetCell = Box::leak(Box::new(TargetCell::new()));
        let mut config = config(Place::whole(&port.geometry()).expect("a place"));
        change(&mut config);
        let console = Console::new(config, cell, buffers(buffer));
        Self {
            disk: disk.clone(),
            port,
            ring: ring((1 << 20) / 8),
            console,
            cell,
            now_ns: 0,
            events: Vec::new(),
            lines: 0,
        }
    }

    /// Logs a line.
    pub fn log(&self, text: &str) -> u64 {
        let header = RecordHeader { time_ns: self.now_ns, cpu: 0, level: Level::Info };
        self.ring.write(header, "test", format_args!("{text}"))
    }

    /// Logs lines that prove themselves, each of about `len` bytes.
    pub fn log_lines(&mut self, count: u64, len: usize) {
        for _ in 0..count {
            let text = line(self.lines, len);
            self.log(&text);
            self.lines += 1;
        }
    }

    /// One turn of the machine's loop.
    pub fn turn(&mut self) {
        while let Some(completion) = self.port.poll() {
            assert!(self.console.complete(completion).is_ok(), "a completion for somebody else");
        }
        let is_quiet = self.console.is_quiet(&self.ring, self.now_ns) && self.port.state() == State::Ready;
        let before = (self.console.target(), self.console.in_flight(), self.disk.counts());
        self.console.pump(&mut self.port, &self.ring, self.now_ns);
        let after = (self.console.target(), self.console.in_flight(), self.disk.counts());
        assert!(!is_quiet || before == after, "it was quiet, but {before:?} became {after:?}");
        while let Some(event) = self.console.event() {
            self.events.push(event);
        }
    }

    /// Turns until nothing is left to do at this moment.
    pub fn settle(&mut self) {
        let mut idle = 0;
        for _ in 0..100_000 {
            let before = (self.disk.now(), self.disk.counts());
            self.turn();
            let is_idle = self.console.in_flight() == 0 && (self.disk.now(), self.disk.counts()) == before;
            idle = if is_idle { idle + 1 } else { 0 };
            if idle == 4 {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Logs lines and lets the console write them, so that the ring is never lapped.
    pub fn log_and_settle(&mut self, count: u64, len: usize) {
        for _ in 0..count.div_ceil(100) {
            self.log_lines(count.min(100), len);
            self.settle();
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
        self.settle();
    }

    /// Makes everything durable.
    pub fn finish(&mut self) {
        self.console.finish(self.ring.written());
        self.settle();
        assert_eq!(self.console.durable(), self.ring.written(), "durable");
    }

    /// Crashes: another console takes over on another queue. The console of this rig is not touched any more.
    pub fn crash(&self, record: &'static [u8]) -> Outcome {
        Dying::new(self, record).run()
    }

    /// What is on the disk, in its cache included.
    pub fn log_text(&self) -> super::Log {
        super::Log::read(&self.disk.medium(), self.disk.port().geometry().bytes() >> 20)
    }
}

/// The machine after a crash.
pub struct Dying {
    pub port: Port,
    pub ring: Ring<'static>,
    pub console: TestConsole,
}

impl Dying {
    pub fn new(rig: &Rig, record: &'static [u8]) -> Self {
        Self::with_cell(rig, record, Box::leak(Box::new(TargetCell::new())))
    }

    /// Takes over, and publishes its own state in this cell.
    pub fn with_cell(rig: &Rig, record: &'static [u8], cell: &'static TargetCell) -> Self {
        Self::from_target(rig, &rig.cell.load().expect("a target"), record, cell)
    }

    /// Takes over from this target.
    pub fn from_target(rig: &Rig, target: &Target, record: &'static [u8], cell: &'static TargetCell) -> Self {
        Self::knowing(Pending::MayArrive, rig, target, record, cell)
    }

    /// Takes over from this target, knowing that of what was in flight.
    pub fn knowing(
        pending: Pending,
        rig: &Rig,
        target: &Target,
        record: &'static [u8],
        cell: &'static TargetCell,
    ) -> Self {
        let crash = Crash { facts: FACTS, record, until: rig.ring.written() };
        let console = Console::resume(target, pending, crash, cell, buffers(256 * 1024));
        let console = console.expect("a console to take over");
        Self { port: rig.disk.port(), ring: rig.ring, console }
    }

    pub fn turn(&mut self) {
        while let Some(completion) = self.port.poll() {
            assert!(self.console.complete(completion).is_ok());
        }
        self.console.pump(&mut self.port, &self.ring, 0);
    }

    pub fn run(&mut self) -> Outcome {
        for _ in 0..100_000 {
            if self.console.outcome() != Outcome::Working {
                return self.console.outcome();
            }
            self.turn();
        }
        panic!("it never ends: {:?}", self.console.target());
    }
}

/// A line that proves its own number and length.
pub fn line(number: u64, len: usize) -> String {
    let mut text = format!("line {number:07} of {len} ");
    let mut random = block_fake::Random::new(number);
    while text.len() < len {
        let bits = random.bits().to_le_bytes();
        text.extend(bits.iter().take(len - text.len()).map(|byte| char::from(b'a' + byte % 26)));
    }
    text
}

/// Whether a device like this needs flushes.
pub fn is_volatile(disk: &Disk) -> bool {
    disk.port().geometry().write_cache == WriteCache::Volatile
}
