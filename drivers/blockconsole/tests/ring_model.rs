//! The ring, used by one thread, does what a queue of limited length does.

mod ring_support;

use blockconsole::Level;
use blockconsole::ring::{
    Cursor, MAX_TARGET, MAX_TEXT, Next, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity,
};
use proptest::prelude::*;
use ring_support::Proof;
use std::sync::atomic::AtomicU64;

const IDENTITY: RingIdentity = RingIdentity { boot_id: 1, build_id: [2; 20], boot_seconds: 3 };

/// Memory full of what must not matter: small numbers, and some that are about to overflow.
fn memory(words: usize) -> Vec<AtomicU64> {
    (0..words as u64).map(|i| AtomicU64::new(if i % 2 == 0 { i } else { u64::MAX - i })).collect()
}

fn header(sequence: u64) -> RecordHeader {
    RecordHeader { time_ns: sequence * 1_000 + 7, cpu: sequence as u16, level: level(sequence) }
}

fn level(sequence: u64) -> Level {
    Level::ALL[sequence as usize % 5]
}

/// Words of the memory that hold neither slots nor data, and of a slot: see `ring/layout.rs`.
const FIXED_WORDS: usize = 48;
const SLOT_WORDS: usize = 4;

/// What the ring is compared with: every record there ever was, and arithmetic.
struct Model {
    slots: u64,
    data_words: u64,
    /// Target, text, whether it is truncated, and the position of each record.
    records: Vec<(String, String, bool, u64)>,
    reserved: u64,
}

impl Model {
    fn new(words: usize, ring: &Ring<'_>) -> Self {
        let slots = ring.capacity();
        let data_words = (words - FIXED_WORDS) as u64 - SLOT_WORDS as u64 * slots;
        Self { slots, data_words, records: Vec::new(), reserved: 0 }
    }

    fn write(&mut self, target: &str, text: &str) {
        let room = (MAX_TARGET + MAX_TEXT).min((self.data_words as usize / 2 - 1) * 8);
        let cut = |text: &str, len: usize| text[..text.floor_char_boundary(len)].to_owned();
        let target = cut(target, MAX_TARGET.min(room));
        let kept = cut(text, MAX_TEXT.min(room - target.len()));
        let words = 1 + (target.len() + kept.len()).div_ceil(8) as u64;
        let truncated = kept.len() < text.len();
        self.records.push((target, kept, truncated, self.reserved));
        self.reserved += words;
    }

    fn is_there(&self, sequence: u64) -> bool {
        let begun = self.records.len() as u64;
        begun - sequence <= self.slots && self.reserved - self.records[sequence as usize].3 <= self.data_words
    }

