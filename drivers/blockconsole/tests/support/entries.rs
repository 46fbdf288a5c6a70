//! The entries that fuzzers and the corpus test feed with bytes.
//!
//! Each takes any bytes, and panics if a promise is broken.

use block::{BlockDevice, ErrorKind};
use block_fake::{Disk, Effect, Fault, Kind, Settings};
use blockconsole::Level;
use blockconsole::console::{Config, Console, Name, TargetCell};
use blockconsole::crash;
use blockconsole::format::{HEADER_LEN, Header};
use blockconsole::last_boot::{self, LastBoot, MAX_TILES_TRIED};
use blockconsole::marks::{BootFacts, Mark};
use blockconsole::place::Place;
use blockconsole::ring::{RecordHeader, Ring, RingIdentity};
use blockconsole::search::{Answer, Found, QUICK_READS, Refusal, Search, Step};
use blockconsole::series::Kept;
use std::sync::atomic::AtomicU64;

/// Bytes of a tile that a fuzzer's disk has.
const SHORT_TILE: usize = 512;

/// A block that begins with this byte, which no header has, cannot be read.
const UNREADABLE: u8 = 0xEE;

/// A disk of tiles of which only the first block is given; it is mounted, and logged to.
pub(crate) fn disk(data: &[u8]) {
    let blocks: Vec<&[u8]> = data.chunks(SHORT_TILE).collect();
    if blocks.is_empty() {
        return;
    }
    let tiles = blocks.len() as u64;
    for expected in [None, Header::decode(blocks[0]).map(|header| header.uuid), Some(0x1a2b_3c4d)] {
        match search(&blocks, expected) {
            Ok(found) => last_boot(&blocks, &found, tiles),
            Err(Refusal::OtherUuid(uuid)) => assert!(expected.is_some_and(|expected| expected != uuid)),
            Err(Refusal::NoHeader | Refusal::Unreadable) => assert!(Header::decode(blocks[0]).is_none()),
        }
        if tiles <= 64 {
            console(&blocks, expected);
        }
    }
}

fn is_unreadable(block: &[u8]) -> bool {
    block.first() == Some(&UNREADABLE)
}

/// Lets a console log to the disk: it does, or it says that it does not, in a bounded number of reads.
fn console(blocks: &[&[u8]], expected: Option<u32>) {
    let tiles = blocks.len() as u64;
    let disk = Disk::new(Settings::new(512, tiles << 20));
    for (tile, block) in (0..).zip(blocks) {
        let mut block = block.to_vec();
        block.resize(512, 0);
        disk.put(tile * 2048, &block);
    }
    for (tile, _) in (0..).zip(blocks).filter(|(_, block)| is_unreadable(block)) {
        let blocks = tile * 2048..tile * 2048 + 1;
        disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Read).blocks(blocks));
    }
    let before = disk.medium();
    let mut port = disk.port();
    let memory: Vec<AtomicU64> = (0..4096).map(|_| AtomicU64::new(0)).collect();
    let identity = RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 };
    let ring = Ring::create(&memory, identity).expect("a ring");
    ring.write(RecordHeader { time_ns: 1, cpu: 0, level: Level::Info }, "test", format_args!("what the fuzzer says"));
    let cell = TargetCell::new();
    let place = Place::whole(&port.geometry()).expect("a place");
    let facts = BootFacts { version: "0", build_id: &[], started: None };
    let config = Config { index: 0, name: Name::new("fuzz"), place, expected, facts, pad_ns: 0 };
    let mut console = Console::new(config, &cell, [(); 4].map(|()| vec![0; 4096]));
    console.finish(ring.written());
    let mut turns = 0;
    while console.is_active() && console.durable() < ring.written() {
        turns += 1;
        assert!(turns < 10_000, "it never ends: {:?}", console.target());
        while let Some(completion) = port.poll() {
            assert!(console.complete(completion).is_ok());
        }
        console.pump(&mut port, &ring, turns);
    }
    assert!(disk.violations().is_empty(), "{:?}", disk.violations());
    let reads = disk.counts().reads;
    assert!(reads <= u64::from(QUICK_READS) + tiles + u64::from(MAX_TILES_TRIED) * 36 + 13, "{reads} reads");
    let medium = disk.medium();
    match console.position() {
        Some((tile, ..)) => {
            let text = medium.read(u64::from(tile) << 20, 4096);
            assert!(text.windows(20).any(|text| text == b"what the fuzzer says"), "it is where it says");
        }
        None => assert!((0..tiles).all(|tile| medium.block(tile * 2048) == before.block(tile * 2048)), "untouched"),
    }
}

