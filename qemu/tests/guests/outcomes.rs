//! A guest is what its end says, and nothing else counts as success.

use std::fs;
use std::process::Command;
use std::time::Duration;

use qemu::{Firmware, Guest, Machine, Outcome, Report, TemporaryDirectory};

use crate::tiny;

fn run(change: impl FnOnce(&mut Guest), code: &[&[u8]]) -> Report {
    let directory = TemporaryDirectory::new().unwrap();
    let mut guest = tiny::guest(&directory, code);
    change(&mut guest);
    guest.start().unwrap().wait().unwrap()
}

#[test]
fn each_exit_value_is_its_outcome() {
    for (value, outcome) in [
        (16, Outcome::Finished),
        (17, Outcome::Crashed { durable_everywhere: true }),
        (18, Outcome::Crashed { durable_everywhere: false }),
        (19, Outcome::LoaderFailed),
        (0, Outcome::Unexpected(1)),
        (20, Outcome::Unexpected(41)),
    ] {
        let report = run(|_| (), &[&tiny::print("bye"), &tiny::exit(value)]);
        assert_eq!(report.outcome, outcome, "{report}");
        assert_eq!((report.serial.as_slice(), report.was_reset), (&b"bye"[..], false), "{report}");
    }
}

#[test]
fn every_machine_runs_a_guest() {
    for machine in [Machine::Q35, Machine::Pc, Machine::Microvm] {
        let report = run(|guest| guest.machine = machine, &[&tiny::print("here\n"), &tiny::exit(16)]);
        assert_eq!((report.outcome, report.serial_text().as_str()), (Outcome::Finished, "here\n"), "{report}");
    }
}

#[test]
fn a_guest_that_ends_at_once_is_met_first() {
    for _ in 0..20 {
        let report = run(|guest| guest.machine = Machine::Microvm, &[&tiny::exit(16)]);
        assert_eq!(report.outcome, Outcome::Finished, "{report}");
    }
}

#[test]
fn firmware_boots_an_image() {
    let directory = TemporaryDirectory::new().unwrap();
    let image = directory.file("image");
    // A boot sector; QEMU boots from nothing that is much smaller than 1 MiB.
    let mut bytes = vec![0; 1 << 20];
    bytes[..4].copy_from_slice(&tiny::exit(16));
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&image, bytes).unwrap();
    let mut guest = Guest::bare("");
    guest.image = Some((Firmware::Bios, image.clone()));
    let report = guest.start().unwrap().wait().unwrap();
    assert_eq!(report.outcome, Outcome::Finished, "{report}");

    // There is nothing for UEFI on it, which says so.
    let mut guest = Guest::bare("");
    guest.image = Some((Firmware::Uefi, image));
    guest.start().unwrap().wait_for_serial("BdsDxe").unwrap();
}

#[test]
fn a_guest_that_hangs_is_ended_by_its_time_limit() {
    let directory = TemporaryDirectory::new().unwrap();
    let mut guest = tiny::guest(&directory, &[&tiny::print("a")]).start().unwrap();
    guest.wait_for_serial("a").unwrap();
    guest.limit(Duration::from_millis(10));
    let report = guest.wait().unwrap();
    assert_eq!(report.outcome, Outcome::TimedOut, "{report}");
    assert_eq!(report.serial, b"a");
    assert!(report.registers.as_deref().is_some_and(|registers| registers.contains("EIP=")), "{report}");
    assert!(report.expect(Outcome::Finished).is_err());
}

#[test]
fn a_guest_that_resets_itself_has_not_finished() {
    let report = run(|_| (), &[&tiny::triple_fault()]);
    assert_eq!(report.outcome, Outcome::Unexpected(0), "{report}");
}

#[test]
fn a_machine_can_start_anew() {
    let directory = TemporaryDirectory::new().unwrap();
    let mut guest = tiny::guest(&directory, &[&tiny::print("a"), &tiny::triple_fault()]);
    guest.restarts = true;
    let running = guest.start().unwrap();
    running.wait_for_serial("aaa").unwrap();
    let report = running.kill().unwrap();
    assert!(report.was_reset, "{report}");
    assert_eq!(report.outcome, Outcome::Killed(9));

    let mut guest = tiny::guest(&directory, &[&tiny::print("b")]);
    guest.restarts = true;
    let mut running = guest.start().unwrap();
    running.wait_for_serial("b").unwrap();
    running.qmp().reset().unwrap();
    running.wait_for_serial("bb").unwrap();
    running.limit(Duration::from_millis(1));
    assert!(running.wait().unwrap().was_reset);
}

#[test]
fn a_watchdog_that_is_not_fed_raises_an_nmi() {
    // mov al, 14; mov edx, 0x443; out dx, al: two seconds. Without a handler, the NMI becomes a triple fault.
    let start = [0xb0, 14, 0xba, 0x43, 0x04, 0x00, 0x00, 0xee];
    let report = run(|_| (), &[&start]);
    assert_eq!(report.outcome, Outcome::Unexpected(0), "{report}");
}

#[test]
fn a_killed_guest_has_not_finished() {
    let directory = TemporaryDirectory::new().unwrap();
    let guest = tiny::guest(&directory, &[&tiny::print("up")]).start().unwrap();
    guest.wait_for_serial("up").unwrap();
    assert_eq!(guest.kill().unwrap().outcome, Outcome::Killed(9));

    let guest = tiny::guest(&directory, &[&tiny::print("up")]).start().unwrap();
    let id = guest.process_id().to_string();
    assert!(Command::new("kill").args(["-SEGV", &id]).status().unwrap().success());
    let report = guest.wait().unwrap();
    assert_eq!(report.outcome, Outcome::Killed(11), "{report}");
}

#[test]
fn arguments_that_qemu_does_not_take_are_an_error_with_its_reason() {
    let directory = TemporaryDirectory::new().unwrap();
    let mut guest = tiny::guest(&directory, &[]);
    guest.arguments = vec!["-no-such-option".into()];
    let error = format!("{:#}", guest.start().unwrap_err());
    assert!(error.contains("no-such-option: invalid option") && error.contains("command: "), "{error}");
}

#[test]
fn a_guest_does_not_outlive_its_owner() {
    let directory = TemporaryDirectory::new().unwrap();
    let guest = tiny::guest(&directory, &[]).start().unwrap();
    let id = guest.process_id().to_string();
    let alive =
        || Command::new("kill").args(["-0", &id]).stderr(std::process::Stdio::null()).status().unwrap().success();
    assert!(alive());
    drop(guest);
    assert!(!alive());
}

#[test]
fn waiting_for_words_that_never_come_fails() {
    let directory = TemporaryDirectory::new().unwrap();
    let mut guest = tiny::guest(&directory, &[&tiny::print("hello")]).start().unwrap();
    guest.wait_for_serial("hello").unwrap();
    guest.limit(Duration::from_millis(10));
    let error = guest.wait_for_serial("goodbye").unwrap_err().to_string();
    assert!(error.contains("hello"), "{error}");
}

#[test]
fn an_nmi_reaches_the_guest() {
    let directory = TemporaryDirectory::new().unwrap();
    // Without a handler, the NMI becomes a triple fault.
    let mut guest = tiny::guest(&directory, &[&tiny::print("up")]).start().unwrap();
    guest.wait_for_serial("up").unwrap();
    guest.qmp().inject_nmi().unwrap();
    assert_eq!(guest.wait().unwrap().outcome, Outcome::Unexpected(0));
}
