//! Block devices: safe while in use, followed past the cache. Needs root and loops.
#![forbid(unsafe_code)]

mod common;

use common::{Folder, Maker, TILE, Writer, numbered};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

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

/// What is written behind this machine's page cache, as another machine does on a shared disk, is seen all the same. Here it is
/// the loop device's file that is written to: the device's own cache knows nothing of that.
#[test]
fn a_device_is_followed_past_the_page_cache() {
    let folder = Folder::new("direct");
    let mut maker = Maker::new(Writer::Ours, 4, 512);
    maker.boot();
    maker.lines(0..10);
    maker.pad();
    let image = folder.write("disk.img", &maker.bytes);
    let Some(device) = Loop::new(&image) else { return eprintln!("skipped: it takes root and losetup") };
    // All of it is in the cache, and stays there as long as somebody has the device open.
    let held = fs::File::open(&device.0).unwrap();
    let cached = || {
        let mut bytes = vec![0; 4 * TILE];
        held.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    assert!(cached() == maker.bytes);
    let mut child = Command::new(env!("CARGO_BIN_EXE_bcon"))
        .args(["tail", "-f", "-n", "1"])
        .arg(&device.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    let next = || lines.recv_timeout(Duration::from_secs(60));
    let first = next();
    let file = fs::File::options().write(true).open(&image).unwrap();
    let mut all = vec![];
    for step in 1..4_u32 {
        maker.lines(step * 10..step * 10 + 10);
        maker.pad();
        file.write_all_at(&maker.bytes, 0).unwrap();
        all.extend((0..10).map(|_| next()));
    }
    let is_behind = cached() != maker.bytes;
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    assert_eq!(first.as_deref(), Ok(numbered(9).as_str()));
    let expected: Vec<_> = (10..40).map(|number| Ok(numbered(number))).collect();
    assert_eq!(all, expected);
    assert!(is_behind, "the cache showed it too: this proves nothing");
}
