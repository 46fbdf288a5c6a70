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
    for step in steps {
        let mut scene = Scene::with_consoles(&[kind, Kind::Nvme]);
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
    // Where its registers or its queue's layout matter.
    let steps = ["reset.requested", "init.features", "init.queue", "submit.described", "notify.before", "notify.after"];
    crashes_at_each_step(Kind::VirtioLegacy, &[], &steps);
}
