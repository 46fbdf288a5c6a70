//! What a console does when its device fails, hangs, lies, dies or comes back.

mod support;

use block::{BlockDevice, ErrorKind, WriteCache};
use block_fake::{Disk, Effect, Fault, Kind, Order, Settings};
use blockconsole::Event;
use blockconsole::console::{Name, Reason, owner};
use blockconsole::place::{Extent, Place};
use support::rig::line;
use support::{MIB, Rig, disk, formatted};

fn lines(count: u64) -> Vec<String> {
    (0..count).map(|number| line(number, 200)).collect()
}

#[test]
fn a_write_that_fails_once_is_made_once_more_and_nothing_is_said() {
    for nth in 0..12 {
        let disk = disk(512, 4);
        disk.inject(Fault::new(Effect::FailAfter(ErrorKind::Media, 1)).kind(Kind::Write).after(nth).times(1));
        let mut rig = Rig::boot(&disk);
        for _ in 0..20 {
            rig.log_lines(5, 200);
            rig.settle();
        }
        rig.finish();
        assert_eq!(rig.log_text().messages("test"), lines(100));
        assert_eq!(rig.console.failures(), 0);
        assert!(matches!(rig.events[..], [Event::NowLogging { .. }]));
    }
}

#[test]
fn the_log_goes_around_a_bad_block() {
    for bad in [2048 + 3, 2048 + 40, 2048 + 2047, 2 * 2048 + 1, 2 * 2048 + 700] {
        for (order, zeroes) in [(Order::First, true), (Order::Last, true), (Order::Random(3), false)] {
            let mut settings = Settings { order, ..Settings::new(512, 4 * MIB) };
            if !zeroes {
                // The erasure meets the bad block as well.
                settings.geometry.max_write_zeroes_blocks = 0;
            }
            let disk = formatted(settings);
            disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write).blocks(bad..bad + 1));
            let mut rig = Rig::boot(&disk);
            rig.log_and_settle(8000, 200);
            rig.finish();
            let messages = rig.log_text().messages("test");
            // A line that ran into the bad block is there twice: cut, and whole.
            let mut whole: Vec<&String> = messages.iter().filter(|message| message.len() == 200).collect();
            whole.dedup();
            assert_eq!(whole.len(), 8000, "block {bad}, {order:?}");
            assert!(whole.iter().zip(0..).all(|(message, number)| **message == line(number, 200)));
            assert!(messages.len() <= 8000 + 3);
            assert_eq!(rig.console.failures(), 0, "a success resets the count");
        }
    }
}

#[test]
fn a_tile_whose_header_cannot_be_written_is_passed_over() {
    let disk = disk(512, 6);
    disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write).blocks(2 * 2048..2 * 2048 + 1));
    let mut rig = Rig::boot(&disk);
    rig.log_and_settle(9000, 200);
    rig.finish();
    let log = rig.log_text();
    assert_eq!(log.tiles.iter().map(|tile| tile.tile).collect::<Vec<_>>(), [0, 1, 3]);
    assert_eq!(
        log.messages("test").into_iter().filter(|message| message.len() == 200).collect::<Vec<_>>(),
        lines(9000)
    );
    // The next mount is not led astray by the gap.
    drop(rig);
    disk.heal();
    let mut rig = Rig::boot(&disk);
    rig.log("again");
    rig.finish();
    assert_eq!(rig.console.position().map(|(tile, round, _)| (tile, round)), Some((4, 0)));
}

#[test]
fn ten_failures_in_a_row_end_it_and_nine_do_not() {
    for (failures, ends) in [(9, false), (10, true)] {
        let disk = disk(512, 4);
        let mut rig = Rig::boot(&disk);
        rig.log_lines(1, 200);
        rig.finish();
        disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write).times(2 * failures));
        let before = disk.counts().failures;
        for _ in 0..30 {
            rig.log_lines(1, 200);
            rig.console.finish(rig.ring.written());
            rig.settle();
        }
        assert_eq!(disk.counts().failures - before, 2 * failures);
        assert_eq!(rig.console.is_active(), !ends);
        let reason = Reason::Failing(ErrorKind::Media.into());
        let stopped = Event::NoLongerLogging { name: Name::new("ram0"), reason };
        assert_eq!(rig.events.contains(&stopped), ends);
        if !ends {
            rig.finish();
            let mut messages = rig.log_text().messages("test");
            messages.retain(|message| message.len() == 200);
            // What stood in a padded block that could not be written again is written once more elsewhere.
            messages.dedup();
            assert_eq!(messages, lines(31), "nothing was lost");
        }
    }
}

