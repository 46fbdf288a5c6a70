//! The mount learns which boot the newest tile was, and whether it crashed.

mod support;

use blockconsole::last_boot::{LastBoot, Step};
use blockconsole::search::Found;
use blockconsole::series::KeptRecord;
use support::{MIB, UUID, header};

const END: &str = "---[ end crash 0000000000000001 lines=1 crc32c=00000000 ]---\n";

struct Console {
    tiles: Vec<Vec<u8>>,
    newest: u32,
}

impl Console {
    /// Tiles of round 1, all of them empty.
    fn new(tiles: u32, newest: u32) -> Self {
        let empty = |tile| {
            let mut bytes = header(UUID, 1, tile);
            bytes.resize(MIB as usize, 0);
            bytes
        };
        Self { tiles: (0..tiles).map(empty).collect(), newest }
    }

    /// Puts text behind the header.
    fn text(mut self, tile: usize, text: &str) -> Self {
        self.tiles[tile][59..59 + text.len()].copy_from_slice(text.as_bytes());
        self
    }

    fn ask(&self, block: u32, piece: u32) -> (LastBoot, Vec<(u32, u32)>) {
        self.ask_with(block, piece, |_, start, end| Some(end - start))
    }

    /// Asks a device that gives no more bytes than this of a read, or none.
    fn ask_with(
        &self,
        block: u32,
        piece: u32,
        limit: impl Fn(u32, u32, u32) -> Option<u32>,
    ) -> (LastBoot, Vec<(u32, u32)>) {
        let tiles = self.tiles.len() as u64;
        let found = Found { uuid: UUID, newest: self.newest, newest_round: 1, next: 0, next_round: 2, damaged: false };
        let mut last_boot = LastBoot::new(&found, tiles, block, piece);
        let mut reads = Vec::new();
        while let Step::Read { tile, start, end } = last_boot.step() {
            reads.push((tile, start));
            let len = limit(tile, start, end).unwrap_or(0);
            last_boot.answer(&self.tiles[tile as usize][start as usize..(start + len) as usize]);
            assert!(reads.len() < 400, "it never ends");
        }
        (last_boot, reads)
    }
}

fn tile_line(tile: u32, round: u32, boot: u32) -> String {
    format!("[    0.000000] INFO  blockconsole: tile {tile} round {round} boot {boot}\n")
}

/// Text of this length, in lines, that ends with this.
fn filled(start: &str, len: usize, end: &str) -> String {
    let mut text = start.to_owned();
    while text.len() + end.len() + 120 < len {
        text.push_str("[    0.000000] INFO  test: some text that fills up the tile until something else comes\n");
    }
    let rest = len - text.len() - end.len();
    text.push_str(&"x".repeat(rest - 1));
    text.push('\n');
    text + end
}

#[test]
fn a_crash_is_seen_wherever_the_text_ends() {
    for (block, piece) in
        [(512, 512), (512, 2048), (4096, 65_536), (512, 1 << 18), (65_536, 1 << 17), (512, 1 << 20), (512, 9 << 20)]
    {
        for len in [
            400usize,
            2047,
            2048,
            2100,
            65_477,
            65_500,
            131_000,
            (1 << 18) - 59,
            (1 << 18) - 30,
            500_000,
            786_373,
            1_000_000,
            (1 << 20) - 59,
        ] {
            let text = filled(&tile_line(1, 1, 5), len.max(400), END);
            let (crashed, reads) = Console::new(4, 1).text(1, &text).ask(block, piece);
            assert_eq!(crashed.boot(), Some(5));
            let first = if len > 17_500 { 1 } else { 0 };
            assert_eq!(crashed.crash(), Some(KeptRecord { first, last: 1 }), "{len} bytes in pieces of {piece}");
            assert!(piece < 1 << 18 || reads.len() <= 3, "{reads:?}");
            let text = filled(&tile_line(1, 1, 5), len.max(400), "[    9.000000] INFO  test: all is well\n");
            let (well, _) = Console::new(4, 1).text(1, &text).ask(block, piece);
            assert_eq!((well.boot(), well.crash()), (Some(5), None), "{len} bytes in pieces of {piece}");
        }
    }
}

