//! The ring under a model checker: every interleaving, within bounds.
//!
//! Bounded by the number of preemptions (`RING_LOOM_PREEMPTIONS`), so that it takes seconds. A program of its own, as
//! the ring's unit tests, compiled over these atomics, would run outside a model.

#[path = "../../../src/level.rs"]
#[allow(dead_code, unreachable_pub, reason = "not all of the crate is used here")]
mod level;
#[path = "../../../src/ring/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, unused_extern_crates, reason = "not all of the crate is used here")]
mod ring;
mod sync;

use level::Level;
use loom::sync::Arc;
use loom::thread;
use ring::{Cursor, Next, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64 as Counter, Ordering::Relaxed};
use std::time::Instant;
use sync::{AtomicU64, Fate, Missing, has_happened, plan, take_away};

/// Makes a ring of 2 slots: three records lap it.
const TWO_SLOTS: usize = 72;
/// Makes a ring of 16 slots, of which no reader is ever lapped here, nor loses its patience.
const SIXTEEN_SLOTS: usize = 240;

/// The ring's memory, shared by the model's threads, of which each makes itself a handle.
#[derive(Clone)]
struct Memory(Arc<Vec<AtomicU64>>);

impl Memory {
    fn new(words: usize) -> Self {
        let memory = Self(Arc::new((0..words).map(|_| AtomicU64::new(0)).collect()));
        let identity = RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 };
        assert!(Ring::create(&memory.0, identity).is_ok());
        memory
    }

    fn ring(&self) -> Ring<'_> {
        Ring::attach(&self.0).unwrap()
    }

    /// Writes a record of two words that says who wrote it and as the how-manieth, twice: in its time and in its text.
    fn write(&self, writer: u64, index: u64) -> u64 {
        let name = writer * 10 + index;
        let header = RecordHeader { time_ns: name, cpu: writer as u16, level: Level::Info };
        self.ring().write(header, "", format_args!("{name}"))
    }

    /// Has another thread do something with this memory.
    fn spawn<T: 'static>(&self, action: impl FnOnce(&Self) -> T + 'static) -> thread::JoinHandle<T> {
        let memory = self.clone();
        thread::spawn(move || action(&memory))
    }
}

/// A reader, and what it got so far.
struct Reader {
    cursor: Cursor,
    /// Sequence number, and writer and index, of each record.
    records: Vec<(u64, u64)>,
    lost: u64,
    skipped: u64,
    /// Whether being lapped is the only way in which a record can be lost: no writer is late.
    only_lapped: bool,
}

impl Reader {
    fn new(memory: &Memory) -> Self {
        let cursor = memory.ring().cursor_at(0);
        Self { cursor, records: Vec::new(), lost: 0, skipped: 0, only_lapped: true }
    }

    /// Reads at most so many times; whether it has come to the end.
    fn read(&mut self, memory: &Memory, patience: Patience, times: usize) -> bool {
        let ring = memory.ring();
        let mut scratch = RecordBuffer::new();
        for _ in 0..times {
            match ring.next(&mut self.cursor, &mut scratch, patience) {
                Next::Record(record) => {
                    assert_eq!(record.text, record.time_ns.to_string(), "torn");
                    assert_eq!(u64::from(record.cpu), record.time_ns / 10, "torn");
                    self.records.push((record.sequence, record.time_ns));
                }
                Next::Lost(records) => {
                    self.lost += records;
                    let behind = ring.written() - (self.cursor.sequence() - 1);
                    assert!(!self.only_lapped || behind > ring.capacity(), "lost, though not lapped");
                }
                Next::Skipped(_) => self.skipped += 1,
                Next::Unfinished => {}
                Next::Empty => return true,
            }
            let seen = self.records.len() as u64 + self.lost + self.skipped;
            assert_eq!(seen, self.cursor.sequence(), "each number is accounted for once");
        }
        false
    }

    fn names(&self) -> Vec<u64> {
        self.records.iter().map(|record| record.1).collect()
    }
}

/// What is published is there, whole, as soon as it is seen.
fn writer_and_reader() {
    let memory = Memory::new(SIXTEEN_SLOTS);
    let writer = memory.spawn(|memory| (1..=2).for_each(|index| assert_eq!(memory.write(1, index), index - 1)));
    let mut reader = Reader::new(&memory);
    reader.read(&memory, Patience::Wait, 3);
    assert!([11, 12].starts_with(&reader.names()));
    writer.join().unwrap();
    assert!(reader.read(&memory, Patience::Wait, 3));
    assert_eq!((reader.names(), reader.lost, reader.skipped), (vec![11, 12], 0, 0));
}

/// Two writers and a reader beside them.
fn two_writers_and_reader() {
    let memory = Memory::new(SIXTEEN_SLOTS);
    let writers = [1, 2].map(|writer| memory.spawn(move |memory| memory.write(writer, 1)));
    let mut reader = Reader::new(&memory);
    reader.read(&memory, Patience::Wait, 2);
    let mut expected: Vec<_> =
        writers.into_iter().zip([11, 21]).map(|(join, name)| (join.join().unwrap(), name)).collect();
    expected.sort_unstable();
    assert!(reader.read(&memory, Patience::Wait, 3));
    assert_eq!((reader.records, reader.lost, reader.skipped), (expected, 0, 0));
}

/// A reader that is overtaken gets nothing wrong, and knows what it missed.
fn lapped_reader() {
    let memory = Memory::new(TWO_SLOTS);
    assert_eq!(memory.write(1, 0), 0);
    let writer = memory.spawn(|memory| (1..=2).for_each(|index| assert_eq!(memory.write(1, index), index)));
    let mut reader = Reader::new(&memory);
    reader.read(&memory, Patience::Crash, 2);
    writer.join().unwrap();
    assert!(reader.read(&memory, Patience::Crash, 4));
    assert!(reader.records.iter().all(|(sequence, name)| *name == 10 + sequence));
    assert_eq!(reader.cursor.sequence(), 3);
}