#[test]
fn a_flush_that_fails_for_good_ends_it_and_nothing_is_called_durable() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.settle();
    disk.inject(Fault::new(Effect::Fail(ErrorKind::Device)).kind(Kind::Flush));
    let durable = rig.console.durable();
    rig.log_lines(20, 200);
    rig.console.finish(rig.ring.written());
    rig.settle();
    assert_eq!(rig.console.durable(), durable);
    assert!(!rig.console.is_active());
}

#[test]
fn an_erasure_that_fails_falls_back_to_writes() {
    let disk = disk(512, 4);
    disk.inject(Fault::new(Effect::Fail(ErrorKind::Unsupported)).kind(Kind::WriteZeroes));
    let mut rig = Rig::boot(&disk);
    rig.log_and_settle(8000, 200);
    rig.finish();
    assert_eq!(rig.log_text().messages("test"), lines(8000));
    assert!(disk.counts().zeroes == 0);
    let last = rig.console.position().map_or(0, |(tile, _, filled)| u64::from(tile) * MIB + u64::from(filled));
    let rest = disk.medium().read(last.next_multiple_of(512), (MIB - last % MIB - 512) as usize);
    assert!(rest.iter().all(|byte| *byte == 0), "the rest of the tile is erased all the same");
}

#[test]
fn a_device_that_hangs_and_comes_back_loses_nothing() {
    for nth in 0..8 {
        let settings = Settings { deadline: Some(50), reset_latency: 10, ..Settings::new(512, 4 * MIB) };
        let disk = formatted(settings);
        disk.inject(Fault::new(Effect::Hang).kind(Kind::Write).after(nth).times(1));
        let mut rig = Rig::boot(&disk);
        for _ in 0..20 {
            rig.log_lines(5, 200);
            for _ in 0..200 {
                rig.turn();
            }
        }
        rig.finish();
        assert_eq!(rig.log_text().messages("test"), lines(100), "write {nth}");
        assert_eq!(disk.counts().resets, 1);
        assert!(disk.violations().is_empty(), "{:?}", disk.violations());
    }
}

#[test]
fn a_dead_device_that_comes_back_is_taken_up_again() {
    let disk = disk(512, 8);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(30, 200);
    rig.finish();
    rig.log_lines(30, 200);
    rig.turn();
    disk.kill();
    rig.settle();
    assert!(!rig.console.is_active());
    assert_eq!(rig.events.len(), 2);
    rig.log_lines(30, 200);
    rig.settle();
    // Its buffers that were in flight are gone for good.
    rig.port.recover();
    for _ in 0..10 {
        rig.turn();
    }
    rig.console.add_buffer(vec![0; 256 * 1024]);
    rig.console.reattach();
    rig.settle();
    rig.finish();
    assert!(matches!(
        rig.events[..],
        [Event::NowLogging { tile: 1, .. }, Event::NoLongerLogging { .. }, Event::NowLogging { tile: 2, .. }]
    ));
    let mut messages = rig.log_text().messages("test");
    messages.retain(|message| message.len() == 200);
    // What was written but not flushed when it died may be there twice; nothing is missing.
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages, lines(90));
    assert_eq!(rig.console.identity().map(|(_, boot)| boot), Some(1), "it is still the same boot");
    // What was logged meanwhile stands behind a line that is not younger.
    let lines = rig.log_text().lines();
    let again = lines.iter().position(|line| line.contains(" blockconsole: tile 2 ")).unwrap();
    let time = |line: &String| line.get(1..13).and_then(|time| time.trim().parse::<f64>().ok());
    let times: Vec<f64> = lines[again..].iter().filter_map(time).collect();
    assert!(times.len() > 5 && times.is_sorted(), "{lines:#?}");
}

