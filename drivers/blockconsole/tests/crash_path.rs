//! Whatever a console was doing: its backlog and the record are on disk, once.

mod support;

use block::{BlockDevice, Completion, ErrorKind, Geometry, Refused, Request, State, Tag, WriteCache};
use block_fake::{Disk, Effect, Fault, Kind, Order, Port, Settings};
use blockconsole::console::{BadTarget, Outcome, Pending, RESERVE, Reason, Target, TargetCell};
use blockconsole::crash::{self, Report, Verdict};
use support::rig::{Dying, line};
use support::{MIB, Rig, disk, formatted, header};

fn record() -> &'static [u8] {
    let report =
        Report { id: 0xdead_beef, kind: "panic", reason: "the end", backtrace: &[1, 2, 3], ..Report::default() };
    let mut out = vec![0; crash::MAX_RECORD];
    let len = crash::write(&report, &mut out);
    out.truncate(len);
    out.leak()
}

/// Every line from some number on is there, in order and once, and then the crash record, whole.
fn assert_complete(rig: &Rig, record: &[u8], lines: u64, what: &str) {
    let log = rig.log_text();
    let text = log.text();
    let messages = log.messages("test");
    let expected: Vec<String> = (0..lines).map(|number| line(number, 200)).collect();
    let wrapped = (lines as usize).saturating_sub(messages.len());
    assert!(lines < 12_000 || wrapped < lines as usize - 8000, "{what}: {wrapped} of {lines} are gone");
    assert!(lines >= 12_000 || wrapped == 0, "{what}: {messages:?}");
    assert!(messages == expected[wrapped..], "{what}: lines are missing, or there twice");
    let found = crash::find_last(text.as_bytes()).unwrap_or_else(|| panic!("{what}: no record"));
    assert_eq!(found.verdict, Verdict::Whole, "{what}");
    assert_eq!(&text.as_bytes()[found.range.clone()], record, "{what}");
    let rest = text[found.range.end..].trim();
    assert!(
        rest.is_empty() || rest.contains("blockconsole: tile ") && rest.lines().count() == 1,
        "{what}: {rest:?} behind the record"
    );
    assert!(rig.disk.violations().is_empty(), "{what}: {:?}", rig.disk.violations());
}

/// Plays a scene for so many turns, and crashes.
fn crash_after(turns: usize, settings: Settings, before: u64, scene: impl Fn(&mut Rig, usize)) -> (Rig, Outcome) {
    let disk = formatted(settings);
    let mut rig = Rig::boot(&disk);
    if before > 0 {
        rig.log_and_settle(before, 200);
    }
    for turn in 0..turns {
        scene(&mut rig, turn);
        rig.turn();
    }
    let outcome = rig.crash(record());
    (rig, outcome)
}

fn settings(order: Order, cache: WriteCache, zeroes: bool) -> Settings {
    let mut settings = Settings { blank: b'S', order, latency: 2, ..Settings::new(512, 4 * MIB) };
    settings.geometry.write_cache = cache;
    if !zeroes {
        settings.geometry.max_write_zeroes_blocks = 0;
        settings.geometry.max_transfer_blocks = 256;
    }
    settings
}

fn variants() -> Vec<Settings> {
    let mut variants = Vec::new();
    for order in [Order::First, Order::Last, Order::Random(5)] {
        for cache in [WriteCache::Volatile, WriteCache::WriteThrough, WriteCache::Unknown] {
            for zeroes in [true, false] {
                variants.push(settings(order, cache, zeroes));
            }
        }
    }
    variants
}

#[test]
fn at_any_turn_from_power_on() {
    for settings in variants() {
        for turns in (0..60).step_by(2) {
            let scene = |rig: &mut Rig, turn: usize| {
                if turn.is_multiple_of(2) {
                    rig.log_lines(1 + turn as u64 % 3, 200);
                }
                rig.now_ns += 200_000_000;
            };
            let (rig, outcome) = crash_after(turns, settings, 0, scene);
            assert_eq!(outcome, Outcome::Done, "turn {turns}");
            assert_complete(&rig, record(), rig.lines, &format!("turn {turns}, {settings:?}"));
        }
    }
}

#[test]
fn at_any_turn_of_a_tile_change() {
    for (i, settings) in variants().into_iter().enumerate() {
        for turns in (i % 8..160).step_by(8) {
            let scene = |rig: &mut Rig, _: usize| rig.log_lines(30, 200);
            let (rig, outcome) = crash_after(turns, settings, 3000, scene);
            assert_eq!(outcome, Outcome::Done, "turn {turns}");
            assert_complete(&rig, record(), rig.lines, &format!("turn {turns}, {settings:?}"));
        }
    }
}

