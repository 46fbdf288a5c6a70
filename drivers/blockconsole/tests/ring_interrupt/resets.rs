//! Resets in the middle of a write, of a mark, of making a ring, of inheriting one.

use crate::ring::{self, Patience, Ring, RingIdentity};
use crate::sync::{AtomicU64, cancel_interrupt, interrupt_after};
use crate::{IDENTITY, SMALL, memory, read, read_adopted, ring_support, write, write_each};
use std::cell::Cell;
use std::rc::Rc;

/// The memory as it is at a reset.
fn snapshot(memory: &[AtomicU64]) -> &'static [AtomicU64] {
    Box::leak(memory.iter().map(|word| AtomicU64::new(word.peek())).collect())
}

/// Runs the action once for each of its accesses, and hands over the memory as it was just before that access; at
/// last, as it is in the end.
fn reset_at_each_access<T: Copy>(
    prepare: impl Fn() -> (&'static [AtomicU64], T),
    action: impl Fn(&'static [AtomicU64], T),
    mut check: impl FnMut(&'static [AtomicU64]),
) {
    for at in 0.. {
        let (memory, given) = prepare();
        let left = Rc::new(Cell::new(None));
        let at_reset = Rc::clone(&left);
        interrupt_after(at, move || at_reset.set(Some(snapshot(memory))));
        action(memory, given);
        cancel_interrupt();
        match left.take() {
            Some(memory) => check(memory),
            None => return check(memory),
        }
    }
}

/// A ring that holds the records 0 to 2.
fn three_records() -> (&'static [AtomicU64], Ring<'static>) {
    let memory = memory(1_000);
    let ring = Ring::create(memory, IDENTITY).unwrap();
    write_each(&ring, 0..3);
    (memory, ring)
}

#[test]
fn a_reset_in_the_middle_of_a_write_loses_that_record_alone() {
    let mut ends = Vec::new();
    reset_at_each_access(
        three_records,
        |_, ring| write_each(&ring, [3]),
        |memory| {
            let adopted = Ring::adopt(memory).unwrap();
            let got = read_adopted(&adopted);
            assert!(got.indices().starts_with(&[0, 1, 2]));
            assert_eq!(got.seen(), adopted.written());
            ends.push((got.records.len(), got.lost));
        },
    );
    ends.dedup();
    assert_eq!(ends, [(3, 0), (3, 1), (4, 0)], "before, during, after");
}

#[test]
fn a_reset_while_the_mark_is_raised_leaves_the_old_mark_or_the_new() {
    for (before, after) in [(0, 1), (1, 2), (1, 3), (2, 3)] {
        let prepare = || {
            let (memory, ring) = three_records();
            (1..=before).for_each(|mark| ring.note_durable(mark));
            (memory, ring)
        };
        let mut marks = Vec::new();
        reset_at_each_access(
            prepare,
            |_, ring| ring.note_durable(after),
            |memory| {
                marks.push(Ring::adopt(memory).unwrap().durable());
            },
        );
        marks.dedup();
        assert_eq!(marks, [before, after]);
    }
}

#[test]
fn a_reset_while_a_ring_is_made_leaves_the_old_ring_none_or_the_new() {
    let other = RingIdentity { boot_id: 2, ..IDENTITY };
    let mut ends = Vec::new();
    reset_at_each_access(
        three_records,
        |memory, _| assert!(Ring::create(memory, other).is_ok()),
        |memory| {
            ends.push(Ring::adopt(memory).ok().map(|adopted| {
                let got = read_adopted(&adopted);
                assert_eq!(got.lost, 0);
                (adopted.identity().boot_id, got.indices())
            }));
        },
    );
    ends.dedup();
    assert_eq!(ends, [Some((IDENTITY.boot_id, vec![0, 1, 2])), None, Some((2, vec![]))]);
}

/// Boot by boot, whatever was not durable comes along, wherever a boot may end.
#[test]
fn a_reset_at_any_point_of_the_succession_loses_nothing_that_was_not_durable() {
    let boot = |memory: &'static [AtomicU64], boot_id| {
        ring::succeed(memory, RingIdentity { boot_id, ..IDENTITY }, |ring, previous| {
            let tally = previous.write_again(previous.cursor_durable(), ring);
            assert_eq!(tally, previous.tally(previous.cursor_durable()));
            assert_eq!(tally.lost, 0);
        })
        .unwrap()
    };
    let prepare = || {
        let memory = memory(2_000);
        let first = boot(memory, 1);
        write_each(&first, 0..5);
        first.note_durable(2);
        (memory, ())
    };
    reset_at_each_access(
        prepare,
        |memory, ()| assert!(boot(memory, 2).written() == 3),
        |memory| {
            let third = boot(memory, 3);
            assert_eq!(read(&third, Patience::Crash).indices(), [2, 3, 4]);
            // And once more, with something new.
            write(&third, 9);
            third.note_durable(1);
            assert_eq!(read(&boot(memory, 4), Patience::Crash).indices(), [3, 4, 9]);
        },
    );
}

/// A reset may lose what was in a cache and not yet in memory: some lines are then as they were some time ago.
#[test]
fn lines_that_a_cache_lost_cost_their_records_and_no_others() {
    let mut numbers = ring_support::Numbers(42);
    let (mut kept, mut lost) = (0, 0);
    for _ in 0..500 {
        let memory = memory(SMALL);
        let ring = Ring::create(memory, IDENTITY).unwrap();
        let before = numbers.below(20);
        write_each(&ring, 0..before);
        let old = snapshot(memory);
        let after = before + numbers.below(6);
        write_each(&ring, before..after);
        for line in memory.chunks(8).zip(old.chunks(8)) {
            if numbers.below(4) == 0 {
                line.0.iter().zip(line.1).for_each(|(word, old)| word.poke(old.peek()));
            }
        }
        let got = read_adopted(&Ring::adopt(memory).unwrap());
        assert!(got.records.iter().all(|(sequence, index)| sequence == index && *index < after));
        (kept, lost) = (kept + got.records.len(), lost + got.lost);
    }
    assert!(kept > 500 && lost > 500, "{kept} kept, {lost} lost: both must have come up");
}
