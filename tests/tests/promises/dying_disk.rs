//! A disk that fails for good is given up, and the run goes on.

use qemu::{Kind, Outcome};
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
    assert!(printed.contains("blockconsole: crashed, record durable on 1 of 1 consoles"), "{report}");
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
