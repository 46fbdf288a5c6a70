//! Crashes at every step of the driver: the disk must still take a crash record.
//!
//! A thread of its own plays the code that crashes: it freezes at a checkpoint for good, with all its locks and
//! everything half done. What the test's own thread then does is what a crash path does.

use std::sync::mpsc;

use block::{BlockDevice, ErrorKind, Request, State, Tag};
use nvme::{Config, Controller, CrashController, CrashPort, checkpoint};
use platform::{DmaBuffer, Platform};
use platform_fake::Machine;

use crate::bench::{Bench, TURN_NS, ready, start};
use crate::model::{Device, NamespaceOptions, Options, REGISTERS_AT, Verdict, lock};

const SECOND: u64 = 1_000_000_000;
/// Where the record goes: right where the main driver was writing.
pub(crate) const RECORD_AT: u64 = 64;
const RECORD_BLOCKS: u32 = 32;

/// Writes a crash record, flushes, and checks that it is on the medium for good.
pub(crate) fn write_record(bench: &Bench, port: &mut impl BlockDevice<Buffer = DmaBuffer>) {
    let mut in_flight = 0;
    for piece in 0..4u64 {
        if in_flight == port.geometry().queue_depth {
            bench.completion_of(port).result.expect("the record is written");
            in_flight -= 1;
        }
        let (blocks, fill) = (RECORD_BLOCKS / 4, 0xC0 + piece as u8);
        let first_block = RECORD_AT + piece * u64::from(blocks);
        let buffer = bench.buffer(blocks as usize * 512, fill);
        let request = Request::Write { first_block, blocks, buffer, fua: false };
        port.submit(Tag(piece), request).map_err(|refused| refused.error).expect("the port takes a write");
        in_flight += 1;
    }
    for _ in 0..in_flight {
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
pub(crate) struct Wreck {
    pub(crate) bench: Bench,
    pub(crate) port: CrashPort<Machine>,
}

/// Runs a life on a thread of its own and freezes it at the `nth` passing of a checkpoint. `None` if it did not
/// come by that often.
pub(crate) fn crash_in_life(name: &'static str, nth: usize, options: Options) -> Option<Wreck> {
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
            let mut crash = receive.try_recv().expect("nothing happens before the crash side is there");
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
    assert!(crashes >= 50, "{crashes}");
}

/// A crash in the middle of the crash path, which holds the lock of the ports' engine at that moment.
#[test]
fn a_crash_in_the_crash_path_leaves_a_record_too() {
    let mut crashes = 0;
    for name in checkpoint::ALL {
        let mut bench = ready(Options::default());
        let again = bench.controller.crash_controller();
        let mut port = bench.crash.remove(0);
        let observer = observer(bench.machine.clone(), bench.device.clone());
        bench.machine.freeze_at(name, 1);
        let machine = bench.machine.clone();
        let thread = std::thread::spawn(move || {
            port.recover();
            bench.recovered(&mut port);
            write_record(&bench, &mut port);
        });
        if !machine.wait_for_freeze(&thread) {
            thread.join().expect("the crash path goes well without a crash");
            continue;
        }
        crashes += 1;
        let mut port = again.port(0);
        // Nothing can be learnt from an engine that is in use; the port that the kernel has kept knows its namespace.
        assert!(port.is_none());
        assert_eq!(again.state(), State::Dead(ErrorKind::NotReady.into()), "{name}");
        let mut again = again;
        again.recover();
        while again.state() == State::Recovering {
            observer.turn();
            again.poll();
        }
        assert_eq!(again.state(), State::Ready, "{name}");
        port = again.port(0);
        write_record(&observer, &mut port.expect("the reserve knows the namespace"));
        observer.assert_clean();
    }
    assert!(crashes >= 20, "{crashes}");
}

/// The same, as the kernel does it: with the port that it had, and those of other namespaces.
#[test]
fn all_ports_of_a_controller_move_on_to_the_reserve_together() {
    let namespaces = (1..=2).map(|id| NamespaceOptions { id, ..NamespaceOptions::default() }).collect();
    let mut bench = ready(Options { namespaces, ..Options::default() });
    let mut others = bench.crash.split_off(1);
    let again = bench.controller.crash_controller().port(0);
    let mut port = bench.crash.remove(0);
    let observer = observer(bench.machine.clone(), bench.device.clone());
    bench.machine.freeze_at(checkpoint::SUBMIT_ENTRY_HALF, 1);
    let machine = bench.machine.clone();
    let thread = std::thread::spawn(move || write_record(&bench, &mut port));
    assert!(machine.wait_for_freeze(&thread));
    let (mut first, mut second) = (again.expect("the namespace is known"), others.remove(0));
    assert_eq!(second.state(), State::Dead(ErrorKind::NotReady.into()));
    let request = Request::Write { first_block: 0, blocks: 1, buffer: observer.buffer(512, 1), fua: false };
    assert_eq!(second.submit(Tag(0), request).unwrap_err().error.kind, ErrorKind::QueueFull);
    assert!(second.poll().is_none());
    second.recover();
    observer.recovered(&mut second);
    assert_eq!((first.state(), second.state()), (State::Ready, State::Ready));
    second.submit(Tag(0), observer.write(9, 1, 2)).unwrap();
    observer.completion_of(&mut second).result.unwrap();
    write_record(&observer, &mut first);
    assert_eq!(lock(&observer.device).media[&2].block(9)[0], 2);
    observer.assert_clean();
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
