//! The original's reader finds the same end of the log, done by a shell script.

use std::process::Command;

use bcon::log::Log;
use qemu::{Kind, Outcome};
use tests::Scene;
use tests::recipe::TILE;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bcon_tail.sh");

/// The tile that the script takes for the newest, and what it copies.
fn by_the_script(scene: &Scene) -> (usize, Vec<u8>) {
    let copy = scene.path("copy");
    let output = Command::new("sh").arg(SCRIPT).arg(scene.image_path(0)).arg(&copy).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap().trim().parse().unwrap(), std::fs::read(copy).unwrap())
}

#[test]
fn the_original_reader_finds_the_same_end() {
    let mut scene = Scene::new();
    scene.add_console(Kind::Virtio, 20);
    let mut copied = Vec::new();
    // A fresh disk; a few tiles; more than the 16 that are copied; and beyond a wrap.
    for command_line in ["", "app=diag", "app=lines:62000:250 serial=off", "app=lines:20000:250 serial=off"] {
        if !command_line.is_empty() {
            scene.run(command_line, Outcome::Finished);
        }
        let image = scene.image(0);
        let target = bcon::target::open(&scene.image_path(0)).unwrap();
        let log = Log::open(target.console(None).unwrap()).unwrap();
        let (newest, copy) = by_the_script(&scene);
        assert_eq!(newest, log.found.newest as usize, "{command_line}");
        let tiles = (newest + 1).min(16);
        assert!(copy == image[(newest + 1 - tiles) * TILE..(newest + 1) * TILE], "{command_line}");
        copied.push((log.found.newest_round, tiles));
    }
    assert_eq!(copied[..3], [(0, 1), (0, 2), (0, 16)]);
    assert_eq!(copied[3].0, 1, "{copied:?}");
}
