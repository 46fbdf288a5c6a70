//! Crashes at every step of the driver: the disk must still take a crash record.
//!
//! A thread of its own plays the code that crashes: it freezes at a checkpoint for good, with all its locks and
//! everything half done. What the test's own thread then does is what a crash path does.

use std::sync::mpsc;

use block::{BlockDevice, ErrorKind, Request, State, Tag};
use nvme::{Config, Controller, CrashController, CrashPort, checkpoint};
use platform::{DmaBuffer, Platform};
use platform_fake::Machine;

use crate::bench::{Bench, TURN_NS, kind, ready, ready_with, start};
use crate::model::{Device, NamespaceOptions, Options, REGISTERS_AT, Verdict, lock};

const SECOND: u64 = 1_000_000_000;
/// Where the record goes: right where the main driver was writing.
const RECORD_AT: u64 = 64;
const RECORD_BLOCKS: u32 = 32;

/// Writes a crash record, flushes, and checks that it is on the medium for good.
fn write_record(bench: &Bench, port: &mut impl BlockDevice<Buffer = DmaBuffer>) {
    for piece in 0..4u64 {
        let (blocks, fill) = (RECORD_BLOCKS / 4, 0xC0 + piece as u8);
        let first_block = RECORD_AT + piece * u64::from(blocks);
        let buffer = bench.buffer(blocks as usize * 512, fill);
        let request = Request::Write { first_block, blocks, buffer, fua: false };
        port.submit(Tag(piece), request).map_err(|refused| refused.error).expect("the port takes a write");
    }
    for _ in 0..4 {
        bench.completion_of(port).result.expect("the record is written");
    }
    port.submit(Tag(9), Request::Flush).map_err(|refused| refused.error).expect("the port takes a flush");
    bench.completion_of(port).result.expect("the record is flushed");
    // Whatever else the device was told to do, it has had a minute for it.
    for _ in 0..10 {
        bench.machine.clock().advance(6 * SECOND);
        bench.turn();
    }
    let device = lock(&bench.device);
    for block in 0..u64::from(RECORD_BLOCKS) {
        let expected = 0xC0 + (block / u64::from(RECORD_BLOCKS / 4)) as u8;
        let found = device.media[&1].durable.get(&(RECORD_AT + block)).expect("the record is durable");
        assert!(found.iter().all(|byte| *byte == expected), "block {block} of the record was overwritten");
    }
}

/// Everything a main driver does in its life, on a device that makes it do so: requests, retries, an Abort, a
/// fatal status, a log page, a reset, a shutdown. Freezes somewhere in the middle.
fn life(mut bench: Bench) -> Bench {
    let mut count = 0;
    lock(&bench.device).judge(move |entry| {
        count += u32::from(entry.is_io());
        match (entry.is_io(), count) {
            (true, 3) => Verdict::Fail(0x0280),
            (true, 12) => Verdict::Delay(100 * SECOND),
            // What is in flight when the controller is reset would overwrite the record a little later.
            (true, 14..=19) => Verdict::Delay(SECOND),
            _ => Verdict::Obey,
        }
    });
    for tag in 0..10 {
        let write = bench.write(RECORD_AT + tag, 8, 0xEE);
        bench.submit(tag, write);
    }
    for _ in 0..10 {
        bench.completion();
    }
    let write = bench.write(0, 1, 0xEE);
    bench.perform(write);
    bench.controller.request_log(nvme::LogKind::Health).expect("the log can be asked for");
    for tag in 0..8 {
        let write = bench.write(RECORD_AT + 4 * tag, 4, 0xDD);
        bench.submit(tag, write);
    }
    bench.turn();
    bench.controller.poll();
    bench.controller.recover();
    for _ in 0..8 {
        bench.completion();
    }
    bench.settle();
    assert_eq!(bench.controller.state(), State::Ready);
    assert!(bench.controller.shut_down());
    bench.settle();
    bench
}

