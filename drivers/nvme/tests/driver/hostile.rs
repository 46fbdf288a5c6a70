//! Devices that answer what nobody asked.

use block::{BlockDevice, ErrorKind, Request, State, Tag};
use nvme::{Config, Controller, Event, ResetReason};
use platform::{Platform, Registers};
use platform_fake::{Machine, RegisterModel};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

use crate::bench::{Bench, TURN_NS, kind, ready, start_on};
use crate::model::{Device, Options, REGISTERS_AT, Verdict, lock};

fn protocol_errors(bench: &mut Bench) -> usize {
    bench.events().iter().filter(|event| matches!(event, Event::Protocol(_))).count()
}

/// Has the model do this to the first I/O command.
fn first(bench: &Bench, verdict: Verdict) {
    let mut done = false;
    lock(&bench.device)
        .judge(move |entry| if entry.is_io() && !std::mem::replace(&mut done, true) { verdict } else { Verdict::Obey });
}

#[test]
fn a_second_completion_ends_nothing() {
    let mut bench = ready(Options::default());
    first(&bench, Verdict::Twice);
    let write = bench.write(0, 1, 1);
    assert!(bench.perform(write).result.is_ok());
    // The slot's next use must not be ended by the second completion of its last.
    let read = bench.read(0, 1);
    bench.submit(7, read);
    assert!(bench.disks[0].poll().is_none());
    let completion = bench.completion();
    assert_eq!((completion.tag, completion.buffer.unwrap().as_ref()[0]), (Tag(7), 1));
    assert_eq!(protocol_errors(&mut bench), 1);
    assert_eq!(lock(&bench.device).enables, 1);
}

#[test]
fn a_read_that_was_not_made_does_not_look_like_the_one_before() {
    let mut bench = ready(Options::default());
    let write = bench.write(0, 2, 0x11);
    assert!(bench.perform(write).result.is_ok());
    let read = bench.read(0, 2);
    let buffer = bench.perform(read).buffer.unwrap();
    assert_eq!(buffer.as_ref(), [0x11; 1024]);
    lock(&bench.device).judge(|_| Verdict::Lie);
    let lie = bench.perform(Request::Read { first_block: 0, blocks: 1, buffer });
    assert!(lie.result.is_ok());
    let buffer = lie.buffer.unwrap();
    assert_eq!(buffer.as_ref()[..16], [0xA5; 16]);
    assert_eq!(buffer.as_ref()[512..], [0x11; 512], "what was not asked for is left alone");
}

#[test]
fn completions_for_others_end_nothing() {
    for verdict in [Verdict::AsId(0xFFFF), Verdict::AsId(0x7FC0), Verdict::AsId(63), Verdict::FromQueue(2)] {
        let mut bench = ready(Options::default());
        first(&bench, verdict);
        let write = bench.write(0, 1, 1);
        assert_eq!(kind(&bench.perform(write)), ErrorKind::TimedOut, "{verdict:?}");
        assert_eq!(protocol_errors(&mut bench), 1);
        bench.settle();
        let write = bench.write(0, 1, 2);
        assert!(bench.perform(write).result.is_ok());
    }
}

#[test]
fn a_head_outside_of_the_queue_ends_nothing() {
    let mut bench = ready(Options::default());
    first(&bench, Verdict::WildHead);
    let write = bench.write(0, 1, 1);
    assert_eq!(kind(&bench.perform(write)), ErrorKind::TimedOut);
    assert_eq!(protocol_errors(&mut bench), 1);
}

#[test]
fn an_entry_of_the_wrong_phase_is_not_there() {
    let mut bench = ready(Options::default());
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    // The first command of slot 0 has generation 1.
    lock(&bench.device).forge_completion(1, 1 << 6, 0, false);
    assert!(bench.disks[0].poll().is_none());
    assert!(bench.completion().result.is_ok());
    assert_eq!(protocol_errors(&mut bench), 0);
}

#[test]
fn a_flood_of_completions_leads_to_a_reset_and_no_further() {
    let mut bench = ready(Options::default());
    let write = bench.write(0, 1, 1);
    lock(&bench.device).judge(|entry| if entry.is_io() { Verdict::Ignore } else { Verdict::Obey });
    bench.submit(1, write);
    bench.turn();
    for id in 0..60 {
        lock(&bench.device).forge_completion(1, 0x7000 + id, 0, true);
    }
    let failed = bench.completion();
    assert_eq!(kind(&failed), ErrorKind::Aborted);
    assert!(failed.buffer.is_some());
    bench.settle();
    assert!(bench.events().contains(&Event::ResetBegun(ResetReason::Protocol)));
    lock(&bench.device).obey();
    let write = bench.write(0, 1, 2);
    assert!(bench.perform(write).result.is_ok());
}

