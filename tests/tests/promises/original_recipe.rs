//! A disk that the original script has prepared is taken as it is.

use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::{HEADER, Oracle};
use tests::recipe::{TILE, make_console, noise};

#[test]
fn the_first_boot_writes_tile_1_and_nothing_else() {
    for kind in [Kind::Virtio, Kind::Nvme] {
        // The script leaves everything behind the first MiB as it was.
        let mut disk = noise(6 * TILE + 12_345 / 512 * 512, 4);
        make_console(&mut disk, 0xfeed_0001);
        let mut scene = Scene::new();
        scene.add(kind, &disk);
        scene.run("app=diag", Outcome::Finished);

        let image = scene.image(0);
        assert!(image[..TILE] == disk[..TILE], "{kind:?}: tile 0 was written to");
        assert!(image[2 * TILE..] == disk[2 * TILE..], "{kind:?}: something behind tile 1 was written to");
        let header = b"\nLinux blockconsole version 1.1\nfeed0001\n00000000\n00000001\n";
        assert_eq!(image[TILE..TILE + HEADER], header[..], "{kind:?}");
        let lines = scene.lines(0);
        assert!(lines[0].contains("blockconsole: boot 1 of feed0001: blockconsole "), "{:?}", lines[0]);
    }
}

#[test]
fn each_boot_begins_a_tile() {
    let mut scene = Scene::new();
    scene.add_console(Kind::Virtio, 4);
    scene.add_console(Kind::Nvme, 4);
    // Tiles 1, 2, 3, and then 0 of the next round.
    for boot in 1..=5_u32 {
        scene.run("app=diag", Outcome::Finished);
        for disk in 0..2 {
            let image = scene.image(disk);
            let oracle = Oracle::new(&image).unwrap();
            let (round, tiles) = if boot < 4 { (0, boot + 1) } else { (1, boot - 3) };
            assert_eq!((oracle.round, oracle.current as u32), (round, tiles), "disk {disk} after boot {boot}");
            let lines = scene.lines(disk);
            assert_eq!(lines.iter().filter(|line| line.contains(&format!("blockconsole: boot {boot} of "))).count(), 1);
        }
    }
}
