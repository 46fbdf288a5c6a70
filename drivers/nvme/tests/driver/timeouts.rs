//! Commands that are not answered in time, and what becomes of them.

use block::{BlockDevice, ErrorKind, Request, State, Tag};
use nvme::{Config, Event, ResetReason};

use crate::bench::{Bench, TURN_NS, kind, ready};
use crate::model::{Options, Verdict, lock};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

/// Has the model do this to the first I/O command.
fn first(bench: &Bench, verdict: Verdict) {
    let mut done = false;
    lock(&bench.device)
        .judge(move |entry| if entry.is_io() && !std::mem::replace(&mut done, true) { verdict } else { Verdict::Obey });
}

fn now(bench: &Bench) -> u64 {
    bench.machine.clock().peek()
}

#[test]
fn an_abort_ends_a_command_that_hangs_and_others_go_on() {
    let mut bench = ready(Options::default());
    first(&bench, Verdict::Delay(u64::MAX / 2));
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    let start = now(&bench);
    let failed = bench.completion();
    assert_eq!(kind(&failed), ErrorKind::TimedOut);
    assert!(failed.buffer.is_some());
    let took = now(&bench) - start;
    assert!((5000 * MS..5010 * MS).contains(&took), "{took}");
    assert_eq!(lock(&bench.device).enables, 1);
    assert!(bench.events().contains(&Event::Aborting));
    let write = bench.write(0, 1, 2);
    assert!(bench.perform(write).result.is_ok());
    bench.assert_clean();
}

#[test]
fn a_command_that_completes_while_it_is_being_aborted_is_done() {
    let mut bench = ready(Options::default());
    let mut done = false;
    lock(&bench.device).judge(move |entry| match entry.opcode {
        0x08 if !entry.is_io() => Verdict::Delay(300 * MS),
        _ if entry.is_io() && !std::mem::replace(&mut done, true) => Verdict::Delay(5100 * MS),
        _ => Verdict::Obey,
    });
    let write = bench.write(0, 1, 1);
    assert!(bench.perform(write).result.is_ok());
    for _ in 0..20_000 {
        bench.turn();
        bench.controller.poll();
    }
    assert_eq!(lock(&bench.device).enables, 1);
    let write = bench.write(0, 1, 2);
    assert!(bench.perform(write).result.is_ok());
    bench.assert_clean();
}

#[test]
fn a_controller_that_answers_gets_time_for_a_slow_medium() {
    // As a request that hangs in QEMU: it is not aborted, and completes after a while.
    let mut bench = ready(Options::default());
    lock(&bench.device).judge(|entry| match entry.opcode {
        0x08 if !entry.is_io() => Verdict::Fail(0x0006),
        _ if entry.is_io() => Verdict::Delay(12 * SECOND),
        _ => Verdict::Obey,
    });
    for tag in 0..3 {
        let write = bench.write(tag, 1, 1);
        bench.submit(tag, write);
    }
    for _ in 0..3 {
        assert!(bench.completion().result.is_ok());
    }
    assert_eq!(lock(&bench.device).enables, 1);
    let aborts = lock(&bench.device).taken.iter().filter(|entry| !entry.is_io() && entry.opcode == 8).count();
    assert_eq!(aborts, 1);
    assert!(bench.events().contains(&Event::AbortRefused));
    bench.assert_clean();
}

#[test]
fn a_reset_follows_where_the_abort_does_not_help() {
    for verdict in [Verdict::Ignore, Verdict::Swallow, Verdict::StopMidway, Verdict::AsId(0x7FC0)] {
        let mut bench = ready(Options::default());
        first(&bench, verdict);
        let write = bench.write(0, 4, 1);
        bench.submit(1, write);
        let start = now(&bench);
        let failed = bench.completion();
        assert_eq!(kind(&failed), ErrorKind::TimedOut, "{verdict:?}");
        assert!(failed.buffer.is_some(), "{verdict:?}");
        // A controller that still answers gets all the time that a command may take.
        let limit = if verdict == Verdict::StopMidway { 5600 } else { 15_100 };
        assert!(now(&bench) - start < limit * MS, "{verdict:?}");
        bench.settle();
        assert_eq!(lock(&bench.device).enables, 2, "{verdict:?}");
        let write = bench.write(0, 1, 2);
        assert!(bench.perform(write).result.is_ok(), "{verdict:?}");
        bench.assert_clean();
    }
}

