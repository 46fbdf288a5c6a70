//! What a crash port knows of the requests of whoever was interrupted.

use block::{BlockDevice, State, Tag};
use nvme::{Config, CrashPort, checkpoint};
use platform_fake::Machine;

use crate::bench::{Bench, TURN_NS, ready, ready_with};
use crate::crash::{RECORD_AT, crash_in_life, write_record};
use crate::model::{NamespaceOptions, Options, Verdict, lock};

const SECOND: u64 = 1_000_000_000;

/// Lets time pass, for the device alone, until it has answered everything. `false` if it does not within that time.
fn wait_for_answers(bench: &Bench, port: &CrashPort<Machine>, most_ns: u64) -> bool {
    for _ in 0..most_ns / TURN_NS {
        if port.unanswered() == Some(0) {
            return true;
        }
        bench.turn();
    }
    false
}

#[test]
fn once_everything_is_answered_nothing_overtakes_the_record_without_a_reset() {
    let (mut waited, mut quiet) = (0, 0);
    for name in checkpoint::ALL {
        for nth in [1, 2, 5, 11, 17, 23] {
            let Some(mut wreck) = crash_in_life(name, nth, Options::default()) else { break };
            if wreck.port.state() != State::Ready {
                continue;
            }
            waited += u32::from(wreck.port.unanswered() != Some(0));
            assert!(wait_for_answers(&wreck.bench, &wreck.port, 101 * SECOND), "{name} {nth}");
            quiet += 1;
            let enables = lock(&wreck.bench.device).enables;
            write_record(&wreck.bench, &mut wreck.port);
            assert_eq!(lock(&wreck.bench.device).enables, enables, "{name} {nth}: it was reset");
            wreck.bench.assert_clean();
        }
    }
    assert!(waited >= 20 && quiet >= 40, "{waited} of {quiet} had something to wait for");
}

#[test]
fn requests_are_counted_until_they_are_answered_whoever_takes_the_answers() {
    // More requests than entries, so that the queues wrap, at every place of them.
    let options = Options { max_entries: 7, ..Options::default() };
    let mut bench = ready_with(options, Config { queue_depth: 4, ..Config::default() });
    let port = bench.crash.remove(0);
    for round in 0..20 {
        let count = 1 + round % 4;
        lock(&bench.device).judge(|_| Verdict::Delay(2 * TURN_NS));
        for tag in 0..count {
            let write = bench.write(RECORD_AT + tag, 1, 0xEE);
            bench.submit(tag, write);
        }
        assert_eq!(port.unanswered(), Some(count as u32), "round {round}");
        // Answered, and nobody has taken the answers.
        assert!(wait_for_answers(&bench, &port, SECOND));
        for _ in 0..count {
            bench.completion().result.unwrap();
            assert_eq!(port.unanswered(), Some(0), "round {round}");
        }
    }
}

#[test]
fn a_command_that_is_never_answered_stays_so_until_a_reset() {
    let mut bench = ready(Options::default());
    let mut port = bench.crash.remove(0);
    lock(&bench.device)
        .judge(|entry| if entry.is_io() && entry.first_block() == 7 { Verdict::Ignore } else { Verdict::Obey });
    for tag in 5..9 {
        let write = bench.write(tag, 1, 0xEE);
        bench.submit(tag, write);
    }
    assert!(!wait_for_answers(&bench, &port, SECOND));
    // Answers that come after it do not stand for it.
    assert_eq!(port.unanswered(), Some(1));
    port.recover();
    bench.recovered(&mut port);
    assert_eq!(port.unanswered(), Some(0));
    write_record(&bench, &mut port);
    assert_eq!(port.unanswered(), Some(0));
}

#[test]
fn the_ports_own_requests_count_for_those_that_come_after_it() {
    let namespaces = (1..=2).map(|id| NamespaceOptions { id, ..NamespaceOptions::default() }).collect();
    let mut bench = ready(Options { namespaces, ..Options::default() });
    let mut other = bench.crash.remove(1);
    let port = bench.crash.remove(0);
    lock(&bench.device).judge(|entry| if entry.queue == 2 { Verdict::Ignore } else { Verdict::Obey });
    other.submit(Tag(0), bench.write(1, 1, 1)).unwrap();
    assert!(!wait_for_answers(&bench, &port, SECOND / 10));
    assert_eq!(port.unanswered(), Some(1));
}

#[test]
fn a_controller_that_is_gone_or_stopped_or_failed_is_not_waited_for() {
    for (what, expected) in [("gone", Some(0)), ("stopped", Some(0)), ("failed", None)] {
        let mut bench = ready(Options::default());
        let port = bench.crash.remove(0);
        let verdict = if what == "failed" { Verdict::Fatal } else { Verdict::Ignore };
        lock(&bench.device).judge(move |_| verdict);
        let write = bench.write(1, 1, 0xEE);
        bench.submit(0, write);
        assert_eq!(port.unanswered(), Some(1), "{what}");
        match what {
            "gone" => lock(&bench.device).faults.gone = true,
            "stopped" => bench.controller.recover(),
            _ => {}
        }
        // A controller takes a moment to stop.
        for _ in 0..SECOND / 100 / TURN_NS {
            bench.turn();
        }
        assert_eq!(port.unanswered(), expected, "{what}");
    }
}
