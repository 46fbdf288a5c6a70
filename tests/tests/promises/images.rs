//! One image boots by BIOS and by UEFI from any bus, and has its crash on itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bcon::flash::{Image, flash};
use bcon::image::{Format, Made, Options, Parts, convert, make};
use qemu::{Bus, Firmware, Guest, Kind, Loaders, Outcome, Programs, Tool, require};
use tests::oracle::{Oracle, crash_record};
use tests::{Scene, bcon_lines, random_word, run};

const MIB: usize = 1 << 20;
/// Where the console's partition is on an image, in MiB, and its size.
pub(crate) const CONSOLE: std::ops::Range<usize> = 42 * MIB..50 * MIB;

/// Makes an image with a console of 8 MiB in a scene.
pub(crate) fn make_image(scene: &Scene, command_line: &str) -> (PathBuf, Made) {
    let (programs, loaders) = (Programs::find_or_build().unwrap(), Loaders::find_or_build().unwrap());
    let parts = Parts::from_programs(&loaders.bios, &loaders.uefi, &programs.kernel).unwrap();
    let path = scene.path("boot.img");
    let options = Options { console_size: 8 << 20, command_line: command_line.to_owned(), seed: None };
    let made = make(&path, &parts, &options, true).unwrap();
    (path, made)
}

/// A guest that boots from an image, with the scene's disks.
pub(crate) fn guest(scene: &Scene, firmware: Firmware, bus: Bus, image: &Path) -> Guest {
    let mut guest = scene.guest("");
    guest.image = Some((firmware, image.to_owned()));
    guest.image_bus = bus;
    guest
}

/// Boots an image whose command line asks for a crash, and looks for the crash where it must be.
fn captures_a_crash(firmware: Firmware, bus: Bus) {
    let mut scene = Scene::new();
    let (path, _) = make_image(&scene, "crash=page-fault");
    let before = fs::read(&path).unwrap();
    scene.add_console(Kind::Virtio, 8);
    run(guest(&scene, firmware, bus, &path), Outcome::Crashed { durable_everywhere: true });

    let after = fs::read(&path).unwrap();
    let is_reached = matches!(bus, Bus::Virtio | Bus::Nvme);
    if is_reached {
        let oracle = Oracle::new(&after[CONSOLE]).unwrap();
        let lines = oracle.lines().unwrap();
        assert!(bcon_lines(&path) == lines, "the readers differ");
        has_crash(&lines);
        assert!(after[..CONSOLE.start] == before[..CONSOLE.start], "written in front of the console");
        assert!(after[CONSOLE.end..] == before[CONSOLE.end..], "written behind the console");
    } else {
        assert!(after == before, "a disk that only firmware reads was written to");
    }
    has_crash(&scene.lines(0));
}

/// The lines of one boot by a loader of firmware's, which crashed.
fn has_crash(lines: &[String]) {
    let record = crash_record(lines).unwrap().expect("no crash record");
    assert!(record[1].contains("read from 0xdeadbeef000"), "{:?}", record[1]);
    // What the loader said comes first.
    assert!(lines[..20].iter().any(|line| line.contains("blockconsole loader ")), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("INFO  blockconsole: boot ")).count(), 1);
}

macro_rules! boots {
    ($($name:ident: $firmware:ident, $bus:ident;)*) => {
        $(#[test]
        fn $name() {
            captures_a_crash(Firmware::$firmware, Bus::$bus);
        })*
    };
}

boots! {
    by_bios_from_virtio: Bios, Virtio;
    by_bios_from_nvme: Bios, Nvme;
    by_bios_from_ahci: Bios, Ahci;
    by_bios_from_a_usb_stick: Bios, Usb;
    by_uefi_from_virtio: Uefi, Virtio;
    by_uefi_from_nvme: Uefi, Nvme;
    by_uefi_from_a_usb_stick: Uefi, Usb;
}

/// Converts an image, boots it, and looks for its crash in what it holds afterwards.
fn boots_converted(format: Format, qemu_format: &'static str, firmware: Firmware, bus: Bus) {
    let scene = Scene::new();
    let qemu_img = require(Tool::QemuImg).unwrap();
    let (path, _) = make_image(&scene, "crash=page-fault");
    let converted = convert(&path, format, &qemu_img).unwrap();
    fs::remove_file(&path).unwrap();
    let mut guest = guest(&scene, firmware, bus, &converted);
    guest.image_format = qemu_format;
    run(guest, Outcome::Crashed { durable_everywhere: true });
    let back =
        Command::new(qemu_img).args(["convert", "-O", "raw", "-f", qemu_format]).args([&converted, &path]).status();
    assert!(back.unwrap().success());
    has_crash(&bcon_lines(&path));
}

