//! The weaknesses of the Linux driver, each shown to be impossible here.

mod support;

use block::{BlockDevice, ErrorKind, WriteCache};
use block_fake::history::Event as DiskEvent;
use block_fake::{Disk, Effect, Fault, Kind, Order, Settings};
use blockconsole::console::{Outcome, Reason};
use blockconsole::crash;
use blockconsole::format::Header;
use blockconsole::place::{Extent, Place, PlaceError};
use blockconsole::search::{Answer, Search, Step};
use blockconsole::{Event, console};
use std::collections::HashSet;
use support::rig::line;
use support::{MIB, Rig, UUID, disk, formatted};

fn lines(count: u64) -> Vec<String> {
    (0..count).map(|number| line(number, 200)).collect()
}

/// 1. Only the tile of the mount was zeroed; later ones kept stale bytes behind the text.
#[test]
fn weakness_01_no_tile_keeps_stale_bytes_behind_its_text() {
    // Every block that was never written holds 'S'.
    let disk = disk(512, 6);
    let mut rig = Rig::boot(&disk);
    rig.log_and_settle(10_000, 200);
    rig.finish();
    let (last, _, _) = rig.console.position().expect("a position");
    assert!(last >= 3);
    for tile in 1..=u64::from(last) {
        let bytes = disk.medium().read(tile * MIB, MIB as usize);
        assert!(!bytes.windows(16).any(|bytes| bytes == [b'S'; 16]), "tile {tile}");
    }
}

/// 2. Tiles that were entered at run time carried the number before their own.
#[test]
fn weakness_02_tiles_carry_their_own_number() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.log_and_settle(20_000, 200);
    rig.finish();
    let log = rig.log_text();
    assert_eq!(log.tiles.len(), 4);
    assert!(log.tiles.iter().all(|tile| u64::from(tile.number) == tile.tile), "and tile lines say the same");
    for tile in log.tiles.iter().filter(|tile| tile.text.len() > 1000) {
        assert_eq!(
            support::reader::tile_line(&tile.text).map(|line| (line.0, line.1)),
            Some((tile.number, tile.round))
        );
    }
}

/// 3. The panic path slept before it wrote anything, and never polled, waited or flushed.
#[test]
fn weakness_03_a_crash_writes_polls_and_flushes_and_needs_no_clock() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(30, 200);
    rig.settle();
    rig.log_lines(30, 200);
    let before = disk.counts();
    // The clock of the crash path stands still at 0: see `Dying::turn`.
    assert_eq!(rig.crash(b"---[ crash 1 ]---\nx\n---[ end crash 1 ]---\n"), Outcome::Done);
    let after = disk.counts();
    assert!((1..=4).contains(&(after.writes - before.writes)));
    assert_eq!(after.flushes - before.flushes, 1);
    // And that is on the medium, not in a cache.
    let durable = disk.history().image_after(disk.now(), |_, _| false);
    let log = support::Log::read(&durable, 4);
    assert_eq!(log.messages("test"), lines(60));
    assert!(log.text().ends_with("---[ end crash 1 ]---\n"));
}

/// 4. Heap overflow per partition; a crash on devices under a tile; a read past the map at a 17th extent.
#[test]
fn weakness_04_sizes_and_extents_are_checked() {
    let small = Disk::new(Settings::new(512, MIB - 512));
    assert_eq!(Place::whole(&small.port().geometry()), Err(PlaceError::TooSmall(MIB - 512)));
    let extents: Vec<Extent> = (0..17).map(|i| Extent { first_block: i * 4096, blocks: 2048 }).collect();
    assert_eq!(Place::new(512, &extents), Err(PlaceError::ExtentCount(17)));
    // A place that does not lie on its device is not logged to, whoever thought it did.
    let disk = disk(512, 4);
    let place = Place::new(512, &[Extent { first_block: 0, blocks: 5 * 2048 }]).expect("a place");
    let mut rig = Rig::boot_with(&disk, 256 * 1024, |config| config.place = place);
    rig.log("x");
    rig.settle();
    assert!(matches!(rig.events[..], [Event::NoLongerLogging { reason: Reason::NotOnDevice, .. }]));
    assert!(disk.history().is_empty());
}

