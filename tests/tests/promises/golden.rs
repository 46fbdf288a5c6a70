//! Disks that guests wrote are read as an independent parser reads them.

use bcon::log::Log;
use bcon::pieces::Pieces;
use qemu::{Kind, Outcome};
use std::fs;
use tests::Scene;
use tests::parser;

/// The text of the console in a file, as `bcon cat` prints it.
fn by_bcon(path: &std::path::Path) -> Vec<u8> {
    let target = bcon::target::open(path).unwrap();
    let mut log = Log::open(target.console(None).unwrap()).unwrap();
    log.find_carried(0..log.len());
    let mut pieces = Pieces::new(&log);
    let mut text = Vec::new();
    while let Some(piece) = pieces.advance() {
        if piece.breaks_line {
            text.push(b'\n');
        }
        text.extend_from_slice(pieces.text());
    }
    if pieces.is_in_line() {
        text.push(b'\n');
    }
    text
}

#[test]
fn what_guests_wrote_is_read_alike_whole_and_damaged() {
    for (kind, block_size) in [(Kind::Virtio, 512), (Kind::Nvme, 4096)] {
        let mut scene = Scene::new();
        scene.add_console(kind, 8);
        scene.disk(0).block_size = block_size;
        let path = scene.path("damaged");
        // Filling; wrapped; and with a short boot behind.
        for command_line in ["app=lines:30000 serial=off", "app=lines:60000 serial=off", "app=diag"] {
            scene.run(command_line, Outcome::Finished);
            assert!(parser::text(&scene.image(0)) == by_bcon(&scene.image_path(0)), "{kind:?}, {command_line}");
        }
        // Damage is to strike tiles of both rounds.
        while !(4..6).contains(&newest(&scene)) {
            scene.run("app=lines:9000 serial=off", Outcome::Finished);
        }
        let sound = scene.image(0);
        let all = parser::text(&sound).len();
        assert!(all > 5 << 19, "{all} bytes");
        for (what, image) in parser::damaged(&sound) {
            fs::write(&path, &image).unwrap();
            let own = parser::text(&image);
            assert!(own.len() > all / 2, "{kind:?}, {what}: {} of {all} bytes", own.len());
            assert!(own == by_bcon(&path), "{kind:?}, {what}");
        }
    }
}

fn newest(scene: &Scene) -> u32 {
    let target = bcon::target::open(&scene.image_path(0)).unwrap();
    Log::open(target.console(None).unwrap()).unwrap().found.newest
}