#[test]
fn converted_to_qcow2() {
    boots_converted(Format::Qcow2, "qcow2", Firmware::Bios, Bus::Virtio);
}

#[test]
fn converted_to_vmdk() {
    boots_converted(Format::Vmdk, "vmdk", Firmware::Bios, Bus::Nvme);
}

#[test]
fn converted_to_vhd() {
    boots_converted(Format::Vhd, "vpc", Firmware::Uefi, Bus::Virtio);
}

#[test]
fn from_the_files_of_a_release() {
    let scene = Scene::new();
    let (programs, loaders) = (Programs::find_or_build().unwrap(), Loaders::find_or_build().unwrap());
    let parts = Parts::from_programs(&loaders.bios, &loaders.uefi, &programs.kernel).unwrap();
    let (folder, path) = (scene.path("release"), scene.path("boot.img"));
    parts.write(&folder).unwrap();
    let options = Options { console_size: 8 << 20, command_line: "app=lines:50".to_owned(), seed: None };
    make(&path, &Parts::read(&folder).unwrap(), &options, false).unwrap();
    for (firmware, boot) in [(Firmware::Bios, 1), (Firmware::Uefi, 2)] {
        run(guest(&scene, firmware, Bus::Virtio, &path), Outcome::Finished);
        let lines = bcon_lines(&path);
        assert_eq!(lines.iter().filter(|line| line.contains(" of 50 ")).count(), 50 * boot);
    }
}

#[test]
fn flashed_to_a_larger_disk_whose_first_table_is_lost() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "app=lines:50");
    let disk = scene.path("disk");
    fs::write(&disk, vec![0xEE; (64 << 20) + 512]).unwrap();
    flash(&disk, &Image::open(&path).unwrap(), None, false, |_, _| ()).unwrap();
    run(guest(&scene, Firmware::Bios, Bus::Virtio, &disk), Outcome::Finished);
    assert_eq!(bcon_lines(&disk).iter().filter(|line| line.contains(" of 50 ")).count(), 50);
    let mut content = fs::read(&disk).unwrap();
    content[512..1024].fill(0);
    fs::write(&disk, content).unwrap();
    for (firmware, boot) in [(Firmware::Bios, 2), (Firmware::Uefi, 3)] {
        run(guest(&scene, firmware, Bus::Virtio, &disk), Outcome::Finished);
        assert_eq!(bcon_lines(&disk).iter().filter(|line| line.contains(" of 50 ")).count(), 50 * boot);
    }
}

#[test]
fn the_same_programs_and_seed_make_the_same_image() {
    let scene = Scene::new();
    let (programs, loaders) = (Programs::find_or_build().unwrap(), Loaders::find_or_build().unwrap());
    let images = [scene.path("a"), scene.path("b")].map(|path| {
        let parts = Parts::from_programs(&loaders.bios, &loaders.uefi, &programs.kernel).unwrap();
        make(&path, &parts, &Options { seed: Some(1), ..Options::default() }, false).unwrap();
        fs::read(path).unwrap()
    });
    assert!(images[0] == images[1]);
}

/// After a triple fault of a guest that firmware boots from an image, the next boot saves the tail; after the reset button, too.
fn saves_what_a_reset_cut(firmware: Firmware) {
    let mut scene = Scene::new();
    let word = random_word();
    let (path, _) = make_image(&scene, &format!("mark={word} crash=triple-fault"));
    scene.add_console(Kind::Virtio, 8);
    let mut machine = guest(&scene, firmware, Bus::Ahci, &path);
    machine.restarts = true;
    run(machine, Outcome::Finished);
    let lines = bcon_lines(&scene.image_path(0));
    let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(at("recovered: what the boot ") < at(&format!("mark {word}")), "{lines:#?}");
    assert!(at(&format!("mark {word}")) < at("; this boot follows"), "{lines:#?}");

    let mut scene = Scene::new();
    let (path, _) = make_image(&scene, "app=idle pad_ms=600000 watchdog=off");
    scene.add_console(Kind::Virtio, 8);
    let mut machine = guest(&scene, firmware, Bus::Ahci, &path);
    machine.restarts = true;
    let mut running = machine.start().unwrap();
    running.wait_for_serial("now logging to vda").unwrap();
    running.qmp().reset().unwrap();
    running.wait_for_serial(" lines of it are recovered").unwrap();
    running.kill().unwrap();
}

#[test]
fn by_bios_the_tail_of_a_reset_boot_is_saved() {
    saves_what_a_reset_cut(Firmware::Bios);
}

#[test]
fn by_uefi_the_tail_of_a_reset_boot_is_saved() {
    saves_what_a_reset_cut(Firmware::Uefi);
}