#[test]
fn at_any_turn_of_a_wrap() {
    for (i, settings) in variants().into_iter().enumerate().skip(3).step_by(5) {
        for turns in (i % 7..140).step_by(7) {
            let scene = |rig: &mut Rig, _: usize| rig.log_lines(30, 200);
            let (rig, outcome) = crash_after(turns, settings, 12_200, scene);
            assert_eq!(outcome, Outcome::Done, "turn {turns}");
            let log = rig.log_text();
            assert!(log.tiles.iter().any(|tile| tile.round == 1) || turns < 60);
            let found = crash::find_last(log.text().as_bytes()).expect("a record");
            assert_eq!(found.verdict, Verdict::Whole);
            assert!(rig.disk.violations().is_empty(), "{:?}", rig.disk.violations());
        }
    }
}

#[test]
fn at_any_turn_on_consoles_of_one_and_two_tiles() {
    for tiles in [1, 2] {
        for (i, settings) in variants().into_iter().enumerate().step_by(4) {
            let mut settings = settings;
            settings.geometry.block_count = tiles * 2048;
            for turns in (i % 13..120).step_by(13) {
                let scene = |rig: &mut Rig, _: usize| rig.log_lines(40, 200);
                let (rig, outcome) = crash_after(turns, settings, 2200, scene);
                assert_eq!(outcome, Outcome::Done, "turn {turns} on {tiles}");
                let text = rig.log_text().text();
                let found =
                    crash::find_last(text.as_bytes()).unwrap_or_else(|| panic!("turn {turns} on {tiles}: no record"));
                assert_eq!(found.verdict, Verdict::Whole, "turn {turns} on {tiles}");
                if rig.lines > 0 {
                    assert!(text.contains(&line(rig.lines - 1, 200)), "turn {turns} on {tiles}: the last line");
                }
                assert!(rig.disk.violations().is_empty(), "{:?}", rig.disk.violations());
            }
        }
    }
}

#[test]
fn a_small_backlog_takes_one_write_and_one_flush() {
    let disk = disk(4096, 8);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(50, 200);
    rig.finish();
    rig.log_lines(200, 200);
    let before = disk.counts();
    assert_eq!(rig.crash(record()), Outcome::Done);
    let after = disk.counts();
    assert_eq!((after.writes - before.writes, after.flushes - before.flushes), (1, 1));
    assert_eq!((after.zeroes - before.zeroes, after.resets - before.resets), (0, 0));
    assert!(after.reads - before.reads <= 1, "one to look at the header again");
    assert_complete(&rig, record(), 250, "a small backlog");
}

#[test]
fn a_write_that_hangs_is_reset_away_and_made_again() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(20, 200);
    rig.finish();
    disk.inject(Fault::new(Effect::Hang).kind(Kind::Write).times(1));
    rig.log_lines(20, 200);
    for _ in 0..20 {
        rig.turn();
    }
    assert!(rig.console.in_flight() > 0);
    assert_eq!(rig.crash(record()), Outcome::Done);
    assert_eq!(disk.counts().resets, 1);
    assert_complete(&rig, record(), 40, "a hanging write");
}

/// The device was reset by somebody else, or has answered what was in flight: lines of the same block that was padded before.
#[test]
fn a_write_that_is_over_is_made_again_without_a_reset() {
    for (what, effect) in [("lost", Effect::Hang), ("failed", Effect::Fail(ErrorKind::Media))] {
        let disk = disk(4096, 4);
        let mut rig = Rig::boot(&disk);
        for _ in 0..4 {
            rig.log_lines(1, 200);
            rig.finish();
        }
        disk.inject(Fault::new(effect).kind(Kind::Write).times(1));
        rig.log_lines(1, 200);
        rig.console.finish(rig.ring.written());
        // Nobody takes the completion, if there is one.
        while rig.console.in_flight() == 0 {
            rig.now_ns += 1_000_000;
            rig.console.pump(&mut rig.port, &rig.ring, rig.now_ns);
        }
        rig.log_lines(1, 200);
        rig.console.pump(&mut rig.port, &rig.ring, rig.now_ns);
        let target = rig.cell.load().expect("a target");
        assert!(target.in_flight);
        let mut port = disk.port();
        port.recover();
        while port.state() != State::Ready {
            assert!(port.poll().is_none());
        }
        let before = disk.counts();
        let cell: &'static TargetCell = Box::leak(Box::new(TargetCell::new()));
        let outcome = Dying::knowing(Pending::Over, &rig, &target, record(), cell).run();
        assert_eq!((outcome, disk.counts().resets), (Outcome::Done, before.resets), "{what}");
        assert_complete(&rig, record(), 6, what);
    }
}

