//! Headers that cannot be written: tiles are passed over, none newer is lost.

mod support;

use block::ErrorKind;
use block_fake::{Disk, Effect, Fault, Kind};
use blockconsole::Event;
use blockconsole::console::{Outcome, Reason};
use blockconsole::search::{Answer, Search, Step, after};
use support::{Log, Rig, disk};

/// One boot that logs a line of its own; returns the tile and the round that it logged to.
fn boot(disk: &Disk, number: u32) -> (u32, u32) {
    let mut rig = Rig::boot(disk);
    rig.log(&format!("this is boot {number}"));
    rig.finish();
    assert!(disk.violations().is_empty(), "{:?}", disk.violations());
    rig.console.position().map(|(tile, round, _)| (tile, round)).expect("a position")
}

fn header_fault(tile: u64) -> Fault {
    Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write).blocks(2048 * tile..2048 * tile + 1)
}

#[test]
fn a_tile_that_is_passed_over_in_a_later_round_hides_no_newer_one() {
    for (tiles, bads) in [(3u32, 1..3), (4, 1..4), (5, 1..5), (8, 1..8), (13, 5..8), (32, 23..25)] {
        for bad in bads {
            let disk = disk(512, u64::from(tiles));
            let mut at = (0, 0);
            let mut number = 0;
            let mut go_on = |at: &mut (u32, u32), is_bad: bool| -> u32 {
                let mut expected = after(at.0, at.1, u64::from(tiles));
                if is_bad && expected.0 == bad {
                    expected = after(expected.0, expected.1, u64::from(tiles));
                }
                number += 1;
                *at = boot(&disk, number);
                assert_eq!(*at, expected, "{tiles} tiles, {bad} cannot be entered, boot {number}");
                number
            };
            // The boots before are all there, as far as there is room.
            let check = |number: u32| {
                let messages = Log::read(&disk.medium(), u64::from(tiles)).messages("test");
                for number in number.saturating_sub(tiles - 2).max(1)..=number {
                    assert!(messages.contains(&format!("this is boot {number}")), "{messages:?}");
                }
            };
            for _ in 1..tiles {
                go_on(&mut at, false);
            }
            disk.inject(header_fault(u64::from(bad)));
            for _ in 0..2 * tiles {
                let number = go_on(&mut at, true);
                if number % 4 == 0 {
                    check(number);
                }
            }
            disk.heal();
            for _ in 0..tiles {
                go_on(&mut at, false);
            }
            check(go_on(&mut at, false));
        }
    }
}

fn record(number: u32) -> &'static [u8] {
    let text = format!(
        "---[ crash {number:016x} ]---\nreason: word-{number}\n---[ end crash {number:016x} lines=1 crc32c=00000000 ]---\n"
    );
    text.leak().as_bytes()
}

fn crash(disk: &Disk, number: u32) {
    let mut rig = Rig::boot(disk);
    // So that the record does not stand in the first block, which no erasure touches.
    rig.log_lines(30, 200);
    rig.settle();
    assert_eq!(rig.crash(record(number)), Outcome::Done);
}

fn words(disk: &Disk, tiles: u64) -> Vec<u32> {
    let text = Log::read(&disk.medium(), tiles).text();
    text.lines().filter_map(|line| line.strip_prefix("reason: word-")?.parse().ok()).collect()
}

/// As a volume does that grows with what is written to it, when there is no more room: write-zeroes takes none.
#[test]
fn a_disk_that_takes_zeroes_only_is_given_up_before_its_log_is_gone() {
    const TILES: u64 = 13;
    for boots in 3..3 + 2 * TILES as u32 {
        let disk = disk(512, TILES);
        for number in 1..=boots {
            crash(&disk, number);
        }
        let before = Log::read(&disk.medium(), TILES).tiles;
        disk.inject(Fault::new(Effect::Fail(ErrorKind::NoSpace)).kind(Kind::Write));
        for _ in 0..3 {
            let mut rig = Rig::boot(&disk);
            rig.log_lines(20, 200);
            rig.settle();
            assert!(!rig.console.is_active(), "boot {boots}");
            assert!(
                matches!(
                    rig.events[..],
                    [Event::NowLogging { .. }, .., Event::NoLongerLogging { .. }] | [Event::NoLongerLogging { .. }]
                ),
                "{:?}",
                rig.events
            );
            let reason = rig.events.iter().find_map(|event| match event {
                Event::NoLongerLogging { reason, .. } => Some(*reason),
                Event::NowLogging { .. } => None,
            });
            let error = ErrorKind::NoSpace.into();
            assert!(matches!(reason, Some(Reason::Headers(of) | Reason::Failing(of)) if of == error), "{reason:?}");
        }
        let now = Log::read(&disk.medium(), TILES).tiles;
        let changed = before.iter().filter(|tile| !now.contains(tile)).count();
        assert!(changed <= 2, "boot {boots}: {changed} tiles were erased");
        assert_eq!(words(&disk, TILES)[..3], [1, 2, 3], "boot {boots}");
        assert!(words(&disk, TILES).contains(&boots), "boot {boots}");
        disk.heal();
        for number in boots + 1..boots + 4 {
            crash(&disk, number);
            assert_eq!(words(&disk, TILES)[..3], [1, 2, 3], "boot {number}");
            assert_eq!(words(&disk, TILES).last(), Some(&number));
        }
    }
}

