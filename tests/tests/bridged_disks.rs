//! Disks behind bridges and other host bridges are consoles like any other.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use qemu::{Kind, Machine, Outcome};
use tests::Scene;
use tests::oracle::crash_record;

const LINES: usize = 2000;

/// Logs many lines to both kinds of disks on the buses `first` and `second`, which `buses` make, and crashes.
fn takes_lines_and_a_crash(machine: Machine, buses: &[&str], kinds: [Kind; 2], disks_on: [&str; 2]) -> Vec<String> {
    let mut scene = Scene::with_consoles(&kinds);
    for (disk, bus) in disks_on.into_iter().enumerate() {
        scene.disk(disk).properties = vec![format!("bus={bus}")];
    }
    let mut guest = scene.guest(&format!("app=lines:{LINES} serial=off crash=page-fault:300"));
    guest.machine = machine;
    guest.buses = buses.iter().flat_map(|bus| ["-device".into(), OsString::from(bus)]).collect();
    let report = tests::run(guest, Outcome::Crashed { durable_everywhere: true });
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
