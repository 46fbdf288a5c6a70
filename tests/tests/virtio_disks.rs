//! virtio disks of every shape are consoles like any other.
#![forbid(unsafe_code)]

use qemu::{Guest, Kind, Machine, Outcome, Programs};
use tests::Scene;
use tests::oracle::crash_record;

const LINES: usize = 2000;

/// Runs a guest that logs many lines and another one that crashes, and finds both.
fn takes_lines_and_a_crash(kind: Kind, properties: &[&str], change: impl Fn(&mut Guest)) -> Vec<String> {
    let mut scene = Scene::with_consoles(&[kind]);
    scene.disk(0).properties = properties.iter().map(|property| (*property).to_owned()).collect();
    let run = |command_line: &str, outcome| {
        let mut guest = scene.guest(command_line);
        change(&mut guest);
        tests::run(guest, outcome)
    };
    run(&format!("app=lines:{LINES} serial=off"), Outcome::Finished);
    let report = run("serial=off crash=page-fault", Outcome::Crashed { durable_everywhere: true });
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
    let said = "vda: the host offers no flush: what is written is as durable as the host makes it";
    assert!(lines.iter().any(|line| line.contains(said)), "{lines:#?}");
}

#[test]
fn a_disk_that_takes_neither_discards_nor_writes_of_zeroes() {
    takes_lines_and_a_crash(Kind::Virtio, &["discard=off", "write-zeroes=off"], |_| {});
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

/// Disks without a console take nothing from the one that has one.
#[test]
fn a_console_on_the_last_of_many_disks() {
    takes_lines_and_a_crash(Kind::Virtio, &[], |guest| {
        for number in 0..20 {
            let empty = format!("driver=null-co,node-name=empty{number},size=1048576,read-zeroes=on");
            let device = format!("virtio-blk-pci,drive=empty{number}");
            guest.buses.extend(["-blockdev".into(), empty.into(), "-device".into(), device.into()]);
        }
    });
}

/// What QEMU offers there unless it is told not to.
#[test]
fn a_machine_without_a_bus_with_the_legacy_interface() {
    let change = |guest: &mut Guest| {
        guest.arguments.extend(["-global", "virtio-mmio.force-legacy=true"].map(Into::into));
    };
    takes_lines_and_a_crash(Kind::VirtioMmio, &[], change);
    assert!(!agreed_features(Kind::VirtioMmio, &[], change).contains("VERSION_1"));
    assert!(agreed_features(Kind::VirtioMmio, &[], |_| {}).contains("VERSION_1"));
}

/// The features that were agreed on, by name.
fn agreed_features(kind: Kind, properties: &[&str], change: impl Fn(&mut Guest)) -> String {
    let mut scene = Scene::with_consoles(&[kind]);
    scene.disk(0).properties = properties.iter().map(|property| (*property).to_owned()).collect();
    let mut guest = scene.guest("app=diag serial=off");
    change(&mut guest);
    let report = tests::run(guest, Outcome::Finished);
    let lines = scene.lines(0);
    let features = lines.iter().find_map(|line| line.split_once("virtio: vda ")?.1.split_once(" features="));
    features.unwrap_or_else(|| panic!("{lines:#?}: {report}")).1.to_owned()
}

/// ACCESS_PLATFORM, as confidential guests and those with an IOMMU have it; here with nothing in between.
#[test]
fn a_disk_that_sees_memory_as_the_platform_does() {
    let properties = ["iommu_platform=on", "disable-legacy=on"];
    takes_lines_and_a_crash(Kind::Virtio, &properties, |_| {});
    assert!(agreed_features(Kind::Virtio, &properties, |_| {}).contains("ACCESS_PLATFORM"));
}

/// The same with an IOMMU that is there, and left as firmware leaves it.
#[test]
fn a_disk_behind_an_iommu_that_passes_through() {
    for kind in [Kind::Virtio, Kind::Nvme] {
        let properties: &[&str] =
            if kind == Kind::Virtio { &["iommu_platform=on", "disable-legacy=on", "ats=on"] } else { &[] };
        takes_lines_and_a_crash(kind, properties, |guest| {
            guest.buses.extend(["-device", "intel-iommu,device-iotlb=on"].map(Into::into));
        });
    }
}

/// The indices of queues have 16 bits. A doorbell that went missing would be rung again, after a while.
#[test]
fn seventy_thousand_writes_wrap_the_indices_of_queues() {
    const WRITES: u64 = 70_000;
    /// A host that is busy may take its time, and have its doorbell rung again without need: 0 to 6 times on an idle one, 79 times
    /// on one with four times the load that it can carry.
    const MOST_RUNG_AGAIN: u64 = 150;
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
        assert!(again.is_some_and(|again| again < MOST_RUNG_AGAIN), "{kind:?}: {again:?}: {report}");
    }
}

/// Windows that are said to be where no memory can be, of a length that nothing has, and several times.
#[test]
fn windows_of_registers_that_make_no_sense_do_no_harm() {
    let words = [
        // Beyond the processor's physical addresses, as far as the page tables' entries go and farther.
        "virtio_mmio.device=4K@0x8000000000000:5",
        "virtio_mmio.device=4K@0x10000000000:5",
        "virtio_mmio.device=4K@0xfffffffffffff000:5",
        // Page tables for all of it would take all memory.
        "virtio_mmio.device=64G@0xd0000000:5",
        "virtio_mmio.device=64G@0xd0000000:5",
    ];
    let lines = takes_lines_and_a_crash(Kind::Virtio, &[], |guest| {
        guest.command_line.extend(words.map(|word| format!(" {word}")));
    });
    for address in ["0x8000000000000", "0x10000000000"] {
        let said = lines.iter().any(|line| line.contains(&format!("at {address}: cannot be mapped")));
        assert!(said, "{address}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.contains("at 0xd0000000: named before")), "{lines:#?}");
}

/// A device that is named twice is one disk.
#[test]
fn a_device_that_is_named_twice_has_one_driver() {
    let lines = takes_lines_and_a_crash(Kind::VirtioMmio, &[], |guest| {
        let slots = (0..8).map(|slot| format!(" virtio_mmio.device=4K@{:#x}:5", 0xFEB0_0000_u32 + slot * 0x200));
        guest.command_line.extend(slots);
        // Without ACPI, QEMU names the same slots once more.
        guest.arguments.extend(["-machine".into(), "acpi=off".into()]);
    });
    assert!(lines.iter().all(|line| !line.contains("vdb")), "{lines:#?}");
}
