//! The entries that fuzzers and the corpus test feed with bytes.
//!
//! Each takes any bytes, and panics if a promise is broken.

use blockconsole::crash;
use blockconsole::format::{HEADER_LEN, Header};
use blockconsole::last_boot::{self, LastBoot, MAX_TILES_TRIED};
use blockconsole::marks::Mark;
use blockconsole::search::{Answer, Found, QUICK_READS, Refusal, Search, Step};
use blockconsole::series::Kept;

/// Bytes of a tile that a fuzzer's disk has.
const SHORT_TILE: usize = 512;

/// A disk of tiles of which only the first block is given; it is mounted.
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
    }
}

fn search(blocks: &[&[u8]], expected: Option<u32>) -> Result<Found, Refusal> {
    let tiles = blocks.len() as u64;
    let mut search = Search::new(tiles, expected);
    loop {
        match search.step() {
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
            last_boot.answer(&bytes);
            reads += 1;
            // A tile's beginning is read as far as a crash record may cross into it.
            assert!(reads <= MAX_TILES_TRIED * 17_408_u32.div_ceil(piece) + 13, "{reads} reads");
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
