//! Crash records survive the way through QR codes.

use blockconsole::crash::{MAX_RECORD, Report, Stack, Trap, write};
use blockconsole::qr::{Bad, MAX_PACKED, MAX_PIECES, MAX_TEXT, MODEL_WORDS, PREFIX, Receiver, Sender, model};
use proptest::prelude::*;

/// A record with a stack of so many words, most of which are addresses, small numbers or zeroes.
fn record(words: usize) -> Vec<u8> {
    let mut random = 0x1234_5678_9abc_def0_u64;
    let mut draw = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random >> 33
    };
    let stack: Vec<u8> = (0..words)
        .flat_map(|_| {
            match draw() % 4 {
                0 => 0,
                1 => draw() % 4096,
                2 => 0xffff_ffff_8000_0000 | (draw() % (1 << 19)),
                _ => 0xffff_8001_0022_0000 | (draw() % (1 << 16)),
            }
            .to_le_bytes()
        })
        .collect();
    let backtrace: Vec<u64> = (0..10).map(|_| 0xffff_ffff_8000_0000 | (draw() % (1 << 19))).collect();
    let report = Report {
        id: 0x5f1c_09e2_a7b3_d480,
        reason: "page fault: read from 0xdeadbeef000: nothing is mapped there",
        version: "0.1.0",
        build_id: &[0x9f; 20],
        trap: Some(Trap { vector: 14, name: "page fault", error_code: Some(0) }),
        registers: &[("rip", 0xffff_ffff_8002_5984), ("rsp", 0xffff_8001_0022_06b0), ("rax", 7), ("rbx", 0)],
        devices: &[("vda", "logging, nothing in flight")],
        backtrace: &backtrace,
        stack: Some(Stack { address: 0xffff_8001_0022_06b0, bytes: &stack }),
        ..Report::default()
    };
    let mut out = vec![0; MAX_RECORD];
    let len = write(&report, &mut out);
    out.truncate(len);
    out
}

/// The texts of a record in so many codes.
fn send(record: &[u8], pieces: usize) -> Vec<Vec<u8>> {
    let (mut memory, mut room) = (vec![0; MODEL_WORDS], vec![0; MAX_PACKED]);
    let sender = Sender::new(record, &mut memory, &mut room).expect("it can be packed");
    let longest = sender.text_len(pieces).expect("it fits");
    let texts = (0..pieces).map(|number| {
        let mut text = vec![0; MAX_TEXT];
        let len = sender.text(number, pieces, &mut text).expect("a text");
        assert!(len <= longest);
        text.truncate(len);
        text
    });
    texts.collect()
}

fn receive<'t>(texts: impl IntoIterator<Item = &'t Vec<u8>>) -> Result<Vec<u8>, Bad> {
    let mut receiver = Box::new(Receiver::new());
    for text in texts {
        receiver.take(text)?;
    }
    let mut out = vec![0; MAX_RECORD];
    receiver.record(&mut vec![0; MODEL_WORDS], &mut out).map(<[u8]>::to_vec)
}

#[test]
fn a_record_comes_back_from_any_number_of_codes_in_any_order() {
    let record = record(64);
    for pieces in 1..=MAX_PIECES {
        let mut texts = send(&record, pieces);
        assert!(texts.iter().all(|text| text.starts_with(PREFIX)));
        texts.reverse();
        texts.extend_from_within(..1);
        assert_eq!(receive(&texts).as_ref(), Ok(&record));
        texts.truncate(pieces - 1);
        assert_eq!(receive(&texts), Err(Bad::Missing(pieces - 1, pieces.max(1))));
    }
}

#[test]
fn records_become_small() {
    for (words, most_percent) in [(0, 30), (64, 32), (400, 36), (1500, 36)] {
        let record = record(words);
        let mut room = vec![0; MAX_PACKED];
        let packed = model::pack(&record, &mut vec![0; MODEL_WORDS], &mut room).expect("it can be packed");
        println!("{} bytes become {packed}", record.len());
        assert!(packed * 100 <= record.len() * most_percent, "{} bytes become {packed}", record.len());
    }
}

#[test]
fn the_largest_record_of_the_worst_text_fits() {
    let mut random = 1_u64;
    let record: Vec<u8> = (0..MAX_RECORD)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        })
        .collect();
    assert_eq!(receive(&send(&record, MAX_PIECES)), Ok(record));
}

#[test]
fn other_codes_and_other_records_are_told_apart() {
    let texts = send(&record(64), 2);
    let others = send(&record(65), 2);
    assert_eq!(receive([&b"https://example.org".to_vec()]), Err(Bad::NotOurs));
    assert_eq!(receive([&texts[0], &others[1]]), Err(Bad::OtherRecord));
    assert_eq!(receive([&texts[0][..9].to_vec()]), Err(Bad::Damaged));
    assert_eq!(receive(&[]), Err(Bad::Missing(0, 1)));
}

#[test]
fn no_code_is_empty() {
    for len in 0..40 {
        let record = vec![b'x'; len];
        let (mut memory, mut room) = (vec![0; MODEL_WORDS], vec![0; MAX_PACKED]);
        let packed = Sender::new(&record, &mut memory, &mut room).expect("it can be packed").packed_len();
        for pieces in 1..=packed.min(MAX_PIECES) {
            assert_eq!(receive(&send(&record, pieces)).as_ref(), Ok(&record), "{len} bytes in {pieces} codes");
        }
        let sender = Sender::new(&record, &mut memory, &mut room).expect("it can be packed");
        for pieces in [0, packed + 1, MAX_PIECES + 1] {
            let possible = (1..=packed.min(MAX_PIECES)).contains(&pieces);
            assert_eq!(sender.text_len(pieces).is_some(), possible, "{len} bytes in {pieces} codes");
            assert_eq!(sender.text(0, pieces, &mut vec![0; MAX_TEXT]).is_some(), possible);
        }
        assert_eq!(sender.text(1, 1, &mut vec![0; MAX_TEXT]), None);
    }
}

#[test]
fn every_changed_character_shows() {
    let texts = send(&record(4), 1);
    for at in 0..texts[0].len() {
        let mut text = texts[0].clone();
        text[at] = if text[at] == b'0' { b'1' } else { b'0' };
        assert_ne!(receive([&text]), Ok(record(4)), "character {at}");
    }
}

#[test]
fn too_little_room_is_refused() {
    let record = record(16);
    let (mut memory, mut room) = (vec![0; MODEL_WORDS], vec![0; MAX_PACKED]);
    assert!(Sender::new(&record, &mut memory[1..], &mut room).is_none());
    assert!(Sender::new(&record, &mut memory, &mut room[..50]).is_none());
    assert!(Sender::new(&vec![b' '; MAX_RECORD + 1], &mut memory, &mut room).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_packed_comes_back(record in proptest::collection::vec(any::<u8>(), 0..600), pieces in 1..3_usize) {
        // The shortest texts become a single byte.
        let pieces = if record.len() < 16 { 1 } else { pieces };
        prop_assert_eq!(receive(&send(&record, pieces)), Ok(record));
    }

    #[test]
    fn no_text_panics(text in "BCQ1:[0-9A-Z $%*+./:-]{0,60}", other in any::<Vec<u8>>()) {
        let _ = receive([&text.into_bytes()]);
        let _ = receive([&other]);
    }
}
