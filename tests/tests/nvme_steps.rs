//! A crash in the middle of the NVMe driver leaves its record on that same disk.
#![forbid(unsafe_code)]

use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::crash_record;

/// The driver's steps that an ordinary run passes, as `drivers/nvme/src/checkpoint.rs` names them.
const STEPS: [&str; 25] = [
    "submit.slot_taken",
    "submit.list_written",
    "submit.entry_half",
    "submit.before_doorbell",
    "submit.after_doorbell",
    "complete.entry_read",
    "complete.before_doorbell",
    "complete.after_doorbell",
    "admin.entry_half",
    "admin.before_doorbell",
    "admin.after_doorbell",
    "admin.completed",
    "reset.begin",
    "reset.disabled",
    "reset.stopped",
    "init.queues_cleared",
    "init.admin_queue_half",
    "init.before_enable",
    "init.enabled",
    "init.ready",
    "init.queue_half",
    "init.queue_created",
    "init.spare_half",
    "init.namespaces",
    "init.complete",
];

/// A controller with one queue pair does not pass this one.
const SPARE: &str = "init.spare_half";

fn crashes_at_each_step(properties: &[&str]) {
    for step in STEPS.iter().filter(|step| properties.is_empty() || **step != SPARE) {
        let mut scene = Scene::with_consoles(&[Kind::Nvme, Kind::Virtio]);
        scene.disk(0).properties = properties.iter().map(|property| (*property).to_owned()).collect();
        let words = format!("app=lines:5000 serial=off crash=panic-in-driver:nvme.{step}");
        let report = scene.run(&words, Outcome::Crashed { durable_everywhere: true });
        for disk in 0..2 {
            let lines = scene.lines(disk);
            assert!(crash_record(&lines).unwrap().is_some(), "{step}: no record on disk {disk}: {report}");
        }
    }
}

#[test]
fn with_a_spare_queue_pair() {
    crashes_at_each_step(&[]);
}

#[test]
fn with_one_queue_pair() {
    crashes_at_each_step(&["max_ioqpairs=1"]);
}

/// The first reset is the start's. This is another, of a controller that has commands and keeps them too long.
#[test]
fn in_a_reset_that_is_to_bring_a_controller_back() {
    let steps = STEPS.iter().filter(|step| step.starts_with("reset.") || step.starts_with("init."));
    for step in steps.map(|step| format!("{step}:2")).chain(["abort.sent:1".to_owned()]) {
        let mut scene = Scene::with_consoles(&[Kind::Nvme, Kind::Virtio]);
        scene.disk(0).slow = Some(1_000_000);
        let (point, _) = step.split_once(':').unwrap();
        let words = "app=lines:1000000 loglevel=info disk_patience_ms=100";
        let mut running = scene.start(&format!("{words} crash=panic-in-driver:nvme.{point} crash.at=nvme.{step}"));
        // The program begins when the consoles are there. (The serial port may leave the line out that says so: it is slower than the log.)
        running.wait_for_serial("kernel::diag::lines: line ").unwrap();
        running.limit_writes(0, 4).unwrap();
        let report = running.wait().unwrap();
        let report = report.expect(Outcome::Crashed { durable_everywhere: true }).unwrap();
        for disk in 0..2 {
            let lines = scene.lines(disk);
            assert!(crash_record(&lines).unwrap().is_some(), "{step}: no record on disk {disk}: {report}");
        }
    }
}

#[test]
fn in_the_middle_of_a_shutdown() {
    let scene = Scene::with_consoles(&[Kind::Nvme, Kind::Virtio]);
    let report = scene.run_crash("app=lines:100 serial=off crash=panic-in-driver:nvme.shutdown.requested");
    for disk in 0..2 {
        assert!(crash_record(&scene.lines(disk)).unwrap().is_some(), "no record on disk {disk}: {report}");
    }
}