/// 5. At a wrap, tile 0 was zeroed before its new header was written: a crash in between lost the device.
#[test]
fn weakness_05_tile_0_has_a_header_at_every_moment_of_a_wrap() {
    for order in [Order::First, Order::Last, Order::Random(9)] {
        let disk = formatted(Settings { order, latency: 2, ..Settings::new(512, 3 * MIB) });
        let mut rig = Rig::boot(&disk);
        rig.log_and_settle(10_500, 200);
        rig.finish();
        assert!(rig.console.position().is_some_and(|(_, round, _)| round == 1));
        let history = disk.history();
        let mut walk = history.walk();
        loop {
            for chosen in 0..1u32 << walk.pending().len().min(5) {
                let image = walk.image(|write, _| chosen >> write & 1 == 1);
                assert!(
                    support::reader::header(&image.read(0, 512)).is_some_and(|(uuid, ..)| uuid == UUID),
                    "event {}",
                    walk.at()
                );
            }
            if !walk.step() {
                break;
            }
        }
    }
}

/// 6. After a wrap, up to 453 bytes of text were blanked.
#[test]
fn weakness_06_a_wrap_blanks_no_text() {
    let disk = disk(512, 3);
    let mut rig = Rig::boot(&disk);
    rig.log_and_settle(10_500, 200);
    rig.finish();
    let log = rig.log_text();
    assert!(log.tiles.iter().any(|tile| tile.tile == 0 && tile.round == 1 && tile.text.len() > 453));
    let mut log = log;
    log.tiles.retain(|tile| tile.text.len() > 512);
    let messages = log.messages("test");
    let first = 10_500 - messages.len() as u64;
    assert!(messages.iter().zip(first..).all(|(message, number)| *message == line(number, 200)));
}

/// 7. On overflow, the producer lapped the writer: text vanished silently, and the writer lagged for good.
#[test]
fn weakness_07_an_overflow_is_counted_and_over_when_it_is_over() {
    let disk = formatted(Settings { latency: 300, ..Settings::new(512, 16 * MIB) });
    let mut rig = Rig::boot(&disk);
    for _ in 0..2000 {
        rig.log_lines(25, 200);
        rig.turn();
    }
    disk.set(|settings| settings.latency = 0);
    rig.settle();
    rig.finish();
    let lost = |rig: &Rig| -> u64 {
        let log = rig.log_text();
        let counts = log.lines();
        counts
            .iter()
            .filter_map(|line| line.split_once("*** ")?.1.strip_suffix(" lines lost ***")?.parse::<u64>().ok())
            .sum()
    };
    let before = lost(&rig);
    assert!(before > 0);
    assert_eq!(rig.log_text().messages("test").len() as u64 + before, rig.lines);
    rig.log_and_settle(1000, 200);
    rig.finish();
    assert_eq!(lost(&rig), before, "it keeps up again");
}

/// 8. Headers were formatted into memory that the device was reading: a torn one could reach the disk.
#[test]
fn weakness_08_every_header_that_is_handed_to_the_device_is_whole() {
    let disk = disk(512, 3);
    let mut rig = Rig::boot(&disk);
    rig.log_and_settle(12_000, 200);
    rig.finish();
    let mut headers = 0;
    for event in disk.history().events() {
        let DiskEvent::Submitted(write) = event else { continue };
        if write.first_block.is_multiple_of(2048) {
            let tile = write.first_block / 2048;
            let header = support::reader::header(&write.blocks[0]).expect("a whole header");
            assert_eq!((header.0, u64::from(header.2)), (UUID, tile));
            headers += 1;
        }
    }
    // Buffers are moved into requests, so that nobody can change them on the way: the compiler sees to that.
    assert!(headers >= 3);
}

/// 9. A sector still in flight was skipped, yet counted as written: a silent hole.
#[test]
fn weakness_09_nothing_behind_a_write_in_flight_counts_as_written() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot_with(&disk, 4096, |_| {});
    rig.log_lines(1, 200);
    rig.finish();
    // The next write hangs, the one behind it completes, the third hangs again.
    disk.inject(Fault::new(Effect::Hang).kind(Kind::Write).times(1));
    disk.inject(Fault::new(Effect::Hang).kind(Kind::Write).after(1).times(1));
    rig.log_lines(40, 200);
    for _ in 0..200 {
        rig.now_ns += 10_000_000;
        rig.turn();
    }
    let writes = disk.counts().writes;
    rig.log_lines(40, 200);
    for _ in 0..200 {
        rig.now_ns += 10_000_000;
        rig.turn();
    }
    assert!(disk.counts().writes >= writes && rig.console.in_flight() == 2);
    assert_eq!(rig.console.durable(), 1);
    assert_eq!(rig.crash(b"---[ crash 1 ]---\nx\n---[ end crash 1 ]---\n"), Outcome::Done);
    assert_eq!(rig.log_text().messages("test"), lines(81), "and there is no hole after the crash");
}

