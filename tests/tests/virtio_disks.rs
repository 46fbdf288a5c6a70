//! virtio disks of every shape are consoles like any other.
#![forbid(unsafe_code)]

use qemu::{Guest, Kind, Machine, Outcome, Programs};
use tests::Scene;
use tests::oracle::crash_record;

const LINES: usize = 2000;

/// Runs a guest that logs many lines and then crashes, and finds both.
fn takes_lines_and_a_crash(kind: Kind, properties: &[&str], change: impl FnOnce(&mut Guest)) -> Vec<String> {
    let mut scene = Scene::with_consoles(&[kind]);
    scene.disk(0).properties = properties.iter().map(|property| (*property).to_owned()).collect();
    let mut guest = scene.guest(&format!("app=lines:{LINES} serial=off crash=page-fault:300"));
    change(&mut guest);
    let report = tests::run(guest, Outcome::Crashed { durable_everywhere: true });
    let lines = scene.lines(0);
    let numbered = lines.iter().filter(|line| line.contains(" of 2000 ")).count();
    assert_eq!(numbered, LINES, "{properties:?}: {report}");
    assert!(crash_record(&lines).unwrap().is_some(), "{properties:?}: {report}");
    lines
}

/// QEMU 7.2 refuses a queue of two: its shortest has four entries.
#[test]
fn queues_of_any_length() {
    for size in [4, 16, 128, 512, 1024] {
        for kind in [Kind::Virtio, Kind::VirtioLegacy] {
            takes_lines_and_a_crash(kind, &[&format!("queue-size={size}"), "num-queues=2"], |_| {});
        }
    }
}

#[test]
fn one_queue_and_four() {
    for queues in ["num-queues=1", "num-queues=4"] {
        takes_lines_and_a_crash(Kind::Virtio, &[queues], |_| {});
    }
}

#[test]
fn packed_queues_are_declined() {
    takes_lines_and_a_crash(Kind::Virtio, &["packed=on", "disable-legacy=on"], |_| {});
}

#[test]
fn neither_event_index_nor_indirect_descriptors() {
    takes_lines_and_a_crash(Kind::Virtio, &["event_idx=off", "indirect_desc=off"], |_| {});
    takes_lines_and_a_crash(Kind::Virtio, &["event_idx=off", "indirect_desc=off", "queue-size=4"], |_| {});
}

#[test]
fn a_disk_without_flush_is_said_to_be_so() {
    let lines = takes_lines_and_a_crash(Kind::Virtio, &["write-cache=off", "config-wce=off"], |_| {});
    assert!(lines.iter().any(|line| line.contains("vda: ") && line.contains("Unknown")), "{lines:#?}");
}

/// A machine without PCI names its disks on the command line, unless it has ACPI, where they stand in its byte code.
#[test]
fn a_machine_without_a_bus_with_acpi_and_without() {
    for acpi in ["on", "off"] {
        takes_lines_and_a_crash(Kind::VirtioMmio, &[], |guest| {
            guest.machine = Machine::Microvm;
            guest.arguments.extend(["-machine".into(), format!("acpi={acpi}").into()]);
        });
    }
}

/// The indices of queues have 16 bits. A doorbell that went missing would be rung again, after a while.
#[test]
fn seventy_thousand_writes_wrap_the_indices_of_queues() {
    const WRITES: u64 = 70_000;
    let programs = Programs::build_with("bench", false).unwrap();
    for kind in [Kind::Virtio, Kind::Nvme] {
        let mut scene = Scene::new();
        scene.add_console(kind, 64);
        let mut guest = scene.guest(&format!("program.wrap={WRITES}"));
        guest.kernel = Some(programs.kernel.clone());
        let report = tests::run(guest, Outcome::Finished);
        let text = report.serial_text();
        let said = format!(": {WRITES} writes are over, doorbells rung again: ");
        let again =
            text.lines().find_map(|line| line.strip_prefix("bench: ")?.split_once(&said)?.1.parse::<u64>().ok());
        // A host that is busy may take its time, and have its doorbell rung again without need.
        assert!(again.is_some_and(|again| again < WRITES / 100), "{kind:?}: {again:?}: {report}");
    }
}
