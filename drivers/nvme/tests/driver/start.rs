//! Bringing a controller up: what it may be, and what may go wrong on the way.

use block::{BlockDevice, ErrorKind, State};
use nvme::{Cause, Config, Event};
use platform_fake::Machine;

use crate::bench::{Bench, TURN_NS, ready, ready_with, start, start_on};
use crate::model::{CSS_NVM, Device, Options, REGISTERS_AT, Verdict, lock};

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_controller_starts_and_says_who_it_is() {
    let mut bench = ready(Options::default());
    let info = bench.controller.info().unwrap();
    assert_eq!(info.serial.to_string(), "MODEL-0001");
    assert_eq!(info.model.to_string(), "Model drive");
    assert!(info.to_string().contains("NVMe 1.4.0, 128 KiB a command, volatile write cache"));
    assert_eq!((bench.disks.len(), bench.crash.len()), (1, 1));
    let geometry = bench.disks[0].geometry();
    assert_eq!((geometry.block_size, geometry.block_count), (512, 8192));
    assert_eq!((geometry.max_transfer_blocks, geometry.max_write_zeroes_blocks), (256, 256));
    assert_eq!((geometry.queue_depth, geometry.write_cache), (64, block::WriteCache::Volatile));
    assert_eq!(bench.crash[0].geometry().queue_depth, 8);
    assert!(matches!(bench.events().last(), Some(Event::ResetDone { .. })));
    assert!(bench.controller.take_namespaces().is_empty());
    assert!(bench.controller.take_crash_ports().is_empty());
    bench.assert_clean();
}

#[test]
fn the_write_cache_is_what_the_controller_says() {
    for (cache, expected) in [
        (Some(true), block::WriteCache::Volatile),
        (Some(false), block::WriteCache::WriteThrough),
        (None, block::WriteCache::WriteThrough),
    ] {
        let bench = ready(Options { write_cache: cache, ..Options::default() });
        assert_eq!(bench.disks[0].geometry().write_cache, expected);
        assert_eq!(bench.crash[0].geometry().write_cache, expected);
        bench.assert_clean();
    }
}

#[test]
fn capabilities_are_honoured() {
    // Strides of 64 bytes, the shortest queues, no time-out announced, only "all command sets" on offer.
    let strange = [
        Options { doorbell_shift: 4, ..Options::default() },
        Options { max_entries: 2, ..Options::default() },
        Options { max_entries: 65536, ..Options::default() },
        Options { timeout_units: 0, ready_ns: SECOND / 4, ..Options::default() },
        Options { capability_bits: 1 << 43, ..Options::default() },
        Options { mdts: 0, ..Options::default() },
        Options { version: 0x0002_0001, ..Options::default() },
    ];
    for options in strange {
        let max_entries = options.max_entries;
        let mut bench = ready(options);
        let write = bench.write(1, 1, 9);
        assert!(bench.perform(write).result.is_ok());
        assert_eq!(u32::from(bench.disks[0].geometry().queue_depth), (max_entries - 1).min(64));
        bench.assert_clean();
    }
}

#[test]
fn without_a_transfer_limit_our_own_counts() {
    let bench = ready(Options { mdts: 0, ..Options::default() });
    let geometry = bench.disks[0].geometry();
    assert_eq!((geometry.max_transfer_blocks, geometry.max_write_zeroes_blocks), (2048, 65536));
    let bench = ready(Options { mdts: 9, write_zeroes: false, ..Options::default() });
    let geometry = bench.disks[0].geometry();
    assert_eq!((geometry.max_transfer_blocks, geometry.max_write_zeroes_blocks), (2048, 0));
}

#[test]
fn a_longer_ready_time_out_of_newer_controllers_is_believed() {
    let slow = Options { timeout_units: 1, ready_ns: 3 * SECOND, ..Options::default() };
    let mut bench = start(slow.clone(), Config::default()).unwrap();
    bench.settle();
    assert!(matches!(bench.controller.state(), State::Dead(_)));
    let bits = CSS_NVM | 1 << 59;
    ready(Options { capability_bits: bits, ready_timeouts: 0xFFFF_0008, ..slow });
}