/// 10. Two writers raced, and the pad timer raced with writers by design.
#[test]
fn weakness_10_writers_and_pads_do_not_race() {
    let disk = formatted(Settings { order: Order::Random(4), latency: 3, ..Settings::new(512, 8 * MIB) });
    let mut rig = Rig::boot(&disk);
    let ring = rig.ring;
    let written = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let written = &written;
            scope.spawn(move || {
                for i in 0..300 {
                    let header =
                        blockconsole::ring::RecordHeader { time_ns: 0, cpu: writer, level: blockconsole::Level::Info };
                    ring.write(header, "test", format_args!("writer {writer} line {i:04} {}", line(i, 100)));
                    written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        // Time runs so fast that every turn is a pad.
        while written.load(std::sync::atomic::Ordering::Relaxed) < 1200 {
            rig.now_ns += 2_000_000_000;
            rig.turn();
        }
    });
    rig.finish();
    let messages = rig.log_text().messages("test");
    for writer in 0..4 {
        let own: Vec<&String> =
            messages.iter().filter(|message| message.starts_with(&format!("writer {writer} "))).collect();
        assert_eq!(own.len(), 300);
        for (i, message) in (0..).zip(own) {
            assert_eq!(*message, format!("writer {writer} line {i:04} {}", line(i, 100)));
        }
    }
    // One line and one pad at every turn, while the write before is still under way.
    disk.set(|settings| settings.latency = 9);
    for _ in 0..100 {
        rig.log("another");
        rig.now_ns += 2_000_000_000;
        rig.turn();
    }
    assert!(disk.violations().is_empty(), "no two writes of one block at a time: {:?}", disk.violations());
}

/// 11. Zeroing and text writes overlapped without an order between them.
#[test]
fn weakness_11_a_tile_is_erased_durably_before_text_goes_there() {
    for zeroes in [true, false] {
        let mut settings = Settings { order: Order::Random(2), latency: 2, ..Settings::new(512, 4 * MIB) };
        if !zeroes {
            settings.geometry.max_write_zeroes_blocks = 0;
        }
        let disk = formatted(settings);
        let mut rig = Rig::boot(&disk);
        rig.log_and_settle(12_000, 200);
        rig.finish();
        let mut erased = HashSet::new();
        let mut pending = Vec::new();
        for (at, event) in disk.history().events().iter().enumerate() {
            match event {
                DiskEvent::Submitted(write) => {
                    let (tile, is_first) = (write.first_block / 2048, write.first_block.is_multiple_of(2048));
                    let is_zero = write.blocks.iter().all(|block| block.iter().all(|byte| *byte == 0));
                    if is_zero {
                        assert!(!is_first, "the first block is never zeroed");
                        erased.remove(&tile);
                        pending.push((write.id, tile, None));
                    } else {
                        assert!(erased.contains(&tile), "text goes to tile {tile} before it is erased");
                    }
                }
                DiskEvent::Completed(id) => {
                    for (other, _, completed) in &mut pending {
                        if other == id {
                            *completed = Some(at);
                        }
                    }
                }
                DiskEvent::Flushed(by) => {
                    for (_, tile, _) in pending.extract_if(.., |(_, _, completed)| completed.is_some_and(|at| at < *by))
                    {
                        erased.insert(tile);
                    }
                }
                DiskEvent::Void { .. } | DiskEvent::Forgotten => {}
            }
        }
        assert!(erased.len() >= 3);
    }
}

/// 12. Upper-case hexadecimal in tile 0 was accepted, then never matched: each boot overwrote tile 1.
#[test]
fn weakness_12_upper_case_is_taken_and_matched() {
    let disk = disk(512, 8);
    let mut first = disk.medium().read(0, 512);
    first[..59].make_ascii_uppercase();
    first[..32].copy_from_slice(b"\nLinux blockconsole version 1.1\n");
    assert!(first.windows(8).any(|digits| digits == b"1A2B3C4D"));
    disk.put(0, &first);
    for boot in 1..6 {
        let mut rig = Rig::boot(&disk);
        rig.log(&format!("boot {boot}"));
        rig.finish();
        assert_eq!(rig.console.position().map(|(tile, _, _)| tile), Some(boot));
        assert_eq!(rig.console.identity(), Some((UUID, boot)));
    }
    assert_eq!(support::Log::read(&disk.medium(), 8).messages("test").len(), 5);
}

/// 13. The same device could be opened twice.
#[test]
fn weakness_13_places_that_overlap_are_told_apart_and_consoles_from_each_other() {
    let disk = Disk::new(Settings::new(512, 16 * MIB));
    let place =
        |first_block, tiles: u64| Place::new(512, &[Extent { first_block, blocks: tiles * 2048 }]).expect("a place");
    let (whole, first, second) = (place(0, 16), place(2048, 4), place(2048 * 8, 4));
    assert!(whole.overlaps(&first) && whole.overlaps(&second) && !first.overlaps(&second));
    // Two consoles on one device: each completion goes to whom it belongs, and each stays in its place.
    let mut consoles = Vec::new();
    for (index, place) in [(1, first), (2, second)] {
        let start = place.blocks_of(0, 0, 512).expect("a block").first;
        let mut header = support::header(u32::from(index), 0, 0);
        header.resize(512, b' ');
        disk.put(start, &header);
        let cell: &'static console::TargetCell = Box::leak(Box::new(console::TargetCell::new()));
        let config = console::Config { index, place, ..support::rig::config(place) };
        consoles.push(support::rig::TestConsole::new(config, cell, support::rig::buffers(64 * 1024)));
    }
    disk.allow_only(2048..2048 * 5);
    disk.allow_only(2048 * 8..2048 * 12);
    let mut port = disk.port();
    let ring = support::rig::ring(1 << 17);
    for round in 0..3000 {
        if round < 1000 {
            let header = blockconsole::ring::RecordHeader { time_ns: 0, cpu: 0, level: blockconsole::Level::Info };
            ring.write(header, "test", format_args!("{}", line(round, 200)));
        }
        while let Some(completion) = port.poll() {
            let owner = console::owner(completion.tag);
            let strange = &mut consoles[usize::from(2 - owner)];
            let completion = strange.complete(completion).expect_err("not its own");
            assert!(consoles[usize::from(owner - 1)].complete(completion).is_ok());
        }
        for console in &mut consoles {
            console.finish(ring.written());
            console.pump(&mut port, &ring, 0);
        }
    }
    assert!(consoles.iter().all(|console| console.durable() == 1000));
    assert!(disk.violations().is_empty(), "{:?}", disk.violations());
}

/// 14. Only 512-byte sectors; one small write for each.
#[test]
fn weakness_14_blocks_of_4_kib_and_large_writes() {
    let disk = disk(4096, 4);
    let mut rig = Rig::boot(&disk);
    rig.settle();
    let before = disk.counts();
    for _ in 0..40 {
        rig.log_lines(100, 200);
        rig.turn();
        rig.turn();
    }
    rig.finish();
    let (writes, bytes) = (disk.counts().writes - before.writes, disk.counts().written_bytes - before.written_bytes);
    assert_eq!(rig.log_text().messages("test"), lines(4000));
    assert!(bytes < 4000 * 230 + writes * 4096, "no more than a block of each write was written before");
    assert!(writes <= 60, "{writes} writes for {bytes} bytes");
    // Under load, as large as a buffer.
    let before = disk.counts().writes;
    rig.log_lines(3500, 200);
    rig.finish();
    assert!(disk.counts().writes - before <= 6);
}

/// 15. No flush: "completed" was not "durable". No loss mark, no boot id, no checksum, no times of its own.
#[test]
fn weakness_15_durable_means_flushed() {
    let disk = formatted(Settings { latency: 3, ..Settings::new(512, 4 * MIB) });
    let mut rig = Rig::boot(&disk);
    rig.settle();
    rig.log_lines(100, 200);
    rig.console.finish(100);
    while rig.console.durable() < 100 {
        rig.turn();
        let now = disk.now();
        let certain = disk.history().image_after(now, |_, _| false);
        let there = support::Log::read(&certain, 4).messages("test").len() as u64;
        assert!(rig.console.durable() <= there, "{} are called durable, {there} are", rig.console.durable());
    }
    assert!(disk.counts().flushes >= 2);
    // A device that has no flush to offer gets none, and completion is all there is.
    let mut settings = Settings::new(512, 4 * MIB);
    settings.geometry.write_cache = WriteCache::Unknown;
    let disk = formatted(settings);
    let mut rig = Rig::boot(&disk);
    rig.log("x");
    rig.finish();
    assert_eq!(disk.counts().flushes, 0);
    let text = rig.log_text().text();
    assert!(text.contains("blockconsole: boot 1 of 1a2b3c4d: blockconsole 0.1.0 build abcd at 2023-11-14T22:13:20Z\n"));
    assert!(text.contains("[    0.000000] INFO  test: x\n"));
    let mut out = [0; 1000];
    let len = crash::write(&crash::Report::default(), &mut out);
    assert_eq!(crash::find(&out[..len], 0).map(|found| found.verdict), Some(crash::Verdict::Whole));
}

/// 16. Lost headers: only tile 0 identified the device, and a damaged header misled the search.
#[test]
fn weakness_16_lost_headers_lose_nothing() {
    let disk = disk(512, 16);
    for boot in 1..=9 {
        let mut rig = Rig::boot(&disk);
        rig.log(&format!("boot {boot}"));
        rig.finish();
    }
    for damaged in 1..9 {
        let copy = Disk::with_medium(Settings::new(512, 16 * MIB), disk.medium());
        copy.put(damaged * 2048, &[0xff; 512]);
        let mut rig = Rig::boot(&copy);
        rig.log("boot 10");
        rig.finish();
        assert_eq!(rig.console.position().map(|(tile, _, _)| tile), Some(10), "tile {damaged} is damaged");
        let messages = rig.log_text().messages("test");
        assert_eq!(messages.len(), 9, "all but those of the damaged tile");
        // The same where it cannot be read at all.
        let copy = Disk::with_medium(Settings::new(512, 16 * MIB), disk.medium());
        copy.inject(
            Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Read).blocks(damaged * 2048..damaged * 2048 + 1),
        );
        let mut rig = Rig::boot(&copy);
        rig.log("boot 10");
        rig.finish();
        assert_eq!(rig.console.position().map(|(tile, _, _)| tile), Some(10));
    }
    disk.put(0, &[0xff; 512]);
    let mut rig = Rig::boot(&disk);
    rig.settle();
    assert!(
        matches!(rig.events[..], [Event::NoLongerLogging { reason: Reason::Refused(_), .. }]),
        "nothing says it is ours"
    );
    let mut rig = Rig::boot_with(&disk, 256 * 1024, |config| config.expected = Some(UUID));
    rig.log("boot 10");
    rig.finish();
    assert_eq!(rig.console.position().map(|(tile, _, _)| tile), Some(10), "but who names its uuid gets it");
    let mut search = Search::new(16, Some(UUID));
    while let Step::Read(tile) = search.step() {
        let block = disk.medium().read(u64::from(tile) * MIB, 512);
        search.answer(Header::decode(&block).map_or(Answer::NoHeader, Answer::Header));
    }
    assert!(matches!(search.step(), Step::Done(found) if found.damaged));
}

