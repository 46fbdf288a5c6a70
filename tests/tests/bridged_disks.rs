//! Disks behind bridges and other host bridges are consoles like any other.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use std::time::{Duration, Instant};

use qemu::{Kind, Machine, Outcome, Running};
use tests::Scene;
use tests::oracle::crash_record;

const LINES: usize = 2000;

/// Logs many lines to both kinds of disks on the buses `first` and `second`, which `buses` make, and crashes.
fn takes_lines_and_a_crash(machine: Machine, buses: &[&str], kinds: [Kind; 2], disks_on: [&str; 2]) -> Vec<String> {
    let mut scene = Scene::with_consoles(&kinds);
    for (disk, bus) in disks_on.into_iter().enumerate() {
        scene.disk(disk).properties = vec![format!("bus={bus}")];
    }
    let run = |command_line: &str, outcome| {
        let mut guest = scene.guest(command_line);
        guest.machine = machine;
        guest.buses = buses.iter().flat_map(|bus| ["-device".into(), OsString::from(bus)]).collect();
        tests::run(guest, outcome)
    };
    run(&format!("app=lines:{LINES} serial=off"), Outcome::Finished);
    let report = run("serial=off crash=page-fault", Outcome::Crashed { durable_everywhere: true });
    for disk in 0..2 {
        let lines = scene.lines(disk);
        let numbered = lines.iter().filter(|line| line.contains(" of 2000 ")).count();
        assert_eq!(numbered, LINES, "disk {disk}: {report}");
        assert!(crash_record(&lines).unwrap().is_some(), "disk {disk}: {report}");
    }
    scene.lines(0)
}

const KINDS: [Kind; 2] = [Kind::Nvme, Kind::Virtio];

#[test]
fn behind_root_ports() {
    let ports = ["pcie-root-port,id=first,chassis=1", "pcie-root-port,id=second,chassis=2"];
    takes_lines_and_a_crash(Machine::Q35, &ports, KINDS, ["first", "second"]);
}

#[test]
fn behind_a_switch_and_a_conventional_bridge() {
    let buses = [
        "pcie-root-port,id=root,chassis=1",
        "x3130-upstream,id=up,bus=root",
        "xio3130-downstream,id=first,bus=up,chassis=2",
        "pcie-pci-bridge,id=second",
    ];
    takes_lines_and_a_crash(Machine::Q35, &buses, KINDS, ["first", "second"]);
}

/// As servers have them: their disks are on buses that no bridge of bus 0 leads to.
#[test]
fn behind_other_host_bridges() {
    let buses = [
        "pxb-pcie,id=far,bus=pcie.0,bus_nr=64",
        "pxb-pcie,id=farther,bus=pcie.0,bus_nr=128",
        "pcie-root-port,id=first,bus=far,chassis=1,addr=3",
        "pcie-root-port,id=second,bus=farther,chassis=2",
    ];
    takes_lines_and_a_crash(Machine::Q35, &buses, KINDS, ["first", "second"]);
}

#[test]
fn on_other_host_bridges_of_a_machine_without_pci_express() {
    let buses = ["pxb,id=first,bus=pci.0,bus_nr=32", "pxb,id=second,bus=pci.0,bus_nr=64"];
    let lines = takes_lines_and_a_crash(Machine::Pc, &buses, KINDS, ["first", "second"]);
    assert!(lines.iter().any(|line| line.contains("now logging to nvme0n1")), "{lines:#?}");
}

/// A guest that logs many lines and does not end, with both kinds of disks in slots. Disks leave in the way of PCI Express, if that is not left to the firmware.
fn start_in_slots(scene: &mut Scene, is_native: bool) -> Running {
    for disk in 0..2 {
        scene.disk(disk).properties = vec![format!("bus=slot{disk}")];
    }
    let mut guest = scene.guest("app=lines:20000 loglevel=info crash=panic:100000");
    for disk in 0..2 {
        guest.buses.extend(["-device".into(), format!("pcie-root-port,id=slot{disk},chassis={disk}").into()]);
    }
    if is_native {
        let global = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
        guest.arguments.extend(["-global".into(), global.into()]);
    }
    let running = guest.start().unwrap();
    for name in ["vda", "nvme0n1"] {
        running.wait_for_serial(&format!("now logging to {name} at")).unwrap();
    }
    running
}

/// Numbers of the numbered lines.
fn numbers(lines: &[String]) -> Vec<usize> {
    let number = |line: &String| line.split_once(": line ")?.1.split_once(" of 20000 ")?.0.parse().ok();
    lines.iter().filter_map(number).collect()
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(50)
}

#[test]
fn a_disk_whose_slot_is_asked_for_it_is_let_go_and_the_other_goes_on() {
    for leaving in 0..2 {
        let mut scene = Scene::with_consoles(&KINDS);
        let mut running = start_in_slots(&mut scene, true);
        running.qmp().monitor(&format!("device_del disk{leaving}")).unwrap();
        running.qmp().wait_for_event("DEVICE_DELETED", deadline()).unwrap();
        running.wait_for_serial("line 0020000 of 20000").unwrap();
        running.qmp().inject_nmi().unwrap();
        let report = running.wait().unwrap().expect(Outcome::Crashed { durable_everywhere: true }).unwrap();
        // What was logged until the request is on it, without a hole; all of it, and the crash, on the other.
        for disk in 0..2 {
            let lines = scene.lines(disk);
            let numbers = numbers(&lines);
            let count = if disk == leaving { numbers.len() } else { 20_000 };
            assert!(count > 0 && numbers.into_iter().eq(1..=count), "disk {disk}: {report}");
            assert_eq!(crash_record(&lines).unwrap().is_some(), disk != leaving, "disk {disk}: {report}");
        }
        let lines = scene.lines(1 - leaving);
        for said in ["its button was pressed", "no longer logging to ", " is let go"] {
            assert_eq!(lines.iter().filter(|line| line.contains(said)).count(), 1, "{said:?}: {report}");
        }
    }
}

/// Such a request goes to the firmware's byte code, which nobody here runs.
#[test]
fn a_disk_that_the_firmware_is_asked_for_stays() {
    let mut scene = Scene::with_consoles(&KINDS);
    let mut running = start_in_slots(&mut scene, false);
    for disk in 0..2 {
        running.qmp().monitor(&format!("device_del disk{disk}")).unwrap();
    }
    running.qmp().inject_nmi().unwrap();
    let report = running.wait().unwrap().expect(Outcome::Crashed { durable_everywhere: true }).unwrap();
    for disk in 0..2 {
        let lines = scene.lines(disk);
        assert!(crash_record(&lines).unwrap().is_some(), "disk {disk}: {report}");
        assert!(!lines.iter().any(|line| line.contains("no longer logging to ")), "disk {disk}: {report}");
    }
}
