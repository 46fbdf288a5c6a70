//! Writes inside writes, at any point, to any depth; and inside reads.

use crate::ring::{Patience, Ring};
use crate::sync::{self, accesses_of, cancel_interrupt, interrupt_after};
use crate::{SMALL, length_of_a_write, new_ring, read, write, write_each};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

#[test]
fn a_write_inside_a_write_at_any_point() {
    write_inside_a_write();
}

/// This must be able to fail.
#[test]
#[should_panic(expected = "assertion")]
fn a_counter_that_is_not_atomic_would_be_noticed() {
    sync::BROKEN.set(true);
    write_inside_a_write();
}

fn write_inside_a_write() {
    for at in 0..length_of_a_write(1) {
        let ring = new_ring(1_000);
        write(&ring, 0);
        let inner = Rc::new(Cell::new(u64::MAX));
        let seen_inside = Rc::new(RefCell::new(Vec::new()));
        interrupt_after(at, {
            let (inner, seen_inside) = (Rc::clone(&inner), Rc::clone(&seen_inside));
            move || {
                inner.set(write(&ring, 2));
                seen_inside.replace(read(&ring, Patience::Crash).indices());
            }
        });
        let outer = write(&ring, 1);
        assert!(!cancel_interrupt());
        let got = read(&ring, Patience::Wait);
        assert_eq!((got.skipped.len(), got.lost), (0, 0));
        assert_eq!((got.records[&0], got.records[&outer], got.records[&inner.get()]), (0, 1, 2));
        // An NMI that reads the log finds all but the record that it interrupted.
        assert_eq!(*seen_inside.borrow(), [0, 2], "at access {at}");
    }
}

#[test]
fn writes_nested_three_deep_at_any_three_points() {
    let (second, third) = (length_of_a_write(2), length_of_a_write(3));
    for at in 0..length_of_a_write(1) {
        for then_at in 0..second {
            for finally_at in (0..third).step_by(3) {
                let ring = new_ring(1_000);
                interrupt_after(at, move || {
                    interrupt_after(then_at, move || {
                        interrupt_after(finally_at, move || {
                            write(&ring, 4);
                        });
                        write(&ring, 3);
                    });
                    write(&ring, 2);
                });
                write(&ring, 1);
                let mut indices = read(&ring, Patience::Wait).indices();
                indices.sort_unstable();
                assert_eq!(indices, [1, 2, 3, 4]);
            }
        }
    }
}

/// The worst case: when it goes on, all that the writer believes in is long gone.
#[test]
fn a_writer_that_is_lapped_while_it_writes_spoils_nothing_untold() {
    for laps in 1..=3 {
        for at in 0..length_of_a_write(1) {
            let ring = new_ring(SMALL);
            let others = laps * 3 * ring.capacity() + at % 5;
            let given = Rc::new(RefCell::new(BTreeMap::new()));
            interrupt_after(at, {
                let given = Rc::clone(&given);
                move || given.borrow_mut().extend((2..2 + others).map(|index| (write(&ring, index), index)))
            });
            let late = write(&ring, 1);
            assert!(!cancel_interrupt());
            given.borrow_mut().insert(late, 1);
            let got = read(&ring, Patience::Crash);
            assert_eq!(got.seen(), others + 1);
            // What is committed stays committed: spoilt records are lost, not unfinished.
            assert_eq!(got.skipped, []);
            // Every record that is returned stands under the number it was given.
            assert!(got.records.iter().all(|record| given.borrow().get(record.0) == Some(record.1)), "{got:?}");
            // The late writer's slot and data are of one record's size: it spoils few.
            assert!(got.records.len() as u64 + 6 >= read(&undisturbed(others), Patience::Crash).records.len() as u64);
            // And the ring is as good as new.
            let ring_records: Vec<u64> = (1_000..1_003).map(|index| write(&ring, index)).collect();
            let got = read(&ring, Patience::Wait);
            assert!(
                ring_records.iter().zip(1_000..).all(|(sequence, index)| got.records.get(sequence) == Some(&index))
            );
        }
    }
}

fn undisturbed(records: u64) -> Ring<'static> {
    let ring = new_ring(SMALL);
    write_each(&ring, 1..=records);
    ring
}

/// Writers may do anything between two of a reader's accesses.
#[test]
fn a_reader_that_is_lapped_while_it_reads_gets_nothing_torn() {
    for others in [1, 2, 7, 8, 9, 40] {
        let ring = undisturbed(8);
        let length = accesses_of(|| assert_eq!(read(&ring, Patience::Wait).seen(), 8));
        for at in 0..length {
            let ring = undisturbed(8);
            let base = ring.written();
            interrupt_after(at, move || write_each(&ring, base + 1..=base + others));
            let got = read(&ring, Patience::Wait);
            cancel_interrupt();
            assert!(got.records.iter().all(|(sequence, index)| *index == sequence + 1), "{got:?}");
            assert!(got.skipped.is_empty());
        }
    }
}
