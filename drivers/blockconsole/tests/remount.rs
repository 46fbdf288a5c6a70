//! A console that mounts again: nothing old is in its way, nor in a crash.

mod support;

use block::{BlockDevice, ErrorKind};
use block_fake::{Disk, Effect, Fault, Kind, Settings};
use blockconsole::Event;
use blockconsole::console::Outcome;
use blockconsole::crash::{self, Verdict};
use support::rig::{Dying, line};
use support::{MIB, Rig, formatted};

const RECORD: &[u8] =
    b"---[ crash 00000000000000aa ]---\n---[ end crash 00000000000000aa lines=0 crc32c=00000000 ]---\n";

fn settings() -> Settings {
    Settings { latency: 2, ..Settings::new(512, 8 * MIB) }
}

/// Boots so often that tile 0 is of round 1, and holds 30 lines of its own, as do the tiles before the current one.
fn wrapped() -> (Disk, Rig) {
    let disk = formatted(settings());
    for _ in 0..9 {
        let mut rig = Rig::boot(&disk);
        rig.log_lines(30, 200);
        rig.finish();
    }
    let mut rig = Rig::boot(&disk);
    rig.log_lines(30, 200);
    rig.finish();
    assert_eq!(rig.console.position().map(|(tile, round, _)| (tile, round)), Some((2, 1)));
    (disk, rig)
}

/// The texts of the tiles 0 and 1, which nobody may touch.
fn first_tiles(disk: &Disk) -> Vec<u8> {
    disk.medium().read(0, 2 * MIB as usize)
}

fn assert_taken_over(rig: &Rig, before: &[u8], what: &str) {
    assert!(first_tiles(&rig.disk) == before, "{what}: the tiles before were written to");
    let text = rig.log_text().boot(10);
    let found = crash::find_last(text.as_bytes()).unwrap_or_else(|| panic!("{what}: no record"));
    assert_eq!(found.verdict, Verdict::Whole, "{what}");
    for number in 0..rig.lines {
        assert!(text.contains(&line(number, 200)), "{what}: line {number}");
    }
    assert!(rig.disk.violations().is_empty(), "{what}: {:?}", rig.disk.violations());
}

#[test]
fn a_crash_at_any_turn_of_a_reattachment() {
    let mut logged = 0;
    for turns in 0..60 {
        let (disk, mut rig) = wrapped();
        let before = first_tiles(&disk);
        disk.kill();
        rig.settle();
        assert!(!rig.console.is_active());
        rig.log_lines(10, 200);
        rig.port.recover();
        for _ in 0..10 {
            rig.turn();
        }
        rig.console.reattach();
        for _ in 0..turns {
            rig.turn();
        }
        logged += u32::from(rig.console.position().is_some());
        assert_eq!(rig.crash(RECORD), Outcome::Done, "turn {turns}");
        assert_taken_over(&rig, &before, &format!("turn {turns}"));
    }
    assert!((1..50).contains(&logged), "{logged}: some crashes before, some after the mount");
}

#[test]
fn a_crash_at_any_turn_of_a_mount_that_a_crash_makes() {
    let mut unfinished = 0;
    for turns in 0..60 {
        let (disk, mut rig) = wrapped();
        let before = first_tiles(&disk);
        // The current tile's header is damaged, so that the first crash mounts anew.
        disk.put(2 * 2048, &[b'X'; 512]);
        rig.log_lines(10, 200);
        let mut first = Dying::with_cell(&rig, RECORD, rig.cell);
        for _ in 0..turns {
            first.turn();
        }
        if first.console.outcome() == Outcome::Working {
            unfinished += 1;
            assert_eq!(rig.crash(RECORD), Outcome::Done, "turn {turns}");
        }
        assert!(first_tiles(&disk) == before, "turn {turns}: the tiles before were written to");
        let text = rig.log_text().text();
        let found = crash::find_last(text.as_bytes()).unwrap_or_else(|| panic!("turn {turns}: no record"));
        assert_eq!(found.verdict, Verdict::Whole, "turn {turns}");
        for number in 30..40 {
            assert!(text.contains(&line(number, 200)), "turn {turns}: line {number}");
        }
    }
    assert!((5..60).contains(&unfinished), "{unfinished}");
}

/// An erasure that was under way when the console stopped ends after it was taken up again.
#[test]
fn what_was_asked_before_the_end_is_no_answer_to_the_mount() {
    let ends = [Effect::Delay(300), Effect::Fail(ErrorKind::Media)];
    for (i, end) in ends.into_iter().enumerate() {
        let mut settings = settings();
        settings.geometry.max_write_zeroes_blocks = 0;
        settings.geometry.max_transfer_blocks = 64;
        if i == 1 {
            settings.latency = 40;
        }
        let disk = formatted(settings);
        let mut rig = Rig::boot(&disk);
        rig.log_lines(10, 200);
        rig.finish();
        // The erasure of the next tile takes its time, and writes to the current one fail meanwhile.
        disk.inject(Fault::new(end).kind(Kind::Write).blocks(2 * 2048 + 1..3 * 2048));
        disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write).blocks(2048 + 1200..2 * 2048));
        while rig.console.is_active() {
            rig.log_lines(20, 200);
            rig.turn();
        }
        disk.heal();
        let at = disk.now();
        let pending = rig.console.in_flight();
        rig.console.reattach();
        let mut writes = 0;
        for _ in 0..2000 {
            rig.turn();
            if !rig.events.iter().skip(2).any(|event| matches!(event, Event::NowLogging { .. })) {
                let events = disk.history();
                let events = events.events().iter().skip(at);
                writes = events.filter(|event| matches!(event, block_fake::history::Event::Submitted(_))).count();
            }
        }
        rig.settle();
        assert!(rig.console.is_active(), "{end:?}, {pending} in flight: {:?}", rig.events);
        rig.finish();
        // All that is written before it logs again is the erasure of the tile that it is about to enter.
        assert!(writes <= 34, "{writes} writes");
        assert!(disk.violations().is_empty(), "{:?}", disk.violations());
        let mut messages = rig.log_text().messages("test");
        messages.retain(|message| message.len() == 200);
        messages.sort_unstable();
        messages.dedup();
        assert_eq!(messages.last(), Some(&line(rig.lines - 1, 200)));
    }
}