#[test]
fn a_record_that_began_in_the_same_tile_is_told_from_one_that_did_not() {
    let record = format!("---[ crash 0000000000000001 ]---\nreason: x\n{END}");
    let (whole, _) = Console::new(4, 2).text(2, &(tile_line(2, 1, 3) + &record)).ask(512, 1 << 18);
    assert_eq!(whole.crash(), Some(KeptRecord { first: 2, last: 2 }));
    // Here the tile line comes behind the record.
    let (crossing, _) =
        Console::new(4, 2).text(2, &format!("of a line\n{END}{}", tile_line(2, 1, 3))).ask(512, 1 << 18);
    assert_eq!((crossing.boot(), crossing.crash()), (Some(3), Some(KeptRecord { first: 1, last: 2 })));
    // From tile 0, the one before is the last.
    let (wrapped, _) = Console::new(4, 0).text(0, &format!("{END}{}", tile_line(0, 1, 3))).ask(512, 1 << 18);
    assert_eq!(wrapped.crash(), Some(KeptRecord { first: 3, last: 0 }));
}

#[test]
fn carried_tiles_are_passed_over() {
    let carried = |console: Console, tile: u32| console.text(tile as usize, &(tile_line(tile, 0, 1) + END));
    let newest = "[    0.000000] INFO  blockconsole: tile 5 round 1 boot 9 kept 6,7-8\n".to_owned() + END;
    let mut console = Console::new(16, 8).text(5, &newest);
    for tile in 6..9 {
        console = carried(console, tile);
    }
    let (last_boot, reads) = console.ask(512, 1 << 18);
    assert_eq!(last_boot.boot(), Some(9));
    assert_eq!(reads.iter().map(|(tile, _)| *tile).collect::<Vec<_>>(), [8, 7, 6, 5]);
    let kept: Vec<(u32, u32)> = last_boot.kept().records().iter().map(|record| (record.first, record.last)).collect();
    // Where the fifth begins is not in sight: it crossed from the one before, as far as anybody can tell.
    assert_eq!(kept, [(6, 6), (7, 8), (4, 5)]);
}

#[test]
fn tiles_without_a_line_end_the_search_in_bounded_time() {
    // As the Linux driver writes them.
    let (last_boot, reads) = Console::new(64, 40).text(40, "<6>[    0.000000] Linux version 3.4\n").ask(512, 1 << 18);
    assert_eq!((last_boot.boot(), last_boot.crash(), reads.len()), (None, None, 8));
    let mut fresh = Console::new(4, 0);
    fresh.tiles[0][..59].copy_from_slice(&header(UUID, 0, 0));
    assert_eq!(fresh.ask(512, 1 << 18).1.len(), 1);
}

/// A crash record of so many bytes, as it is written.
fn record(len: usize) -> String {
    let mut text = "---[ crash 0000000000000001 ]---\n".to_owned();
    while text.len() + END.len() + 64 < len {
        text.push_str("stack 0x0000000000000000: 0000000000000000 0000000000000000\n");
    }
    text + END
}

#[test]
fn small_transfers_see_the_same() {
    for (block, piece) in [(512, 512), (512, 1024), (512, 4096), (4096, 4096), (512, 16_384)] {
        // A boot line that fills more than a block's rest, and a tile line that crosses a block.
        for boot_line in [100, 380, 440, 450, 500, 900] {
            let long = format!("[    0.000000] INFO  blockconsole: boot 5 of {UUID:08x}: {}\n", "x".repeat(boot_line));
            let line = "[    0.000000] INFO  blockconsole: tile 2 round 1 boot 5 kept 7,8-9\n";
            let text = long + line + "some text\n" + &record(9000);
            let (last_boot, _) = Console::new(16, 2).text(2, &text).ask(block, piece);
            assert_eq!(last_boot.boot(), Some(5), "pieces of {piece}");
            assert_eq!(last_boot.crash(), Some(KeptRecord { first: 2, last: 2 }), "pieces of {piece}");
            assert_eq!(last_boot.kept().to_string(), "7,8-9,2", "pieces of {piece}");
        }
        // A record that crosses: the tile line stands behind it.
        for len in [300, 512 - 59 - 20, 3000, 9000, 16_000] {
            let record = record(len);
            let rest = &record[record.len().min(40)..];
            let text = rest.to_owned() + &tile_line(2, 1, 5);
            let (last_boot, _) = Console::new(16, 2).text(2, &text).ask(block, piece);
            assert_eq!(last_boot.boot(), Some(5), "{len} bytes in pieces of {piece}");
            assert_eq!(last_boot.crash(), Some(KeptRecord { first: 1, last: 2 }), "{len} bytes in pieces of {piece}");
        }
    }
}

