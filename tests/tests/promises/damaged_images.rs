//! An image that cannot be started says why: once, on serial port, screen and disk.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use fatfs::{FileSystem, FsOptions};
use qemu::{Bus, Firmware, Guest, Kind, Outcome};
use tests::recipe::noise;
use tests::{Scene, bcon_lines, run};

use crate::images::{CONSOLE, guest, make_image};

const SYSTEM: std::ops::Range<usize> = 2 << 20..42 << 20;
const KERNEL: &str = "blockconsole/kernel";
const COMMAND_LINE: &str = "blockconsole/cmdline.txt";

/// Replaces a file on an image's system partition, or removes it.
fn replace(path: &Path, file: &str, content: Option<&[u8]>) {
    let mut image = fs::read(path).unwrap();
    let mut system = Cursor::new(image[SYSTEM].to_vec());
    {
        let volume = FileSystem::new(&mut system, FsOptions::new()).unwrap();
        volume.root_dir().remove(file).unwrap();
        if let Some(content) = content {
            volume.root_dir().create_file(file).unwrap().write_all(content).unwrap();
        }
        volume.unmount().unwrap();
    }
    image[SYSTEM].copy_from_slice(system.get_ref());
    fs::write(path, image).unwrap();
}

/// Cuts the kernel short, as a copy that was interrupted leaves it.
fn cut_kernel(path: &Path) {
    replace(path, KERNEL, Some(b"\x7FELF\x02\x01\x01 cut short"));
}

/// The only error line that a loader printed.
fn only_error(serial: &str) -> &str {
    // Firmware's console may be the same serial port: then its copy is there as well.
    let mut errors: Vec<&str> = serial.lines().filter(|line| line.starts_with("boot: ERROR")).collect();
    errors.dedup();
    errors.sort_unstable();
    errors.dedup();
    assert_eq!(errors.len(), 1, "{serial}");
    errors[0]
}

/// Boots an image whose loader must fail, and say this; on the image's own console too.
fn fails(firmware: Firmware, bus: Bus, damage: fn(&Path), reason: &str) {
    let scene = Scene::new();
    let (path, made) = make_image(&scene, "");
    damage(&path);
    let before = fs::read(&path).unwrap();
    let report = run(guest(&scene, firmware, bus, &path), Outcome::LoaderFailed);
    let serial = report.serial_text();
    let error = only_error(&serial).strip_prefix("boot: ").unwrap();
    assert!(error.contains(reason), "{error}");
    let told = format!("this log is on the disk: boot 1 of console {:08x}", made.uuid.unwrap());
    assert!(serial.contains(&told), "{serial}");

    // On the disk: the whole log, as a boot of its own, and nothing else.
    let lines = bcon_lines(&path);
    assert!(lines[0].contains(&format!("boot 1 of {:08x}: ", made.uuid.unwrap())), "{}", lines[0]);
    assert!(lines.iter().any(|line| line.contains("INFO  boot: blockconsole loader ")), "{lines:#?}");
    let (level, text) = error.split_once(' ').unwrap();
    assert!(lines.last().unwrap().ends_with(&format!("] {level} boot: {text}")), "{lines:#?}");
    let after = fs::read(&path).unwrap();
    // Tile 1 alone was entered.
    let tile = CONSOLE.start + (1 << 20)..CONSOLE.start + (2 << 20);
    assert!(after[..tile.start] == before[..tile.start] && after[tile.end..] == before[tile.end..]);
}

#[test]
fn a_kernel_cut_short() {
    // AHCI and USB: disks that the kernel could not write to, but firmware can.
    fails(Firmware::Bios, Bus::Virtio, cut_kernel, "bad kernel file");
    fails(Firmware::Bios, Bus::Ahci, cut_kernel, "bad kernel file");
    fails(Firmware::Bios, Bus::Usb, cut_kernel, "bad kernel file");
}

#[test]
fn a_kernel_cut_short_by_uefi() {
    fails(Firmware::Uefi, Bus::Usb, cut_kernel, "bad kernel file");
}

#[test]
fn a_kernel_that_is_no_program_for_this_processor() {
    let wrong = |path: &Path| replace(path, KERNEL, Some(&noise(100_000, 5)));
    fails(Firmware::Bios, Bus::Nvme, wrong, "bad kernel file");
}

