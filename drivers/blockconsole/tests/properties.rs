//! Whatever is on a disk: no panic, few reads, not a byte written outside.

mod support;

use block_fake::{Disk, Order, Settings};
use blockconsole::console::Outcome;
use blockconsole::crash;
use blockconsole::format::{HEADER_LEN, Header};
use blockconsole::last_boot::{self, LastBoot};
use blockconsole::marks::Mark;
use blockconsole::place::{Extent, Place};
use blockconsole::search::{Answer, Found, QUICK_READS, Search, Step};
use blockconsole::series::Kept;
use proptest::collection::vec;
use proptest::prelude::*;
use support::{MIB, Rig, UUID};

/// What may stand at the beginning of a tile, from good to nonsense.
fn tile_start() -> impl Strategy<Value = Vec<u8>> {
    let header = (0u32..4, prop_oneof![Just(UUID), any::<u32>()], any::<u32>());
    let headers = (header, any::<bool>(), vec(any::<u8>(), 0..600)).prop_map(|((round, uuid, tile), upper, rest)| {
        let mut bytes = support::header(uuid, round, tile);
        if upper {
            bytes[32..].make_ascii_uppercase();
        }
        bytes.extend(rest);
        bytes
    });
    let marks = (0u32..4, "[0-9 ,-]{0,20}", 0u32..20).prop_map(|(round, kept, boot)| {
        let mut bytes = support::header(UUID, round, 0);
        bytes.extend(format!("[    0.1] INFO  blockconsole: tile 3 round {round} boot {boot} kept {kept}\n").bytes());
        bytes.extend(b"---[ end crash 0000000000000000 lines=0 crc32c=00000000 ]---\n");
        bytes
    });
    let damaged = (0..HEADER_LEN, any::<u8>()).prop_map(|(at, byte)| {
        let mut bytes = support::header(UUID, 1, 1);
        bytes[at] = byte;
        bytes
    });
    prop_oneof![3 => headers, 3 => marks, 1 => damaged, 1 => vec(any::<u8>(), 0..700), 2 => Just(Vec::new())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_arbitrary_bytes(bytes in vec(any::<u8>(), 0..600)) {
        if let Some(header) = Header::decode(&bytes) {
            prop_assert!(header.encode().eq_ignore_ascii_case(&bytes[..HEADER_LEN]));
        }
        let _ = Mark::parse(&bytes, 7);
        let _ = Kept::parse(&bytes, 7);
        let mut from = 0;
        while let Some(found) = crash::find(&bytes, from) {
            prop_assert!(found.range.start >= from && found.range.end > from && found.range.end <= bytes.len());
            from = found.range.end;
        }
        let _ = crash::find_last(&bytes);
    }

    #[test]
    fn crash_records_in_noise(
        noise in vec(any::<u8>(), 0..300), reason in ".{0,200}", stack in vec(any::<u8>(), 0..5000),
        frames in vec(any::<u64>(), 0..700), room in 0usize..20_000,
    ) {
        let report = crash::Report {
            reason: &reason,
            backtrace: &frames,
            stack: Some(crash::Stack { address: u64::MAX - 5, bytes: &stack }),
            ..crash::Report::default()
        };
        let mut out = vec![0; room];
        let len = crash::write(&report, &mut out);
        prop_assert!(len <= room.min(crash::MAX_RECORD));
        let mut log = noise;
        log.push(b'\n');
        let at = log.len();
        log.extend(&out[..len]);
        if len > 0 {
            let found = crash::find_last(&log).expect("a record");
            prop_assert_eq!((found.verdict, found.range), (crash::Verdict::Whole, at..log.len()));
        }
    }

    #[test]
    fn every_record_that_is_cut_or_changed_is_noticed(
        at in 0usize..500, to in any::<u8>(), cut in 0usize..500,
    ) {
        let mut out = vec![0; 4000];
        let len = crash::write(&crash::Report { reason: "x", backtrace: &[1, 2, 3, 4, 5, 6, 7, 8, 9], ..crash::Report::default() }, &mut out);
        out.truncate(len);
        let (at, cut) = (at % len, cut % (len - 1));
        let mut changed = out.clone();
        if changed[at] != to {
            changed[at] = to;
            prop_assert!(crash::find(&changed, 0).is_none_or(|found| found.verdict != crash::Verdict::Whole));
        }
        prop_assert!(crash::find(&out[..cut], 0).is_none_or(|found| found.verdict != crash::Verdict::Whole));
    }

    #[test]
    fn searching_arbitrary_tiles(
        answers in vec(prop_oneof![
            (0u32..3, 0u32..2).prop_map(|(round, uuid)| Answer::Header(Header { uuid, round, tile: 0 })),
            Just(Answer::NoHeader),
            Just(Answer::Unreadable),
        ], 1..200),
        expected in proptest::option::of(0u32..2),
    ) {
        let mut search = Search::new(answers.len() as u64, expected);
        let found = loop {
            match search.step() {
                Step::Read(tile) => search.answer(answers[tile as usize]),
                Step::Done(found) => break Some(found),
                Step::Refused(_) => break None,
            }
        };
        prop_assert!(search.reads() <= u64::from(QUICK_READS) + answers.len() as u64);
        if let Some(found) = found {
            prop_assert!((found.next as usize) < answers.len() && (found.newest as usize) < answers.len());
            prop_assert!(expected.is_none_or(|expected| expected == found.uuid));
            let header = answers[found.newest as usize];
            prop_assert!(matches!(header, Answer::Header(header) if header.uuid == found.uuid && header.round == found.newest_round));
        }
    }

    #[test]
    fn asking_arbitrary_tiles_for_the_last_boot(
        pieces in vec(vec(any::<u8>(), 0..2000), 1..20),
        tiles in 1u64..100, newest in any::<u32>(), piece in 1u32..(2 << 20), block in 9u32..17,
    ) {
        let newest = (u64::from(newest) % tiles) as u32;
        let found = Found { uuid: UUID, newest, newest_round: 1, next: 0, next_round: 1, damaged: false };
        let mut last_boot = LastBoot::new(&found, tiles, 1 << block, piece);
        let mut reads = 0;
        while let last_boot::Step::Read { tile, start, end } = last_boot.step() {
            prop_assert!(u64::from(tile) < tiles && start < end && end <= 1 << 20);
            prop_assert!(start.is_multiple_of(1 << block) && end.is_multiple_of(1 << block));
            let mut bytes = pieces[reads % pieces.len()].clone();
            bytes.truncate((end - start) as usize);
            let blocks = bytes.len() >> block << block;
            last_boot.answer(&bytes[..blocks]);
            reads += 1;
            // Of each tile, as far as a crash record may cross into it; then eleven halvings, and one block; if
            // something cannot be read, one more, and all of that by blocks.
            prop_assert!(reads <= 8 * 36 + 13, "{reads} reads");
        }
        prop_assert!(last_boot.kept().records().iter().all(|record| u64::from(record.first) < tiles && u64::from(record.last) < tiles));
    }

    #[test]
    fn places_never_give_blocks_outside(
        extents in vec((any::<u16>(), 0u16..4000), 1..20), tile in 0u32..40, start in 0u32..3000, len in 0u32..3000,
    ) {
        let extents: Vec<Extent> =
            extents.iter().map(|(first, blocks)| Extent { first_block: u64::from(*first), blocks: u64::from(*blocks) }).collect();
        if let Ok(place) = Place::new(512, &extents)
            && let Ok(blocks) = place.blocks_of(tile, start * 512, (start + len) * 512)
        {
            let end = blocks.first + u64::from(blocks.count);
            prop_assert!(extents.iter().any(|extent| extent.first_block <= blocks.first && end <= extent.first_block + extent.blocks));
            prop_assert!(len > 0 && place.contiguous(tile, start * 512) >= len * 512);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// A machine boots from a disk of nonsense, logs, and crashes.
    #[test]
    fn booting_from_arbitrary_disks(
        starts in vec(tile_start(), 1..10), first in 0u64..5, seed in any::<u64>(), lines in 0u64..300, turns in 0u64..60,
    ) {
        let tiles = starts.len() as u64;
        let first_block = first * 1000;
        let settings = Settings { order: Order::Random(seed), ..Settings::new(512, 16 * MIB) };
        let disk = Disk::new(settings);
        for (tile, start) in starts.iter().enumerate() {
            let mut bytes = start.clone();
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            disk.put(first_block + tile as u64 * 2048, &bytes);
        }
        disk.allow_only(first_block..first_block + tiles * 2048);
        let place = Place::new(512, &[Extent { first_block, blocks: tiles * 2048 }]).expect("a place");
        let mut rig = Rig::boot_with(&disk, 64 * 1024, |config| config.place = place);
        rig.log_lines(lines, 200);
        for _ in 0..turns {
            rig.turn();
        }
        // It may have stopped by itself by then, because there is no console.
        let outcome = rig.console.is_active().then(|| rig.crash(b"---[ crash 1 ]---\n---[ end crash 1 ]---\n"));
        let is_console = Header::decode(&starts[0]).is_some();
        prop_assert_eq!(outcome == Some(Outcome::Done), is_console, "{:?}", outcome);
        if !is_console {
            prop_assert!(disk.history().is_empty(), "nothing is written where no console is");
        }
        prop_assert!(disk.violations().is_empty(), "{:?}", disk.violations());
        // Both the console and its crash path may have mounted, with 16 pieces a tile.
        prop_assert!(disk.counts().reads <= 2 * (u64::from(QUICK_READS) + tiles + 8 * 36 + 13));
    }
}
