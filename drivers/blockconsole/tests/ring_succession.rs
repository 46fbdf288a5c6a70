//! What one boot did not get onto the disk, the next one inherits.

use blockconsole::Level;
use blockconsole::ring::{self, Next, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity, Tally, succeed};
use std::sync::atomic::AtomicU64;

fn memory(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

fn identity(boot_id: u64) -> RingIdentity {
    RingIdentity { boot_id, build_id: [7; 20], boot_seconds: 1_700_000_000 + boot_id }
}

fn write(ring: &Ring<'_>, text: &str) {
    ring.write(RecordHeader { time_ns: 8, cpu: 2, level: Level::Warn }, "app", format_args!("{text}"));
}

/// All the texts in a ring.
fn texts(ring: &Ring<'_>) -> Vec<String> {
    let (mut cursor, mut scratch) = (ring.cursor_oldest(), RecordBuffer::new());
    let mut all = Vec::new();
    while let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) {
        assert_eq!((record.time_ns, record.cpu, record.level, record.target), (8, 2, Level::Warn, "app"));
        all.push(record.text.to_owned());
    }
    all
}

#[test]
fn boots_inherit_what_their_predecessors_did_not_write_out() {
    let memory = memory(2_001);
    let boot = |id| {
        let mut inherited = None;
        let ring = succeed(&memory, identity(id), |ring, previous| {
            let tally = previous.write_again(previous.cursor_durable(), ring);
            inherited = Some((previous.identity().boot_id, tally));
        });
        (ring.unwrap(), inherited)
    };
    let (first, inherited) = boot(1);
    assert_eq!((inherited, first.identity()), (None, identity(1)));
    for text in ["a", "b", "c"] {
        write(&first, text);
    }
    first.note_durable(1);

    let (second, inherited) = boot(2);
    assert_eq!(inherited, Some((1, Tally { whole: 2, lost: 0 })));
    assert_eq!((texts(&second), second.durable()), (vec!["b".into(), "c".into()], 0));
    // It crashes before it gets anything onto the disk; so does the next.
    write(&second, "d");
    let (_, inherited) = boot(3);
    assert_eq!(inherited, Some((2, Tally { whole: 3, lost: 0 })));
    let (fourth, inherited) = boot(4);
    assert_eq!(inherited, Some((3, Tally { whole: 3, lost: 0 })));
    assert_eq!(texts(&fourth), ["b", "c", "d"]);
    // This one does.
    fourth.note_durable(fourth.written());
    let (fifth, inherited) = boot(5);
    assert_eq!(inherited, Some((4, Tally::default())));
    assert_eq!(fifth.written(), 0);
}

#[test]
fn memory_that_is_too_small_for_two_rings_is_refused() {
    assert!(succeed(&memory(2 * 72 - 1), identity(1), |_, _| {}).is_err());
    assert!(succeed(&memory(2 * 72), identity(1), |_, _| {}).is_ok());
    assert!(succeed(&[], identity(1), |_, _| {}).is_err());
}

#[test]
fn a_truncated_record_stays_one_when_it_is_inherited() {
    let memory = memory(2_000);
    let first = succeed(&memory, identity(1), |_, _| {}).unwrap();
    write(&first, &"x".repeat(5_000));
    let second = succeed(&memory, identity(2), |ring, previous| {
        previous.write_again(previous.cursor_oldest(), ring);
    });
    let (mut cursor, mut scratch) = (second.unwrap().cursor_oldest(), RecordBuffer::new());
    let Next::Record(record) = second.unwrap().next(&mut cursor, &mut scratch, Patience::Wait) else { panic!() };
    assert_eq!((record.text.len(), record.truncated), (ring::MAX_TEXT, true));
}