#[test]
fn a_missing_kernel() {
    fails(Firmware::Bios, Bus::Nvme, |path| replace(path, KERNEL, None), "no kernel was given");
}

#[test]
fn too_little_memory() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "");
    let mut guest = guest(&scene, Firmware::Bios, Bus::Virtio, &path);
    guest.memory_mib = 2;
    let report = run(guest, Outcome::LoaderFailed);
    assert!(only_error(&report.serial_text()).contains("not enough memory for"), "{report}");
}

#[test]
fn a_damaged_partition_table() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "");
    let mut image = fs::read(&path).unwrap();
    // One copy of the table is enough.
    image[512..1024].fill(0x5A);
    fs::write(&path, &image).unwrap();
    run(guest(&scene, Firmware::Bios, Bus::Ahci, &path), Outcome::Finished);
    let end = image.len();
    image[end - 512..].fill(0x5A);
    fs::write(&path, &image).unwrap();
    let report = run(guest(&scene, Firmware::Bios, Bus::Ahci, &path), Outcome::LoaderFailed);
    let serial = report.serial_text();
    assert!(only_error(&serial).contains("no valid GPT"), "{serial}");
    // Without a table, nobody knows where the console was: nothing is written.
    assert!(serial.contains("this log is not on the disk: it has no console"), "{serial}");
    assert!(fs::read(&path).unwrap() == image);
}

/// Boots an image with a damage that does not keep the kernel from starting, but is named.
fn starts(firmware: Firmware, damage: fn(&Path), warning: &str) {
    let mut scene = Scene::new();
    let (path, _) = make_image(&scene, "app=lines:7");
    damage(&path);
    scene.add_console(Kind::Virtio, 8);
    let report = run(guest(&scene, firmware, Bus::Ahci, &path), Outcome::Finished);
    let serial = report.serial_text();
    let mut warnings: Vec<&str> = serial.lines().filter(|line| line.starts_with("boot: WARN")).collect();
    warnings.dedup();
    assert!(warnings.len() == 1 && warnings[0].contains(warning), "{serial}");
    let on_disk = scene.lines(0).iter().filter(|line| line.contains(warning)).count();
    assert_eq!(on_disk, 1);
}

#[test]
fn a_missing_command_line() {
    starts(Firmware::Bios, |path| replace(path, COMMAND_LINE, None), "the command line is empty");
}

fn long_command_line(path: &Path) {
    replace(path, COMMAND_LINE, Some(&b"app=lines:5 x=1 ".repeat(4096)));
}

#[test]
fn a_command_line_of_64_kib() {
    starts(Firmware::Bios, long_command_line, "the command line has 65536 bytes, 4096 at most are taken");
}

#[test]
fn a_command_line_of_64_kib_by_uefi() {
    starts(Firmware::Uefi, long_command_line, "the command line has 65536 bytes, 4096 at most are taken");
}

/// The text on a PC's screen.
fn screen(running: &mut qemu::Running) -> String {
    let dump = running.qmp().monitor("xp /4000bx 0xb8000").unwrap();
    let bytes = dump.lines().filter_map(|line| line.split_once(':')).flat_map(|(_, bytes)| bytes.split_whitespace());
    let bytes: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte.trim_start_matches("0x"), 16).unwrap()).collect();
    let rows = bytes.chunks(160).map(|row| row.iter().step_by(2).map(|byte| char::from(*byte)).collect::<String>());
    rows.collect()
}

#[test]
fn the_reason_stays_on_the_screen_of_a_real_machine() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "");
    cut_kernel(&path);
    let mut guest: Guest = guest(&scene, Firmware::Bios, Bus::Ahci, &path);
    // A machine that is no virtual one, as far as the loader sees, stops with what is on its screen.
    guest.arguments = ["-vga", "std", "-cpu", "qemu64,-hypervisor"].map(Into::into).into();
    let mut running = guest.start().unwrap();
    running.wait_for_serial("this log is on the disk").unwrap();
    let serial = String::from_utf8_lossy(&running.serial().bytes()).replace('\r', "");
    let shown = screen(&mut running);
    assert!(shown.contains(only_error(&serial)), "{shown:?}");
}
