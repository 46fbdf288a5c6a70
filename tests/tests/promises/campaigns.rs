//! The long campaigns are commands: each is run a little, and must see losses.

use std::env;
use std::process::Command;

use qemu::{Kind, workspace};
use tests::Scene;

/// No disk has this console: nothing is written anywhere.
const NOWHERE: [&str; 2] = ["--append", "bcon.uuid=00000001"];

/// Runs a campaign while the scene lasts, which keeps others from running guests; it must end with this status.
fn campaign(_: &Scene, words: &[&str], status: i32) -> String {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--package", "xtask", "--"]).args(words).current_dir(workspace());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(status), "{words:?}: {text}");
    text
}

#[test]
fn a_crash_at_any_instruction_is_captured() {
    campaign(&Scene::new(), &["anywhere", "--count", "21", "--jobs", "1"], 0);
    let words = [&["anywhere", "--count", "1", "--jobs", "1"][..], &NOWHERE].concat();
    let text = campaign(&Scene::new(), &words, 20);
    assert!(text.contains("1 were not captured; to try again, --replay one of: start:"), "{text}");
}

#[test]
fn a_panic_is_captured_on_all_disks_at_all_moments() {
    campaign(&Scene::new(), &["matrix", "--only", "assert/", "--jobs", "1"], 0);
    let words = [&["matrix", "--only", "assert/both/idle", "--jobs", "1"][..], &NOWHERE].concat();
    let text = campaign(&Scene::new(), &words, 20);
    assert!(text.contains("not captured, or not as it should be: assert/both/idle"), "{text}");
}

#[test]
fn nothing_is_lost_under_torture() {
    campaign(&Scene::new(), &["torture", "--runs", "12", "--jobs", "1"], 0);
    let words = [&["torture", "--runs", "2", "--jobs", "1"][..], &NOWHERE].concat();
    let text = campaign(&Scene::new(), &words, 20);
    assert!(text.contains("something was lost in trials 0 1; to try again: --seed 1 --only 0"), "{text}");
}

#[test]
fn a_drill_says_whether_a_setup_captures() {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    let setup = format!("virtio:{}+nvme:{}", scene.image_path(0).display(), scene.image_path(1).display());
    let text = campaign(&scene, &["drill", &setup], 0);
    assert!(text.contains(": captures: the record was whole on 2 of 2 consoles"), "{text}");
    let words = [&["drill", &setup][..], &NOWHERE].concat();
    assert!(campaign(&scene, &words, 20).contains(": DOES NOT CAPTURE: no crash record"));

    let mut scene = Scene::new();
    scene.add(Kind::Virtio, &[0; 4 << 20]);
    let text = campaign(&scene, &["drill", &scene.image_path(0).display().to_string()], 20);
    assert!(text.contains(": DOES NOT CAPTURE: no disk has a console"), "{text}");
}
