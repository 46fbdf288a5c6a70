//! The long campaigns are commands: each is run a little, and must see losses.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use qemu::{GUEST_COUNT, Kind, workspace};
use tests::Scene;

/// No disk has this console: nothing is written anywhere.
const NOWHERE: [&str; 2] = ["--append", "bcon.uuid=00000001"];

/// A campaign's command, which cargo turns into.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--package", "xtask", "--"]).args(words).current_dir(workspace());
    command
}

/// Runs a campaign while the scene lasts, which keeps others from running guests; it must end with this status.
fn campaign(_: &Scene, words: &[&str], status: i32) -> String {
    let output = command(words).output().unwrap();
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

/// A campaign that is killed with the test.
struct Campaign(Child);

impl Drop for Campaign {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_campaign_that_is_interrupted_ends_in_order_and_can_be_gone_on_with() {
    let scene = Scene::new();
    let (json, count) = (scene.path("places"), scene.path("count"));
    let json = json.to_str().unwrap();
    let mut interrupted = command(&["anywhere", "--distinct", "100000", "--jobs", "1", "--seed", "8", "--json", json]);
    interrupted.env(GUEST_COUNT, &count).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut interrupted = Campaign(interrupted.spawn().unwrap());
    // The third guest runs, so that there is something to lose.
    let limit = Instant::now() + Duration::from_secs(600);
    while fs::metadata(&count).map_or(0, |data| data.len()) < 3 {
        assert!(interrupted.0.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(Instant::now() < limit, "no guests");
        thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill").args(["-INT", &interrupted.0.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(interrupted.0.wait().unwrap().code(), Some(20));
    let kept = fs::read_to_string(json).unwrap();
    let guests = kept.matches("\"place\": ").count();
    assert!(guests >= 3 && kept.matches("\"problem\": null").count() == guests, "{kept}");

    let all = (guests + 2).to_string();
    let words = ["anywhere", "--jobs", "1", "--count", &all, "--resume", json];
    let text = campaign(&scene, &[&words[..], &["--seed", "8"]].concat(), 0);
    assert!(text.contains(&format!("{all} guests crashed; ")) && text.contains("drawn with seed 8, "), "{text}");
    let (before, _) = kept.split_once("\n  ]").unwrap();
    assert!(fs::read_to_string(json).unwrap().starts_with(before), "{kept}");
    let text = campaign(&scene, &words, 1);
    assert!(text.contains("its places were drawn with seed 8, not 1"), "{text}");
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
