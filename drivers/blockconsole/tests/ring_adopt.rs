//! A ring found in memory after a reset: whole records kept, none invented.

mod ring_support;

use blockconsole::Level;
use blockconsole::ring::{Adopted, Next, NotAdopted, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity};
use proptest::prelude::*;
use ring_support::{Numbers, Proof};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const IDENTITY: RingIdentity =
    RingIdentity { boot_id: 0x1234_5678, build_id: *b"twenty bytes of hash", boot_seconds: 1_700_000_000 };

/// Where things lie: see `ring/layout.rs`.
const SLOTS: usize = 32;
const SLOT_WORDS: usize = 4;
const IDENTITY_WORDS: usize = 16;

fn memory(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

/// A ring after some records, and which words each of those that are left lies in.
struct Left {
    memory: Vec<AtomicU64>,
    /// By sequence number.
    places: BTreeMap<u64, BTreeSet<usize>>,
}

fn proof(index: u64) -> Proof {
    Proof {
        seed: 3,
        writer: 0,
        index,
        len: Numbers(index).below(if index.is_multiple_of(9) { 600 } else { 60 }) as usize,
    }
}

fn leave(words: usize, records: u64) -> Left {
    let memory = memory(words);
    let ring = Ring::create(&memory, IDENTITY).unwrap();
    let slots = ring.capacity() as usize;
    let data = SLOTS + SLOT_WORDS * slots;
    let data_words = words - IDENTITY_WORDS - data;
    let mut places = BTreeMap::new();
    let mut reserved = 0;
    for index in 0..records {
        let text = proof(index).text();
        ring.write(RecordHeader { time_ns: index, cpu: 1, level: Level::Debug }, "test", format_args!("{text}"));
        let room = (data_words / 2 - 1) * 8;
        let count = 1 + (4 + text.len()).min(room).div_ceil(8);
        let slot = SLOTS + SLOT_WORDS * (index as usize % slots);
        let all = (slot..slot + SLOT_WORDS).chain((reserved..reserved + count).map(|i| data + i % data_words));
        places.insert(index, all.collect());
        reserved += count;
    }
    let oldest = ring.cursor_oldest().sequence();
    places.retain(|sequence, _| *sequence >= oldest);
    Left { memory, places }
}

/// Checks what was adopted from memory in which some words were changed.
fn check(left: &Left, adopted: &Adopted<'_>, changed: &BTreeSet<usize>) {
    let mut cursor = adopted.cursor_at(0);
    let mut scratch = RecordBuffer::new();
    let mut found = BTreeSet::new();
    let mut lost = 0;
    for _ in 0..=3 * left.memory.len() {
        match adopted.next(&mut cursor, &mut scratch) {
            Next::Record(record) => {
                assert!(left.places.contains_key(&record.sequence), "invented");
                let proof = Proof::check(record.text, record.truncated).expect("damaged");
                assert_eq!((proof.index, record.time_ns), (record.sequence, record.sequence), "damaged");
                assert!(found.insert(record.sequence), "twice");
            }
            Next::Lost(records) => lost += records,
            Next::Empty => {
                assert_eq!(found.len() as u64 + lost, adopted.written(), "not all are accounted for");
                let untouched = left.places.iter().filter(|place| place.1.is_disjoint(changed));
                assert!(untouched.into_iter().all(|place| found.contains(place.0)), "not kept");
                return;
            }
            Next::Skipped(_) | Next::Unfinished => panic!("nobody is writing"),
        }
    }
    panic!("does not end");
}

#[derive(Clone, Debug)]
enum Damage {
    Flip { word: usize, bit: u32 },
    Set { word: usize, value: u64 },
    Swap { one: usize, other: usize },
    Copy { from: usize, to: usize, words: usize },
    Zero { from: usize, words: usize },
}

impl Damage {
    /// Does it, and returns what was touched.
    fn inflict(&self, memory: &[AtomicU64]) -> Vec<usize> {
        let len = memory.len();
        let load = |word: usize| memory[word % len].load(Relaxed);
        let changes: Vec<(usize, u64)> = match *self {
            Self::Flip { word, bit } => vec![(word, load(word) ^ 1 << bit)],
            Self::Set { word, value } => vec![(word, value)],
            Self::Swap { one, other } => vec![(one, load(other)), (other, load(one))],
            Self::Copy { from, to, words } => (0..words).map(|i| (to + i, load(from + i))).collect(),
            Self::Zero { from, words } => (from..from + words).map(|word| (word, 0)).collect(),
        };
        changes
            .into_iter()
            .map(|(word, value)| {
                memory[word % len].store(value, Relaxed);
                word % len
            })
            .collect()
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    // Words of the head are as likely as all the others together.
    let word = || prop_oneof![0..SLOTS + 8, 0..4_000_usize];
    let value = prop_oneof![Just(0), Just(u64::MAX), 0..200_u64, any::<u64>()];
    prop_oneof![
        (word(), 0..64_u32).prop_map(|(word, bit)| Damage::Flip { word, bit }),
        (word(), value).prop_map(|(word, value)| Damage::Set { word, value }),
        (word(), word()).prop_map(|(one, other)| Damage::Swap { one, other }),
        (word(), word(), 1..40_usize).prop_map(|(from, to, words)| Damage::Copy { from, to, words }),
        (word(), 1..100_usize).prop_map(|(from, words)| Damage::Zero { from, words }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_costs_what_it_hits_and_nothing_else(
        words in 72..3_000_usize,
        records in 0..120_u64,
        damages in proptest::collection::vec(damage(), 0..6),
    ) {
        let left = leave(words, records);
        let touched: BTreeSet<usize> = damages.iter().flat_map(|damage| damage.inflict(&left.memory)).collect();
        let is_hit = |from: usize| touched.range(from..from + IDENTITY_WORDS).next().is_some();
        match Ring::adopt(&left.memory) {
            Ok(adopted) => {
                prop_assert_eq!(adopted.identity(), IDENTITY);
                prop_assert!(adopted.durable() == 0, "no mark was ever noted");
                check(&left, &adopted, &touched);
            }
            Err(error) => {
                prop_assert_eq!(error, NotAdopted::NoIdentity);
                prop_assert!(is_hit(0) && is_hit(words - IDENTITY_WORDS), "one copy is enough");
            }
        }
    }

    #[test]
    fn arbitrary_memory_under_a_valid_identity_holds_no_record(words in 72..3_000_usize, seed: u64, plausible: bool) {
        let left = leave(words, 40);
        let mut numbers = Numbers(seed);
        for word in &left.memory[IDENTITY_WORDS..words - IDENTITY_WORDS] {
            // Small numbers look more like what should be there.
            word.store(numbers.next() >> if plausible { numbers.below(64) } else { 0 }, Relaxed);
        }
        let adopted = Ring::adopt(&left.memory).unwrap();
        prop_assert_eq!(adopted.tally(adopted.cursor_at(0)).whole, 0);
        prop_assert_eq!(adopted.durable(), 0);
        // A live reader has no more trouble with it, nor has a writer.
        let ring = Ring::attach(&left.memory).unwrap();
        let (mut cursor, mut scratch) = (ring.cursor_at(0), RecordBuffer::new());
        let mut last = Next::Unfinished;
        for _ in 0..=words {
            last = match ring.next(&mut cursor, &mut scratch, Patience::Crash) {
                Next::Record(_) => panic!("invented"),
                Next::Empty => { last = Next::Empty; break; }
                _ => Next::Unfinished,
            };
        }
        prop_assert_eq!(last, Next::Empty);
        ring.write(RecordHeader { time_ns: 0, cpu: 0, level: Level::Info }, "t", format_args!("x"));
    }

    #[test]
    fn arbitrary_memory_is_no_ring(seed: u64, words in 0..600_usize) {
        let mut numbers = Numbers(seed);
        let memory: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(numbers.next())).collect();
        let expected = if words < 72 { NotAdopted::TooSmall } else { NotAdopted::NoIdentity };
        prop_assert_eq!(Ring::adopt(&memory).err(), Some(expected));
    }
}

/// In a crash, the counters may be what something wild wrote over. All records that are whole must still be read.
#[test]
fn counters_that_were_written_over_are_mended() {
    for records in [0, 1, 5, 40, 200] {
        let left = leave(1_500, records);
        let ring = Ring::attach(&left.memory).unwrap();
        assert!(!ring.mend(), "nothing to mend after {records}");
        let before = [16, 17].map(|counter| left.memory[counter].load(Relaxed));
        for (counter, old) in [16, 17].into_iter().zip(before) {
            for value in [0, old ^ 1 << 40, old.wrapping_sub(1_000_000), old + 1_000_000, u64::MAX, u64::MAX / 2] {
                left.memory[counter].store(value, Relaxed);
                let is_changed = value != old;
                assert!(ring.mend() || !is_changed, "counter {counter} of {old} was {value}");
                assert_eq!(ring.written(), records);
                let (mut cursor, mut scratch) = (ring.cursor_at(0), RecordBuffer::new());
                let mut found = Vec::new();
                while cursor.sequence() < records {
                    if let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Crash) {
                        found.push(record.sequence);
                    }
                }
                assert!(left.places.keys().eq(&found), "{found:?}");
                left.memory[counter].store(old, Relaxed);
            }
        }
        // What is written afterwards is read as well.
        left.memory[16].store(u64::MAX - 3, Relaxed);
        assert!(ring.mend());
        write(&ring, "after");
        let (mut cursor, mut scratch) = (ring.cursor_at(records), RecordBuffer::new());
        let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) else { panic!() };
        assert_eq!((record.sequence, record.text), (records, "after"));
    }
}

/// Records that were begun and never finished are no reason to mend anything.
#[test]
fn unfinished_records_do_not_count_as_damage() {
    let left = leave(1_500, 20);
    let ring = Ring::attach(&left.memory).unwrap();
    left.memory[16].fetch_add(3, Relaxed);
    left.memory[17].fetch_add(100, Relaxed);
    assert!(!ring.mend());
    assert_eq!(ring.written(), 23);
}

/// These checks must be able to fail.
#[test]
#[should_panic(expected = "not kept")]
fn a_record_that_is_not_kept_is_noticed() {
    let left = leave(1_000, 10);
    let last = *left.places[&9].last().unwrap();
    left.memory[last].fetch_xor(1, Relaxed);
    check(&left, &Ring::adopt(&left.memory).unwrap(), &BTreeSet::new());
}

#[test]
#[should_panic(expected = "damaged")]
fn a_record_that_is_not_what_was_written_is_noticed() {
    let left = leave(1_000, 0);
    let ring = Ring::attach(&left.memory).unwrap();
    ring.write(RecordHeader { time_ns: 0, cpu: 0, level: Level::Info }, "t", format_args!("{}?", proof(0).text()));
    let left = Left { places: BTreeMap::from([(0, BTreeSet::new())]), ..left };
    check(&left, &Ring::adopt(&left.memory).unwrap(), &BTreeSet::new());
}

#[test]
#[should_panic(expected = "invented")]
fn a_record_that_never_was_is_noticed() {
    let left = leave(1_000, 3);
    let places = left.places.iter().take(2).map(|(sequence, words)| (*sequence, words.clone())).collect();
    let left = Left { places, ..left };
    check(&left, &Ring::adopt(&left.memory).unwrap(), &BTreeSet::new());
}

/// Every bit of an identity, with no second copy to help.
#[test]
fn an_identity_with_any_bit_changed_is_none() {
    let left = leave(200, 0);
    for word in &left.memory[200 - IDENTITY_WORDS..] {
        word.store(0, Relaxed);
    }
    assert_eq!(Ring::adopt(&left.memory).unwrap().identity(), IDENTITY);
    for word in &left.memory[..10] {
        for bit in 0..64 {
            word.fetch_xor(1 << bit, Relaxed);
            assert_eq!(Ring::adopt(&left.memory).err(), Some(NotAdopted::NoIdentity));
            word.fetch_xor(1 << bit, Relaxed);
        }
    }
    // Nor is it one for memory of another size.
    assert_eq!(Ring::adopt(&left.memory[..199]).err(), Some(NotAdopted::NoIdentity));
}

/// Every bit of either copy of the mark: what is left is this mark or the one before.
#[test]
fn a_damaged_durable_mark_is_an_older_one() {
    let left = leave(1_000, 20);
    let ring = Ring::attach(&left.memory).unwrap();
    ring.note_durable(7);
    ring.note_durable(13);
    for word in &left.memory[24..SLOTS] {
        for bit in 0..64 {
            word.fetch_xor(1 << bit, Relaxed);
            let adopted = Ring::adopt(&left.memory).unwrap();
            assert!([7, 13].contains(&adopted.durable()));
            assert_eq!(adopted.cursor_durable().sequence(), adopted.durable());
            word.fetch_xor(1 << bit, Relaxed);
        }
    }
    // A mark of another boot is none at all.
    let mark: Vec<u64> = left.memory[24..SLOTS].iter().map(|word| word.load(Relaxed)).collect();
    Ring::create(&left.memory, RingIdentity { boot_id: 5, ..IDENTITY }).unwrap();
    left.memory[24..SLOTS].iter().zip(mark).for_each(|(word, old)| word.store(old, Relaxed));
    assert_eq!(Ring::attach(&left.memory).unwrap().durable(), 0);
}

/// Every bit of a record's slot and data. The data ring has a power of two of words, so that a wrong position may well
/// lead to the right data.
#[test]
fn a_record_with_any_bit_changed_is_lost() {
    let left = leave(240, 7);
    for (sequence, words) in &left.places {
        for word in words {
            for bit in 0..64 {
                left.memory[*word].fetch_xor(1 << bit, Relaxed);
                let adopted = Ring::adopt(&left.memory).unwrap();
                let (mut cursor, mut scratch) = (adopted.cursor_at(*sequence), RecordBuffer::new());
                let next = adopted.next(&mut cursor, &mut scratch);
                assert!(
                    !matches!(next, Next::Record(record) if record.sequence == *sequence),
                    "bit {bit} of word {word}"
                );
                left.memory[*word].fetch_xor(1 << bit, Relaxed);
            }
        }
    }
    check(&left, &Ring::adopt(&left.memory).unwrap(), &BTreeSet::new());
}

/// What another boot left in the same words is not taken for this one's.
#[test]
fn records_of_an_older_ring_in_the_same_memory_are_not_its_own() {
    let left = leave(1_000, 30);
    let old: Vec<u64> = left.memory.iter().map(|word| word.load(Relaxed)).collect();
    let ring = Ring::create(&left.memory, RingIdentity { boot_id: 5, ..IDENTITY }).unwrap();
    assert_eq!(ring.cursor_oldest(), ring.cursor_newest());
    // Even if all but the identity comes back, as from a cache.
    for (word, old) in left.memory.iter().zip(old).take(1_000 - IDENTITY_WORDS).skip(IDENTITY_WORDS) {
        word.store(old, Relaxed);
    }
    let adopted = Ring::adopt(&left.memory).unwrap();
    assert_eq!(adopted.tally(adopted.cursor_at(0)).whole, 0);
}

fn write(ring: &Ring<'_>, text: &str) {
    ring.write(RecordHeader { time_ns: 8, cpu: 2, level: Level::Warn }, "app", format_args!("{text}"));
}
