//! Disks in use are never overwritten. Needs root and loop devices.
#![forbid(unsafe_code)]

mod common;

use common::{Folder, TILE};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A loop device on a file, detached at the end.
struct Loop(PathBuf);

impl Loop {
    /// `None` where there are none to be had.
    fn new(file: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !path.is_empty()).then(|| Self(PathBuf::from(path)))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// Runs a shell script in mount points of its own, which go away with it.
fn script(text: &str, arguments: &[&Path]) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-euc", text, "sh"]).args(arguments);
    command.output().unwrap()
}

#[test]
fn a_mounted_disk_is_refused_with_and_without_sysfs() {
    let folder = Folder::new("mounted");
    let image = folder.write("disk.img", &vec![0; 8 * TILE]);
    let is_made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
    let device = is_made.is_ok_and(|made| made.status.success()).then(|| Loop::new(&image)).flatten();
    let place = folder.file("place");
    fs::create_dir(&place).unwrap();
    let bcon = Path::new(env!("CARGO_BIN_EXE_bcon"));
    let Some(device) = device.filter(|device| {
        script("mount \"$1\" \"$2\" && mount -t tmpfs none /sys", &[&device.0, &place]).status.success()
    }) else {
        eprintln!("skipped: it takes root, mkfs.ext4, losetup and unshare");
        return;
    };
    let before = fs::read(&device.0).unwrap();
    for (what, prepare) in [("with /sys", ""), ("without /sys", "mount -t tmpfs none /sys; ")] {
        let text = format!("mount -o ro,noload \"$1\" \"$2\"; {prepare}exec \"$3\" format \"$1\" --force");
        let output = script(&text, &[&device.0, &place, bcon]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{what}: {errors}");
        assert!(errors.contains("is in use: it is mounted on"), "{what}: {errors}");
        assert!(fs::read(&device.0).unwrap() == before, "{what}: the disk was written to");
        // Mounted where nobody here can see it: only the kernel knows.
        let text = format!(
            "mount -o ro,noload \"$1\" \"$2\"; {prepare}mount -t tmpfs none /proc; mkdir /proc/self; : > /proc/self/mountinfo; \
             exec \"$3\" format \"$1\" --force"
        );
        let output = script(&text, &[&device.0, &place, bcon]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{what}: {errors}");
        assert!(errors.contains("the kernel holds it"), "{what}: {errors}");
        assert!(fs::read(&device.0).unwrap() == before, "{what}: the disk was written to");
    }
    // And when it is mounted no more, it is as good as any.
    for prepare in ["", "mount -t tmpfs none /sys; "] {
        let output = script(&format!("{prepare}exec \"$2\" format \"$1\" --force"), &[&device.0, bcon]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