    /// What `next` must return at this sequence number, and where the cursor must be then.
    fn check(&self, from: u64, next: &Next<'_>, cursor: &Cursor) {
        let begun = self.records.len() as u64;
        let there = (from..begun).find(|sequence| self.is_there(*sequence)).unwrap_or(begun);
        match next {
            Next::Empty => assert_eq!((from, cursor.sequence()), (begun, begun)),
            Next::Lost(records) => {
                assert!(there > from);
                assert_eq!((*records, cursor.sequence()), (there - from, there));
            }
            Next::Record(record) => {
                assert_eq!((there, cursor.sequence()), (from, from + 1));
                let (target, text, truncated, _) = &self.records[from as usize];
                assert_eq!((record.target, record.text, record.truncated), (&target[..], &text[..], *truncated));
                assert_eq!(record.sequence, from);
                let header = header(from);
                assert_eq!((record.time_ns, record.cpu, record.level), (header.time_ns, header.cpu, header.level));
            }
            Next::Skipped(_) | Next::Unfinished => panic!("nothing is ever unfinished here: {next:?}"),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write { target: usize, text: usize },
    Read { reader: usize, records: usize },
    Place { reader: usize, at: Place },
    Adopt,
}

#[derive(Clone, Debug)]
enum Place {
    Oldest,
    Newest,
    At(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lengths = prop_oneof![4 => 0..100_usize, 1 => 0..2_500_usize];
    let place = prop_oneof![Just(Place::Oldest), Just(Place::Newest), (0..400_u64).prop_map(Place::At)];
    let step = prop_oneof![
        8 => (0..80_usize, lengths).prop_map(|(target, text)| Step::Write { target, text }),
        4 => (0..3_usize, 1..20_usize).prop_map(|(reader, records)| Step::Read { reader, records }),
        1 => (0..3_usize, place).prop_map(|(reader, at)| Step::Place { reader, at }),
        1 => Just(Step::Adopt),
    ];
    proptest::collection::vec(step, 0..300)
}

/// A text of characters of one to four bytes.
fn words(len: usize, salt: usize) -> String {
    let mut text: String = (0..).map(|i| ['a', 'é', '→', '🦀'][(i * 7 + salt + i / 3) % 4]).take(len).collect();
    text.truncate(text.floor_char_boundary(len));
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_use_by_one_thread_is_as_the_model_says(size in 72..3_000_usize, steps in steps()) {
        let memory = memory(size);
        let ring = Ring::create(&memory, IDENTITY).unwrap();
        let mut model = Model::new(size, &ring);
        let mut cursors = [ring.cursor_oldest(); 3];
        let mut scratch = RecordBuffer::new();
        for step in steps {
            match step {
                Step::Write { target, text } => {
                    let sequence = ring.written();
                    let (target, text) = (words(target, 1), words(text, sequence as usize));
                    prop_assert_eq!(ring.write(header(sequence), &target, format_args!("{text}")), sequence);
                    model.write(&target, &text);
                }
                Step::Read { reader, records } => {
                    for patience in [Patience::Wait, Patience::Crash].into_iter().cycle().take(records) {
                        let cursor = &mut cursors[reader];
                        let from = cursor.sequence().min(ring.written());
                        let next = ring.next(cursor, &mut scratch, patience);
                        if cursor.sequence() <= ring.written() {
                            model.check(from, &next, cursor);
                        } else {
                            prop_assert_eq!(next, Next::Empty, "a cursor from elsewhere");
                        }
                    }
                }
                Step::Place { reader, at } => {
                    cursors[reader] = match at {
                        Place::Oldest => {
                            let oldest = ring.cursor_oldest();
                            let begun = ring.written();
                            prop_assert_eq!(
                                oldest.sequence(),
                                (0..begun).find(|sequence| model.is_there(*sequence)).unwrap_or(begun)
                            );
                            oldest
                        }
                        Place::Newest => ring.cursor_newest(),
                        Place::At(sequence) => ring.cursor_at(sequence),
                    };
                }
                Step::Adopt => {
                    // A whole ring is adopted with all that is in it.
                    let adopted = Ring::adopt(&memory).unwrap();
                    prop_assert_eq!((adopted.identity(), adopted.written()), (IDENTITY, ring.written()));
                    let mut cursor = adopted.cursor_oldest();
                    prop_assert_eq!(cursor, ring.cursor_oldest());
                    while cursor.sequence() < ring.written() {
                        let from = cursor.sequence();
                        let next = adopted.next(&mut cursor, &mut scratch);
                        model.check(from, &next, &cursor);
                    }
                    prop_assert_eq!(adopted.next(&mut cursor, &mut scratch), Next::Empty);
                }
            }
        }
    }
}

#[test]
fn a_mebibyte_holds_thousands_of_usual_lines() {
    let memory = memory(1 << 17);
    let ring = Ring::create(&memory, IDENTITY).unwrap();
    for i in 0..20_000 {
        let text = Proof { seed: 1, writer: 0, index: i, len: 45 }.text();
        ring.write(header(i), "kernel::memory", format_args!("{text}"));
    }
    let kept = 20_000 - ring.cursor_oldest().sequence();
    assert_eq!(kept, 8_192, "about 60 bytes of text: the number of slots is the limit");
}

#[test]
fn a_ring_says_what_is_too_small() {
    for words in 0..72 {
        let memory = memory(words);
        assert_eq!(
            Ring::create(&memory, IDENTITY).err().map(|error| error.to_string()).unwrap(),
            "a ring takes at least 72 words"
        );
    }
    assert!(Ring::create(&memory(72), IDENTITY).is_ok());
}

#[test]
fn the_durable_mark_only_rises() {
    let memory = memory(500);
    let ring = Ring::create(&memory, IDENTITY).unwrap();
    assert_eq!(ring.durable(), 0);
    let mut greatest = 0;
    for mark in [0, 3, 2, 3, 10, 9, 4_000_000_000_000, 7] {
        ring.note_durable(mark);
        greatest = greatest.max(mark);
        assert_eq!(ring.durable(), greatest);
    }
    assert_eq!(Ring::adopt(&memory).unwrap().durable(), 0, "no more than was written");
    assert_eq!(Ring::create(&memory, IDENTITY).unwrap().durable(), 0, "a new ring has none, whoever's it is");
}

/// The model must be able to disagree.
#[test]
#[should_panic(expected = "assertion")]
fn a_ring_that_loses_a_record_untold_is_noticed() {
    let memory = memory(500);
    let ring = Ring::create(&memory, IDENTITY).unwrap();
    let mut model = Model::new(500, &ring);
    let mut cursor = ring.cursor_oldest();
    for text in ["one", "two"] {
        ring.write(header(ring.written()), "t", format_args!("{text}"));
        model.write("t", text);
    }
    let mut scratch = RecordBuffer::new();
    ring.next(&mut cursor, &mut scratch, Patience::Wait);
    let next = ring.next(&mut cursor, &mut scratch, Patience::Wait);
    model.check(0, &next, &cursor);
}
