//! From a PCI function to a disk.

use std::cell::RefCell;

use block::State;
use nvme::{AttachError, Cause, Config, attach};
use pci::{Address, ConfigSpace, Function};
use platform_fake::Machine;

use crate::model::{Device, Options, REGISTERS_AT, lock};

/// One function of class NVMe, with a 64-bit base address register.
struct OneFunction {
    words: RefCell<[u32; 64]>,
    size: u64,
}

impl OneFunction {
    fn new(address: u64, size: u64) -> Self {
        let mut words = [0; 64];
        words[0] = 0x0010_1B36;
        words[2] = 0x0108_0202;
        words[4] = address as u32 | 4;
        words[5] = (address >> 32) as u32;
        Self { words: RefCell::new(words), size }
    }

    fn with_word(self, index: usize, value: u32) -> Self {
        self.words.borrow_mut()[index] = value;
        self
    }

    fn function(&self) -> Function<'_, Self> {
        Function::probe(self, Address::new(0, 0, 3, 0).unwrap()).expect("the function is there")
    }
}

impl ConfigSpace for OneFunction {
    fn read32(&self, _address: Address, offset: u16) -> u32 {
        self.words.borrow().get(usize::from(offset / 4)).copied().unwrap_or(u32::MAX)
    }

    fn write32(&self, _address: Address, offset: u16, value: u32) {
        let mask = !(self.size - 1);
        let (mask, fixed) = match offset {
            0x04 => (0x0000_FFFF, self.words.borrow()[1] & 0xFFFF_0000),
            0x10 => (mask as u32, 4),
            0x14 => ((mask >> 32) as u32, 0),
            0x44 => (0x0000_0003, 0),
            _ => return,
        };
        self.words.borrow_mut()[usize::from(offset / 4)] = value & mask | fixed;
    }
}

fn machine(options: Options) -> (Machine, std::sync::Arc<std::sync::Mutex<Device>>) {
    let machine = Machine::new();
    let device = Device::attach(&machine, options);
    (machine, device)
}

#[test]
fn a_function_is_enabled_and_its_controller_starts() {
    let (machine, device) = machine(Options::default());
    let config = OneFunction::new(REGISTERS_AT, 0x4000);
    let mut controller = attach(machine.clone(), &config.function(), Config::default()).unwrap();
    // Memory, bus master, no INTx.
    assert_eq!(config.words.borrow()[1], 0x0406);
    assert_eq!(config.words.borrow()[4..6], [REGISTERS_AT as u32 | 4, (REGISTERS_AT >> 32) as u32]);
    while controller.state() == State::Recovering {
        lock(&device).step();
        machine.clock().advance(100_000);
        controller.poll();
    }
    assert_eq!(controller.state(), State::Ready);
}

#[test]
fn doorbells_that_are_far_apart_are_mapped_too() {
    let (machine, device) = machine(Options { doorbell_shift: 13, register_bytes: 0x80000, ..Options::default() });
    let config = OneFunction::new(REGISTERS_AT, 0x80000);
    let mut controller = attach(machine.clone(), &config.function(), Config::default()).unwrap();
    while controller.state() == State::Recovering {
        lock(&device).step();
        machine.clock().advance(100_000);
        controller.poll();
    }
    assert_eq!(controller.state(), State::Ready);
    assert_eq!(lock(&device).violations, Vec::<String>::new());
}

#[test]
fn what_is_no_usable_controller_is_refused() {
    let attempt = |config: OneFunction| {
        let (machine, _) = machine(Options::default());
        attach(machine, &config.function(), Config::default()).map(|_| ()).unwrap_err()
    };
    let good = || OneFunction::new(REGISTERS_AT, 0x4000);
    assert_eq!(attempt(good().with_word(2, 0x0106_0102)), AttachError::OtherClass);
    assert_eq!(attempt(OneFunction::new(0, 0x4000)), AttachError::Bar(pci::BarError::Unassigned));
    assert_eq!(attempt(OneFunction::new(0x5000_0000, 0x4000)), AttachError::Unmapped);
    let small = attempt(OneFunction::new(REGISTERS_AT, 0x1000));
    assert!(
        matches!(small, AttachError::Controller(failure) if matches!(failure.cause, Cause::Unsupported(_))),
        "{small}"
    );
}

#[test]
fn controllers_that_are_slow_to_stop_are_known() {
    let (machine, device) = machine(Options::default());
    let config = OneFunction::new(REGISTERS_AT, 0x4000).with_word(0, 0xA821_144D);
    let mut controller = attach(machine.clone(), &config.function(), Config::default()).unwrap();
    while controller.state() == State::Recovering {
        lock(&device).step();
        machine.clock().advance(100_000);
        controller.poll();
    }
    assert_eq!(controller.state(), State::Ready);
    assert!(machine.clock().peek() > 2_000_000_000);
}

/// Firmware may leave a controller asleep.
#[test]
fn a_function_that_sleeps_is_powered_on_and_left_alone_for_a_while() {
    let (machine, _) = machine(Options::default());
    let config = OneFunction::new(REGISTERS_AT, 0x4000)
        .with_word(1, 0x0010_0000)
        .with_word(13, 0x40)
        .with_word(16, 0x0000_0001)
        .with_word(17, 0x0000_0003);
    machine.clock().step_by(1000);
    let begun = machine.clock().peek();
    attach(machine.clone(), &config.function(), Config::default()).unwrap();
    assert_eq!(config.words.borrow()[17] & 3, 0);
    assert!(machine.clock().peek() - begun >= 10_000_000);
}
