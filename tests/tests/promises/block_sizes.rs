//! Disks with blocks of 4096 bytes are consoles like any other.

use qemu::{Kind, Outcome};
use tests::Scene;
use tests::oracle::crash_record;

#[test]
fn lines_and_crashes_reach_disks_with_large_blocks() {
    let mut scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    for disk in 0..2 {
        scene.disk(disk).block_size = 4096;
    }
    scene.run("app=lines:20000 serial=off", Outcome::Finished);
    scene.run_crash("crash=panic");
    for disk in 0..2 {
        let lines = scene.lines(disk);
        assert_eq!(lines.iter().filter(|line| line.contains(" of 20000 ")).count(), 20_000);
        assert!(crash_record(&lines).unwrap().is_some());
    }
}
