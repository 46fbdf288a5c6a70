//! Only marked space is ever written.

use qemu::{Kind, Outcome};
use tests::gpt;
use tests::oracle::Oracle;
use tests::recipe::{TILE, make_console, noise};
use tests::{Scene, bcon_lines};

/// Many lines, and a crash: every path that writes has written.
fn write_in_every_way(scene: &Scene) {
    scene.run("app=lines:20000 serial=off", Outcome::Finished);
    scene.run_crash("crash=panic");
}

#[test]
fn a_disk_without_a_mark_stays_as_it_is() {
    let mut almost = noise(4 * TILE, 1);
    make_console(&mut almost, 1);
    // Version 1.0 was another format.
    almost[29] = b'0';
    let mut late = noise(4 * TILE, 2);
    // A header that is not at the beginning.
    make_console(&mut late[512..], 2);
    let decoys = [noise(4 * TILE, 3), vec![0; 4 * TILE], almost, late];

    let mut scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    for (number, decoy) in decoys.iter().enumerate() {
        scene.add(if number % 2 == 0 { Kind::Virtio } else { Kind::Nvme }, decoy);
    }
    write_in_every_way(&scene);
    for (number, decoy) in decoys.iter().enumerate() {
        assert!(scene.image(2 + number) == *decoy, "decoy {number} was written to");
    }
    // The run did write somewhere.
    assert!(scene.lines(0).len() > 20_000);
}

#[test]
fn outside_its_marked_partition_a_disk_stays_as_it_is() {
    for kind in [Kind::Virtio, Kind::Nvme] {
        // Neither the partition's beginning nor its size is a whole number of tiles.
        let (first, count) = (2_056, 10_000);
        let mut disk = gpt::disk(20_000, &[(40, 2_000), (first, count), (12_100, 7_000)]);
        let place = first as usize * gpt::BLOCK..(first + count) as usize * gpt::BLOCK;
        make_console(&mut disk[place.clone()], 7);

        let mut scene = Scene::new();
        scene.add(kind, &disk);
        write_in_every_way(&scene);
        let after = scene.image(0);
        assert_eq!(after.len(), disk.len());
        assert!(after[..place.start] == disk[..place.start], "{kind:?}: written in front of the partition");
        assert!(after[place.end..] == disk[place.end..], "{kind:?}: written behind the partition");
        let tiles = place.len() / TILE * TILE;
        assert!(
            after[place.start + tiles..place.end] == disk[place.start + tiles..place.end],
            "{kind:?}: beyond the last tile"
        );
        let oracle = Oracle::new(&after[place]).unwrap();
        let lines = oracle.lines().unwrap();
        assert!(lines.len() > 20_000);
        assert!(bcon_lines(&scene.image_path(0)) == lines, "the readers differ");
    }
}