#[test]
fn another_disk_in_its_place_gets_the_whole_log() {
    let disk = disk(512, 8);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(30, 200);
    rig.finish();
    disk.kill();
    rig.settle();
    disk.put(0, &[vec![0; MIB as usize], vec![0; MIB as usize]].concat());
    let mut first = vec![b' '; 512];
    first[511] = b'\n';
    first[..59].copy_from_slice(&support::header(0x7777_7777, 0, 0));
    disk.put(0, &first);
    rig.port.recover();
    rig.turn();
    rig.turn();
    rig.console.reattach();
    rig.settle();
    assert_eq!(rig.console.identity(), Some((0x7777_7777, 1)));
    rig.finish();
    assert_eq!(rig.log_text().messages("test"), lines(30));
    assert!(rig.log_text().text().contains("boot 1 of 77777777"));
}

/// Two consoles on one device that takes one or two requests at a time, of which one gets all the log that it can write.
#[test]
fn a_console_under_load_does_not_hold_up_another_on_its_device() {
    for depth in [1, 2] {
        for order in [Order::First, Order::Last, Order::Random(1)] {
            let mut settings = Settings { order, latency: 3, ..Settings::new(512, 16 * MIB) };
            settings.geometry.queue_depth = depth;
            let disk = Disk::new(settings);
            let places = [0u64, 8].map(|tile| {
                let mut first = support::header(9, 0, 0);
                first.resize(512, b' ');
                disk.put(tile * 2048, &first);
                Place::new(512, &[Extent { first_block: tile * 2048, blocks: 8 * 2048 }]).expect("a place")
            });
            let mut busy = Rig::boot_with(&disk, 64 * 1024, |config| (config.place, config.index) = (places[0], 0));
            let mut calm = Rig::boot_with(&disk, 64 * 1024, |config| (config.place, config.index) = (places[1], 1));
            let mut port = disk.port();
            let (mut waited, mut longest, mut promised) = (0, 0, 0);
            for turn in 0..6000 {
                busy.log_lines(8, 200);
                if calm.console.durable() == calm.ring.written() {
                    (longest, promised, waited) = (waited.max(longest), promised + 1, 0);
                    calm.log_lines(1, 200);
                    calm.console.finish(calm.ring.written());
                }
                waited += 1;
                while let Some(completion) = port.poll() {
                    let console = if owner(completion.tag) == 0 { &mut busy.console } else { &mut calm.console };
                    assert!(console.complete(completion).is_ok());
                }
                // In turns, as their owner has to do it.
                for which in [turn % 2, 1 - turn % 2] {
                    let rig = if which == 0 { &mut busy } else { &mut calm };
                    rig.console.pump(&mut port, &rig.ring, 0);
                }
            }
            assert!(
                longest <= 200 && promised > 30,
                "depth {depth}, {order:?}: {promised} lines, one took {longest} turns"
            );
            assert!(busy.console.durable() > 5000, "and it gets on itself: {}", busy.console.durable());
            assert!(disk.violations().is_empty(), "{:?}", disk.violations());
        }
    }
}

#[test]
fn a_slow_console_is_lapped_and_says_so_exactly() {
    let settings = Settings { latency: 400, ..Settings::new(512, 16 * MIB) };
    let disk = formatted(settings);
    let mut rig = Rig::boot(&disk);
    for _ in 0..3000 {
        rig.log_lines(20, 200);
        rig.turn();
    }
    disk.set(|settings| settings.latency = 0);
    rig.settle();
    rig.finish();
    let log = rig.log_text();
    let messages = log.messages("test");
    let lost: u64 = log
        .lines()
        .iter()
        .filter_map(|line| {
            line.split_once("blockconsole: *** ")?.1.strip_suffix(" lines lost ***")?.parse::<u64>().ok()
        })
        .sum();
    assert!(lost > 0 && messages.len() > 1000);
    assert_eq!(messages.len() as u64 + lost, rig.lines);
    let mut last = None;
    for message in &messages {
        let number: u64 = message[5..12].parse().expect("a number");
        assert_eq!(*message, line(number, 200));
        assert!(last.is_none_or(|last| number > last));
        last = Some(number);
    }
}

#[test]
fn a_device_that_takes_no_writes_is_not_written_to() {
    let disk = disk(512, 4);
    disk.set(|settings| settings.geometry.access = block::Access::ReadOnly("a switch"));
    let mut rig = Rig::boot(&disk);
    rig.log_lines(10, 200);
    rig.settle();
    let reason = Reason::ReadOnly("a switch");
    assert_eq!(rig.events, [Event::NoLongerLogging { name: Name::new("ram0"), reason }]);
    assert!(disk.history().is_empty());
}

