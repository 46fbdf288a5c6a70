//! An image that cannot be started says why: once, on serial port, screen and disk.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use fatfs::{FileSystem, FsOptions};
use qemu::{Bus, Firmware, Guest, Kind, Outcome};
use tests::recipe::noise;
use tests::{Scene, bcon_lines, run};

use crate::images::{CONSOLE, guest, make_image};
use crate::screen::{screenshot, shows_text};

const SYSTEM: std::ops::Range<usize> = 2 << 20..42 << 20;
const KERNEL: &str = "blockconsole/kernel";
const COMMAND_LINE: &str = "blockconsole/cmdline.txt";

/// Changes a file on an image's system partition, or removes it.
fn change(path: &Path, file: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let mut image = fs::read(path).unwrap();
    let mut system = Cursor::new(image[SYSTEM].to_vec());
    {
        let volume = FileSystem::new(&mut system, FsOptions::new()).unwrap();
        let mut content = Vec::new();
        volume.root_dir().open_file(file).unwrap().read_to_end(&mut content).unwrap();
        volume.root_dir().remove(file).unwrap();
        if let Some(content) = change(content) {
            volume.root_dir().create_file(file).unwrap().write_all(&content).unwrap();
        }
        volume.unmount().unwrap();
    }
    image[SYSTEM].copy_from_slice(system.get_ref());
    fs::write(path, image).unwrap();
}

fn change_kernel(path: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
    change(path, KERNEL, |mut kernel| {
        damage(&mut kernel);
        Some(kernel)
    });
}

/// Cuts the kernel short, as a copy that was interrupted leaves it.
fn cut_kernel(path: &Path) {
    change_kernel(path, |kernel| kernel.truncate(kernel.len() / 2));
}

/// Cuts off the end of the last segment, and what is behind it.
fn cut_segment(path: &Path) {
    change_kernel(path, |kernel| {
        let field = |at: usize, len: usize| {
            kernel[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
        };
        let headers = (0..field(56, 2)).map(|number| field(32, 8) + number * 56);
        let ends = headers.filter(|at| field(*at, 4) == 1).map(|at| field(at + 8, 8) + field(at + 32, 8));
        let end = ends.max().unwrap();
        kernel.truncate(end - 100);
    });
}

/// The only error line that a loader printed.
fn only_error(firmware: Firmware, serial: &str) -> &str {
    let errors: Vec<&str> = serial.lines().filter(|line| line.starts_with("boot: ERROR")).collect();
    // OVMF's console is the same serial port: there is its copy as well.
    let copies = if firmware == Firmware::Uefi { 2 } else { 1 };
    assert!(errors.len() == copies && errors.iter().all(|line| *line == errors[0]), "{serial}");
    errors[0]
}

/// Boots an image whose loader must fail, and say this; on the image's own console too.
fn fails(firmware: Firmware, bus: Bus, damage: impl Fn(&Path), reason: &str) {
    let scene = Scene::new();
    let (path, made) = make_image(&scene, "");
    damage(&path);
    let before = fs::read(&path).unwrap();
    let report = run(guest(&scene, firmware, bus, &path), Outcome::LoaderFailed);
    let serial = report.serial_text();
    let error = only_error(firmware, &serial).strip_prefix("boot: ").unwrap();
    assert!(error.starts_with("ERROR ") && error.contains(reason), "{error}");
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

const CUT_SHORT: &str = "reaches beyond the end of the file: cut short?; build the kernel again";

#[test]
fn a_kernel_cut_short() {
    // AHCI and USB: disks that the kernel could not write to, but firmware can.
    fails(Firmware::Bios, Bus::Virtio, cut_kernel, CUT_SHORT);
    fails(Firmware::Bios, Bus::Ahci, cut_segment, CUT_SHORT);
    let truncate = |path: &Path| change_kernel(path, |kernel| kernel.truncate(17));
    fails(
        Firmware::Bios,
        Bus::Usb,
        truncate,
        "ELF header: file size is 0x11: too short for an ELF file: not a kernel, or cut short",
    );
}

#[test]
fn a_kernel_cut_short_by_uefi() {
    fails(Firmware::Uefi, Bus::Usb, cut_kernel, CUT_SHORT);
    fails(Firmware::Uefi, Bus::Virtio, cut_segment, CUT_SHORT);
}

type Damage = fn(&mut Vec<u8>);

/// What makes a kernel one for something else, and what is said then.
const WRONG: [(&str, Damage); 4] = [
    ("bad kernel file: ELF header: e_ident[EI_MAG]", |kernel| *kernel = noise(100_000, 5)),
    ("bad kernel file: ELF header: e_ident[EI_CLASS] is 0x1: not a 64-bit ELF file", |kernel| kernel[4] = 1),
    ("bad kernel file: ELF header: e_machine is 0xb7: not a program for x86-64", |kernel| kernel[18] = 183),
    ("bad kernel file: ELF header: e_type is 0x1: neither a program", |kernel| kernel[16] = 1),
];

#[test]
fn a_kernel_that_is_no_program_for_this_processor() {
    for (reason, damage) in WRONG {
        fails(Firmware::Bios, Bus::Nvme, |path| change_kernel(path, damage), reason);
    }
}

#[test]
fn a_kernel_that_is_no_program_for_this_processor_by_uefi() {
    for (reason, damage) in &WRONG[1..3] {
        fails(Firmware::Uefi, Bus::Nvme, |path| change_kernel(path, damage), reason);
    }
}

#[test]
fn a_missing_kernel() {
    let reason = "no kernel was given; put it at \\blockconsole\\kernel on the ";
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        fails(firmware, Bus::Nvme, |path| change(path, KERNEL, |_| None), reason);
    }
}

/// Runs an image with so much memory; returns the lines that say what is wrong.
fn with_memory(mebibytes: u32, outcome: Outcome) -> Vec<String> {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "app=lines:3");
    let mut guest = guest(&scene, Firmware::Bios, Bus::Virtio, &path);
    guest.memory_mib = mebibytes;
    let serial = run(guest, outcome).serial_text();
    let bad = |line: &&str| ["ERROR", "error:", "WARN"].iter().any(|word| line.contains(word));
    serial.lines().filter(bad).map(str::to_owned).collect()
}