#[test]
fn what_cannot_be_driven_is_refused_at_once() {
    let refused = |options: Options| start(options, Config::default()).map(|_| ()).unwrap_err().cause;
    let big_pages = Options { capability_bits: CSS_NVM | 1 << 48, ..Options::default() };
    assert_eq!(refused(big_pages), Cause::Unsupported("memory pages of 4 KiB"));
    let admin_only = Options { capability_bits: 1 << 44, ..Options::default() };
    assert_eq!(refused(admin_only), Cause::Unsupported("the NVM command set"));
    let one_entry = Options { max_entries: 1, ..Options::default() };
    assert_eq!(refused(one_entry), Cause::Protocol("queues of one entry"));
    let no_doorbells = Options { register_bytes: 0x1000, ..Options::default() };
    assert_eq!(refused(no_doorbells), Cause::Unsupported("register window without doorbells"));
    let far_doorbells = Options { doorbell_shift: 15, ..Options::default() };
    assert_eq!(refused(far_doorbells), Cause::Unsupported("doorbells beyond the register window"));
}

#[test]
fn a_controller_that_is_gone_is_refused_at_once() {
    let machine = Machine::new();
    let device = Device::attach(&machine, Options::default());
    lock(&device).faults.gone = true;
    assert_eq!(start_on(machine, device, Config::default()).map(|_| ()).unwrap_err().cause, Cause::Gone);
}

#[test]
fn too_little_memory_is_an_error_wherever_it_runs_out() {
    let needed = ready(Options::default()).machine.bus().allocated();
    for limit in (0..needed).step_by(4096) {
        let machine = Machine::new();
        let device = Device::attach(&machine, Options::default());
        machine.bus().limit(limit);
        let failure = start_on(machine, device, Config::default()).map(|_| ()).unwrap_err();
        assert_eq!(failure.cause, Cause::NoMemory);
    }
}

#[test]
fn nothing_is_allocated_after_the_start() {
    let mut bench = ready(Options::default());
    let allocated = bench.machine.bus().allocated();
    bench.machine.bus().limit(0);
    bench.controller.recover();
    bench.settle();
    assert_eq!(bench.controller.state(), State::Ready);
    let crash = &mut bench.crash.remove(0);
    crash.recover();
    bench.recovered(crash);
    assert_eq!(crash.state(), State::Ready);
    assert_eq!(bench.machine.bus().allocated(), allocated);
}

/// A controller that the firmware left enabled, or is enabling, or has shut down.
#[test]
fn a_controller_is_taken_over_in_any_state() {
    use platform::{Platform, Registers};
    for (configuration, turns) in [(0x0046_0001u32, 0), (0x0046_0001, 5), (0x0046_0001, 100), (0x0046_4001, 100)] {
        let machine = Machine::new();
        let device = Device::attach(&machine, Options::default());
        let registers = machine.map_registers(REGISTERS_AT, 0x1000).unwrap();
        registers.write64(0x28, 0x1000);
        registers.write64(0x30, 0x2000);
        registers.write32(0x14, configuration);
        machine.clock().advance(turns * TURN_NS);
        let mut bench = start_on(machine, device, Config::default()).unwrap();
        bench.settle();
        assert_eq!(bench.controller.state(), State::Ready);
        bench.assert_clean();
    }
}

#[test]
fn a_controller_that_never_stops_dies_after_its_time_out() {
    let mut bench = ready(Options::default());
    lock(&bench.device).faults.never_stops = true;
    bench.controller.recover();
    let took = bench.settle();
    assert_eq!(bench.controller.state(), State::Dead(ErrorKind::TimedOut.into()));
    assert_eq!(bench.controller.failure().unwrap().to_string(), "stopping the controller: no answer by the deadline");
    assert!((2 * SECOND..2 * SECOND + 10 * TURN_NS).contains(&took), "{took}");
}