/// Two writers in one slot, one of them a lap behind: whatever remains is one of the two, whole, under its own number.
fn writers_of_one_slot() {
    let memory = Memory::new(TWO_SLOTS);
    let late = memory.spawn(|memory| memory.write(1, 0));
    let sequences = [1, 2, 3].map(|index| memory.write(2, index));
    let mut expected: Vec<_> = sequences.into_iter().zip([21, 22, 23]).collect();
    expected.push((late.join().unwrap(), 10));
    let mut reader = Reader { only_lapped: false, ..Reader::new(&memory) };
    assert!(reader.read(&memory, Patience::Crash, 6));
    assert!(reader.records.iter().all(|record| expected.contains(record)));
    assert_eq!(reader.cursor.sequence(), 4);
}

/// A write inside a write, with a reader on another CPU.
fn interrupted_writer(at: u64) {
    let memory = Memory::new(SIXTEEN_SLOTS);
    let writer = memory.spawn(move |memory| {
        let nested = memory.clone();
        plan(ATTACH + at, Fate::Interrupt(Box::new(move || assert!(nested.write(2, 1) <= 1))));
        memory.write(1, 1);
        assert!(has_happened());
    });
    let mut reader = Reader::new(&memory);
    reader.read(&memory, Patience::Wait, 2);
    writer.join().unwrap();
    assert!(reader.read(&memory, Patience::Wait, 3));
    let mut names = reader.names();
    names.sort_unstable();
    assert_eq!((names, reader.lost, reader.skipped), (vec![11, 21], 0, 0));
}

/// A writer that is interrupted for a whole lap, and a reader beside it.
fn late_writer(at: u64) {
    let memory = Memory::new(TWO_SLOTS);
    let writer = memory.spawn(move |memory| {
        let nested = memory.clone();
        let lap = move || (1..=2).for_each(|index| assert!(nested.write(2, index) <= index));
        plan(ATTACH + at, Fate::Interrupt(Box::new(lap)));
        let sequence = memory.write(1, 1);
        assert!(has_happened());
        sequence
    });
    let mut reader = Reader { only_lapped: false, ..Reader::new(&memory) };
    reader.read(&memory, Patience::Crash, 2);
    let late = writer.join().unwrap();
    assert!(reader.read(&memory, Patience::Crash, 4));
    assert!(reader.records.iter().all(|(sequence, name)| (*name == 11) == (*sequence == late)));
    assert_eq!(reader.cursor.sequence(), 3);
}

/// A writer that dies in the middle, one that lives on, and a reader with no time to lose.
fn dead_writer(at: u64) {
    let memory = Memory::new(SIXTEEN_SLOTS);
    let dead = memory.spawn(move |memory| {
        plan(ATTACH + at, Fate::Death);
        memory.write(1, 1);
        assert!(has_happened());
    });
    let alive = memory.spawn(|memory| memory.write(2, 1));
    dead.join().unwrap();
    let sequence = alive.join().unwrap();
    let mut reader = Reader::new(&memory);
    assert!(reader.read(&memory, Patience::Crash, 4));
    assert!(reader.records.contains(&(sequence, 21)));
    assert_eq!(reader.lost, 0);
    assert!(reader.names().iter().all(|name| [11, 21].contains(name)));
}

/// Two who raise the durable mark at a time leave one of their marks, or the one before.
fn two_marks() {
    let memory = Memory::new(TWO_SLOTS);
    memory.ring().note_durable(1);
    let other = memory.spawn(|memory| memory.ring().note_durable(2));
    memory.ring().note_durable(3);
    other.join().unwrap();
    assert!([1, 2, 3].contains(&memory.ring().durable()));
}

/// Accesses that it takes to make a handle, before a write proper.
const ATTACH: u64 = 16;
/// Accesses of a write: two counters, a fence, the slot's state, two words of data, four of the slot.
const WRITE: u64 = 10;

fn explore(name: &str, preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let count = std::sync::Arc::new(Counter::new(0));
    let start = Instant::now();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 10_000;
    model.check({
        let count = std::sync::Arc::clone(&count);
        move || {
            count.fetch_add(1, Relaxed);
            scenario();
        }
    });
    println!("{name}: {} executions in {:.1} s", count.load(Relaxed), start.elapsed().as_secs_f64());
}

fn main() {
    let preemptions = std::env::var("RING_LOOM_PREEMPTIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(2);
    explore("writer and reader", preemptions, writer_and_reader);
    explore("lapped reader", preemptions, lapped_reader);
    explore("writers of one slot", preemptions, writers_of_one_slot);
    explore("two marks", preemptions, two_marks);
    explore("two writers and reader", preemptions, two_writers_and_reader);
    for at in 0..WRITE {
        explore(&format!("writer interrupted at access {at}"), preemptions, move || interrupted_writer(at));
        explore(&format!("writer lapped at access {at}"), preemptions, move || late_writer(at));
        explore(&format!("writer dead at access {at}"), preemptions, move || dead_writer(at));
    }
    // This must be able to fail. Without orders, a record is seen committed before it is there; without fences, it is
    // seen overwritten before the counter says so.
    let broken: [(Missing, fn()); 2] = [(Missing::Orders, writer_and_reader), (Missing::Fences, lapped_reader)];
    for (missing, scenario) in broken {
        take_away(missing);
        let noticed = catch_unwind(|| explore("", preemptions, scenario)).is_err();
        assert!(noticed, "nobody noticed that {missing:?} were missing");
        println!("with no {missing:?}: noticed, as it must be");
    }
}
