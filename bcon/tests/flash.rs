//! Flashing loop devices: what is free is written, what is in use is not touched.
//!
//! Only root can make loop devices, and not everywhere: elsewhere these tests say that they were skipped.
#![forbid(unsafe_code)]

mod common;

use bcon::image::{Options, Parts, make};
use boot_image::bios::Stages;
use common::{Folder, bcon};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program that must succeed, and returns what it printed.
fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether there can be loop devices; where they are required, there must be.
fn has_loop_devices() -> bool {
    let is_root = run("id", &["-u"]) == "0";
    let control = Path::new("/dev/loop-control").exists();
    let works =
        is_root && control && Command::new("losetup").arg("--find").output().is_ok_and(|found| found.status.success());
    let required = is_root && control && std::env::var_os("BLOCKCONSOLE_TOOLS").is_some();
    assert!(works || !required, "there is /dev/loop-control, but losetup finds no free device");
    if !works {
        eprintln!("skipped: needs root and loop devices");
    }
    works
}

/// A loop device, detached at its end.
struct Loop(String);

impl Loop {
    fn new(file: &Path, more: &[&str]) -> Self {
        let words = [&["--find", "--show"], more, &[file.to_str().unwrap()]].concat();
        Self(run("losetup", &words))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

/// An image, and a file of a disk that is larger.
fn files(folder: &Folder) -> (PathBuf, PathBuf) {
    let mut image = common::noise(9 << 20);
    image[512..520].copy_from_slice(b"EFI PART");
    (folder.write("image", &image), folder.write("disk", &vec![0x11; 20 << 20]))
}

fn flash(device: &str, image: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = bcon([&["flash", device, image.to_str().unwrap()], more].concat());
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn a_free_disk_is_written_and_verified() {
    if !has_loop_devices() {
        return;
    }
    let folder = Folder::new("flash-free");
    let (image, disk) = files(&folder);
    let device = Loop::new(&disk, &[]);
    // A loop device cannot be taken out.
    let (status, said) = flash(&device.0, &image, &["--yes"]);
    assert!(status == Some(3) && said.contains("no removable disk"), "{said}");
    let (status, said) = flash(&device.0, &image, &["--force"]);
    assert!(status == Some(3) && said.contains("nobody is there to be asked"), "{said}");
    assert!(fs::read(&disk).unwrap().iter().all(|byte| *byte == 0x11));
    let (status, said) = flash(&device.0, &image, &["--yes", "--force"]);
    assert!(status == Some(0) && said.contains("read back the same") && said.contains("100 %"), "{said}");
    drop(device);
    let (image, disk) = (fs::read(image).unwrap(), fs::read(disk).unwrap());
    assert!(disk[..image.len()] == image && disk[image.len()..].iter().all(|byte| *byte == 0x11));
}

#[test]
fn a_mounted_disk_takes_two_words() {
    if !has_loop_devices() {
        return;
    }
    let folder = Folder::new("flash-mounted");
    let (image, disk) = files(&folder);
    run("mkfs.ext4", &["-q", "-F", disk.to_str().unwrap()]);
    let before = fs::read(&disk).unwrap();
    let device = Loop::new(&disk, &[]);
    let place = folder.file("mnt");
    fs::create_dir(&place).unwrap();
    run("mount", &["-o", "ro", &device.0, place.to_str().unwrap()]);
    let refusals = [&["--yes"][..], &["--yes", "--force"]].map(|words| flash(&device.0, &image, words));
    assert!(fs::read(&disk).unwrap() == before, "a refused disk was written to");
    let (status, forced) = flash(&device.0, &image, &["--yes", "--force", "--force"]);
    run("umount", &[place.to_str().unwrap()]);
    for (status, said) in refusals {
        assert!(status == Some(3) && said.contains("is mounted on") && said.contains("--force twice"), "{said}");
    }
    assert!(status == Some(0) && forced.contains("warning: it is mounted on"), "{forced}");
    assert_ne!(fs::read(&disk).unwrap(), before);
}

#[test]
fn what_cannot_work_is_refused() {
    if !has_loop_devices() {
        return;
    }
    let folder = Folder::new("flash-refused");
    let (image, disk) = files(&folder);
    let small = folder.write("small", &vec![0x11; 8 << 20]);
    for (file, more, reason) in [
        (&disk, &["--read-only"][..], "read-only"),
        (&small, &[], "too small"),
        (&disk, &["--sector-size", "4096"], "its blocks have 4096 bytes"),
    ] {
        let device = Loop::new(file, more);
        let (status, said) = flash(&device.0, &image, &["--yes", "--force", "--force"]);
        assert!(status == Some(3) && said.contains(reason), "{said}");
        drop(device);
        assert!(fs::read(file).unwrap().iter().all(|byte| *byte == 0x11), "{reason}, and written to");
    }
}

#[test]
fn a_larger_disk_has_the_second_table_at_its_end() {
    if !has_loop_devices() {
        return;
    }
    let folder = Folder::new("flash-larger");
    let parts = Parts {
        stages: Stages::new(&[0x90; 440], vec![0x7F; 1024]).unwrap(),
        application: b"MZ application".to_vec(),
        kernel: b"\x7FELF kernel".to_vec(),
    };
    let (path, size) = (folder.file("image"), (60 << 20) + 1536);
    make(&path, &parts, &Options { console_size: 4 << 20, ..Options::default() }, false).unwrap();
    let disk = folder.write("disk", &vec![0x11; size]);
    let device = Loop::new(&disk, &[]);
    let (status, said) = flash(&device.0, &path, &["--yes", "--force"]);
    assert!(status == Some(0) && said.contains("read back the same"), "{said}");
    drop(device);

    let (image, disk) = (fs::read(path).unwrap(), fs::read(disk).unwrap());
    let word = |at: usize| u64::from_le_bytes(disk[at..at + 8].try_into().unwrap());
    let (last, second) = (size as u64 / 512 - 1, size - 512);
    assert_eq!((&disk[512..520], &disk[second..second + 8]), (&b"EFI PART"[..], &b"EFI PART"[..]));
    // Own sector, the other header's, last usable sector, entries.
    assert_eq!([24, 32, 48, 72].map(|at| word(512 + at)), [1, last, last - 33, 2]);
    assert_eq!([24, 32, 48, 72].map(|at| word(second + at)), [last, 1, last - 33, last - 32]);
    assert!(disk[second - 32 * 512..second] == image[1024..1024 + 32 * 512], "the same entries");
    let end = image.len();
    assert!(disk[1024..end - 33 * 512] == image[1024..end - 33 * 512], "the partitions");
    assert!(disk[end - 33 * 512..end].iter().all(|byte| *byte == 0), "the table in the middle is gone");
    assert!(disk[end..second - 32 * 512].iter().all(|byte| *byte == 0x11), "nothing else is touched");
}

#[test]
fn a_file_is_no_disk() {
    let folder = Folder::new("flash-file");
    let (image, disk) = files(&folder);
    let (status, said) = flash(disk.to_str().unwrap(), &image, &["--yes", "--force", "--force"]);
    assert!(status == Some(3) && said.contains("no block device"), "{said}");
    assert!(fs::read(&disk).unwrap().iter().all(|byte| *byte == 0x11));
}