#[test]
fn nothing_outside_of_a_partition_is_ever_written() {
    let disk = Disk::new(Settings { blank: b'S', ..Settings::new(512, 16 * MIB) });
    let mut first = support::header(9, 0, 0);
    first.resize(512, b' ');
    disk.put(5000, &first);
    disk.allow_only(5000..5000 + 3 * 2048);
    let extent = Extent { first_block: 5000, blocks: 3 * 2048 + 2047 };
    let place = Place::new(512, &[extent]).expect("a place");
    let mut rig = Rig::boot_with(&disk, 256 * 1024, |config| config.place = place);
    rig.log_and_settle(20_000, 200);
    rig.finish();
    assert_eq!(rig.console.position().map(|(_, round, _)| round > 0), Some(true), "it has wrapped");
    assert!(disk.violations().is_empty(), "{:?}", disk.violations());
}

#[test]
fn a_file_in_pieces_is_a_console_too() {
    let disk = Disk::new(Settings { blank: b'S', ..Settings::new(4096, 16 * MIB) });
    let mut first = support::header(9, 0, 0);
    first.resize(4096, b' ');
    // Three tiles in five pieces, none of which is a whole tile.
    let pieces = [(3000, 100), (10, 300), (1000, 168), (2000, 199), (500, 1)];
    let extents: Vec<Extent> =
        pieces.iter().map(|(first_block, blocks)| Extent { first_block: *first_block, blocks: *blocks }).collect();
    disk.put(3000, &first);
    for (first, blocks) in pieces {
        disk.allow_only(first..first + blocks);
    }
    let place = Place::new(4096, &extents).expect("a place");
    let mut rig = Rig::boot_with(&disk, 256 * 1024, |config| config.place = place);
    rig.log_and_settle(6000, 200);
    rig.finish();
    assert!(disk.violations().is_empty(), "{:?}", disk.violations());
    let medium = disk.medium();
    let mut joined = block_fake::Medium::new(4096, 0);
    let blocks = pieces.iter().flat_map(|(first, blocks)| *first..first + blocks);
    for (to, from) in blocks.enumerate() {
        joined.set_block(to as u64, medium.block(from).clone());
    }
    assert_eq!(support::Log::read(&joined, 3).messages("test"), lines(6000));
}

#[test]
fn every_sort_of_device_gets_the_same_text() {
    let mut texts = Vec::new();
    for block in [512, 1024, 4096, 16_384, 65_536] {
        for cache in [WriteCache::Volatile, WriteCache::WriteThrough, WriteCache::Unknown] {
            for (transfer, depth) in [(1, 1), (3, 2), (1 << 20, 64)] {
                let mut settings = Settings { order: Order::Random(1), ..Settings::new(block, 4 * MIB) };
                settings.geometry.write_cache = cache;
                settings.geometry.max_transfer_blocks = transfer;
                settings.geometry.queue_depth = depth;
                let disk = formatted(settings);
                let mut rig = Rig::boot_with(&disk, 128 * 1024, |_| {});
                rig.log_and_settle(5000, 200);
                rig.finish();
                texts.push(rig.log_text().messages("test"));
                assert!(disk.violations().is_empty(), "{:?}", disk.violations());
            }
        }
    }
    assert!(texts.iter().all(|text| *text == lines(5000)));
}

#[test]
fn a_console_of_one_tile_wraps_onto_itself() {
    let disk = disk(512, 1);
    let mut rig = Rig::boot(&disk);
    rig.log_and_settle(12_000, 200);
    rig.finish();
    let log = rig.log_text();
    let messages = log.messages("test");
    assert!(log.tiles.len() == 1 && log.tiles[0].round >= 2);
    assert_eq!(messages.last(), Some(&line(11_999, 200)));
    let first = 12_000 - messages.len() as u64;
    assert!(messages.iter().zip(first..).all(|(message, number)| *message == line(number, 200)));
    assert_eq!(rig.crash(b"---[ crash 1 ]---\nx\n---[ end crash 1 ]---\n"), blockconsole::console::Outcome::Done);
    assert!(rig.log_text().text().ends_with("---[ end crash 1 ]---\n"));
}
