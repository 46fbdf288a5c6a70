//! `cargo xtask run` says what became of a run, by words and by exit status.

use std::env;
use std::fs;
use std::process::Command;

use qemu::workspace;
use tests::Scene;

/// Runs the command with images in the scene's directory; gives its status and what it printed.
fn xtask_run(scene: &Scene, disks: &[&str], words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--package", "xtask", "--", "run", "--quiet"]).current_dir(workspace());
    for (number, disk) in disks.iter().enumerate() {
        let (kind, keys) = disk.split_once(',').unwrap_or((disk, "size=4M"));
        command.arg(format!("--disk={kind},{keys},path={}", scene.path(&number.to_string()).display()));
    }
    let output = command.args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_run_that_finishes_has_status_0() {
    let scene = Scene::new();
    for run in 1..=2 {
        let (status, text) = xtask_run(&scene, &["virtio", "nvme"], &[]);
        assert_eq!(status, Some(0), "{text}");
        assert_eq!(text.matches(&format!("boots: {run}; lines of the last one: ")).count(), 2, "{text}");
    }
}

#[test]
fn a_crash_has_status_10_and_shows_its_record_from_every_disk() {
    let scene = Scene::new();
    let (status, text) = xtask_run(&scene, &["virtio", "nvme"], &["--append", "crash=page-fault"]);
    assert_eq!(status, Some(10), "{text}");
    assert_eq!(text.matches("read back from this disk: whole").count(), 2, "{text}");
    assert_eq!(text.matches("| reason: page fault").count(), 2, "{text}");
    // Functions and lines, from the kernel's debug information.
    assert!(text.matches("kernel/src/crash/provoke.rs:").count() >= 2, "{text}");
}

#[test]
fn every_way_to_boot_is_there() {
    let scene = Scene::new();
    for boot in ["bios", "uefi"] {
        let (status, text) = xtask_run(&scene, &["virtio", "nvme"], &["--boot", boot, "--append", "crash=panic"]);
        assert_eq!(status, Some(10), "{boot}: {text}");
    }
}

#[test]
fn a_crash_that_a_disk_lacks_has_status_20() {
    let scene = Scene::new();
    let (status, text) = xtask_run(&scene, &["virtio", "nvme,size=4M,fault=eio-write"], &["--append", "crash=panic"]);
    assert_eq!(status, Some(20), "{text}");
    assert_eq!(text.matches("read back from this disk: whole").count(), 1, "{text}");
    assert_eq!(text.matches("nothing of this run").count(), 1, "{text}");
}

#[test]
fn after_a_reset_the_last_words_have_status_10() {
    let scene = Scene::new();
    let words = ["--append", "mark=farewell crash=triple-fault"];
    let (status, text) = xtask_run(&scene, &["virtio", "nvme"], &words);
    assert_eq!(status, Some(10), "{text}");
    assert!(text.contains("the machine was reset; its last words before that are on 2 of 2 consoles"), "{text}");
    assert_eq!(text.matches("mark farewell").count(), 2, "{text}");
    // A crash that ends in a reset has its record there, on the disk that takes writes.
    let words = ["--append", "crash=panic panic=reboot"];
    let (status, text) = xtask_run(&scene, &["virtio", "nvme"], &words);
    assert_eq!(status, Some(10), "{text}");
    assert_eq!(text.matches("read back from this disk: whole").count(), 2, "{text}");
    let (status, text) = xtask_run(&scene, &["virtio", "nvme,size=4M,fault=eio-write"], &words);
    assert_eq!(status, Some(20), "{text}");
    assert_eq!(text.matches("read back from this disk: whole").count(), 1, "{text}");
}

#[test]
fn a_time_out_has_status_30() {
    let (status, text) = xtask_run(&Scene::new(), &["virtio"], &["--append", "app=idle", "--timeout", "2"]);
    assert_eq!(status, Some(30), "{text}");
    assert!(text.contains("the time limit passed"), "{text}");
}

#[test]
fn anything_else_has_status_1() {
    let scene = Scene::new();
    let (status, text) = xtask_run(&scene, &["virtio"], &["--qemu-arg", "-no-such-option"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("no-such-option"), "{text}");
    // The last -initrd counts: what is handed to the loader is no kernel.
    let junk = scene.path("junk");
    fs::write(&junk, [7; 9999]).unwrap();
    let words = ["--qemu-arg", "-initrd", "--qemu-arg", junk.to_str().unwrap()];
    let (status, text) = xtask_run(&scene, &["virtio"], &words);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("the loader could not start the kernel"), "{text}");
}

#[test]
fn an_unmarked_disk_is_left_as_it_is() {
    let scene = Scene::new();
    fs::write(scene.path("1"), vec![0x33; 4 << 20]).unwrap();
    let (status, text) = xtask_run(&scene, &["virtio", "virtio,format=no"], &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(fs::read(scene.path("1")).unwrap().iter().all(|byte| *byte == 0x33));
}
