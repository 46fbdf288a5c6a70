//! The screen shows the log, and a crash with a QR code that holds its record.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bcon::qr::Collector;
use qemu::{Bus, Firmware, Running, Tool, require};
use tests::Scene;
use tests::oracle::{Oracle, crash_record};

use crate::images::{CONSOLE, guest, make_image};

/// What the screen shows: a portable pixmap.
fn screenshot(scene: &Scene, running: &mut Running) -> Vec<u8> {
    let path = scene.path("screen.ppm");
    let answer = running.qmp().monitor(&format!("screendump {}", path.display())).unwrap();
    assert_eq!(answer.trim(), "");
    fs::read(path).unwrap()
}

/// Starts a machine with a screen from an image with this command line.
fn start(scene: &Scene, firmware: Firmware, command_line: &str) -> Running {
    let (path, _) = make_image(scene, command_line);
    let mut guest = guest(scene, firmware, Bus::Virtio, &path);
    guest.arguments.extend(["-device", "VGA"].map(Into::into));
    guest.start().unwrap()
}

fn shows_a_crash(firmware: Firmware) {
    let scene = Scene::new();
    let mut running = start(&scene, firmware, "crash=page-fault panic=halt");
    // The serial port is told after the screen.
    running.wait_for_serial("blockconsole: crashed, record durable on 1 of 1 consoles").unwrap();
    let picture = screenshot(&scene, &mut running);
    drop(running);

    let image = fs::read(scene.path("boot.img")).unwrap();
    let lines = Oracle::new(&image[CONSOLE]).unwrap().lines().unwrap();
    let on_disk = crash_record(&lines).unwrap().expect("no crash record on the disk").join("\n") + "\n";
    assert_eq!(record_of(&picture), on_disk);
    assert_eq!(record_of(&scan_with_zbar(&scene)), on_disk, "by zbar");
}

/// The crash record in a picture, or in what was scanned from one.
fn record_of(bytes: &[u8]) -> String {
    let mut collector = Collector::new();
    collector.take(bytes).unwrap();
    String::from_utf8(collector.record().unwrap()).unwrap()
}

/// What an independent program reads from the last screenshot.
fn scan_with_zbar(scene: &Scene) -> Vec<u8> {
    let mut command = Command::new(require(Tool::Zbar).unwrap());
    command.args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"]).arg(scene.path("screen.ppm"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "zbarimg has found no code: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_crash_by_bios() {
    shows_a_crash(Firmware::Bios);
}

#[test]
fn a_crash_by_uefi() {
    shows_a_crash(Firmware::Uefi);
}

/// Pixels that are not black, of the upper half of a pixmap.
fn lit(picture: &[u8]) -> usize {
    let pixels = picture.get(picture.len() % 3..picture.len() / 2).unwrap_or_default();
    pixels.chunks_exact(3).filter(|pixel| pixel.iter().any(|value| *value > 100)).count()
}

#[test]
fn the_log_while_it_runs() {
    let scene = Scene::new();
    let mut running = start(&scene, Firmware::Bios, "app=idle");
    running.wait_for_serial("now logging").unwrap();
    // The tick draws, soon.
    let deadline = Instant::now() + Duration::from_secs(30);
    let picture = loop {
        let picture = screenshot(&scene, &mut running);
        if lit(&picture) > 20_000 || Instant::now() > deadline {
            break picture;
        }
    };
    // Some twenty lines of text.
    assert!((20_000..300_000).contains(&lit(&picture)), "{} pixels are lit", lit(&picture));
    assert_eq!(Collector::new().take(&picture).ok(), Some(0), "a code, but nothing has crashed");
}
