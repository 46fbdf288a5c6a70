//! NVMe controllers of every shape are consoles like any other.
#![forbid(unsafe_code)]

use std::fs;

use qemu::{Guest, Kind, Outcome};
use tests::oracle::crash_record;
use tests::recipe::{make_console, noise};
use tests::{Scene, bcon_lines};

const LINES: usize = 5000;

fn numbered(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.contains(" of 5000 ")).count()
}

/// Logs many lines to a controller with these properties, then crashes, and finds both.
fn takes_lines_and_a_crash(properties: &[&str]) -> Scene {
    let mut scene = Scene::with_consoles(&[Kind::Nvme]);
    scene.disk(0).properties = properties.iter().map(|property| (*property).to_owned()).collect();
    scene.run(&format!("app=lines:{LINES} serial=off"), Outcome::Finished);
    let report = scene.run_crash("crash=page-fault");
    let lines = scene.lines(0);
    assert_eq!(numbered(&lines), LINES, "{properties:?}");
    assert!(crash_record(&lines).unwrap().is_some(), "{properties:?}: {report}");
    scene
}

#[test]
fn one_queue_pair() {
    let scene = takes_lines_and_a_crash(&["max_ioqpairs=1"]);
    assert!(scene.lines(0).iter().any(|line| line.contains("no queue pair to spare")));
}

#[test]
fn small_transfers_and_no_limit() {
    takes_lines_and_a_crash(&["mdts=3"]);
    takes_lines_and_a_crash(&["mdts=0"]);
}

#[test]
fn no_write_cache() {
    let scene = takes_lines_and_a_crash(&["write-cache=off"]);
    let found: Vec<String> = scene.lines(0).into_iter().filter(|line| line.contains(" KiB in blocks of ")).collect();
    assert!(!found.is_empty() && found.iter().all(|line| line.ends_with("WriteThrough")), "{found:#?}");
}

#[test]
fn other_identity_and_interrupts() {
    takes_lines_and_a_crash(&["use-intel-id=on", "msix_qsize=1"]);
}

#[test]
fn two_controllers() {
    let mut scene = Scene::with_consoles(&[Kind::Nvme, Kind::Nvme]);
    scene.disk(1).properties = vec!["max_ioqpairs=1".to_owned()];
    scene.run(&format!("app=lines:{LINES} serial=off"), Outcome::Finished);
    scene.run_crash("crash=null-write");
    for disk in 0..2 {
        let lines = scene.lines(disk);
        assert_eq!(numbered(&lines), LINES);
        assert!(crash_record(&lines).unwrap().is_some());
    }
}

/// A namespace of one controller, by its QEMU properties.
struct Namespace {
    name: &'static str,
    properties: &'static str,
}

/// Adds a controller with these namespaces, whose images are files of the scene.
fn add_namespaces(guest: &mut Guest, scene: &Scene, namespaces: &[Namespace]) {
    let mut add = |option: &str, value: String| guest.arguments.extend([option.into(), value.into()]);
    add("-device", "nvme,id=shared,serial=shared".to_owned());
    for Namespace { name, properties } in namespaces {
        let path = scene.path(name);
        add("-blockdev", format!("driver=raw,node-name={name},file.driver=file,file.filename={}", path.display()));
        add("-device", format!("nvme-ns,bus=shared,drive={name},{properties}"));
    }
}