#[test]
fn a_reset_gives_up_everything_in_flight_and_returns_its_buffers() {
    let mut bench = ready(Options::default());
    lock(&bench.device).judge(|entry| if entry.is_io() { Verdict::Ignore } else { Verdict::Obey });
    for tag in 0..10 {
        let write = bench.write(tag, 1, 1);
        bench.submit(tag, write);
        bench.turn();
    }
    let mut kinds = Vec::new();
    for _ in 0..10 {
        let failed = bench.completion();
        assert!(failed.buffer.is_some());
        kinds.push(kind(&failed));
    }
    assert!(kinds.contains(&ErrorKind::TimedOut));
    assert!(kinds.iter().all(|kind| matches!(kind, ErrorKind::TimedOut | ErrorKind::Aborted)));
    // While the controller comes up again, nothing goes in.
    assert_eq!(bench.disks[0].state(), State::Recovering);
    let refused = bench.disks[0].submit(Tag(0), Request::Flush).unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::NotReady);
    bench.settle();
    lock(&bench.device).obey();
    let write = bench.write(0, 1, 2);
    assert!(bench.perform(write).result.is_ok());
    bench.assert_clean();
}

#[test]
fn nothing_that_was_given_up_reaches_the_medium() {
    let mut bench = ready(Options::default());
    lock(&bench.device).judge(|entry| if entry.is_io() { Verdict::Delay(60 * SECOND) } else { Verdict::Obey });
    for tag in 0..10 {
        let write = bench.write(tag, 1, 1);
        bench.submit(tag, write);
    }
    bench.turn();
    bench.disks[0].recover();
    for _ in 0..10 {
        assert_eq!(kind(&bench.completion()), ErrorKind::Aborted);
    }
    bench.settle();
    bench.machine.clock().advance(120 * SECOND);
    bench.turn();
    assert!(bench.medium(0, 10).iter().all(|byte| *byte == 0));
    bench.assert_clean();
}

#[test]
fn a_dead_device_keeps_the_buffers_that_it_may_still_use() {
    for (vanish, expected) in [(false, ErrorKind::TimedOut), (true, ErrorKind::Gone)] {
        let mut bench = ready(Options::default());
        lock(&bench.device).judge(|entry| if entry.is_io() { Verdict::Ignore } else { Verdict::Obey });
        let (write, read) = (bench.write(0, 1, 1), bench.read(0, 1));
        bench.submit(1, write);
        bench.submit(2, read);
        bench.turn();
        lock(&bench.device).faults.never_stops = true;
        lock(&bench.device).faults.gone = vanish;
        let start = now(&bench);
        for _ in 0..2 {
            let failed = bench.completion();
            assert_eq!(kind(&failed), expected);
            assert!(failed.buffer.is_none());
        }
        assert_eq!(bench.disks[0].state(), State::Dead(expected.into()));
        let limit = if vanish { 10 * MS } else { 15 * SECOND + 2 * SECOND + 100 * MS };
        assert!(now(&bench) - start < limit);
        // A reset may still be asked for, and may work.
        lock(&bench.device).faults = Default::default();
        lock(&bench.device).obey();
        bench.disks[0].recover();
        assert_eq!(bench.disks[0].state(), State::Recovering);
        bench.settle();
        let write = bench.write(0, 1, 2);
        assert!(bench.perform(write).result.is_ok());
        bench.assert_clean();
    }
}

