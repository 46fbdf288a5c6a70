//! Flashing loop devices: what is free is written, what is in use is not touched.
//!
//! Only root can make loop devices: `cargo test -p bcon --test flash -- --ignored`.
#![forbid(unsafe_code)]

mod common;

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
#[ignore = "needs root and loop devices"]
fn a_free_disk_is_written_and_verified() {
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
#[ignore = "needs root and loop devices"]
fn a_mounted_disk_takes_two_words() {
    let folder = Folder::new("flash-mounted");
    let (image, disk) = files(&folder);
    run("mkfs.ext4", &["-q", "-F", disk.to_str().unwrap()]);
    let before = fs::read(&disk).unwrap();
    let device = Loop::new(&disk, &[]);
    let place = folder.file("mnt");
    fs::create_dir(&place).unwrap();
    run("mount", &["-o", "ro", &device.0, place.to_str().unwrap()]);
    let refusals = [&["--yes"][..], &["--yes", "--force"]].map(|words| flash(&device.0, &image, words));
    let (status, forced) = flash(&device.0, &image, &["--yes", "--force", "--force"]);
    run("umount", &[place.to_str().unwrap()]);
    for (status, said) in refusals {
        assert!(status == Some(3) && said.contains("is mounted on") && said.contains("--force twice"), "{said}");
    }
    assert!(status == Some(0) && forced.contains("warning: it is mounted on"), "{forced}");
    assert_ne!(fs::read(&disk).unwrap(), before);
}

#[test]
#[ignore = "needs root and loop devices"]
fn what_cannot_work_is_refused() {
    let folder = Folder::new("flash-refused");
    let (image, disk) = files(&folder);
    let read_only = Loop::new(&disk, &["--read-only"]);
    let (status, said) = flash(&read_only.0, &image, &["--yes", "--force", "--force"]);
    assert!(status == Some(3) && said.contains("read-only"), "{said}");
    let small = folder.write("small", &vec![0x11; 8 << 20]);
    let small = Loop::new(&small, &[]);
    let (status, said) = flash(&small.0, &image, &["--yes", "--force", "--force"]);
    assert!(status == Some(3) && said.contains("too small"), "{said}");
}

#[test]
fn a_file_is_no_disk() {
    let folder = Folder::new("flash-file");
    let (image, disk) = files(&folder);
    let (status, said) = flash(disk.to_str().unwrap(), &image, &["--yes", "--force", "--force"]);
    assert!(status == Some(3) && said.contains("no block device"), "{said}");
    assert!(fs::read(&disk).unwrap().iter().all(|byte| *byte == 0x11));
}
