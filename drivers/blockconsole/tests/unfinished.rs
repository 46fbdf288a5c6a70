//! A record whose writer died holds nobody up, and leaves a mark.

mod support;

use blockconsole::Level;
use blockconsole::console::Outcome;
use blockconsole::ring::{RecordHeader, Ring, RingIdentity};
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Rig, disk};

/// A rig over a ring whose memory the test can reach.
fn rig() -> (Rig, &'static [AtomicU64]) {
    let memory: Vec<AtomicU64> = (0..1 << 17).map(|_| AtomicU64::new(0)).collect();
    let memory: &'static [AtomicU64] = memory.leak();
    let mut rig = Rig::boot(&disk(512, 4));
    rig.ring = Ring::create(memory, RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 }).expect("a ring");
    (rig, memory)
}

/// Makes a record look as if its writer had been stopped before it set the record's state, and says where that was.
fn unfinish(rig: &Rig, memory: &'static [AtomicU64]) -> (usize, u64) {
    let before: Vec<u64> = memory.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    let sequence =
        rig.ring.write(RecordHeader { time_ns: 0, cpu: 0, level: Level::Info }, "test", format_args!("half"));
    // A finished record's slot says the sequence number after its own.
    let is_state = |i: &usize| memory[*i].load(Ordering::Relaxed) == sequence + 1 && before[*i] != sequence + 1;
    let slots: Vec<usize> = (32..memory.len()).filter(is_state).collect();
    assert_eq!(slots.len(), 1, "the record's state");
    memory[slots[0]].store(0, Ordering::Relaxed);
    (slots[0], sequence)
}

#[test]
fn it_is_waited_for_a_second_and_then_passed_over_with_a_mark() {
    let (mut rig, memory) = rig();
    rig.log("before");
    let (_, sequence) = unfinish(&rig, memory);
    rig.log("after");
    rig.settle();
    rig.wait(999_000_000);
    rig.console.finish(1);
    rig.settle();
    assert_eq!(rig.log_text().messages("test"), ["before"]);
    rig.wait(1_000_000);
    rig.finish();
    let text = rig.log_text().text();
    let mark = format!("WARN  blockconsole: *** record {sequence} was never finished ***\n");
    let at = text.find(&mark).expect("a mark");
    assert!(text[..at].contains("before") && text[at..].contains("after"));
}

#[test]
fn a_writer_that_was_only_slow_loses_nothing() {
    let (mut rig, memory) = rig();
    let (slot, sequence) = unfinish(&rig, memory);
    rig.log("after");
    rig.settle();
    rig.wait(500_000_000);
    memory[slot].store(sequence + 1, Ordering::Relaxed);
    rig.finish();
    assert_eq!(rig.log_text().messages("test"), ["half", "after"]);
}

#[test]
fn the_crash_path_does_not_wait() {
    let (mut rig, memory) = rig();
    rig.settle();
    rig.log("before");
    let (_, sequence) = unfinish(&rig, memory);
    rig.log("after");
    assert_eq!(rig.crash(b"---[ crash 1 ]---\n---[ end crash 1 ]---\n"), Outcome::Done);
    let log = rig.log_text();
    assert_eq!(log.messages("test"), ["before", "after"]);
    assert!(log.text().contains(&format!("record {sequence} was never finished")));
}