/// What is left after the crash: the machine, and a port.
struct Wreck {
    bench: Bench,
    port: CrashPort<Machine>,
}

/// Runs a life on a thread of its own and freezes it at the `nth` passing of a checkpoint. `None` if it did not
/// come by that often.
fn crash_in_life(name: &'static str, nth: usize, options: Options) -> Option<Wreck> {
    let mut bench = ready(options.clone());
    let port = bench.crash.remove(0);
    let (machine, device) = (bench.machine.clone(), bench.device.clone());
    machine.freeze_at(name, nth);
    let thread = std::thread::spawn(move || drop(life(bench)));
    if !machine.wait_for_freeze(&thread) {
        thread.join().expect("the life goes well without a crash");
        return None;
    }
    lock(&device).obey();
    Some(Wreck { bench: observer(machine, device), port })
}

/// A bench for the test's thread: same machine and model; the controller in it is another one, which is never used.
fn observer(machine: Machine, device: std::sync::Arc<std::sync::Mutex<Device>>) -> Bench {
    let spectator = start(Options::default(), Config::default()).expect("a controller to look on");
    Bench { machine, device, ..spectator }
}

#[test]
fn a_crash_at_any_checkpoint_leaves_a_record_after_a_reset() {
    let mut seen = Vec::new();
    for name in checkpoint::ALL {
        for nth in [1, 2, 5, 11] {
            let Some(mut wreck) = crash_in_life(name, nth, Options::default()) else { break };
            seen.push(*name);
            wreck.port.recover();
            assert_eq!(wreck.port.state(), State::Recovering);
            let took = wreck.bench.recovered(&mut wreck.port);
            assert_eq!(wreck.port.state(), State::Ready, "{name} {nth}");
            assert!(took < SECOND / 10, "{name} {nth}: {took}");
            write_record(&wreck.bench, &mut wreck.port);
            wreck.bench.assert_clean();
        }
    }
    seen.dedup();
    assert_eq!(seen, checkpoint::ALL, "every checkpoint is passed in the life of a controller");
}

/// Where the spare pair exists, no reset is needed, as long as nothing in flight can hit the record: that is the
/// caller's to know.
#[test]
fn a_crash_at_any_checkpoint_is_fast_where_the_spare_pair_exists() {
    let mut fast = 0;
    for name in checkpoint::ALL {
        let Some(mut wreck) = crash_in_life(name, 1, Options::default()) else { continue };
        if wreck.port.state() != State::Ready {
            assert_eq!(wreck.port.state(), State::Dead(ErrorKind::NotReady.into()), "{name}");
            let refused = wreck.port.submit(Tag(0), Request::Flush).unwrap_err();
            assert_eq!(refused.error.kind, ErrorKind::NotReady);
            continue;
        }
        fast += 1;
        let enables = lock(&wreck.bench.device).enables;
        let buffer = wreck.bench.buffer(512, 0xC0);
        let write = Request::Write { first_block: 4000, blocks: 1, buffer, fua: true };
        wreck.port.submit(Tag(0), write).unwrap();
        let start = wreck.bench.machine.clock().peek();
        wreck.bench.completion_of(&mut wreck.port).result.unwrap();
        assert!(wreck.bench.machine.clock().peek() - start <= 2 * TURN_NS, "{name}");
        let device = lock(&wreck.bench.device);
        assert_eq!((device.enables, device.media[&1].durable[&4000][0]), (enables, 0xC0));
        assert_eq!(device.violations, Vec::<String>::new());
    }
    assert!(fast >= 8, "{fast}");
}

#[test]
fn a_crash_at_any_checkpoint_leaves_a_record_where_there_is_one_queue_pair() {
    for name in checkpoint::ALL {
        let options = Options { max_pairs: 1, max_entries: 11, ..Options::default() };
        let Some(mut wreck) = crash_in_life(name, 1, options) else { continue };
        assert_eq!(wreck.port.state(), State::Dead(ErrorKind::NotReady.into()), "{name}");
        wreck.port.recover();
        wreck.bench.recovered(&mut wreck.port);
        write_record(&wreck.bench, &mut wreck.port);
        wreck.bench.assert_clean();
    }
}

