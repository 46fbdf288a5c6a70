//! A model of an NVMe controller: registers, queues, faults.

mod execute;
mod medium;
mod prp;
mod queues;
mod registers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform_fake::{Bus, FakeClock, Machine};

pub(crate) use medium::{Medium, NamespaceOptions};
use queues::{CompletionQueue, SubmissionQueue};

/// Where the model's registers are: above 4 GiB, as QEMU puts 64-bit regions.
pub(crate) const REGISTERS_AT: u64 = 0x40_8000_0000;

/// A submission queue entry, as the model reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) queue: u16,
    pub(crate) opcode: u8,
    pub(crate) id: u16,
    pub(crate) nsid: u32,
    pub(crate) flags: u8,
    pub(crate) prp1: u64,
    pub(crate) prp2: u64,
    pub(crate) dwords: [u32; 6],
}

impl Entry {
    fn parse(queue: u16, bytes: &[u8; 64]) -> Self {
        let dword = |index: usize| u32::from_le_bytes(bytes[4 * index..4 * index + 4].try_into().unwrap());
        let qword = |index: usize| u64::from(dword(index + 1)) << 32 | u64::from(dword(index));
        Self {
            queue,
            opcode: bytes[0],
            flags: bytes[1],
            id: u16::from_le_bytes([bytes[2], bytes[3]]),
            nsid: dword(1),
            prp1: qword(6),
            prp2: qword(8),
            dwords: std::array::from_fn(|index| dword(10 + index)),
        }
    }

    /// Whether it is an I/O command, not an admin one.
    pub(crate) fn is_io(&self) -> bool {
        self.queue != 0
    }

    pub(crate) fn first_block(&self) -> u64 {
        u64::from(self.dwords[1]) << 32 | u64::from(self.dwords[0])
    }

    pub(crate) fn blocks(&self) -> u64 {
        u64::from(self.dwords[2] & 0xFFFF) + 1
    }

    pub(crate) fn is_fua(&self) -> bool {
        self.dwords[2] & 1 << 30 != 0
    }
}

/// What the model is to do with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What the specification says.
    Obey,
    /// Answer with this status (type << 8 | code, flags above), without doing it.
    Fail(u16),
    /// Do it, and never answer.
    Swallow,
    /// Neither do it nor answer.
    Ignore,
    /// Answer this much later.
    Delay(u64),
    /// Do it, and answer twice.
    Twice,
    /// Do it, and answer for another command id.
    AsId(u16),
    /// Do it, and answer as from another submission queue.
    FromQueue(u16),
    /// Do it, and answer with a submission queue head that lies outside.
    WildHead,
    /// Say that it worked, without having done it.
    Lie,
    /// Do half of it, then nothing ever again until a reset.
    StopMidway,
    /// Do half of it, then vanish from the bus.
    Vanish,
    /// Report a fatal failure instead.
    Fatal,
}

type Judge = Box<dyn FnMut(&Entry) -> Verdict + Send>;

/// How the model is built.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) max_entries: u32,
    pub(crate) timeout_units: u8,
    pub(crate) doorbell_shift: u8,
    pub(crate) version: u32,
    /// Bits of CAP beyond those of the fields above.
    pub(crate) capability_bits: u64,
    pub(crate) ready_timeouts: u32,
    pub(crate) max_pairs: u16,
    pub(crate) mdts: u8,
    pub(crate) write_cache: Option<bool>,
    pub(crate) write_zeroes: bool,
    /// SGLS.
    pub(crate) scatter_gather: u32,
    pub(crate) retry_delays: [u16; 3],
    pub(crate) serial: [u8; 20],
    pub(crate) namespaces: Vec<NamespaceOptions>,
    /// How long becoming ready and stopping take.
    pub(crate) ready_ns: u64,
    pub(crate) stop_ns: u64,
    pub(crate) register_bytes: usize,
    /// Completions come in this pseudo-random order; 0 = in order.
    pub(crate) shuffle: u64,
}

/// CAP.CSS bit of the NVM command set.
pub(crate) const CSS_NVM: u64 = 1 << 37;

