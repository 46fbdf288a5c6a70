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