#[test]
fn too_little_memory() {
    let only = |lines: Vec<String>, start: &str, reason: &str| {
        assert!(lines.len() == 1 && lines[0].starts_with(start) && lines[0].contains(reason), "{lines:#?}");
    };
    only(with_memory(2, Outcome::LoaderFailed), "boot: ERROR", "not enough memory for ");
    let lines = with_memory(4, Outcome::Crashed { durable_everywhere: false });
    only(lines, "blockconsole: error: ", "not enough memory for the log; ");
    // It works, but is not what was promised.
    for mebibytes in [8, 18, 30] {
        let lines = with_memory(mebibytes, Outcome::Finished);
        let said = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!(said(" MiB of memory: blockconsole wants 32"), 1, "{lines:#?}");
        let is_lost = said("after a reset, the next boot will not find it");
        assert_eq!((is_lost, lines.len()), (1, 2), "{lines:#?}");
    }
    // What a reset leaves lies right behind the first 32 MiB.
    only(with_memory(32, Outcome::Finished), "[", "after a reset, the next boot will not find it");
    assert_eq!(with_memory(36, Outcome::Finished), [""; 0]);
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
    assert!(only_error(Firmware::Bios, &serial).contains("no valid GPT"), "{serial}");
    // Without a table, nobody knows where the console was: nothing is written.
    assert!(serial.contains("this log is not on the disk: it has no console"), "{serial}");
    assert!(fs::read(&path).unwrap() == image);
}

/// Boots an image with a damage that does not keep the kernel from starting, but is named.
fn starts(firmware: Firmware, damage: impl Fn(&Path), warning: &str) {
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
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        starts(firmware, |path| change(path, COMMAND_LINE, |_| None), "the command line is empty");
    }
}

fn long_command_line(path: &Path) {
    change(path, COMMAND_LINE, |_| Some(b"app=lines:5 x=1 ".repeat(4096)));
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
    let mut running = real_machine(&scene, Firmware::Bios, &path).start().unwrap();
    running.wait_for_serial("this log is on the disk").unwrap();
    let serial = String::from_utf8_lossy(&running.serial().bytes()).replace('\r', "");
    let shown = screen(&mut running);
    assert!(shown.contains(only_error(Firmware::Bios, &serial)), "{shown:?}");
}

/// A machine that is no virtual one, as far as the loader sees: it stops with what is on its screen.
fn real_machine(scene: &Scene, firmware: Firmware, path: &Path) -> Guest {
    let mut guest = guest(scene, firmware, Bus::Ahci, path);
    guest.arguments = ["-vga", "std", "-cpu", "qemu64,-hypervisor"].map(Into::into).into();
    guest
}

#[test]
fn the_reason_stays_on_the_screen_of_a_real_machine_with_uefi() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "");
    cut_kernel(&path);
    let mut running = real_machine(&scene, Firmware::Uefi, &path).start().unwrap();
    running.wait_for_serial("this log is on the disk").unwrap();
    let serial = String::from_utf8_lossy(&running.serial().bytes()).replace('\r', "");
    let line = serial.lines().find(|line| line.starts_with("boot: ERROR")).unwrap();
    let picture = screenshot(&scene, &mut running);
    // A line of the screen has 80 columns at least.
    assert!(shows_text(&picture, &line[..75]), "{line}");
    assert!(!shows_text(&picture, &line[..75].replace("bad kernel", "sad kernel")), "any text is found");
}

#[test]
fn a_kernel_without_memory_says_so_on_the_screen() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "");
    let mut guest = real_machine(&scene, Firmware::Bios, &path);
    guest.memory_mib = 4;
    let mut running = guest.start().unwrap();
    let text = "blockconsole: error: not enough memory for the log";
    running.wait_for_serial(text).unwrap();
    // The screen comes after the serial port.
    let until = Instant::now() + Duration::from_secs(30);
    while !shows_text(&screenshot(&scene, &mut running), text) {
        assert!(Instant::now() < until, "not on the screen");
    }
}

#[test]
fn a_bios_may_write_the_shape_of_a_floppy_disk_into_the_boot_record() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "app=lines:3");
    let mut image = fs::read(&path).unwrap();
    assert_eq!((image[0], image[2]), (0xEB, 0x90), "how boot records with such a shape begin");
    image[0x0B..0x5A].fill(0xF4);
    fs::write(&path, &image).unwrap();
    run(guest(&scene, Firmware::Bios, Bus::Usb, &path), Outcome::Finished);
}

#[test]
fn a_second_stage_that_is_none() {
    let scene = Scene::new();
    let (path, _) = make_image(&scene, "");
    let mut image = fs::read(&path).unwrap();
    image[1 << 20..(1 << 20) + 4].fill(0);
    fs::write(&path, &image).unwrap();
    let report = run(guest(&scene, Firmware::Bios, Bus::Virtio, &path), Outcome::LoaderFailed);
    assert_eq!(only_error(Firmware::Bios, &report.serial_text()), "boot: ERROR bad loader: flash again");
}