impl Default for Options {
    fn default() -> Self {
        Self {
            max_entries: 1024,
            timeout_units: 4,
            doorbell_shift: 0,
            version: 0x0001_0400,
            capability_bits: CSS_NVM | 1 << 16,
            ready_timeouts: 0,
            max_pairs: 8,
            mdts: 5,
            write_cache: Some(true),
            write_zeroes: true,
            scatter_gather: 0,
            retry_delays: [0; 3],
            serial: *b"MODEL-0001          ",
            namespaces: vec![NamespaceOptions::default()],
            ready_ns: 2_000_000,
            stop_ns: 1_000_000,
            register_bytes: 0x4000,
            shuffle: 0,
        }
    }
}

/// What goes wrong with the controller as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Registers read as all ones.
    pub(crate) gone: bool,
    pub(crate) never_ready: bool,
    pub(crate) never_stops: bool,
    /// Fatal status as soon as it is enabled.
    pub(crate) fatal_on_enable: bool,
    /// No command is taken any more.
    pub(crate) deaf: bool,
}

struct Pending {
    entry: Entry,
    verdict: Verdict,
    ready_at: u64,
}

/// Identify data that are made up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Garbage {
    pub(crate) seed: u64,
    /// Which structures: bit n = CNS n.
    pub(crate) structures: u8,
    /// Only a byte here and there, instead of all of them.
    pub(crate) sparse: bool,
}

/// The model.
pub(crate) struct Device {
    bus: Bus,
    clock: FakeClock,
    pub(crate) options: Options,
    pub(crate) faults: Faults,
    pub(crate) media: BTreeMap<u32, Medium>,
    pub(crate) garbage: Option<Garbage>,
    judge: Option<Judge>,
    configuration: u32,
    aqa: u32,
    asq: u64,
    acq: u64,
    ready: bool,
    fatal: bool,
    stopped_midway: bool,
    changes_at: Option<u64>,
    shutdown_at: Option<u64>,
    submission: BTreeMap<u16, SubmissionQueue>,
    completion: BTreeMap<u16, CompletionQueue>,
    pending: VecDeque<Pending>,
    in_flight: BTreeSet<(u16, u16)>,
    random: u64,
    /// Every command taken, in order.
    pub(crate) taken: Vec<Entry>,
    /// Rules that the host broke.
    pub(crate) violations: Vec<String>,
    /// How often the controller was enabled.
    pub(crate) enables: u32,
    /// Registers were read this often.
    pub(crate) reads: u64,
}

