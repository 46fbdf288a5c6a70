//! A driver and a model on a workbench: nothing may take for ever.

use std::sync::{Arc, Mutex};

use block::{BlockDevice, Completion, Error, ErrorKind, Request, State, Tag};
use nvme::{Config, Controller, CrashPort, Event, Failure, Namespace};
use platform::{DmaBuffer, Platform};
use platform_fake::Machine;

use crate::model::{Device, Options, REGISTERS_AT, lock};

/// Time that passes in each turn.
pub(crate) const TURN_NS: u64 = 200_000;
/// The most that anything may take: two minutes of the model's time.
const MAX_TURNS: u64 = 120_000_000_000 / TURN_NS;

/// A machine with one controller and its driver.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) device: Arc<Mutex<Device>>,
    pub(crate) controller: Controller<Machine>,
    pub(crate) disks: Vec<Namespace<Machine>>,
    pub(crate) crash: Vec<CrashPort<Machine>>,
    pub(crate) events: Vec<Event>,
}

/// Starts a driver on a model without waiting for it.
pub(crate) fn start(options: Options, config: Config) -> Result<Bench, Failure> {
    let machine = Machine::new();
    let device = Device::attach(&machine, options);
    start_on(machine, device, config)
}

/// Starts a driver on a model that is there already.
pub(crate) fn start_on(machine: Machine, device: Arc<Mutex<Device>>, config: Config) -> Result<Bench, Failure> {
    let len = lock(&device).options.register_bytes;
    let registers = machine.map_registers(REGISTERS_AT, len).expect("the model is attached");
    let controller = Controller::start(machine.clone(), registers, config)?;
    Ok(Bench { machine, device, controller, disks: Vec::new(), crash: Vec::new(), events: Vec::new() })
}

/// A driver that is ready, on a model with these options.
pub(crate) fn ready_with(options: Options, config: Config) -> Bench {
    let mut bench = start(options, config).expect("the controller starts");
    bench.settle();
    assert_eq!(bench.controller.state(), State::Ready, "{:?}", bench.events());
    bench.take();
    bench
}

/// A driver that is ready, on a model with these options.
pub(crate) fn ready(options: Options) -> Bench {
    ready_with(options, Config::default())
}

impl Bench {
    /// Lets one turn pass: the model works, time moves on.
    pub(crate) fn turn(&self) {
        lock(&self.device).step();
        self.machine.clock().advance(TURN_NS);
    }

    /// Polls the controller until it is ready or dead, and returns how long that took.
    pub(crate) fn settle(&mut self) -> u64 {
        let start = self.machine.clock().peek();
        for _ in 0..MAX_TURNS {
            if self.controller.state() != State::Recovering {
                return self.machine.clock().peek() - start;
            }
            self.turn();
            self.controller.poll();
        }
        panic!("still {} after two minutes", self.controller.phase());
    }

    /// Takes namespaces and crash ports from the controller.
    pub(crate) fn take(&mut self) {
        self.disks = self.controller.take_namespaces();
        self.crash = self.controller.take_crash_ports();
    }

    /// A buffer filled with a byte.
    pub(crate) fn buffer(&self, len: usize, fill: u8) -> DmaBuffer {
        let mut buffer = self.machine.allocate_dma(len, 4096).expect("memory");
        buffer.as_mut().fill(fill);
        buffer
    }

    /// A write of `blocks` blocks full of a byte.
    pub(crate) fn write(&self, first_block: u64, blocks: u32, fill: u8) -> Request<DmaBuffer> {
        Request::Write { first_block, blocks, buffer: self.buffer(blocks as usize * 512, fill), fua: false }
    }

    /// A read of `blocks` blocks into a buffer full of AAh.
    pub(crate) fn read(&self, first_block: u64, blocks: u32) -> Request<DmaBuffer> {
        Request::Read { first_block, blocks, buffer: self.buffer((blocks as usize * 512).max(512), 0xAA) }
    }

    /// Submits to disk 0, which must take it.
    pub(crate) fn submit(&mut self, tag: u64, request: Request<DmaBuffer>) {
        if let Err(refused) = self.disks[0].submit(Tag(tag), request) {
            panic!("refused: {}", refused.error);
        }
    }

    /// Lets time pass until disk 0 has a completion.
    pub(crate) fn completion(&mut self) -> Completion<DmaBuffer> {
        let mut disks = std::mem::take(&mut self.disks);
        let completion = self.completion_of(&mut disks[0]);
        self.disks = disks;
        completion
    }

    /// Lets time pass until a device has a completion.
    pub(crate) fn completion_of(&self, device: &mut impl BlockDevice<Buffer = DmaBuffer>) -> Completion<DmaBuffer> {
        for _ in 0..MAX_TURNS {
            if let Some(completion) = device.poll() {
                return completion;
            }
            self.turn();
        }
        panic!("no completion after two minutes");
    }

    /// Does one request on disk 0.
    pub(crate) fn perform(&mut self, request: Request<DmaBuffer>) -> Completion<DmaBuffer> {
        self.submit(0, request);
        self.completion()
    }

    /// Lets time pass until a device is not recovering, and returns how long that took.
    pub(crate) fn recovered(&self, device: &mut impl BlockDevice<Buffer = DmaBuffer>) -> u64 {
        let start = self.machine.clock().peek();
        for _ in 0..MAX_TURNS {
            if device.state() != State::Recovering {
                return self.machine.clock().peek() - start;
            }
            assert!(device.poll().is_none_or(|completion| completion.result.is_err()));
            self.turn();
        }
        panic!("still recovering after two minutes");
    }

    /// Everything that has happened so far.
    pub(crate) fn events(&mut self) -> &[Event] {
        while let Some(event) = self.controller.next_event() {
            self.events.push(event);
        }
        &self.events
    }

    /// The driver has kept to the rules: none broken, no access beside its memory.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(lock(&self.device).violations, Vec::<String>::new());
        assert_eq!(self.machine.bus().faults(), []);
    }

    /// What is on the medium of namespace 1.
    pub(crate) fn medium(&self, first: u64, count: u64) -> Vec<u8> {
        lock(&self.device).media[&1].bytes(first, count)
    }
}

/// The error of a completion.
pub(crate) fn error(completion: &Completion<DmaBuffer>) -> Error {
    completion.result.expect_err("the request fails")
}

/// The kind of a completion's error.
pub(crate) fn kind(completion: &Completion<DmaBuffer>) -> ErrorKind {
    error(completion).kind
}
