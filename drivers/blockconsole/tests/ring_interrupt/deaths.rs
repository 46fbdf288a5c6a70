//! Writers that die in the middle of a write.

use crate::level::Level;
use crate::ring::{Next, Patience, RecordBuffer, RecordHeader, Ring};
use crate::sync::{cancel_interrupt, interrupt_after};
use crate::{IDENTITY, length_of_a_write, memory, new_ring, read, read_adopted, write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Begins a write, and never goes on after so many accesses. Whether it was begun, as others see it.
fn die_while_writing(ring: &Ring<'_>, index: u64, at: u64) -> bool {
    let before = ring.written();
    interrupt_after(at, || resume_unwind(Box::new("the writer's death")));
    let result = catch_unwind(AssertUnwindSafe(|| write(ring, index)));
    assert_eq!(result.is_err(), !cancel_interrupt());
    ring.written() > before
}

#[test]
fn a_writer_that_dies_leaves_at_most_one_gap_that_is_told() {
    for at in 0..length_of_a_write(1) {
        let memory = memory(1_000);
        let ring = Ring::create(memory, IDENTITY).unwrap();
        write(&ring, 0);
        let begun = die_while_writing(&ring, 1, at);
        write(&ring, 2);
        let crash = read(&ring, Patience::Crash);
        assert_eq!(crash.indices(), [0, 2]);
        assert_eq!(crash.skipped, if begun { vec![1] } else { vec![] }, "at access {at}");
        assert_eq!(crash.lost, 0);
        // Who has patience stays before it.
        let patient = read(&ring, Patience::Wait);
        assert_eq!(patient.indices(), if begun { vec![0] } else { vec![0, 2] });
        // The next boot finds the same.
        let adopted = read_adopted(&Ring::adopt(memory).unwrap());
        assert_eq!((adopted.indices(), adopted.lost), (vec![0, 2], u64::from(begun)));
    }
}

/// A patient reader gives a dead writer up before newer records are lost for its sake, whether the slots run out
/// first or the data.
#[test]
fn patience_ends_before_the_ring_laps_its_reader() {
    for long in [false, true] {
        let ring = new_ring(4_000);
        assert!(die_while_writing(&ring, 0, 5));
        let mut cursor = ring.cursor_oldest();
        let mut scratch = RecordBuffer::new();
        assert_eq!(ring.next(&mut cursor, &mut scratch, Patience::Wait), Next::Unfinished);
        let mut written = 0;
        let limit = if long { 6 } else { ring.capacity() / 4 };
        while ring.next(&mut cursor, &mut scratch, Patience::Wait) == Next::Unfinished {
            written += 1;
            assert!(written <= limit, "given up too late");
            let text = "x".repeat(if long { 2_000 } else { 1 });
            ring.write(RecordHeader { time_ns: 0, cpu: 0, level: Level::Warn }, "", format_args!("{text}"));
        }
        assert!(written >= limit / 2, "given up too early: after {written}");
        assert_eq!(cursor.sequence(), 1, "skipped, and nothing else");
        for sequence in 1..=written {
            let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) else { panic!() };
            assert_eq!(record.sequence, sequence, "nothing else was lost");
        }
    }
}