#[test]
fn unasked_completions_of_admin_commands_do_no_harm() {
    let mut bench = ready(Options::default());
    bench.controller.request_log(nvme::LogKind::Health).unwrap();
    lock(&bench.device).forge_completion(0, 0x1111, 0, true);
    bench.controller.poll();
    assert!(bench.controller.take_log().is_none());
    for _ in 0..10 {
        bench.turn();
        bench.controller.poll();
    }
    assert!(bench.controller.take_log().unwrap().is_ok());
    assert_eq!(protocol_errors(&mut bench), 1);
}

/// One thing that a fuzzed device or its user does.
#[derive(Clone, Debug)]
enum Act {
    Write(u64, u32),
    Read(u64, u32),
    Zeroes(u64, u32),
    Flush,
    Log,
    Turn(u16),
    Poll,
    Recover,
    Forge { queue: u16, id: u16, status: u16, right_phase: bool },
    Verdict(Verdict),
    Fault(u8),
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        4 => Just(Verdict::Obey),
        2 => any::<u16>().prop_map(|status| Verdict::Fail(status >> 1)),
        1 => Just(Verdict::Swallow),
        1 => Just(Verdict::Ignore),
        1 => (0..5_000_000_000u64).prop_map(Verdict::Delay),
        1 => Just(Verdict::Twice),
        1 => any::<u16>().prop_map(Verdict::AsId),
        1 => (0..4u16).prop_map(Verdict::FromQueue),
        1 => Just(Verdict::WildHead),
        1 => Just(Verdict::Lie),
        1 => Just(Verdict::StopMidway),
        1 => Just(Verdict::Fatal),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..9000u64, 0..300u32).prop_map(|(first, blocks)| Act::Write(first, blocks)),
        4 => (0..9000u64, 0..300u32).prop_map(|(first, blocks)| Act::Read(first, blocks)),
        1 => (0..9000u64, 0..300u32).prop_map(|(first, blocks)| Act::Zeroes(first, blocks)),
        2 => Just(Act::Flush),
        1 => Just(Act::Log),
        6 => (1..2000u16).prop_map(Act::Turn),
        6 => Just(Act::Poll),
        1 => Just(Act::Recover),
        3 => (0..3u16, any::<u16>(), any::<u16>(), any::<bool>())
            .prop_map(|(queue, id, status, right_phase)| Act::Forge { queue, id, status: status >> 1, right_phase }),
        4 => verdict().prop_map(Act::Verdict),
        1 => (0..6u8).prop_map(Act::Fault),
    ]
}

/// Submits, keeps count of what was accepted, and of what came back.
struct Ledger {
    accepted: u64,
    completed: Vec<u64>,
}

impl Ledger {
    fn submit(&mut self, bench: &mut Bench, request: Request<platform::DmaBuffer>) {
        if bench.disks[0].submit(Tag(self.accepted), request).is_ok() {
            self.accepted += 1;
        }
    }

    fn poll(&mut self, bench: &mut Bench) -> bool {
        let Some(completion) = bench.disks[0].poll() else { return false };
        self.completed.push(completion.tag.0);
        true
    }
}