#[test]
fn several_namespaces_and_what_must_not_be_written_stays_as_it_is() {
    let scene = Scene::new();
    let namespaces = [
        Namespace { name: "plain", properties: "nsid=1" },
        Namespace { name: "large", properties: "nsid=3,logical_block_size=4096,physical_block_size=4096" },
        Namespace { name: "protected", properties: "nsid=7,ms=8,pi=1" },
        Namespace { name: "metadata", properties: "nsid=8,ms=16" },
        Namespace { name: "zoned", properties: "nsid=9,zoned=on,zoned.zone_size=1M,zoned.max_open=4" },
        Namespace { name: "unmarked", properties: "nsid=20" },
    ];
    for (number, namespace) in namespaces.iter().enumerate() {
        let mut content = noise(8 << 20, number as u64);
        if namespace.name != "unmarked" {
            content.fill(0);
            make_console(&mut content, 0x100 + number as u32);
        }
        fs::write(scene.path(namespace.name), content).unwrap();
    }
    let contents = || namespaces.iter().map(|namespace| fs::read(scene.path(namespace.name)).unwrap());
    let before: Vec<Vec<u8>> = contents().collect();

    let run = |command_line: &str, outcome| {
        let mut guest = scene.guest(command_line);
        add_namespaces(&mut guest, &scene, &namespaces);
        tests::run(guest, outcome)
    };
    run(&format!("app=lines:{LINES}"), Outcome::Finished);
    run("crash=panic", Outcome::Crashed { durable_everywhere: true });

    for name in ["plain", "large"] {
        let lines = bcon_lines(&scene.path(name));
        assert_eq!(numbered(&lines), LINES, "{name}");
        assert!(crash_record(&lines).unwrap().is_some(), "{name}");
    }
    for ((namespace, before), after) in namespaces.iter().zip(before).zip(contents()).skip(2) {
        assert!(before == after, "{} was written to", namespace.name);
    }
    let lines = bcon_lines(&scene.path("plain"));
    for (id, why) in
        [(7, "its format has protection information"), (8, "its format has metadata"), (9, "zoned namespace")]
    {
        let said = format!("nvme0n{id}: takes no writes: {why}");
        assert!(lines.iter().any(|line| line.contains(&said)), "{said:?} is not in the log: {lines:#?}");
    }
}

#[test]
fn a_medium_that_two_controllers_lead_to_is_one_console() {
    let scene = Scene::new();
    let mut content = vec![0; 8 << 20];
    make_console(&mut content, 0x77);
    fs::write(scene.path("shared"), content).unwrap();
    let run = |words: &str, outcome| {
        let mut guest = scene.guest(words);
        let mut add = |option: &str, value: String| guest.arguments.extend([option.into(), value.into()]);
        add("-device", "nvme-subsys,id=subsystem,nqn=test".to_owned());
        for controller in ["first", "second"] {
            add("-device", format!("nvme,id={controller},serial=one,subsys=subsystem"));
        }
        let path = scene.path("shared");
        add("-blockdev", format!("driver=raw,node-name=medium,file.driver=file,file.filename={}", path.display()));
        add("-device", "nvme-ns,bus=first,drive=medium,nsid=1,shared=on".to_owned());
        tests::run(guest, outcome)
    };
    run(&format!("app=lines:{LINES} serial=off"), Outcome::Finished);
    run("crash=panic", Outcome::Crashed { durable_everywhere: true });
    let lines = bcon_lines(&scene.path("shared"));
    assert_eq!(numbered(&lines), LINES);
    assert!(crash_record(&lines).unwrap().is_some());
    // Of the two, the one that is ready first is taken.
    let alone = lines.iter().filter(|line| line.contains("left alone, as it is the same medium as nvme"));
    assert_eq!(alone.count(), 2, "once in each boot: {lines:#?}");
}

#[test]
fn a_controller_is_shut_down_at_the_end_of_a_run() {
    for (words, outcome, shut_down) in [
        ("app=lines:100 serial=off", Outcome::Finished, true),
        ("crash=panic", Outcome::Crashed { durable_everywhere: true }, false),
    ] {
        let scene = Scene::with_consoles(&[Kind::Nvme]);
        let mut guest = scene.guest(words);
        guest.arguments.extend(["-trace", "pci_nvme_mmio_shutdown_set"].map(Into::into));
        let report = tests::run(guest, outcome);
        // What QEMU itself saw.
        assert_eq!(report.messages.contains("pci_nvme_mmio_shutdown_set"), shut_down, "{report}");
    }
}