#[test]
fn a_failing_write_is_made_once_more() {
    for kind in [Kind::Write, Kind::Flush, Kind::Read] {
        let disk = disk(512, 4);
        let mut rig = Rig::boot(&disk);
        rig.log_lines(20, 200);
        rig.settle();
        disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(kind).times(1));
        assert_eq!(rig.crash(record()), Outcome::Done, "{kind:?}");
        if kind == Kind::Flush {
            // What it was to make durable is written once more, behind what is there.
            let text = rig.log_text().text();
            assert!((0..20).all(|number| text.contains(&line(number, 200))));
            assert_eq!(crash::find_last(text.as_bytes()).map(|found| found.verdict), Some(Verdict::Whole));
        } else {
            assert_complete(&rig, record(), 20, "a failing write");
        }
    }
}

#[test]
fn a_device_that_fails_for_good_ends_it() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(20, 200);
    rig.settle();
    disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write));
    let before = disk.counts().failures;
    assert_eq!(rig.crash(record()), Outcome::Failed(Reason::Failing(ErrorKind::Media.into())));
    assert_eq!(disk.counts().failures - before, 20, "ten, each made twice");
    disk.set(|settings| settings.resets = false);
    disk.kill();
    assert!(matches!(rig.crash(record()), Outcome::Failed(Reason::Dead(_))));
}

#[test]
fn another_header_in_place_of_ours_is_not_written_over() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(20, 200);
    rig.finish();
    // Somebody put another disk in: nothing on it may change.
    let mut first = disk.medium().read(0, 512);
    first[..59].copy_from_slice(&header(0x0bad_0bad, 0, 0));
    disk.put(0, &first);
    disk.put(2048, &[b'X'; 512]);
    let before = disk.medium();
    assert!(matches!(rig.crash(record()), Outcome::Failed(Reason::Refused(_))));
    assert_same(&before, &disk.medium());
}

#[test]
fn a_damaged_header_of_the_same_disk_leads_to_another_tile() {
    let disk = disk(512, 8);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(20, 200);
    rig.finish();
    disk.put(2048, &[b'X'; 512]);
    rig.log_lines(5, 200);
    assert_eq!(rig.crash(record()), Outcome::Done);
    let text = rig.log_text().text();
    assert_eq!(crash::find_last(text.as_bytes()).map(|found| found.verdict), Some(Verdict::Whole));
    for number in 20..25 {
        assert!(text.contains(&line(number, 200)), "line {number}");
    }
}

fn assert_same(a: &block_fake::Medium, b: &block_fake::Medium) {
    for block in a.written().chain(b.written()) {
        assert_eq!(a.block(block), b.block(block), "block {block}");
    }
}

#[test]
fn a_crash_within_a_crash_takes_over_from_it() {
    for turns in 0..30 {
        let disk = formatted(settings(Order::Random(turns), WriteCache::Volatile, true));
        let mut rig = Rig::boot(&disk);
        rig.log_and_settle(100, 200);
        rig.log_lines(40, 200);
        let mut first = Dying::with_cell(&rig, b"---[ crash 1 ]---\nfirst\n---[ end crash 1 ]---\n", rig.cell);
        for _ in 0..turns {
            first.turn();
        }
        let outcome = first.console.outcome();
        // If the first was through, there is nothing to take over.
        if outcome == Outcome::Done {
            assert_eq!(rig.cell.load().map(|target| target.is_idle), Ok(true));
            return;
        }
        assert_eq!(rig.crash(record()), Outcome::Done, "turn {turns}");
        assert_complete(&rig, record(), 140, &format!("turn {turns}"));
    }
    panic!("the first never came to its end");
}

#[test]
fn a_stopped_console_is_left_alone() {
    let disk = Disk::new(Settings::new(512, 4 * MIB));
    let mut rig = Rig::boot(&disk);
    rig.settle();
    assert!(!rig.console.is_active());
    let target = rig.cell.load().expect("a target");
    let crash = blockconsole::console::Crash { facts: support::rig::FACTS, record: b"x", until: 0 };
    let cell: &'static TargetCell = Box::leak(Box::new(TargetCell::new()));
    let console =
        support::rig::TestConsole::resume(&target, Pending::MayArrive, crash, cell, support::rig::buffers(4096));
    assert_eq!(console.err(), Some(BadTarget::Idle));
}

