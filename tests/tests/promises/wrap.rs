//! A full console goes round: what fits is there, oldest first.

use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::{Oracle, line};
use tests::recipe::TILE;

#[test]
fn five_runs_on_a_small_disk_leave_what_fits() {
    let mut scene = Scene::new();
    scene.add_console(Kind::Virtio, 4);
    scene.add_console(Kind::Nvme, 4);
    for _ in 0..5 {
        scene.run("app=lines:20000 serial=off", Outcome::Finished);
    }
    for disk in 0..2 {
        let image = scene.image(disk);
        let oracle = Oracle::new(&image).unwrap();
        assert!(oracle.round > 0, "{oracle:?}");
        // One tile may be erased for what comes next, and each run ends somewhere in a tile of its own.
        assert!(oracle.text().len() > TILE, "only {} bytes", oracle.text().len());
        check_order(&scene.lines(disk));
    }
}

/// Checks that lines follow each other without a gap, from one boot to the next, up to the last line of the fifth.
fn check_order(lines: &[String]) {
    let mut last = None;
    let mut boot = None;
    for text in lines {
        let Some(message) = line(text).map(|line| line.message) else { continue };
        if let Some(number) = message.strip_prefix("boot ") {
            let number: u32 = number.split(' ').next().unwrap().parse().unwrap();
            assert!(boot.is_none_or(|boot| number == boot + 1), "boot {number} after {boot:?}");
            assert!(last.is_none_or(|last| last == 20_000), "boot {number} begins after line {last:?}");
            boot = Some(number);
            last = Some(0);
        } else if let Some(number) = message.strip_prefix("line ") {
            let number: u32 = number.split(' ').next().unwrap().parse().unwrap();
            assert!(last.is_none_or(|last| number == last + 1), "line {number} after {last:?}");
            last = Some(number);
        }
    }
    assert_eq!((boot, last), (Some(5), Some(20_000)));
}
