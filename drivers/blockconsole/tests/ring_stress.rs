//! Threads write and read one ring at once: none lost untold, torn, or seen twice.
//!
//! There is one writer for each processor, three at least, and two readers. For a minute instead of the usual three seconds:
//! `RING_STRESS_SECONDS=60 cargo test --release -p blockconsole --test ring_stress -- --nocapture`.

mod ring_support;

use blockconsole::Level;
use blockconsole::ring::{Cursor, Next, Patience, Record, RecordBuffer, RecordHeader, Ring, RingIdentity};
use ring_support::{Numbers, Proof};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One for each processor, but three at least, and no more than one can tell apart.
fn writers() -> u64 {
    thread::available_parallelism().map_or(3, |count| count.get() as u64).clamp(3, 64)
}

/// Of each writer's first records, the numbers they were given are kept and compared.
const KEPT: u64 = 100_000;

fn header(proof: &Proof) -> RecordHeader {
    let level = Level::ALL[proof.index as usize % 5];
    RecordHeader { time_ns: proof.index << 8 | proof.writer, cpu: proof.writer as u16, level }
}

/// Checks all that one reader gets.
struct Checker {
    seed: u64,
    /// The next sequence number.
    expected: u64,
    /// The next index of each writer, at least.
    at_least: Vec<u64>,
    /// The sequence numbers of what came, by writer and index.
    numbers: HashMap<(u64, u64), u64>,
    records: u64,
    lost: u64,
    skipped: u64,
}

impl Checker {
    fn new(seed: u64, from: u64) -> Self {
        let (at_least, numbers) = (vec![0; writers() as usize], HashMap::new());
        Self { seed, expected: from, at_least, numbers, records: 0, lost: 0, skipped: 0 }
    }

    /// Whether there was anything.
    fn take(&mut self, next: &Next<'_>, cursor: Cursor) -> bool {
        match next {
            Next::Record(record) => self.take_record(record),
            Next::Lost(records) => {
                assert!(*records > 0, "a loss of nothing");
                self.lost += records;
                self.expected += records;
            }
            Next::Skipped(sequence) => {
                assert_eq!(*sequence, self.expected, "untold loss");
                self.skipped += 1;
                self.expected += 1;
            }
            Next::Unfinished | Next::Empty => {}
        }
        assert_eq!(cursor.sequence(), self.expected, "untold loss");
        !matches!(next, Next::Unfinished | Next::Empty)
    }

    fn take_record(&mut self, record: &Record<'_>) {
        assert_eq!(record.sequence, self.expected, "untold loss, or seen twice");
        let proof = Proof::check(record.text, record.truncated).expect("torn");
        assert_eq!(proof.seed, self.seed, "stale");
        let header = header(&proof);
        assert_eq!((record.time_ns, record.cpu, record.level), (header.time_ns, header.cpu, header.level), "torn");
        assert_eq!(record.target, target(proof.writer), "torn");
        let at_least = &mut self.at_least[proof.writer as usize];
        assert!(proof.index >= *at_least, "seen twice, or out of order");
        *at_least = proof.index + 1;
        if proof.index < KEPT {
            self.numbers.insert((proof.writer, proof.index), record.sequence);
        }
        self.records += 1;
        self.expected += 1;
    }
}

fn target(writer: u64) -> &'static str {
    ["a", "writer::number_two", "the::third::writer::has::quite::a::long::name"][writer as usize % 3]
}

/// One ring under stress.
struct Stress<'a> {
    ring: Ring<'a>,
    seed: u64,
    /// Whether writers wait for the readers, so that nothing need be lost.
    paced: bool,
    stop: AtomicBool,
    written: AtomicBool,
    /// How far each reader is.
    progress: [AtomicU64; 2],
}

impl Stress<'_> {
    /// Whether the writers are so far ahead that a reader might lose something, or its patience.
    fn is_ahead(&self) -> bool {
        let slowest = self.progress.iter().map(|reader| reader.load(Ordering::Relaxed)).min().unwrap();
        self.paced && self.ring.written() > slowest + self.ring.capacity() / 16
    }
}

/// Writes until it is told to stop; the sequence numbers of the first records.
fn write(stress: &Stress<'_>, writer: u64) -> Vec<u64> {
    let Stress { ring, seed, stop, .. } = stress;
    let mut numbers = Numbers(*seed ^ writer);
    let mut given = Vec::new();
    let mut last = None;
    let mut index = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if numbers.below(64) == 0 || stress.is_ahead() {
            thread::yield_now();
        }
        if stress.is_ahead() {
            continue;
        }
        let most = if numbers.below(50) == 0 { 2_300 } else { 120 };
        let proof = Proof { seed: *seed, writer, index, len: numbers.below(most) as usize };
        let sequence = ring.write(header(&proof), target(writer), format_args!("{}", proof.text()));
        assert!(last < Some(sequence), "numbers only rise");
        last = Some(sequence);
        if index < KEPT {
            given.push(sequence);
        }
        index += 1;
    }
    given
}

/// Reads until there is no more to come.
fn read(stress: &Stress<'_>, reader: usize) -> Checker {
    let Stress { ring, seed, written, .. } = stress;
    let mut cursor = ring.cursor_at(0);
    let mut checker = Checker::new(*seed, 0);
    let mut scratch = RecordBuffer::new();
    loop {
        let at_end = written.load(Ordering::Acquire);
        let next = ring.next(&mut cursor, &mut scratch, Patience::Wait);
        let found = checker.take(&next, cursor);
        stress.progress[reader].store(cursor.sequence(), Ordering::Relaxed);
        if found {
            // The second is a slow console.
            if reader == 1 && checker.records.is_multiple_of(1_000) {
                thread::yield_now();
            }
        } else if at_end {
            return checker;
        } else {
            thread::yield_now();
        }
    }
}