fn search(blocks: &[&[u8]], expected: Option<u32>) -> Result<Found, Refusal> {
    let tiles = blocks.len() as u64;
    let mut search = Search::new(tiles, expected);
    loop {
        match search.step() {
            Step::Read(tile) if is_unreadable(blocks[tile as usize]) => search.answer(Answer::Unreadable),
            Step::Read(tile) => search.answer(Answer::of(blocks[tile as usize])),
            Step::Done(found) => {
                assert!(search.reads() <= u64::from(QUICK_READS) + tiles);
                let newest = Header::decode(blocks[found.newest as usize]).expect("the newest has a header");
                assert_eq!((newest.uuid, newest.round), (found.uuid, found.newest_round));
                assert!(u64::from(found.next) < tiles);
                if found.damaged {
                    // All were looked at: none that is newer may come to harm.
                    let newer =
                        blocks.iter().enumerate().filter_map(|(tile, block)| Some((tile, Header::decode(block)?)));
                    let newer =
                        newer.filter(|(_, header)| header.uuid == found.uuid && header.round == found.newest_round);
                    assert!(newer.map(|(tile, _)| tile).max() <= Some(found.newest as usize));
                }
                return Ok(found);
            }
            Step::Refused(refusal) => return Err(refusal),
        }
    }
}

fn last_boot(blocks: &[&[u8]], found: &Found, tiles: u64) {
    for piece in [512, 4096, 1 << 18] {
        let mut last_boot = LastBoot::new(found, tiles, 512, piece);
        let mut reads = 0;
        while let last_boot::Step::Read { tile, start, end } = last_boot.step() {
            let bytes = blocks[tile as usize].get(start as usize..).unwrap_or_default();
            let mut bytes = bytes.to_vec();
            bytes.resize((end - start) as usize, 0);
            let can_be_read = start > 0 || !is_unreadable(&bytes);
            last_boot.answer(if can_be_read { &bytes } else { &[] });
            reads += 1;
            // A tile's beginning is read as far as a crash record may cross into it.
            assert!(reads <= MAX_TILES_TRIED * 36 + 13, "{reads} reads");
        }
        let kept = last_boot.kept();
        assert!(kept.records().len() <= Kept::limit(tiles));
        assert!(kept.records().iter().all(|record| u64::from(record.first.max(record.last)) < tiles));
    }
}

/// A log's text, or anything else.
pub(crate) fn text(data: &[u8]) {
    if let Some(header) = Header::decode(data) {
        assert!(header.encode().eq_ignore_ascii_case(&data[..HEADER_LEN]));
    }
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(Mark::Tile { kept, .. }) = Mark::parse(line, 64) {
            assert!(kept.records().iter().all(|record| record.first < 64 && record.last < 64));
        }
    }
    let mut from = 0;
    let mut last = None;
    while let Some(found) = crash::find(data, from) {
        assert!(from <= found.range.start && found.range.start < found.range.end && found.range.end <= data.len());
        assert!(found.range.len() <= 2 * crash::MAX_RECORD || found.verdict != crash::Verdict::Whole);
        from = found.range.end;
        last = Some(found);
    }
    assert_eq!(last.map(|found| found.range.start), crash::find_last(data).map(|found| found.range.start));
}