#[test]
fn a_fatal_status_is_noticed_at_once() {
    let mut bench = ready(Options::default());
    first(&bench, Verdict::Fatal);
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    let start = now(&bench);
    let failed = bench.completion();
    assert_eq!(kind(&failed), ErrorKind::Aborted);
    assert!(failed.buffer.is_some());
    assert!(now(&bench) - start < 10 * MS);
    bench.settle();
    assert!(bench.events().contains(&Event::ResetBegun(ResetReason::FatalStatus)));
    let write = bench.write(0, 1, 2);
    assert!(bench.perform(write).result.is_ok());
    bench.assert_clean();
}

#[test]
fn a_slow_device_with_a_deep_queue_is_not_a_dead_one() {
    let mut bench = ready(Options::default());
    let mut delay = 0;
    lock(&bench.device).judge(move |_| {
        delay += 100 * MS;
        Verdict::Delay(delay)
    });
    for tag in 0..64 {
        let write = bench.write(tag, 1, 1);
        bench.submit(tag, write);
    }
    for _ in 0..64 {
        assert!(bench.completion().result.is_ok());
    }
    assert_eq!(lock(&bench.device).enables, 1);
    bench.assert_clean();
}

#[test]
fn a_command_that_hangs_among_others_that_do_not_is_found_as_well() {
    let mut bench = ready(Options::default());
    first(&bench, Verdict::Delay(u64::MAX / 2));
    let write = bench.write(0, 1, 1);
    bench.submit(1000, write);
    let start = now(&bench);
    for tag in 0..1_000_000 {
        let write = bench.write(tag % 8192, 1, 1);
        bench.submit(tag, write);
        let completion = bench.completion();
        if completion.tag == Tag(1000) && completion.result.is_err() {
            assert_eq!(kind(&completion), ErrorKind::TimedOut);
            let took = now(&bench) - start;
            assert!((15 * SECOND..16 * SECOND).contains(&took), "{took}");
            assert_eq!(lock(&bench.device).enables, 1);
            return;
        }
    }
    panic!("never given up");
}

#[test]
fn a_controller_that_no_reset_helps_is_given_up_and_returns_the_buffers() {
    let mut bench = ready(Options::default());
    lock(&bench.device).judge(|entry| if entry.is_io() { Verdict::Ignore } else { Verdict::Obey });
    let start = now(&bench);
    for round in 1.. {
        let write = bench.write(0, 1, 1);
        bench.submit(round, write);
        let failed = bench.completion();
        assert!(failed.buffer.is_some(), "round {round}");
        bench.settle();
        if let State::Dead(error) = bench.disks[0].state() {
            assert_eq!(error.kind, ErrorKind::Fatal);
            assert_eq!(round, 4);
            break;
        }
    }
    assert!(now(&bench) - start < 62 * SECOND);
    assert_eq!(
        bench.controller.failure().unwrap().to_string(),
        "stopping the controller: several resets in a row did not help"
    );
    bench.assert_clean();
}

#[test]
fn a_device_that_stays_deaf_dies_in_bounded_time() {
    let mut bench = ready(Options::default());
    lock(&bench.device).faults.deaf = true;
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    let start = now(&bench);
    let failed = bench.completion();
    assert!(failed.buffer.is_some());
    bench.settle();
    assert_eq!(bench.disks[0].state(), State::Dead(ErrorKind::TimedOut.into()));
    // Late, abort, then two attempts of one admin command each.
    assert!(now(&bench) - start < 16 * SECOND);
}

#[test]
fn a_late_log_page_leads_to_a_reset() {
    let mut bench = ready(Options::default());
    lock(&bench.device)
        .judge(|entry| if entry.opcode == 2 && !entry.is_io() { Verdict::Ignore } else { Verdict::Obey });
    bench.controller.request_log(nvme::LogKind::Health).unwrap();
    let start = now(&bench);
    while bench.controller.state() == State::Ready {
        bench.turn();
        bench.controller.poll();
    }
    assert!(now(&bench) - start < 5010 * MS);
    bench.settle();
    assert_eq!(bench.controller.take_log().unwrap().unwrap_err().kind, ErrorKind::Aborted);
    assert_eq!(bench.controller.state(), State::Ready);
}