fn perform(bench: &mut Bench, ledger: &mut Ledger, act: &Act) {
    match *act {
        Act::Write(first_block, blocks) => {
            let request = bench.write(first_block, blocks.max(1), 1);
            ledger.submit(bench, request);
        }
        Act::Read(first_block, blocks) => {
            let request = bench.read(first_block, blocks);
            ledger.submit(bench, request);
        }
        Act::Zeroes(first_block, blocks) => ledger.submit(bench, Request::WriteZeroes { first_block, blocks }),
        Act::Flush => ledger.submit(bench, Request::Flush),
        Act::Log => {
            let _ = bench.controller.request_log(nvme::LogKind::Errors);
            let _ = bench.controller.take_log();
        }
        Act::Turn(turns) => {
            bench.machine.clock().advance(u64::from(turns) * TURN_NS);
            bench.turn();
        }
        Act::Poll => {
            ledger.poll(bench);
        }
        Act::Recover => bench.disks[0].recover(),
        Act::Forge { queue, id, status, right_phase } => {
            lock(&bench.device).forge_completion(queue, id, status, right_phase);
        }
        Act::Verdict(verdict) => lock(&bench.device).judge(move |_| verdict),
        Act::Fault(fault) => {
            let faults = &mut lock(&bench.device).faults;
            *faults = Default::default();
            match fault {
                1 => faults.gone = true,
                2 => faults.never_ready = true,
                3 => faults.never_stops = true,
                4 => faults.fatal_on_enable = true,
                5 => faults.deaf = true,
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever the device does, every request that was accepted completes exactly once, in bounded time.
    #[test]
    fn every_request_completes_once(acts in proptest::collection::vec(act(), 1..120), entries in 2..100u32) {
        let mut bench = ready(Options { max_entries: entries, shuffle: 9, ..Options::default() });
        let mut ledger = Ledger { accepted: 0, completed: Vec::new() };
        for act in &acts {
            perform(&mut bench, &mut ledger, act);
        }
        let mut turns = 0;
        while (ledger.completed.len() as u64) < ledger.accepted {
            if !ledger.poll(&mut bench) {
                bench.turn();
                turns += 1;
                prop_assert!(turns < 600_000, "two minutes");
            }
        }
        for _ in 0..100 {
            bench.turn();
            prop_assert!(!ledger.poll(&mut bench), "more completions than requests");
        }
        ledger.completed.sort_unstable();
        prop_assert!(ledger.completed.iter().copied().eq(0..ledger.accepted));
        prop_assert_eq!(bench.machine.bus().faults(), []);
        // A device that has come to its senses can be used again.
        {
            let mut device = lock(&bench.device);
            device.faults = Default::default();
            device.obey();
        }
        bench.disks[0].recover();
        bench.settle();
        prop_assert_eq!(bench.disks[0].state(), State::Ready);
        let write = bench.write(3, 1, 0x42);
        prop_assert!(bench.perform(write).result.is_ok());
        prop_assert_eq!(bench.medium(3, 1), vec![0x42; 512]);
    }

    /// Identify data of random bytes: the driver ends up ready or dead, and what it vouches for is sane.
    #[test]
    fn identify_data_may_be_anything(seed in any::<u64>(), kinds in 1..16u8, sparse in any::<bool>()) {
        let machine = Machine::new();
        let device = Device::attach(&machine, Options::default());
        {
            let mut device = lock(&device);
            device.garbage = Some(crate::model::Garbage { seed, structures: kinds, sparse });
        }
        let mut bench = start_on(machine, device, Config::default()).unwrap();
        bench.settle();
        bench.take();
        for disk in &mut bench.disks {
            let geometry = disk.geometry();
            prop_assert!(geometry.block_size.is_power_of_two() && (512..=65536).contains(&geometry.block_size));
            prop_assert!(geometry.block_count > 0 && geometry.max_transfer_blocks > 0 && geometry.queue_depth > 0);
            prop_assert!(u64::from(geometry.max_transfer_blocks) * u64::from(geometry.block_size) <= 1 << 20);
            let buffer = bench.machine.allocate_dma(65536, 4096).unwrap();
            let _ = disk.submit(Tag(0), Request::Read { first_block: 0, blocks: 1, buffer });
            let _ = disk.info().names;
        }
        let _ = bench.events().iter().map(|event| event.to_string().len()).sum::<usize>();
        prop_assert_eq!(bench.machine.bus().faults(), []);
    }

    /// Registers that read as anything: the driver neither panics nor waits for ever.
    #[test]
    fn registers_may_read_as_anything(values in proptest::collection::vec(any::<u32>(), 1..40), cap in any::<u64>()) {
        let machine = Machine::new();
        machine.attach(REGISTERS_AT, 0x4000, Arc::new(Mutex::new(Noise { values, next: 0, cap })));
        let registers = machine.map_registers(REGISTERS_AT, 0x4000).unwrap();
        prop_assert_eq!(registers.len(), 0x4000);
        let Ok(mut controller) = Controller::start(machine.clone(), registers, Config::default()) else { return Ok(()) };
        let mut turns = 0;
        while controller.state() == State::Recovering {
            // A time-out may be as long as 255 units of 500 ms, or 65535 of them on newer controllers.
            machine.clock().advance(1_000_000_000);
            controller.poll();
            turns += 1;
            prop_assert!(turns < 200_000);
        }
        prop_assert!(matches!(controller.state(), State::Dead(_)));
    }
}

/// Registers that read as one value after the other.
struct Noise {
    values: Vec<u32>,
    next: usize,
    cap: u64,
}

impl RegisterModel for Noise {
    fn read(&mut self, offset: usize, _bytes: usize) -> u64 {
        match offset {
            0 => self.cap & 0xFFFF_FFFF,
            4 => self.cap >> 32,
            _ => {
                self.next = (self.next + 1) % self.values.len();
                u64::from(self.values[self.next])
            }
        }
    }

    fn write(&mut self, _offset: usize, _bytes: usize, _value: u64) {}
}