/// A crash finds two headers in a row that cannot be written, of which the console had passed over the first.
#[test]
fn a_crash_passes_over_no_second_tile() {
    let settings = block_fake::Settings { latency: 2, ..block_fake::Settings::new(512, 16 << 20) };
    let wrapped = support::formatted(settings);
    for number in 1..=17 {
        boot(&wrapped, number);
    }
    let mut stopped = 0;
    for turns in (0..120).step_by(3) {
        let disk = Disk::with_medium(settings, wrapped.medium());
        disk.inject(header_fault(2));
        disk.inject(header_fault(3));
        let mut rig = Rig::boot(&disk);
        rig.log_lines(30, 200);
        for _ in 0..turns {
            rig.turn();
        }
        if rig.console.is_active() {
            assert!(matches!(rig.crash(record(18)), Outcome::Failed(_)), "turn {turns}");
            stopped += 1;
        }
        // Tile 4 was not entered: a mount might miss what stands behind two old headers.
        let medium = disk.medium();
        let round = |tile: u64| support::reader::header(&medium.read(tile << 20, 59)).map(|(_, round, _)| round);
        let rounds: Vec<_> = (0..16).filter_map(round).collect();
        assert_eq!(rounds, [[1, 1].as_slice(), &[0; 14]].concat(), "turn {turns}");
    }
    assert!((5..40).contains(&stopped), "{stopped}");
}

/// A kept record whose header cannot be brought up to date stays, and the log goes on behind it.
#[test]
fn a_kept_tile_whose_header_cannot_be_written_is_passed_over() {
    const TILES: u64 = 16;
    let disk = disk(512, TILES);
    for number in 1..=10 {
        crash(&disk, number);
    }
    disk.inject(header_fault(2));
    for number in 11..60 {
        crash(&disk, number);
        assert_eq!(words(&disk, TILES)[..3], [1, 2, 3], "boot {number}");
        let last = words(&disk, TILES);
        assert!(last.ends_with(&[number - 2, number - 1, number]), "{last:?}");
    }
}

/// What hangs once may hang again: a reset each time.
#[test]
fn an_erasure_that_hangs_is_made_by_writes_from_then_on() {
    let mut settings = block_fake::Settings::new(512, 6 << 20);
    settings.deadline = Some(200);
    let disk = support::formatted(settings);
    disk.inject(Fault::new(Effect::Hang).kind(Kind::WriteZeroes));
    let mut rig = Rig::boot(&disk);
    for _ in 0..160 {
        rig.log_lines(100, 200);
        for _ in 0..100 {
            rig.turn();
        }
        rig.settle();
    }
    rig.finish();
    assert!(rig.console.position().is_some_and(|(tile, round, _)| u64::from(round) * 6 + u64::from(tile) >= 4));
    assert!(disk.counts().resets <= 2, "{} resets", disk.counts().resets);
}

/// The largest console there is: its last tile is number 2^32 - 1, and tile 0 comes after it.
#[test]
fn the_last_of_two_to_the_32nd_tiles_wraps() {
    const LAST: u32 = u32::MAX;
    let disk = Disk::new(block_fake::Settings::new(512, 1 << 52));
    let header_of = |tile: u32, round: u32| {
        let mut first = support::header(support::UUID, round, tile);
        first.resize(512, b' ');
        disk.put(u64::from(tile) * 2048, &first);
    };
    // What the mount looks at: all tiles but the last are of round 7.
    let mut search = Search::new(1 << 32, None);
    while let Step::Read(tile) = search.step() {
        let round = if tile == LAST { 6 } else { 7 };
        header_of(tile, round);
        search.answer(Answer::Header(blockconsole::format::Header { uuid: support::UUID, round, tile }));
    }
    header_of(LAST - 1, 7);
    let mut rig = Rig::boot(&disk);
    rig.log_and_settle(100, 200);
    assert_eq!(rig.console.position().map(|(tile, round, _)| (tile, round)), Some((LAST, 7)));
    rig.log_and_settle(5000, 200);
    rig.finish();
    assert_eq!(rig.console.position().map(|(tile, round, _)| (tile, round)), Some((0, 8)));
    let medium = disk.medium();
    let texts = [LAST, 0].map(|tile| support::reader::text(&medium.read(u64::from(tile) << 20, 1 << 20), 512));
    assert!(texts[0].contains("tile 4294967295 round 7 boot 1\n") && texts[1].contains("tile 0 round 8 boot 1\n"));
    let all = texts.concat();
    assert!((0..5100).all(|number| all.contains(&support::rig::line(number, 200))));
    assert!(disk.violations().is_empty(), "{:?}", disk.violations());
}
