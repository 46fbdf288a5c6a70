//! A RAM disk that fails, tears, reorders, hangs and lies: for tests on the host.
//!
//! A [`Disk`] is the medium and its controller; a [`Port`] is one queue of it, and a [`block::BlockDevice`]. A
//! crash port is simply another port. Time is counted in polls.
//!
//! - [`Settings`] say what sort of device it is: geometry, order and duration of its work.
//! - [`Fault`]s say what goes wrong: errors by number, by kind, by range of blocks; hangs; flushes that do nothing.
//! - The [`History`] of all that was done to the medium gives, for each moment, everything that a power cut then could
//!   leave: see [`history`].
//!
//! The disk also watches its user: a write that overlaps another one in flight is a [violation](Disk::violations), because the outcome
//! would be the device's choice.
#![forbid(unsafe_code)]

pub mod fault;
pub mod history;
mod medium;
mod port;
mod random;

pub use fault::{Effect, Fault, Kind};
pub use history::{History, Pending};
pub use medium::Medium;
pub use port::Port;
pub use random::Random;

use block::{Access, Geometry, WriteCache};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In which order a disk does what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As it came.
    First,
    /// The last comes first.
    Last,
    /// At random, from this seed.
    Random(u64),
}

/// What sort of device a disk is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Shape and limits.
    pub geometry: Geometry,
    /// The order in which requests of a port complete.
    pub order: Order,
    /// Polls that a request takes at least.
    pub latency: u32,
    /// Polls after which the driver takes a request for hung, and resets by itself; `None`: never.
    pub deadline: Option<u32>,
    /// Polls that a reset takes.
    pub reset_latency: u32,
    /// Whether a reset works.
    pub resets: bool,
    /// What blocks hold that were never written.
    pub blank: u8,
}

impl Settings {
    /// A well-behaved disk of so many bytes: blocks of `block_size`, a volatile cache, write-zeroes, 1 MiB a transfer.
    pub fn new(block_size: u32, bytes: u64) -> Self {
        let geometry = Geometry {
            block_size,
            block_count: bytes / u64::from(block_size),
            max_transfer_blocks: (1 << 20) / block_size,
            max_write_zeroes_blocks: (1 << 22) / block_size,
            queue_depth: 16,
            write_cache: WriteCache::Volatile,
            access: Access::ReadWrite,
        };
        Self { geometry, order: Order::First, latency: 1, deadline: None, reset_latency: 1, resets: true, blank: 0 }
    }
}

/// The medium and the controller. Clones are handles of the same disk.
#[derive(Clone)]
pub struct Disk {
    inner: Arc<Mutex<Inner>>,
}

/// How many requests a disk has completed, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes from a buffer.
    pub writes: u64,
    /// Bytes in those.
    pub written_bytes: u64,
    /// Write-zeroes.
    pub zeroes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Resets.
    pub resets: u64,
    /// Requests of any kind that failed.
    pub failures: u64,
}

struct Inner {
    settings: Settings,
    medium: Medium,
    faults: Vec<fault::Armed>,
    history: History,
    counts: Counts,
    violations: Vec<String>,
    /// Block ranges that may be written; everything if empty.
    allowed: Vec<Range<u64>>,
    /// Goes up with each reset: what was submitted before is void.
    epoch: u64,
    random: Random,
    next_id: u64,
    /// Writes in flight on any port.
    writing: Vec<Writing>,
    is_dead: bool,
}

/// A write in flight.
struct Writing {
    id: u64,
    blocks: Range<u64>,
    contents: Vec<Arc<[u8]>>,
}

impl Disk {
    /// A blank disk.
    pub fn new(settings: Settings) -> Self {
        Self::with_medium(settings, Medium::new(settings.geometry.block_size, settings.blank))
    }

    /// A disk with this on it: what a power cut left, for example.
    pub fn with_medium(settings: Settings, medium: Medium) -> Self {
        let history = History::new(medium.clone());
        let inner = Inner {
            settings,
            medium,
            faults: Vec::new(),
            history,
            counts: Counts::default(),
            violations: Vec::new(),
            allowed: Vec::new(),
            epoch: 0,
            random: Random::new(match settings.order {
                Order::Random(seed) => seed,
                Order::First | Order::Last => 1,
            }),
            next_id: 0,
            writing: Vec::new(),
            is_dead: false,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Another queue of this disk.
    pub fn port(&self) -> Port {
        Port::new(self.clone(), self.lock().epoch)
    }

    /// Lets something go wrong from now on.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault.arm());
    }

    /// Lets nothing go wrong any more.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.faults.clear();
        inner.settings.resets = true;
    }

    /// Pulls the plug: all ports are dead until a reset, which works only if the settings say so.
    pub fn kill(&self) {
        self.lock().is_dead = true;
    }

    /// Says which blocks may be written at all; a write elsewhere is a violation.
    pub fn allow_only(&self, blocks: Range<u64>) {
        self.lock().allowed.push(blocks);
    }

    /// Changes settings while the disk is in use.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// What its user did wrong.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// How many requests it has completed.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What the disk holds now, its cache included.
    pub fn medium(&self) -> Medium {
        self.lock().medium.clone()
    }

    /// Puts bytes on the medium, behind the controller's back. Not part of the history: for preparing disks.
    ///
    /// # Panics
    /// If they are not whole blocks.
    pub fn put(&self, first_block: u64, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.medium.write(first_block, bytes);
        inner.history = History::new(inner.medium.clone());
    }

    /// All that was done to the medium since it was made or [`put`](Self::put) to.
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// The number of events in the history by now.
    pub fn now(&self) -> usize {
        self.lock().history.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that failed while it held the lock has failed already.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
