//! A crash in the middle of the virtio driver leaves its record on that same disk.
#![forbid(unsafe_code)]

use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::crash_record;

/// The driver's steps, as `drivers/virtio-blk/src/crash.rs` names them.
const STEPS: [&str; 18] = [
    "reset.before",
    "reset.requested",
    "reset.done",
    "init.acknowledged",
    "init.features",
    "init.configured",
    "init.queue",
    "init.spare_queue",
    "init.ready",
    "submit.taken",
    "submit.poisoned",
    "submit.described",
    "submit.listed",
    "submit.published",
    "notify.before",
    "notify.after",
    "complete.seen",
    "complete.taken",
];

fn crashes_at_each_step(kind: Kind, properties: &[&str], steps: &[&str]) {
    // A machine with virtio-mmio has no NVMe.
    let other = if kind == Kind::VirtioMmio { Kind::VirtioMmio } else { Kind::Nvme };
    for step in steps {
        let mut scene = Scene::with_consoles(&[kind, other]);
        scene.disk(0).properties = properties.iter().map(|property| (*property).to_owned()).collect();
        let words = format!("app=lines:1000 serial=off crash=panic-in-driver:virtio.{step}");
        let report = scene.run(&words, Outcome::Crashed { durable_everywhere: true });
        for disk in 0..2 {
            let lines = scene.lines(disk);
            assert!(crash_record(&lines).unwrap().is_some(), "{step}: no record on disk {disk}: {report}");
        }
    }
}

#[test]
fn with_a_spare_queue() {
    crashes_at_each_step(Kind::Virtio, &["num-queues=2"], &STEPS);
}

#[test]
fn with_one_queue() {
    crashes_at_each_step(Kind::Virtio, &["num-queues=1"], &STEPS);
}

#[test]
fn with_the_legacy_interface() {
    crashes_at_each_step(Kind::VirtioLegacy, &[], &STEPS);
}

#[test]
fn without_a_bus() {
    crashes_at_each_step(Kind::VirtioMmio, &[], &STEPS);
}

/// The first reset is the start's. This is another, of a disk that was given up and then answered after all. Until it is ready again,
/// nothing is written to it: the record is on the other disk, and this one's log is sound as far as it goes.
#[test]
fn in_a_reset_that_is_to_bring_a_disk_back() {
    for step in STEPS.iter().filter(|step| step.starts_with("reset.") || step.starts_with("init.")) {
        let mut scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
        // A fault that never strikes: QEMU holds writes back only where it can let them fail.
        scene.disk(0).faults = vec!["eio-write@9999999".parse().unwrap()];
        let words = "app=lines:1000000 loglevel=info disk_patience_ms=100";
        let mut running = scene.start(&format!("{words} crash=panic-in-driver:virtio.{step} crash.at=virtio.{step}:2"));
        running.wait_for_serial("kernel::diag::lines: line ").unwrap();
        running.hold_next_write(0).unwrap();
        running.wait_for_serial("no longer logging to vda").unwrap();
        running.release_write(0).unwrap();
        let report = running.wait().unwrap();
        let report = report.expect(Outcome::Crashed { durable_everywhere: true }).unwrap();
        assert!(!scene.lines(0).is_empty(), "{step}: {report}");
        assert!(crash_record(&scene.lines(1)).unwrap().is_some(), "{step}: {report}");
    }
}