#[test]
fn reads_that_end_where_an_extent_does_are_gone_on_with() {
    for border in [512, 1024, 4096, 100_352, 262_144, 300_032, 524_288, 600_064, 1_048_064] {
        for len in [400usize, 3000, 100_000, 270_000, 299_990, 300_000, 530_000, 599_990, 600_100, 1_000_000, 1_048_500]
        {
            let text = filled(&tile_line(1, 1, 5), len, END);
            let console = Console::new(4, 1).text(1, &text);
            let (last_boot, reads) = console.ask_with(512, 1 << 18, |_, start, end| {
                let end = if start < border { end.min(border) } else { end };
                Some(end - start)
            });
            assert_eq!(last_boot.boot(), Some(5), "{len} bytes, a border at {border}");
            assert_eq!(
                last_boot.crash().map(|crash| crash.last),
                Some(1),
                "{len} bytes, a border at {border}: {reads:?}"
            );
            assert!(reads.len() <= 5, "{reads:?}");
        }
    }
}

#[test]
fn what_was_kept_is_kept_on_if_the_end_cannot_be_read() {
    let kept = "[    0.000000] INFO  blockconsole: tile 5 round 1 boot 9 kept 6,7-8\n";
    for len in [1000usize, 20_000, 300_000, 700_000] {
        for bad in (0..1 << 20).step_by(100 * 512) {
            let ends = [(END, true), ("[    9.000000] INFO  test: all is well\n", false)];
            for (end, crashed) in ends {
                let console = Console::new(16, 5).text(5, &filled(kept, len, end));
                let read = |tile: u32, start: u32, end: u32| {
                    let is_bad = tile == 5 && start <= bad && bad < end;
                    (!is_bad).then_some(end - start)
                };
                let (last_boot, reads) = console.ask_with(512, 1 << 18, read);
                assert!(bad == 0 || last_boot.boot() == Some(9), "{len} bytes, block at {bad}");
                let (met_it, kept) = (reads.len() > 3, last_boot.kept().to_string());
                if met_it && bad > 0 {
                    assert!(kept.starts_with("6,7-8"), "{len} bytes, block at {bad}: {kept:?}");
                } else if !met_it {
                    let own = if len > 17_500 { "6,7-8,5" } else { "6,7-8,4-5" };
                    assert_eq!(kept, if crashed { own } else { "" }, "{len} bytes, block at {bad}");
                }
            }
        }
    }
}

/// A tile that was passed over has an old header, and perhaps old text: it tells nothing.
#[test]
fn a_tile_that_was_passed_over_is_not_asked() {
    let mut console = Console::new(8, 5).text(3, &(tile_line(3, 1, 9) + END)).text(4, &tile_line(4, 0, 2));
    console.tiles[4][..59].copy_from_slice(&header(UUID, 0, 4));
    // This one was carried.
    let console = console.text(5, &tile_line(5, 0, 2));
    let (last_boot, _) = console.ask(512, 1 << 18);
    assert_eq!((last_boot.boot(), last_boot.crash().map(|crash| crash.last)), (Some(9), Some(3)));
}

#[test]
fn it_is_told_how_the_boot_ended() {
    let record = format!("---[ crash 0000000000000001 ]---\nreason: panic: the end\nversion: 1\n{END}");
    let crashed = filled(&tile_line(1, 1, 7), 300_000, &record);
    let finished = format!("{}[    0.100000] INFO  kernel: finished\n", tile_line(1, 1, 7));
    for (text, is_crash, said) in
        [(&crashed, true, "panic: the end"), (&finished, false, "[    0.100000] INFO  kernel: finished")]
    {
        for piece in [4096, 1 << 18, 1 << 20] {
            let (last_boot, _) = Console::new(4, 1).text(1, text).ask(512, piece);
            let end = last_boot.end().unwrap();
            assert_eq!((end.boot, end.is_crash), (7, is_crash));
            // The record may begin in a piece that nobody has to read.
            assert!(end.text() == said || is_crash && end.text().is_empty(), "{piece}: {:?}", end.text());
            assert!(end.text() == said || piece < 1 << 18, "{piece}: {:?}", end.text());
        }
    }
    let long = format!("{}{}\n", tile_line(1, 1, 7), "\u{e4}".repeat(200));
    let (last_boot, _) = Console::new(4, 1).text(1, &long).ask(512, 4096);
    assert_eq!(last_boot.end().unwrap().text(), "\u{e4}".repeat(80));
}