#[test]
fn a_controller_that_somebody_else_disables_is_brought_up_again() {
    use platform::{Platform, Registers};
    let mut bench = ready(Options::default());
    first(&bench, Verdict::Ignore);
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    bench.turn();
    let registers = bench.machine.map_registers(crate::model::REGISTERS_AT, 0x1000).unwrap();
    registers.write32(0x14, 0);
    assert_eq!(kind(&bench.completion()), ErrorKind::Aborted);
    bench.settle();
    assert_eq!(bench.disks[0].state(), State::Ready);
}

#[test]
fn an_idle_controller_is_left_alone() {
    let mut bench = ready(Options::default());
    let reads = lock(&bench.device).reads;
    for _ in 0..1000 {
        bench.turn();
        assert!(bench.disks[0].poll().is_none());
    }
    assert_eq!(lock(&bench.device).reads, reads);
}

#[test]
fn time_outs_are_the_owners_to_choose() {
    let mut config = Config::default();
    config.timeouts.progress_ns = 50 * MS;
    config.timeouts.abort_ns = 0;
    let mut bench = crate::bench::ready_with(Options::default(), config);
    first(&bench, Verdict::Ignore);
    let write = bench.write(0, 1, 1);
    let start = now(&bench);
    assert_eq!(kind(&bench.perform(write)), ErrorKind::TimedOut);
    assert!(now(&bench) - start < 60 * MS + 10 * TURN_NS);
    assert!(!bench.events().contains(&Event::Aborting));
}

/// An Abort that is answered with success while the command stays away is waited for; a log page's answer is not its.
#[test]
fn a_log_page_does_not_get_between_an_abort_and_its_command() {
    let mut bench = ready(Options::default());
    lock(&bench.device).judge(|entry| match entry.opcode {
        0x08 if !entry.is_io() => Verdict::Fail(0),
        _ if entry.is_io() => Verdict::Delay(5300 * MS),
        _ => Verdict::Obey,
    });
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    let start = now(&bench);
    while now(&bench) - start < 5100 * MS {
        bench.turn();
        bench.controller.poll();
    }
    assert!(bench.events().contains(&Event::Aborting));
    assert_eq!(bench.controller.request_log(nvme::LogKind::Health).unwrap_err().kind, ErrorKind::QueueFull);
    assert!(bench.completion().result.is_ok());
    bench.turn();
    bench.controller.poll();
    bench.turn();
    bench.controller.poll();
    bench.controller.request_log(nvme::LogKind::Health).unwrap();
    while bench.controller.take_log().is_none_or(|log| log.is_err()) {
        bench.turn();
        bench.controller.poll();
    }
    assert_eq!(lock(&bench.device).enables, 1);
    bench.assert_clean();
}

/// While a log page is on its way no Abort can be sent. That alone is no reason for a reset.
#[test]
fn a_command_that_is_late_waits_for_a_log_page_before_it_is_aborted() {
    let mut bench = ready(Options::default());
    lock(&bench.device).judge(|entry| match entry.opcode {
        0x02 if !entry.is_io() => Verdict::Delay(4 * SECOND),
        0x08 => Verdict::Obey,
        _ => Verdict::Delay(u64::MAX / 2),
    });
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    let start = now(&bench);
    while now(&bench) - start < 4 * SECOND {
        bench.turn();
        bench.controller.poll();
    }
    bench.controller.request_log(nvme::LogKind::Health).unwrap();
    assert_eq!(kind(&bench.completion()), ErrorKind::TimedOut);
    let took = now(&bench) - start;
    assert!((8000 * MS..8010 * MS).contains(&took), "{took}");
    assert!(bench.controller.take_log().unwrap().is_ok());
    assert_eq!(lock(&bench.device).enables, 1);
    let late = bench.events().iter().filter(|event| matches!(event, Event::Late { .. })).count();
    assert_eq!(late, 1);
    bench.assert_clean();
}

