//! A disk that fails for good is given up, and the run goes on.

use qemu::{Kind, Outcome, last_acknowledged};
use tests::Scene;
use tests::oracle::crash_record;

#[test]
fn a_disk_that_takes_no_write_is_removed_after_ten_failures() {
    for (dying, sound) in [(Kind::Virtio, Kind::Nvme), (Kind::Nvme, Kind::Virtio)] {
        let mut scene = Scene::with_consoles(&[dying, sound]);
        let before = scene.image(0);
        scene.disk(0).faults = vec!["eio-write".parse().unwrap()];
        let report = scene.run("app=lines:20000", Outcome::Finished);

        assert!(scene.image(0) == before, "{dying:?}: something was written after all");
        let lines = scene.lines(1);
        let removed: Vec<_> = lines.iter().filter(|line| line.contains("no longer logging to ")).collect();
        assert_eq!(removed.len(), 1, "{removed:?}");
        assert!(removed[0].contains("10"), "{removed:?}");
        assert_eq!(lines.iter().filter(|line| line.contains(" of 20000 ")).count(), 20_000);
        assert!(report.serial_text().contains("no longer logging to "), "{report}");
    }
}

/// A crash after that is said to be on all consoles that there are; that another was lost before is said as well.
#[test]
fn a_crash_record_tells_which_disks_had_been_given_up() {
    let mut scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    scene.disk(0).faults = vec!["eio-write".parse().unwrap()];
    let report = scene.run_crash("app=lines:20000 crash=panic:20000");
    let lines = scene.lines(1);
    let record = crash_record(&lines).unwrap().expect("a crash record");
    let state = record.iter().find(|line| line.contains("vda: had stopped, ")).expect("what became of vda");
    let errors = state.split_once("had stopped, ").and_then(|(_, rest)| rest.strip_suffix(" errors")?.parse().ok());
    assert!(errors.is_some_and(|errors: u32| errors >= 10), "{state}");
    assert!(record.iter().any(|line| line.contains("nvme0n1: logging, ")), "{record:#?}");
    let printed = report.serial_text();
    assert!(printed.contains("crash: vda: had stopped before the crash"), "{report}");
    // Not more of the last line: QEMU may end before it has passed on what is in the serial port's FIFO.
    assert!(printed.contains("blockconsole: crashed, record durable on"), "{report}");
}

#[test]
fn a_single_failure_costs_nothing() {
    for (kind, fault) in [
        (Kind::Virtio, "eio-write-once"),
        (Kind::Nvme, "eio-write-once"),
        (Kind::Virtio, "eio-flush-once"),
        (Kind::Nvme, "eio-flush-once"),
        (Kind::Virtio, "enospc-once@2100"),
    ] {
        let mut scene = Scene::with_consoles(&[kind]);
        scene.disk(0).faults = vec![fault.parse().unwrap()];
        scene.run("app=lines:20000 serial=off", Outcome::Finished);
        let lines = scene.lines(0);
        assert_eq!(lines.iter().filter(|line| line.contains(" of 20000 ")).count(), 20_000, "{kind:?} {fault}");
        assert!(!lines.iter().any(|line| line.contains("no longer logging to ")), "{kind:?} {fault}");
    }
}

/// A disk that failed requests, and is logged to nevertheless.
#[test]
fn a_crash_record_counts_the_requests_that_failed() {
    // A virtio disk fails what it is told to write to a sector once, and once more; an NVMe driver tries such requests again, so
    // that only those count that go on failing.
    for (kinds, names, fault) in [
        ([Kind::Virtio, Kind::Nvme], ["vda", "nvme0n1"], "eio-write-once@2100"),
        ([Kind::Nvme, Kind::Virtio], ["nvme0n1", "vda"], "eio-write-once@2100"),
        ([Kind::Nvme, Kind::Virtio], ["nvme0n1", "vda"], "eio-write@2100"),
    ] {
        let mut scene = Scene::with_consoles(&kinds);
        scene.disk(0).faults = vec![fault.parse().unwrap()];
        // The planned crash only keeps the program from finishing: the crash comes when all lines are durable.
        let mut running = scene.start("app=lines:2000 ack=serial crash=panic:100000 watchdog=off");
        running.serial().wait_until(None, |bytes| last_acknowledged(bytes) > 2000);
        running.qmp().inject_nmi().unwrap();
        let report = running.wait().unwrap().expect(Outcome::Crashed { durable_everywhere: true }).unwrap();

        // The other disk, whose lines are whole: the log goes around a sector that takes no write.
        let lines = scene.lines(1);
        let record = crash_record(&lines).unwrap().expect("a crash record");
        let errors = |name: &str| -> u32 {
            let state = record.iter().find(|line| line.starts_with(&format!("console {name}: logging, ")));
            let errors = state.and_then(|state| state.split(", ").find_map(|part| part.strip_suffix(" errors")));
            errors.and_then(|errors| errors.parse().ok()).unwrap_or_else(|| panic!("no errors of {name}: {record:#?}"))
        };
        let is_failure = |line: &&String| line.contains(" failed") && !line.contains(" is tried again, ");
        let failures = lines.iter().filter(is_failure).count() as u32;
        match fault {
            "eio-write-once@2100" => assert_eq!(errors(names[0]), failures, "{report}"),
            // The log need not have a line for each.
            _ => assert!(failures > 0 && errors(names[0]) >= failures, "{failures} failures: {report}"),
        }
        assert_eq!(failures == 0, (kinds[0], fault) == (Kind::Nvme, "eio-write-once@2100"), "{report}");
        assert_eq!(errors(names[1]), 0, "{report}");
    }
}