/// 17. Dropped text left no trace, and removal came at the 11th error, not the 10th.
#[test]
fn weakness_17_removal_comes_at_the_tenth_failure_and_is_said() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(1, 200);
    rig.finish();
    disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write));
    let mut seen = Vec::new();
    // One write at a time.
    rig.log_lines(1, 100);
    rig.console.finish(rig.ring.written());
    for _ in 0..60 {
        rig.turn();
        if rig.console.is_active() && seen.last() != Some(&rig.console.failures()) {
            seen.push(rig.console.failures());
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert!(!rig.console.is_active() && rig.console.failures() == 10);
    let said = rig.events.last().map(ToString::to_string);
    assert_eq!(said.as_deref(), Some("no longer logging to ram0: 10 failures in a row, the last: medium error"));
    assert_eq!(rig.console.durable(), 1, "nothing that was dropped is called durable");
}

/// 18. Quiet systems got one sector for each line.
#[test]
fn weakness_18_lines_that_come_one_by_one_share_blocks() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.settle();
    for number in 0..40 {
        rig.log(&format!("a line, number {number:02}"));
        rig.settle();
        rig.wait(5_000_000_000);
        assert_eq!(rig.console.durable(), number + 1, "each is durable before the next one comes");
    }
    let (_, _, filled) = rig.console.position().expect("a position");
    assert!(filled < 59 + 200 + 40 * 56, "{filled} bytes");
    let messages = rig.log_text().messages("test");
    assert_eq!(messages.len(), 40);
    // And a line that is durable stays so while its block is written again: see power_cuts.rs.
    assert!(disk.violations().is_empty());
}