/// Locks a model, also after a test's panic.
pub(crate) fn lock(device: &Arc<Mutex<Device>>) -> MutexGuard<'_, Device> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    /// Puts a model on a machine's bus.
    pub(crate) fn attach(machine: &Machine, options: Options) -> Arc<Mutex<Self>> {
        let media = options.namespaces.iter().map(|namespace| (namespace.id, Medium::new(namespace.clone()))).collect();
        let device = Arc::new(Mutex::new(Self {
            bus: machine.bus().clone(),
            clock: machine.clock().clone(),
            faults: Faults::default(),
            media,
            garbage: None,
            judge: None,
            configuration: 0,
            aqa: 0,
            asq: 0,
            acq: 0,
            ready: false,
            fatal: false,
            stopped_midway: false,
            changes_at: None,
            shutdown_at: None,
            submission: BTreeMap::new(),
            completion: BTreeMap::new(),
            pending: VecDeque::new(),
            in_flight: BTreeSet::new(),
            random: options.shuffle | 1,
            taken: Vec::new(),
            violations: Vec::new(),
            enables: 0,
            reads: 0,
            options,
        }));
        let bytes = lock(&device).options.register_bytes;
        machine.attach(REGISTERS_AT, bytes, device.clone());
        device
    }

    /// From now on asks `judge` what to do with each command.
    pub(crate) fn judge(&mut self, judge: impl FnMut(&Entry) -> Verdict + Send + 'static) {
        self.judge = Some(Box::new(judge));
    }

    /// From now on obeys.
    pub(crate) fn obey(&mut self) {
        self.judge = None;
    }

    /// Opcodes of the I/O commands taken so far.
    pub(crate) fn io_opcodes(&self) -> Vec<u8> {
        self.taken.iter().filter(|entry| entry.is_io()).map(|entry| entry.opcode).collect()
    }

    fn violation(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    /// Spoils a page as [`Garbage`] says.
    fn spoil(&self, structure: u32, page: &mut [u8]) {
        let Some(garbage) = self.garbage.filter(|garbage| structure < 8 && garbage.structures >> structure & 1 != 0)
        else {
            return;
        };
        let mut state = garbage.seed | 1;
        for byte in page {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if !garbage.sparse || state.is_multiple_of(31) {
                *byte = (state >> 32) as u8;
            }
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Lets the model work: takes every new command, and answers those whose time has come.
    pub(crate) fn step(&mut self) {
        self.settle();
        if !self.ready || self.fatal || self.faults.deaf || self.stopped_midway || self.faults.gone {
            return;
        }
        self.take_commands();
        let now = self.clock.peek();
        let mut due: Vec<Pending> = Vec::new();
        let mut left = VecDeque::new();
        for pending in std::mem::take(&mut self.pending) {
            if pending.ready_at <= now { due.push(pending) } else { left.push_back(pending) }
        }
        self.pending = left;
        if self.options.shuffle != 0 {
            for index in (1..due.len()).rev() {
                let other = (self.random() % (index as u64 + 1)) as usize;
                due.swap(index, other);
            }
        }
        for pending in due {
            if self.stopped_midway || self.fatal || self.faults.gone {
                return;
            }
            self.answer(pending.entry, pending.verdict);
        }
    }

    fn take_commands(&mut self) {
        let queues: Vec<u16> = self.submission.keys().copied().collect();
        for id in queues {
            while let Some(queue) = self.submission.get_mut(&id).filter(|queue| queue.head != queue.tail) {
                let at = queue.base + 64 * u64::from(queue.head);
                queue.head = (queue.head + 1) % queue.entries;
                let mut bytes = [0; 64];
                if self.bus.read(at, &mut bytes).is_err() {
                    self.violation("submission queue outside of DMA memory");
                    continue;
                }
                let entry = Entry::parse(id, &bytes);
                let is_segment = bytes[1] == 0x40 && id != 0 && self.options.scatter_gather != 0;
                if !(bytes[1] == 0 || is_segment) || bytes[16..24] != [0; 8] {
                    self.violation("fused, unknown data pointer or metadata pointer in a command");
                }
                if !self.in_flight.insert((id, entry.id)) {
                    self.violation(format!("command id {:#x} is in use on queue {id}", entry.id));
                }
                self.taken.push(entry);
                let verdict = self.judge.as_mut().map_or(Verdict::Obey, |judge| judge(&entry));
                let delay = if let Verdict::Delay(ns) = verdict { ns } else { 0 };
                self.pending.push_back(Pending { entry, verdict, ready_at: self.clock.peek() + delay });
            }
        }
    }

    fn answer(&mut self, entry: Entry, verdict: Verdict) {
        match verdict {
            Verdict::Obey | Verdict::Delay(_) => {
                let (status, result) = self.execute(&entry, 1.0);
                self.complete(&entry, entry.id, entry.queue, None, status, result);
            }
            Verdict::Fail(status) => self.complete(&entry, entry.id, entry.queue, None, status, 0),
            Verdict::Swallow => {
                self.execute(&entry, 1.0);
            }
            Verdict::Ignore => {}
            Verdict::Twice => {
                let (status, result) = self.execute(&entry, 1.0);
                self.complete(&entry, entry.id, entry.queue, None, status, result);
                self.complete(&entry, entry.id, entry.queue, None, status, result);
            }
            Verdict::AsId(id) => {
                let (status, result) = self.execute(&entry, 1.0);
                self.complete(&entry, id, entry.queue, None, status, result);
            }
            Verdict::FromQueue(queue) => {
                let (status, result) = self.execute(&entry, 1.0);
                self.complete(&entry, entry.id, queue, None, status, result);
            }
            Verdict::WildHead => {
                let (status, result) = self.execute(&entry, 1.0);
                self.complete(&entry, entry.id, entry.queue, Some(0xFFF0), status, result);
            }
            Verdict::Lie => self.complete(&entry, entry.id, entry.queue, None, 0, 0),
            Verdict::StopMidway => {
                self.execute(&entry, 0.5);
                self.stopped_midway = true;
            }
            Verdict::Vanish => {
                self.execute(&entry, 0.5);
                self.faults.gone = true;
            }
            Verdict::Fatal => self.fatal = true,
        }
    }
}