fn stress(words: usize, paced: bool, time: Duration, seed: u64) {
    let memory: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    let identity = RingIdentity { boot_id: seed, build_id: [0; 20], boot_seconds: 0 };
    let ring = Ring::create(&memory, identity).unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicBool::new(false));
    let stress = Stress { ring, seed, paced, stop, written, progress: Default::default() };
    let (given, checkers) = thread::scope(|scope| {
        let stress = &stress;
        let writers: Vec<_> = (0..writers()).map(|writer| scope.spawn(move || write(stress, writer))).collect();
        let readers = [0, 1].map(|reader| scope.spawn(move || read(stress, reader)));
        let deadline = Instant::now() + time;
        // The durable mark rises meanwhile, as a console would have it.
        let mut mark = 0;
        while Instant::now() < deadline {
            mark = ring.written();
            ring.note_durable(mark);
            thread::sleep(Duration::from_millis(1));
        }
        stress.stop.store(true, Ordering::Relaxed);
        let given: Vec<Vec<u64>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        stress.written.store(true, Ordering::Release);
        assert_eq!(ring.durable(), mark);
        (given, readers.map(|reader| reader.join().unwrap()))
    });
    let total = ring.written();
    for checker in &checkers {
        assert_eq!(checker.expected, total);
        assert_eq!(checker.records + checker.lost + checker.skipped, total, "each number accounted for once");
        assert!(!paced || checker.records == total, "nobody was lapped, nothing need be lost");
        for ((writer, index), sequence) in &checker.numbers {
            assert_eq!(given[*writer as usize].get(*index as usize), Some(sequence), "under another's number");
        }
        println!(
            "{} writers, {words} words, paced: {paced}, seed {seed:#x}: {total} written; {} read, {} lost, {} skipped",
            writers(),
            checker.records,
            checker.lost,
            checker.skipped
        );
    }
    // What is left is whole: nobody was interrupted for a whole lap of a large ring.
    let adopted = Ring::adopt(&memory).unwrap();
    assert_eq!(adopted.written(), total);
    let mut cursor = adopted.cursor_oldest();
    let mut checker = Checker::new(seed, cursor.sequence());
    let mut scratch = RecordBuffer::new();
    loop {
        let next = adopted.next(&mut cursor, &mut scratch);
        if !checker.take(&next, cursor) {
            break;
        }
    }
    assert_eq!(checker.expected, total);
    assert!(checker.records > 0);
}

#[test]
fn none_lost_without_a_count_none_torn_none_twice() {
    let number = |name, default| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default);
    let seconds = number("RING_STRESS_SECONDS", 3);
    let seed = number("RING_STRESS_SEED", 0x5eed);
    // From a ring that is lapped all the time to the kernel's.
    for (words, paced) in [(1_200, false), (8_192, false), (1 << 17, false), (1 << 17, true)] {
        stress(words, paced, Duration::from_millis(seconds * 1_000 / 4), seed);
    }
}

/// A record, and the one after it, as a reader gets them.
fn two_records(check: impl Fn(&mut Checker, [(Next<'_>, Cursor); 2])) {
    let memory: Vec<AtomicU64> = (0..2_000).map(|_| AtomicU64::new(0)).collect();
    let ring = Ring::create(&memory, RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 }).unwrap();
    for index in 0..2 {
        let proof = Proof { seed: 1, writer: 0, index, len: 30 };
        ring.write(header(&proof), target(0), format_args!("{}", proof.text()));
    }
    let mut cursor = ring.cursor_at(0);
    let (mut first, mut second) = (RecordBuffer::new(), RecordBuffer::new());
    let first = (ring.next(&mut cursor, &mut first, Patience::Wait), cursor);
    let second = (ring.next(&mut cursor, &mut second, Patience::Wait), cursor);
    check(&mut Checker::new(1, 0), [first, second]);
}

#[test]
fn the_checker_takes_what_is_right() {
    two_records(|checker, [first, second]| {
        assert!(checker.take(&first.0, first.1));
        assert!(checker.take(&second.0, second.1));
        assert!(!checker.take(&Next::Empty, second.1));
    });
}

#[test]
#[should_panic(expected = "untold loss")]
fn the_checker_notices_a_loss() {
    two_records(|checker, [_, second]| {
        checker.take(&second.0, second.1);
    });
}

#[test]
#[should_panic(expected = "seen twice")]
fn the_checker_notices_what_comes_twice() {
    two_records(|checker, [first, _]| {
        checker.take(&first.0, first.1);
        checker.take(&first.0, first.1);
    });
}

#[test]
#[should_panic(expected = "untold loss")]
fn the_checker_notices_a_wrong_count() {
    two_records(|checker, [_, second]| {
        checker.take(&Next::Lost(2), second.1);
        checker.take(&Next::Lost(1), second.1);
    });
}

#[test]
#[should_panic(expected = "torn")]
fn the_checker_notices_a_torn_text() {
    two_records(|checker, [first, second]| {
        let (Next::Record(mut record), Next::Record(other)) = (first.0, second.0) else { panic!() };
        record.text = other.text.get(..other.text.len() - 1).unwrap();
        checker.take(&Next::Record(record), first.1);
    });
}

#[test]
#[should_panic(expected = "torn")]
fn the_checker_notices_another_records_time() {
    two_records(|checker, [first, second]| {
        let (Next::Record(mut record), Next::Record(other)) = (first.0, second.0) else { panic!() };
        record.time_ns = other.time_ns;
        checker.take(&Next::Record(record), first.1);
    });
}
