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
pub(crate) fn screenshot(scene: &Scene, running: &mut Running) -> Vec<u8> {
    let path = scene.path("screen.ppm");
    let answer = running.qmp().monitor(&format!("screendump {}", path.display())).unwrap();
    assert_eq!(answer.trim(), "");
    fs::read(path).unwrap()
}

/// Whether a picture shows this line of text, in whatever font that has characters of 8 pixels: where the same character always looks the
/// same, and another one differently.
pub(crate) fn shows_text(picture: &[u8], text: &str) -> bool {
    let (width, height, pixels) = pixmap(picture);
    let text = text.as_bytes();
    let heights = [16, 19];
    let is_there = |x: usize, y: usize, rows: usize| {
        let glyph = |index: usize| {
            // Green: the background may be red.
            let lit = |row: usize, column: usize| pixels[((y + row) * width + x + index * 8 + column) * 3 + 1] > 100;
            let rows = (0..rows).map(|row| (0..8).fold(0_u8, |bits, column| bits << 1 | u8::from(lit(row, column))));
            rows.collect::<Vec<_>>()
        };
        let mut known: Vec<(u8, Vec<u8>)> = Vec::new();
        text.iter().enumerate().all(|(index, character)| {
            let glyph = glyph(index);
            match known.iter().find(|(other, drawn)| other == character || *drawn == glyph) {
                Some((other, drawn)) => other == character && *drawn == glyph,
                None => {
                    known.push((*character, glyph));
                    true
                }
            }
        })
    };
    let right = width.saturating_sub(text.len() * 8);
    let places = heights.into_iter().flat_map(|rows| (0..height - rows).map(move |y| (rows, y)));
    places
        .flat_map(|(rows, y)| (0..=right.min(400)).map(move |x| (x, y, rows)))
        .any(|(x, y, rows)| is_there(x, y, rows))
}

/// Width, height and pixels of a portable pixmap: three bytes each.
fn pixmap(picture: &[u8]) -> (usize, usize, &[u8]) {
    let mut fields = picture.splitn(4, |byte| *byte == b'\n' || *byte == b' ');
    assert_eq!(fields.next(), Some(&b"P6"[..]));
    let mut number = || std::str::from_utf8(fields.next().unwrap()).unwrap().parse::<usize>().unwrap();
    let (width, height) = (number(), number());
    let pixels = fields.next().unwrap();
    (width, height, &pixels[pixels.len() - width * height * 3..])
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
    let scanned = scan_with_zbar(&scene);
    assert_eq!(record_of(&scanned), on_disk, "by zbar");
    // The same with nothing of ours: a scanner of others, and an unpacker written from the format's description.
    let record = tests::qr::record(std::str::from_utf8(&scanned).unwrap().lines()).unwrap();
    assert_eq!(String::from_utf8(record).unwrap(), on_disk, "by both");
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

#[test]
fn a_second_graphics_adapter_with_a_framebuffer_is_taken() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "app=idle");
    let mut guest = guest(&scene, Firmware::Uefi, Bus::Virtio, &path);
    // The first one has no memory that a program can draw in.
    guest.arguments.extend(["-device", "virtio-gpu-pci", "-device", "secondary-vga"].map(Into::into));
    let running = guest.start().unwrap();
    running.wait_for_serial("now logging").unwrap();
    let serial = String::from_utf8_lossy(&running.serial().bytes()).into_owned();
    assert!(serial.contains("framebuffer at 0x"), "{serial}");
}