/// A crash while the controller is being started for the first time: its namespaces are not known yet.
#[test]
fn a_crash_at_any_checkpoint_of_the_first_start_leaves_a_record() {
    let mut crashes = 0;
    for name in checkpoint::ALL {
        for nth in 1..=12 {
            let machine = Machine::new();
            let device = Device::attach(&machine, Options::default());
            let (send, receive) = mpsc::channel::<CrashController<Machine>>();
            let (ours, its) = (machine.clone(), device.clone());
            machine.freeze_at(name, nth);
            let thread = std::thread::spawn(move || {
                let registers = ours.map_registers(REGISTERS_AT, 0x4000).expect("registers");
                // The very first reset is begun by `start` itself: nobody has a handle on the crash side then.
                let controller = Controller::start(ours.clone(), registers, Config::default()).expect("start");
                send.send(controller.crash_controller()).expect("the test waits");
                let mut bench = observer(ours, its);
                bench.controller = controller;
                bench.settle();
            });
            if !machine.wait_for_freeze(&thread) {
                thread.join().expect("the start goes well without a crash");
                break;
            }
            let Ok(mut crash) = receive.try_recv() else { continue };
            crashes += 1;
            let bench = observer(machine, device);
            assert_eq!(crash.state(), State::Dead(ErrorKind::NotReady.into()));
            assert!(crash.port(0).is_none());
            crash.recover();
            while crash.state() == State::Recovering {
                bench.turn();
                crash.poll();
            }
            let mut port = crash.port(0).expect("the namespace is found");
            assert!(crash.port(1).is_none());
            write_record(&bench, &mut port);
            bench.assert_clean();
        }
    }
    assert!(crashes >= 30, "{crashes}");
}

#[test]
fn without_a_second_pair_a_port_must_be_recovered_first() {
    let mut bench = ready(Options { max_pairs: 1, ..Options::default() });
    assert!(bench.events().contains(&nvme::Event::NoSpareQueue));
    let mut port = bench.crash.remove(0);
    assert_eq!(port.state(), State::Dead(ErrorKind::NotReady.into()));
    port.recover();
    bench.recovered(&mut port);
    write_record(&bench, &mut port);
    bench.assert_clean();
}

#[test]
fn a_controller_that_refuses_the_spare_pair_is_like_one_that_has_none() {
    for opcode in [5, 1] {
        let machine = Machine::new();
        let device = Device::attach(&machine, Options::default());
        lock(&device).judge(move |entry| {
            let creates_spare = !entry.is_io() && entry.opcode == opcode && entry.dwords[0] as u16 == 2;
            if creates_spare { Verdict::Fail(0x0101) } else { Verdict::Obey }
        });
        let mut bench = crate::bench::start_on(machine, device, Config::default()).unwrap();
        bench.settle();
        bench.take();
        assert_eq!(bench.disks[0].state(), State::Ready);
        let mut port = bench.crash.remove(0);
        assert_eq!(port.state(), State::Dead(ErrorKind::NotReady.into()));
        port.recover();
        bench.recovered(&mut port);
        write_record(&bench, &mut port);
    }
}

#[test]
fn the_spare_pair_is_there_again_after_a_reset_of_the_main_driver() {
    let mut bench = ready(Options::default());
    assert_eq!(bench.crash[0].state(), State::Ready);
    bench.controller.recover();
    assert_eq!(bench.crash[0].state(), State::Dead(ErrorKind::NotReady.into()));
    bench.settle();
    assert_eq!(bench.crash[0].state(), State::Ready);
    let mut port = bench.crash.remove(0);
    let enables = lock(&bench.device).enables;
    write_record(&bench, &mut port);
    assert_eq!(lock(&bench.device).enables, enables);
    bench.assert_clean();
}

