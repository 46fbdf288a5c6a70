//! A flush that fails once may have lost what it was to make durable.

mod support;

use block::ErrorKind;
use block_fake::{Disk, Effect, Fault, Kind, Settings};
use blockconsole::console::Outcome;
use blockconsole::crash::{self, Verdict};
use support::rig::line;
use support::{Log, MIB, Rig, formatted};

const RECORD: &[u8] =
    b"---[ crash 00000000000000aa ]---\n---[ end crash 00000000000000aa lines=0 crc32c=00000000 ]---\n";

fn forgetful(settings: Settings, after: u64, times: u64) -> Disk {
    let disk = formatted(settings);
    disk.inject(Fault::new(Effect::Forget(ErrorKind::Media)).kind(Kind::Flush).after(after).times(times));
    disk
}

/// What a power cut would leave for certain.
fn durable(disk: &Disk) -> Log {
    Log::read(&disk.history().durable(), 5)
}

fn settings(zeroes: bool) -> Settings {
    // Whatever is not erased shows.
    let mut settings = Settings { blank: b'S', latency: 2, ..Settings::new(512, 5 * MIB) };
    if !zeroes {
        settings.geometry.max_write_zeroes_blocks = 0;
        settings.geometry.max_transfer_blocks = 256;
    }
    settings
}

fn assert_all_durable(rig: &Rig, what: &str) {
    let log = durable(&rig.disk);
    let text = log.text();
    assert!(!text.contains("SSSSSSSS"), "{what}: what was not erased is in the log");
    let mut messages = log.messages("test");
    // A line may be there twice, cut or whole.
    messages.retain(|message| message.len() == 200);
    messages.sort_unstable();
    messages.dedup();
    let first = rig.lines - messages.len() as u64;
    assert!(first == 0 || rig.lines > 12_000, "{what}: {first} lines are gone");
    for (number, message) in (first..).zip(&messages) {
        assert_eq!(*message, line(number, 200), "{what}");
    }
    assert_eq!(text.matches("blockconsole: boot 1 of").count(), 1, "{what}: the boot line");
    assert!(rig.disk.violations().is_empty(), "{what}: {:?}", rig.disk.violations());
}

#[test]
fn what_was_not_durable_is_written_again() {
    for zeroes in [true, false] {
        for times in [1, 3] {
            for nth in 0..14 {
                let what = format!("flush {nth}, {times} times, write-zeroes {zeroes}");
                let disk = forgetful(settings(zeroes), nth, times);
                let mut rig = Rig::boot(&disk);
                for i in 0..130u64 {
                    rig.log_lines(60, 200);
                    for _ in 0..3 + i % 11 {
                        rig.now_ns += 7_000_000;
                        rig.turn();
                    }
                    while rig.ring.written() > rig.console.durable() + 3000 {
                        rig.now_ns += 7_000_000;
                        rig.turn();
                    }
                }
                rig.finish();
                assert!(rig.console.is_active());
                assert_eq!(disk.counts().failures, times, "{what}");
                assert_all_durable(&rig, &what);
            }
        }
    }
}

#[test]
fn the_headers_of_kept_tiles_are_written_again() {
    for nth in 0..10 {
        let disk = formatted(Settings { latency: 2, ..Settings::new(512, 16 * MIB) });
        let mut number = 0;
        let mut boot = |forgets: bool| {
            number += 1;
            if forgets {
                disk.inject(Fault::new(Effect::Forget(ErrorKind::Media)).kind(Kind::Flush).after(nth).times(1));
            }
            let mut rig = Rig::boot(&disk);
            rig.log_lines(30, 200);
            rig.finish();
            let record = format!(
                "---[ crash {number:016x} ]---\nreason: word-{number}\n---[ end crash {number:016x} lines=1 crc32c=00000000 ]---\n"
            );
            assert_eq!(rig.crash(record.leak().as_bytes()), Outcome::Done);
            number
        };
        for _ in 0..15 {
            boot(false);
        }
        // This one enters tile 0, and the next carries three tiles behind it.
        assert_eq!(boot(false), 16);
        boot(true);
        boot(false);
        let log = Log::read(&disk.history().durable(), 16);
        let text = log.text();
        let words: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("reason: word-")).collect();
        assert_eq!((&words[..3], words.last()), (&["1", "2", "3"][..], Some(&"18")), "flush {nth}: {words:?}");
        let rounds: Vec<u32> =
            (0..16).filter_map(|tile| log.tiles.iter().find(|of| of.tile == tile)).map(|tile| tile.round).collect();
        assert!(rounds.is_sorted_by(|a, b| a >= b), "flush {nth}: {rounds:?}");
    }
}

#[test]
fn a_crash_record_that_a_flush_loses_is_written_again() {
    for turns in 0..40 {
        for nth in 0..2 {
            let disk = formatted(settings(true));
            let mut rig = Rig::boot(&disk);
            for turn in 0..turns {
                if turn % 4 == 0 {
                    rig.log_lines(300, 200);
                }
                rig.now_ns += 20_000_000;
                rig.turn();
            }
            rig.log_lines(20, 200);
            disk.inject(Fault::new(Effect::Forget(ErrorKind::Media)).kind(Kind::Flush).after(nth).times(1));
            assert_eq!(rig.crash(RECORD), Outcome::Done);
            assert_all_durable(&rig, &format!("turn {turns}"));
            let text = durable(&disk).text();
            let found = crash::find_last(text.as_bytes()).unwrap_or_else(|| panic!("turn {turns}: no record"));
            assert_eq!(found.verdict, Verdict::Whole, "turn {turns}");
        }
    }
}

#[test]
fn a_crash_right_behind_a_flush_that_failed_goes_back_too() {
    for turns in 0..60 {
        let disk = formatted(settings(true));
        disk.inject(Fault::new(Effect::Forget(ErrorKind::Media)).kind(Kind::Flush).after(1).times(1));
        let mut rig = Rig::boot(&disk);
        for turn in 0..turns {
            rig.log_lines(15, 200);
            if turn % 3 == 0 {
                rig.console.finish(rig.ring.written());
            }
            rig.turn();
        }
        assert_eq!(rig.crash(RECORD), Outcome::Done);
        assert_all_durable(&rig, &format!("turn {turns}"));
    }
}
