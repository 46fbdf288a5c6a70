//! Disks that fail, hang, crawl or vanish cost no line that is not counted.
#![forbid(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::crash_record;

const KINDS: [Kind; 2] = [Kind::Virtio, Kind::Nvme];

/// The numbers of the numbered lines, of which `count` were logged.
fn numbers(lines: &[String], count: usize) -> Vec<usize> {
    let end = format!(" of {count} ");
    let number = |line: &String| -> Option<usize> { line.split_once(": line ")?.1.split_once(&end)?.0.parse().ok() };
    lines.iter().filter_map(number).collect()
}

/// Lines that are said to be lost.
fn lost(lines: &[String]) -> usize {
    let lost =
        |line: &String| -> Option<usize> { line.split_once("*** ")?.1.strip_suffix(" lines lost ***")?.parse().ok() };
    lines.iter().filter_map(lost).sum()
}

/// Each of `count` numbered lines is there, once and in order.
fn has_all(lines: &[String], count: usize) -> bool {
    numbers(lines, count).into_iter().eq(1..=count)
}

fn contains(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

#[test]
fn disks_that_take_fifty_writes_a_second() {
    let mut scene = Scene::with_consoles(&KINDS);
    for disk in 0..2 {
        scene.disk(disk).slow = Some(50);
    }
    scene.run("app=lines:5000 serial=off", Outcome::Finished);
    scene.run_crash("crash=log-storm");
    for disk in 0..2 {
        let lines = scene.lines(disk);
        assert!(has_all(&lines, 5000));
        assert!(crash_record(&lines).unwrap().is_some());
        let complaint = lines
            .iter()
            .find(|line| line.contains(" WARN ") && [" nvme0: ", " vda: "].iter().any(|name| line.contains(name)));
        assert_eq!(complaint, None, "slow is not late");
    }
}

#[test]
fn a_sector_that_takes_no_write() {
    for kind in KINDS {
        for fault in ["enospc-once@2100", "enospc@2100", "eio-write-once@2100", "eio-write@2100", "enospc-once"] {
            let mut scene = Scene::with_consoles(&[kind]);
            scene.disk(0).faults = vec![fault.parse().unwrap()];
            scene.run("app=lines:2000 serial=off", Outcome::Finished);
            // The log goes around a sector that never takes a write, so that there may be a hole.
            let lines = tests::damaged_bcon_lines(&scene.image_path(0));
            // A line that such a sector cuts is there once more, behind it.
            let mut numbers = numbers(&lines, 2000);
            numbers.dedup();
            assert!(numbers.into_iter().eq(1..=2000), "{kind:?} {fault}");
            assert!(!contains(&lines, "no longer logging to "), "{kind:?} {fault}");
            assert!(contains(&lines, " failed"), "{kind:?} {fault}: nothing of it is in the log");
        }
    }
}

#[test]
fn a_disk_without_space_and_one_that_cannot_flush_are_given_up() {
    for (failing, sound) in [(Kind::Virtio, Kind::Nvme), (Kind::Nvme, Kind::Virtio)] {
        for fault in ["enospc", "eio-flush"] {
            let mut scene = Scene::with_consoles(&[failing, sound]);
            scene.disk(0).faults = vec![fault.parse().unwrap()];
            scene.run("app=lines:5000 serial=off", Outcome::Finished);
            let lines = scene.lines(1);
            assert!(has_all(&lines, 5000), "{failing:?} {fault}");
            let removed = lines.iter().filter(|line| line.contains("no longer logging to ")).count();
            assert_eq!(removed, 1, "{failing:?} {fault}");
            // Each request may fail several times, and each of these may make a line; but not without end.
            let events = lines.iter().filter(|line| line.contains(" failed: ")).count();
            assert!((1..100).contains(&events), "{failing:?} {fault}: {events} lines about it");
        }
    }
}

/// How long a write is held back.
const HOLD: Duration = Duration::from_secs(3);

/// Waits until `HOLD` after `since`: time is what these tests are about.
fn hold(since: Instant) {
    thread::sleep(HOLD.saturating_sub(since.elapsed()));
}

#[test]
fn a_write_that_hangs_for_three_seconds_costs_nothing() {
    for kind in KINDS {
        let mut scene = Scene::with_consoles(&[kind]);
        scene.disk(0).faults = vec!["hang".parse().unwrap()];
        let mut running = scene.start("app=lines:2000 serial=off");
        let started = Instant::now();
        hold(started);
        // Nothing of it would show that anything was held back if this were wrong.
        let printed = String::from_utf8_lossy(&running.serial().bytes()).into_owned();
        assert!(!printed.contains("blockconsole: finished"), "{kind:?}: {printed}");
        running.release_write(0).unwrap();
        running.wait().unwrap().expect(Outcome::Finished).unwrap();
        assert!(has_all(&scene.lines(0), 2000), "{kind:?}");
    }
}

/// The guest's time of the first line that contains this, in milliseconds.
fn stamp_ms(lines: &[String], text: &str) -> u64 {
    let line = lines.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?} in {lines:#?}"));
    let stamp =
        line.strip_prefix('[').and_then(|line| line.split_once(']')).map(|(stamp, _)| stamp.trim().parse::<f64>());
    (stamp.unwrap().unwrap() * 1000.0) as u64
}

/// What a busy host may add to a deadline. Time-outs that are not those asked for are longer.
const SLACK_MS: u64 = 4000;

/// A controller that is asked for an Abort and does not know how, as QEMU's, gets the time that a command may take at most.
#[test]
fn a_write_that_outlasts_the_patience_with_a_controller_costs_nothing() {
    let mut scene = Scene::with_consoles(&[Kind::Nvme, Kind::Virtio]);
    scene.disk(0).faults = vec!["hang".parse().unwrap()];
    // An Abort after 2 s, and a reset after 6 s, which QEMU would not survive: it waits for the write with all locks held.
    let mut running = scene.start("app=lines:2000 disk_patience_ms=2000 loglevel=info");
    running.wait_for_serial("nvme0: the controller answers, but does not abort: waiting on").unwrap();
    running.release_write(0).unwrap();
    let report = running.wait().unwrap().expect(Outcome::Finished).unwrap();
    for disk in 0..2 {
        let lines = scene.lines(disk);
        assert!(has_all(&lines, 2000), "disk {disk}: {report}");
        assert!(!contains(&lines, "no longer logging to ") && !contains(&lines, "resetting the controller: no answer"));
    }
    let lines = scene.lines(1);
    let waited = stamp_ms(&lines, " is not answered after ") - stamp_ms(&lines, " nvme0n1: 8192 KiB in blocks of ");
    assert!((2000..2000 + SLACK_MS).contains(&waited), "given up after {waited} ms: {report}");
}

#[test]
fn a_disk_that_was_given_up_is_taken_back_when_it_answers() {
    let mut scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    scene.disk(0).faults = vec!["hang".parse().unwrap()];
    // The planned crash only keeps the program from finishing: the crash comes by an NMI, when the disk is back.
    let mut running = scene.start("app=lines:20000 disk_patience_ms=300 loglevel=info crash=panic:100000");
    running.wait_for_serial("no longer logging to vda").unwrap();
    // From here on the serial port leaves nothing out.
    running.wait_for_serial("line 0020000 of 20000").unwrap();
    running.release_write(0).unwrap();
    let takes = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches("now logging to vda at").count();
    let is_back =
        running.serial().wait_until(Some(Instant::now() + Duration::from_secs(80)), |bytes| takes(bytes) == 2);
    assert!(is_back, "{}", String::from_utf8_lossy(&running.serial().bytes()));
    running.qmp().inject_nmi().unwrap();
    let report = running.wait().unwrap().expect(Outcome::Crashed { durable_everywhere: true }).unwrap();
    let lines = scene.lines(1);
    // 300 ms for the request, and twice that for an answer to come late.
    let begun = stamp_ms(&lines, " vda: 8192 KiB in blocks of ");
    for (event, deadline) in [
        (" are not answered in time", 300),
        ("device is dead: it does not answer", 900),
        ("no longer logging to vda", 900),
    ] {
        let waited = stamp_ms(&lines, event) - begun;
        assert!((deadline..deadline + SLACK_MS).contains(&waited), "{event:?} after {waited} ms: {report}");
    }
    let last = numbers(&lines, 20_000).len();
    for disk in 0..2 {
        let lines = scene.lines(disk);
        let mut numbers = numbers(&lines, 20_000);
        // What was written before the disk was given up, and not flushed, may be there twice.
        numbers.sort_unstable();
        numbers.dedup();
        let (missing, lost) = (last - numbers.len(), lost(&lines));
        assert!(missing <= lost && (disk == 0 || lost == 0), "disk {disk}: {missing} missing, {lost} counted");
        assert!(crash_record(&lines).unwrap().is_some(), "disk {disk}: {report}");
        // The ring may have been written over by the time that the disk was back: it tells how many lines it lost.
        let events = ["device is dead: it does not answer", "the device answers again", "device is ready after"];
        for event in events.into_iter().filter(|event| disk == 1 || !event.contains("dead")) {
            let line = lines.iter().find(|line| line.contains(" vda: ") && line.contains(event));
            assert!(line.is_some(), "disk {disk} does not tell that {event}");
        }
    }
}

#[test]
fn a_controller_is_reset_when_it_keeps_commands_too_long() {
    let mut scene = Scene::with_consoles(&[Kind::Nvme, Kind::Virtio]);
    scene.disk(0).slow = Some(1);
    let mut running = scene.start("app=lines:300 disk_patience_ms=100");
    running.wait_for_serial("nvme0: resetting the controller: no answer to a command").unwrap();
    // From now on it is as fast as any.
    running.limit_writes(0, 0).unwrap();
    let report = running.wait().unwrap().expect(Outcome::Finished).unwrap();
    for disk in 0..2 {
        let lines = scene.lines(disk);
        assert!(has_all(&lines, 300));
        let reset = lines.iter().find(|line| {
            line.contains(" nvme0: ") && line.contains("resetting the controller: no answer to a command")
        });
        assert!(reset.is_some(), "{report}");
    }
}

/// The host stops the machine when it has no space left, and lets it go on when it has.
#[test]
fn a_machine_that_is_stopped_for_want_of_space_goes_on() {
    let mut scene = Scene::with_consoles(&[Kind::Virtio]);
    scene.disk(0).faults = vec!["enospc-once@2100".parse().unwrap()];
    scene.disk(0).properties = vec!["werror=stop".to_owned()];
    let mut running = scene.start("app=lines:2000 serial=off");
    // Once when the sector is erased, and once when it is written.
    for _ in 0..2 {
        running.qmp().wait_for_event("STOP", Instant::now() + Duration::from_secs(30)).unwrap();
        running.qmp().resume().unwrap();
    }
    running.wait().unwrap().expect(Outcome::Finished).unwrap();
    let lines = scene.lines(0);
    assert!(has_all(&lines, 2000));
    assert!(!contains(&lines, " failed"), "{lines:#?}");
}
