//! Lines and crashes reach the disk on every machine and by every transport.

use qemu::{Kind, Machine, Outcome};
use tests::oracle::crash_record;
use tests::{Scene, run};

/// Runs and crashes a guest on this machine, and looks at its disk.
fn works(machine: Machine, kind: Kind, properties: &[&str]) {
    let mut scene = Scene::with_consoles(&[kind]);
    scene.disk(0).properties = properties.iter().map(|property| (*property).to_owned()).collect();
    let guest = |words| {
        let mut guest = scene.guest(words);
        guest.machine = machine;
        guest
    };
    run(guest("app=lines:5000 serial=off"), Outcome::Finished);
    run(guest("crash=panic"), Outcome::Crashed { durable_everywhere: true });
    let lines = scene.lines(0);
    assert_eq!(lines.iter().filter(|line| line.contains(" of 5000 ")).count(), 5_000);
    assert!(crash_record(&lines).unwrap().is_some());
}

#[test]
fn a_pc_with_pci_only() {
    works(Machine::Pc, Kind::Virtio, &[]);
    works(Machine::Pc, Kind::Nvme, &[]);
}

#[test]
fn virtio_with_the_legacy_interface_only() {
    works(Machine::Q35, Kind::VirtioLegacy, &[]);
    works(Machine::Pc, Kind::VirtioLegacy, &[]);
}

#[test]
fn virtio_with_the_modern_interface_only() {
    works(Machine::Q35, Kind::Virtio, &["disable-legacy=on"]);
}

#[test]
fn virtio_without_a_flush() {
    works(Machine::Q35, Kind::Virtio, &["write-cache=off", "config-wce=off"]);
}

#[test]
fn virtio_with_queues_of_other_sizes() {
    works(Machine::Q35, Kind::Virtio, &["num-queues=4"]);
    works(Machine::Q35, Kind::Virtio, &["queue-size=8", "num-queues=1"]);
}

#[test]
fn virtio_on_mmio() {
    works(Machine::Microvm, Kind::VirtioMmio, &[]);
}

#[test]
fn nvme_with_a_single_queue() {
    works(Machine::Q35, Kind::Nvme, &["max_ioqpairs=1"]);
}

#[test]
fn nvme_with_small_transfers() {
    works(Machine::Q35, Kind::Nvme, &["mdts=1"]);
}

#[test]
fn a_raid_controller_is_named_with_what_to_do() {
    let scene = Scene::with_consoles(&[Kind::Virtio]);
    let mut guest = scene.guest("");
    guest.arguments = ["-device", "megasas"].map(Into::into).into();
    run(guest, Outcome::Finished);
    let lines = scene.lines(0);
    let warning = "are not seen: switch RAID and VMD off";
    for told_by in ["WARN  kernel::devices: disks behind ", "WARN  diag: finding: disks behind "] {
        let count = lines.iter().filter(|line| line.contains(told_by) && line.contains(warning)).count();
        assert_eq!(count, 1, "{lines:#?}");
    }
    assert!(lines.iter().any(|line| line.contains("WARN  diag: summary: findings=1")), "{lines:#?}");
}