#[test]
fn text_that_is_gone_from_the_ring_is_counted() {
    let disk = disk(512, 8);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(10, 200);
    rig.finish();
    // More than the ring holds, and nobody writes it out.
    rig.log_lines(20_000, 200);
    assert_eq!(rig.crash(record()), Outcome::Done);
    let log = rig.log_text();
    let messages = log.messages("test");
    let lost: u64 = log
        .lines()
        .iter()
        .filter_map(|line| {
            line.split_once("blockconsole: *** ")?.1.strip_suffix(" lines lost ***")?.parse::<u64>().ok()
        })
        .sum();
    assert_eq!(messages.len() as u64 + lost, 20_010);
    assert_eq!(messages[..10], (0..10).map(|number| line(number, 200)).collect::<Vec<_>>());
    assert_eq!(messages.last(), Some(&line(20_009, 200)));
}

/// A device that notes what the target says at each submission, and freezes the machine at one of them.
struct Freezing<'c> {
    port: Port,
    cell: &'c TargetCell,
    /// Submissions until it freezes.
    left: usize,
    /// Whether the one at which it freezes still reaches the device.
    last_arrives: bool,
    frozen: Option<Target>,
}

impl BlockDevice for Freezing<'_> {
    type Buffer = Vec<u8>;

    fn geometry(&self) -> Geometry {
        self.port.geometry()
    }

    fn state(&self) -> State {
        self.port.state()
    }

    fn submit(&mut self, tag: Tag, request: Request<Vec<u8>>) -> Result<(), Refused<Vec<u8>>> {
        let target = self.cell.load().expect("a target");
        if matches!(request, Request::Write { .. } | Request::WriteZeroes { .. }) {
            assert!(target.in_flight, "a write is submitted before the target says so");
        }
        if self.frozen.is_some() {
            return Err(Refused { error: ErrorKind::NotReady.into(), request });
        }
        if self.left > 0 {
            self.left -= 1;
            return self.port.submit(tag, request);
        }
        self.frozen = Some(target);
        if self.last_arrives {
            self.port.submit(tag, request)
        } else {
            Err(Refused { error: ErrorKind::NotReady.into(), request })
        }
    }

    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        self.port.poll()
    }

    fn recover(&mut self) {
        self.port.recover();
    }
}

#[test]
fn in_the_middle_of_any_submission() {
    for (i, settings) in variants().into_iter().enumerate().step_by(2) {
        for submissions in (i % 3..60).step_by(3) {
            let disk = formatted(settings);
            let mut rig = Rig::boot(&disk);
            let last_arrives = submissions % 2 == 0;
            let mut device =
                Freezing { port: disk.port(), cell: rig.cell, left: submissions, last_arrives, frozen: None };
            let target = loop {
                if let Some(target) = &device.frozen {
                    break *target;
                }
                rig.log_lines(15, 200);
                rig.now_ns += 500_000_000;
                while let Some(completion) = device.poll() {
                    assert!(rig.console.complete(completion).is_ok());
                }
                rig.console.pump(&mut device, &rig.ring, rig.now_ns);
            };
            let cell: &'static TargetCell = Box::leak(Box::new(TargetCell::new()));
            assert_eq!(Dying::from_target(&rig, &target, record(), cell).run(), Outcome::Done);
            assert_complete(&rig, record(), rig.lines, &format!("submission {submissions}, {settings:?}"));
        }
    }
}

#[test]
fn there_is_always_room_for_a_crash_at_once() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(1, 200);
    rig.finish();
    // The next tile never becomes ready.
    disk.inject(Fault::new(Effect::Hang).kind(Kind::WriteZeroes));
    while rig.console.position().is_some_and(|(_, _, filled)| filled < (1 << 20) - RESERVE) {
        rig.log_lines(20, 200);
        for _ in 0..20 {
            rig.turn();
        }
    }
    let written = rig.lines;
    for _ in 0..10 {
        rig.log_lines(10, 200);
        rig.turn();
    }
    assert_eq!(rig.console.position().map(|(tile, _, filled)| (tile, filled)), Some((1, (1 << 20) - RESERVE)));
    let before = disk.counts();
    assert_eq!(rig.crash(record()), Outcome::Done);
    let after = disk.counts();
    assert_eq!(after.zeroes, before.zeroes, "nothing had to be erased");
    assert!(after.writes - before.writes <= 4 && rig.lines > written);
    assert_complete(&rig, record(), rig.lines, "in the reserve");
}