#[test]
fn a_port_is_not_ready_where_the_controller_is_not() {
    let mut bench = ready(Options::default());
    lock(&bench.device).faults.gone = true;
    assert_eq!(bench.crash[0].state(), State::Dead(ErrorKind::NotReady.into()));
    let mut port = bench.crash.remove(0);
    port.recover();
    assert!(bench.recovered(&mut port) < SECOND / 100);
    assert_eq!(port.state(), State::Dead(ErrorKind::Gone.into()));
}

#[test]
fn a_spare_pair_that_does_not_answer_is_given_up_for_a_reset() {
    let mut bench = ready(Options::default());
    let mut port = bench.crash.remove(0);
    lock(&bench.device).judge(|entry| if entry.queue == 2 { Verdict::Ignore } else { Verdict::Obey });
    let start = bench.machine.clock().peek();
    port.submit(Tag(0), bench.write(RECORD_AT, 1, 1)).unwrap();
    let failed = bench.completion_of(&mut port);
    assert_eq!(kind(&failed), ErrorKind::TimedOut);
    assert!(failed.buffer.is_some());
    bench.recovered(&mut port);
    assert!(bench.machine.clock().peek() - start < 1_600_000_000);
    // After the reset the port has queue pair 1.
    write_record(&bench, &mut port);
    bench.assert_clean();
}

#[test]
fn a_port_of_a_device_that_stays_silent_dies_in_bounded_time() {
    let mut bench = ready(Options::default());
    let mut port = bench.crash.remove(0);
    lock(&bench.device).faults.deaf = true;
    let start = bench.machine.clock().peek();
    port.submit(Tag(0), bench.write(RECORD_AT, 1, 1)).unwrap();
    assert!(bench.completion_of(&mut port).result.is_err());
    bench.recovered(&mut port);
    assert_eq!(port.state(), State::Dead(ErrorKind::TimedOut.into()));
    // Late command, then two attempts of one admin command each.
    assert!(bench.machine.clock().peek() - start < 6 * SECOND);
    assert!(port.next_event().is_some());
}

#[test]
fn ports_of_several_namespaces_share_a_reset() {
    let namespaces = (1..=3).map(|id| NamespaceOptions { id, ..NamespaceOptions::default() }).collect();
    let mut bench = ready_with(Options { namespaces, max_pairs: 1, ..Options::default() }, Config::default());
    let mut ports = std::mem::take(&mut bench.crash);
    assert!(ports.iter().all(|port| matches!(port.state(), State::Dead(_))));
    ports[2].recover();
    bench.recovered(&mut ports[2]);
    for port in &mut ports {
        assert_eq!(port.state(), State::Ready);
        let fill = port.info().id as u8;
        port.submit(Tag(0), bench.write(5, 1, fill)).unwrap();
        bench.completion_of(port).result.unwrap();
        assert_eq!(lock(&bench.device).media[&u32::from(fill)].block(5)[0], fill);
    }
    assert_eq!(lock(&bench.device).enables, 2);
    bench.assert_clean();
}

#[test]
fn the_oracle_of_these_tests_goes_red() {
    // A device that loses the record, and one on which the main driver's writes come later.
    for late_write in [false, true] {
        let mut bench = ready(Options::default());
        let mut port = bench.crash.remove(0);
        if late_write {
            lock(&bench.device)
                .judge(|entry| if entry.queue == 1 { Verdict::Delay(10 * SECOND) } else { Verdict::Obey });
            let write =
                Request::Write { first_block: RECORD_AT + 3, blocks: 1, buffer: bench.buffer(512, 0xDD), fua: true };
            bench.submit(0, write);
            bench.turn();
        } else {
            lock(&bench.device).judge(|entry| if entry.opcode == 1 { Verdict::Lie } else { Verdict::Obey });
        }
        let red = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write_record(&bench, &mut port)));
        assert!(red.is_err(), "late write {late_write}");
    }
}