#[test]
fn a_controller_that_is_never_ready_dies_after_its_time_outs() {
    let machine = Machine::new();
    let device = Device::attach(&machine, Options::default());
    lock(&device).faults.never_ready = true;
    let mut bench = start_on(machine, device, Config::default()).unwrap();
    let took = bench.settle();
    assert_eq!(bench.controller.state(), State::Dead(ErrorKind::TimedOut.into()));
    // Two attempts, and in between the wait for the first to finish starting.
    assert!((6 * SECOND..7 * SECOND).contains(&took), "{took}");
    assert_eq!(lock(&bench.device).enables, 2);
    assert!(bench.events().iter().any(|event| matches!(event, Event::AttemptFailed(_))));
}

#[test]
fn a_fatal_status_ends_the_wait_at_once() {
    let machine = Machine::new();
    let device = Device::attach(&machine, Options::default());
    lock(&device).faults.fatal_on_enable = true;
    let mut bench = start_on(machine, device, Config::default()).unwrap();
    assert!(bench.settle() < SECOND / 10);
    assert_eq!(bench.controller.state(), State::Dead(ErrorKind::Fatal.into()));
    lock(&bench.device).faults.fatal_on_enable = false;
    bench.controller.recover();
    bench.settle();
    assert_eq!(bench.controller.state(), State::Ready);
}

/// Runs a start on which the controller does `verdict` to its `nth` command, each time.
fn start_with(nth: usize, verdict: Verdict, times: usize) -> (Bench, u64) {
    let machine = Machine::new();
    let device = Device::attach(&machine, Options::default());
    let (mut count, mut enables) = (0, 0);
    lock(&device).judge(move |entry| {
        // Identify Controller is the first command after each enabling.
        if (entry.opcode, entry.dwords[0]) == (0x06, 1) {
            (count, enables) = (0, enables + 1);
        }
        count += 1;
        if count == nth && enables <= times { verdict } else { Verdict::Obey }
    });
    let mut bench = start_on(machine, device, Config::default()).unwrap();
    let took = bench.settle();
    (bench, took)
}

/// The admin commands of a start: controller, cache, count, four queues, list, descriptors, namespace.
const COMMANDS: usize = 10;

#[test]
fn every_command_of_the_start_may_fail_for_good() {
    for nth in 1..=COMMANDS {
        let (mut bench, took) = start_with(nth, Verdict::Fail(0x4006), usize::MAX);
        assert!(took < SECOND, "{nth}");
        let essential = [1, 4, 5].contains(&nth);
        assert_eq!(matches!(bench.controller.state(), State::Dead(_)), essential, "{nth}: {:?}", bench.events());
        if essential {
            assert_eq!(bench.controller.failure().unwrap().error().device_status, 0x006);
        }
        let disks = bench.controller.take_namespaces().len();
        assert_eq!(disks, usize::from(!essential && nth != 10), "{nth}");
        bench.assert_clean();
    }
}

#[test]
fn every_command_of_the_start_may_fail_once() {
    for nth in [1, 4, 5] {
        let (bench, _) = start_with(nth, Verdict::Fail(0x0006), 1);
        assert_eq!(bench.controller.state(), State::Ready, "{nth}");
        assert_eq!(lock(&bench.device).enables, 2);
        bench.assert_clean();
    }
}

#[test]
fn every_command_of_the_start_may_go_unanswered() {
    for nth in 1..=COMMANDS {
        for verdict in [Verdict::Ignore, Verdict::Swallow, Verdict::StopMidway, Verdict::AsId(0x7FFF)] {
            let (mut bench, took) = start_with(nth, verdict, usize::MAX);
            assert!(matches!(bench.controller.state(), State::Dead(_)), "{nth} {verdict:?}");
            assert!((10 * SECOND..11 * SECOND).contains(&took), "{nth} {verdict:?}: {took}");
            let (again, _) = start_with(nth, verdict, 1);
            assert_eq!(again.controller.state(), State::Ready, "{nth} {verdict:?}");
            lock(&bench.device).obey();
            bench.controller.recover();
            bench.settle();
            assert_eq!(bench.controller.state(), State::Ready, "{nth} {verdict:?}");
            bench.assert_clean();
        }
    }
}