/// A log page that never comes does not hold up a reset for longer than a command may take.
#[test]
fn a_command_at_its_limit_does_not_wait_for_a_log_page() {
    let mut config = Config::default();
    config.timeouts.admin_ns = 60 * SECOND;
    let mut bench = crate::bench::ready_with(Options::default(), config);
    lock(&bench.device).judge(|_| Verdict::Ignore);
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    bench.controller.request_log(nvme::LogKind::Health).unwrap();
    let start = now(&bench);
    assert_eq!(kind(&bench.completion()), ErrorKind::TimedOut);
    let took = now(&bench) - start;
    assert!((15_000 * MS..15_010 * MS).contains(&took), "{took}");
}

#[test]
fn a_command_that_is_due_for_another_try_is_not_made_in_a_reset() {
    // A doorbell that is rung while the controller stops is a violation here, at once.
    let mut bench = ready(Options { stop_ns: 0, ..Options::default() });
    let mut done = false;
    lock(&bench.device).judge(move |entry| match entry.is_io() {
        true if !std::mem::replace(&mut done, true) => Verdict::Fail(0x0082),
        true => Verdict::Twice,
        false => Verdict::Obey,
    });
    let write = bench.write(0, 1, 1);
    bench.submit(1, write);
    bench.turn();
    assert!(bench.disks[0].poll().is_none(), "it waits for another try");
    for tag in 2..22 {
        let write = bench.write(tag, 1, 1);
        bench.submit(tag, write);
    }
    lock(&bench.device).step();
    // By now it is due.
    bench.machine.clock().advance(SECOND);
    for _ in 0..21 {
        bench.completion();
    }
    bench.settle();
    assert!(bench.events().contains(&Event::ResetBegun(ResetReason::Protocol)));
    bench.assert_clean();
}

/// Once is enough: a controller that worked, was given up, and has stopped after all.
#[test]
fn a_controller_that_was_given_up_is_tried_once_more_and_gives_the_buffers_back() {
    let mut bench = ready(Options::default());
    let write = bench.write(9, 1, 9);
    assert!(bench.perform(write).result.is_ok());
    lock(&bench.device).judge(|entry| if entry.is_io() { Verdict::Ignore } else { Verdict::Obey });
    let (write, read) = (bench.write(0, 1, 1), bench.read(0, 1));
    bench.submit(1, write);
    bench.submit(2, read);
    bench.turn();
    lock(&bench.device).faults.never_stops = true;
    for _ in 0..2 {
        assert!(bench.completion().buffer.is_none());
    }
    let died = now(&bench);
    let wait = |bench: &mut Bench, ns| {
        let start = now(bench);
        while now(bench) - start < ns && bench.disks[0].state() != State::Recovering {
            assert!(bench.disks[0].poll().is_none());
            bench.turn();
        }
    };
    // As long as it has not stopped it may still use them.
    wait(&mut bench, 40 * SECOND);
    assert_eq!(bench.disks[0].state(), State::Dead(ErrorKind::TimedOut.into()));
    assert!(bench.disks[0].reclaim().is_none());
    lock(&bench.device).faults = Default::default();
    lock(&bench.device).obey();
    wait(&mut bench, 40 * SECOND);
    assert!((40 * SECOND..42 * SECOND).contains(&(now(&bench) - died)));
    bench.settle();
    assert_eq!(bench.disks[0].state(), State::Ready);
    assert!(bench.events().contains(&Event::ResetBegun(ResetReason::Again)));
    let mut tags: Vec<u64> = std::iter::from_fn(|| bench.disks[0].reclaim()).map(|(tag, _)| tag.0).collect();
    tags.sort_unstable();
    assert_eq!(tags, [1, 2]);
    // Without a command that was completed since, there is no other time.
    lock(&bench.device).faults.deaf = true;
    let write = bench.write(0, 1, 1);
    bench.submit(3, write);
    bench.completion();
    bench.settle();
    wait(&mut bench, 60 * SECOND);
    assert!(matches!(bench.disks[0].state(), State::Dead(_)));
    bench.assert_clean();
}
