//! Writes interrupted at any point: by other writes, by death, by a reset.
//!
//! The ring is compiled here over atomics that call a handler before any chosen access, so that "at any point" means
//! each.

#[path = "../../src/level.rs"]
#[allow(dead_code, unreachable_pub, reason = "not all of the crate is used here")]
mod level;
#[path = "../../src/ring/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, unused_extern_crates, reason = "not all of the crate is used here")]
mod ring;
#[path = "../ring_support/mod.rs"]
mod ring_support;
mod sync;

mod deaths;
mod displays;
mod interrupts;
mod resets;

use level::Level;
use ring::{Adopted, Next, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity};
use ring_support::Proof;
use std::collections::BTreeMap;
use sync::{AtomicU64, accesses_of};

const IDENTITY: RingIdentity = RingIdentity { boot_id: 0xb007, build_id: [9; 20], boot_seconds: 1 };
/// Makes a ring of 8 slots and 80 words of data.
const SMALL: usize = 160;

/// Memory that lives on, so that handlers may hold on to it.
fn memory(words: usize) -> &'static [AtomicU64] {
    Box::leak((0..words).map(|_| AtomicU64::new(0)).collect())
}

fn new_ring(words: usize) -> Ring<'static> {
    Ring::create(memory(words), IDENTITY).unwrap()
}

/// Writes the self-validating record of this index.
fn write(ring: &Ring<'_>, index: u64) -> u64 {
    let text = Proof { seed: 5, writer: 0, index, len: 8 + index as usize % 30 }.text();
    ring.write(RecordHeader { time_ns: index, cpu: 0, level: Level::Info }, "t", format_args!("{text}"))
}

fn write_each(ring: &Ring<'_>, indices: impl IntoIterator<Item = u64>) {
    for index in indices {
        write(ring, index);
    }
}

/// What a reader got: index by sequence number, the numbers that were skipped, and how many were lost.
#[derive(Debug, Default, PartialEq)]
struct Got {
    records: BTreeMap<u64, u64>,
    skipped: Vec<u64>,
    lost: u64,
}

impl Got {
    fn take(&mut self, next: &Next<'_>) {
        match next {
            Next::Record(record) => {
                let proof = Proof::check(record.text, record.truncated).unwrap();
                assert_eq!((record.time_ns, record.target), (proof.index, "t"));
                assert_eq!(self.records.insert(record.sequence, proof.index), None, "twice");
            }
            Next::Lost(records) => self.lost += records,
            Next::Skipped(sequence) => self.skipped.push(*sequence),
            Next::Unfinished | Next::Empty => {}
        }
    }

    fn seen(&self) -> u64 {
        self.records.len() as u64 + self.skipped.len() as u64 + self.lost
    }

    fn indices(&self) -> Vec<u64> {
        self.records.values().copied().collect()
    }
}

/// Reads from the beginning on, as far as there is something.
fn read(ring: &Ring<'_>, patience: Patience) -> Got {
    let mut got = Got::default();
    let mut cursor = ring.cursor_at(0);
    let mut scratch = RecordBuffer::new();
    loop {
        let next = ring.next(&mut cursor, &mut scratch, patience);
        got.take(&next);
        assert_eq!(got.seen(), cursor.sequence(), "each number is accounted for once");
        if matches!(next, Next::Empty | Next::Unfinished) {
            return got;
        }
    }
}

fn read_adopted(adopted: &Adopted<'_>) -> Got {
    let mut got = Got::default();
    let mut cursor = adopted.cursor_at(0);
    let mut scratch = RecordBuffer::new();
    loop {
        let next = adopted.next(&mut cursor, &mut scratch);
        got.take(&next);
        assert_eq!(got.seen(), cursor.sequence(), "each number is accounted for once");
        if next == Next::Empty {
            return got;
        }
    }
}

/// Accesses of a write of this index.
fn length_of_a_write(index: u64) -> u64 {
    let ring = new_ring(1_000);
    accesses_of(|| {
        write(&ring, index);
    })
}