#[test]
fn fatal_status_and_vanishing_are_noticed_during_every_command_of_the_start() {
    for nth in 1..=COMMANDS {
        let (bench, took) = start_with(nth, Verdict::Fatal, usize::MAX);
        assert_eq!(bench.controller.state(), State::Dead(ErrorKind::Fatal.into()), "{nth}");
        assert!(took < SECOND / 10, "{nth}: {took}");
        let (bench, took) = start_with(nth, Verdict::Vanish, usize::MAX);
        assert_eq!(bench.controller.state(), State::Dead(ErrorKind::Gone.into()), "{nth}");
        assert!(took < SECOND / 10, "{nth}: {took}");
    }
}

#[test]
fn a_controller_may_vanish_at_any_moment_of_the_start() {
    let turns = ready(Options::default()).machine.clock().peek() / TURN_NS;
    for vanishes_at in 0..turns {
        let mut bench = start(Options::default(), Config::default()).unwrap();
        for _ in 0..vanishes_at {
            bench.turn();
            bench.controller.poll();
        }
        lock(&bench.device).faults.gone = true;
        let took = bench.settle();
        // Ready, if it had nothing more to say: nobody looks at an idle controller.
        let state = bench.controller.state();
        assert!(matches!(state, State::Ready) || state == State::Dead(ErrorKind::Gone.into()), "{state:?}");
        assert!(took < SECOND / 10);
    }
}

#[test]
fn an_answer_that_was_not_written_is_not_taken_for_the_one_before() {
    for nth in [1, 10] {
        let (mut bench, _) = start_with(nth, Verdict::Lie, usize::MAX);
        match nth {
            1 => assert_eq!(bench.controller.state(), State::Dead(ErrorKind::Protocol.into())),
            _ => assert!(bench.controller.take_namespaces().is_empty()),
        }
    }
}

#[test]
fn another_controller_in_the_same_place_is_not_taken_for_the_first() {
    let mut bench = ready(Options::default());
    lock(&bench.device).options.serial = *b"MODEL-0002          ";
    bench.controller.recover();
    bench.settle();
    assert_eq!(bench.controller.state(), State::Dead(ErrorKind::Unsupported.into()));
    assert!(matches!(bench.disks[0].state(), State::Dead(_)));
}

#[test]
fn a_controller_that_needs_it_is_left_alone_after_it_was_stopped() {
    let config = Config { ready_check_delay_ns: 2 * SECOND, ..Config::default() };
    let bench = ready_with(Options::default(), config);
    assert!(bench.machine.clock().peek() >= 2 * SECOND);
    bench.assert_clean();
}

#[test]
fn a_shutdown_is_waited_for_and_can_be_taken_back() {
    let mut bench = ready(Options::default());
    let write = bench.write(0, 1, 1);
    bench.submit(0, write);
    assert!(!bench.controller.shut_down(), "with a request in flight");
    assert!(bench.completion().result.is_ok());
    assert!(bench.controller.shut_down());
    bench.settle();
    assert_eq!(bench.controller.failure().unwrap().cause, Cause::ShutDown);
    assert_eq!(bench.disks[0].state(), State::Dead(ErrorKind::NotReady.into()));
    bench.controller.recover();
    bench.settle();
    let write = bench.write(0, 1, 2);
    assert!(bench.perform(write).result.is_ok());
    bench.assert_clean();
}

#[test]
fn a_shutdown_that_never_ends_does() {
    let mut bench = ready(Options::default());
    lock(&bench.device).options.stop_ns = u64::MAX / 2;
    assert!(bench.controller.shut_down());
    let took = bench.settle();
    assert_eq!(bench.controller.failure().unwrap().cause, Cause::TimedOut);
    assert!((10 * SECOND..11 * SECOND).contains(&took), "{took}");
}
