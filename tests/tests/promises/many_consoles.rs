//! However many disks and partitions there are, a crash reaches each of them, once.

use qemu::{Kind, Outcome};
use tests::oracle::{Oracle, crash_record, marks};
use tests::recipe::make_console;
use tests::{Scene, gpt, random_word};

/// The record on a console, which has logged the word once.
fn record(image: &[u8], word: &str, name: &str) -> Vec<String> {
    let lines = Oracle::new(image).unwrap().lines().unwrap();
    assert_eq!(marks(&lines, word), 1, "{name}: {lines:#?}");
    crash_record(&lines).unwrap().unwrap_or_else(|| panic!("{name} has no record: {lines:#?}")).to_vec()
}

/// Blocks of a partition: four tiles.
const BLOCKS: usize = 8192;

/// Where a disk's partitions begin, in blocks: with something in between.
fn places(count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(|number| 2048 + number * (BLOCKS + 56))
}

/// A disk with so many partitions, each of them a console.
fn partitioned(count: usize, seed: u32) -> Vec<u8> {
    let partitions: Vec<_> = places(count).map(|first| (first as u64, BLOCKS as u64)).collect();
    let mut disk = gpt::disk(2 * 2048 + count * (BLOCKS + 56), &partitions);
    for (number, first) in places(count).enumerate() {
        make_console(&mut disk[first * gpt::BLOCK..][..BLOCKS * gpt::BLOCK], seed + number as u32);
    }
    disk
}

#[test]
fn each_partition_of_several_disks_has_the_record_once() {
    const PARTITIONS: usize = 4;
    let mut scene = Scene::new();
    let kinds = [Kind::Virtio, Kind::Nvme, Kind::Virtio];
    let before: Vec<Vec<u8>> = (0..kinds.len()).map(|disk| partitioned(PARTITIONS, 100 * disk as u32)).collect();
    for (kind, disk) in kinds.into_iter().zip(&before) {
        scene.add(kind, disk);
    }
    let word = random_word();
    scene.run_crash(&format!("mark={word} crash=page-fault:100"));
    let mut records = Vec::new();
    for (number, before) in before.into_iter().enumerate() {
        let mut after = scene.image(number);
        for (index, first) in places(PARTITIONS).enumerate() {
            let partition = first * gpt::BLOCK..(first + BLOCKS) * gpt::BLOCK;
            records.push(record(&after[partition.clone()], &word, &format!("disk {number}, partition {index}")));
            after[partition.clone()].copy_from_slice(&before[partition]);
        }
        assert!(after == before, "disk {number}: something was written outside of the partitions");
    }
    assert!(records.iter().all(|record| record == &records[0]), "{records:#?}");
    assert_eq!(records[0].iter().filter(|line| line.starts_with("console ")).count(), 12, "{:#?}", records[0]);
}

#[test]
fn a_crash_during_the_start_of_many_disks_reaches_all_of_them() {
    let kinds = [Kind::Virtio, Kind::Nvme, Kind::Nvme, Kind::Virtio, Kind::Nvme];
    // None of them is ready; some are; all are, and consoles are being searched for and mounted.
    for instruction in [1, 60_000, 600_000] {
        let scene = Scene::with_consoles(&kinds);
        let word = random_word();
        scene.run_crash(&format!(
            "mark={word} app=idle hang_ms=0 watchdog=off crash=nmi crash.at=start.instruction:{instruction}"
        ));
        let records: Vec<_> = (0..kinds.len())
            .map(|disk| record(&scene.image(disk), &word, &format!("{instruction}: disk {disk}")))
            .collect();
        assert!(records.iter().all(|record| record == &records[0]), "{records:#?}");
        assert!(records[0][1].contains("non-maskable interrupt"), "{:#?}", records[0]);
    }
}

/// Eight of a disk are logged to, and 32 of all get a crash record. What is not is said.
#[test]
fn of_more_consoles_than_there_is_room_for_it_is_said_which_get_nothing() {
    let (kinds, all, most) = ([Kind::Virtio, Kind::Nvme, Kind::Virtio, Kind::Nvme, Kind::Virtio], 9, 8);
    let mut scene = Scene::new();
    for (disk, kind) in kinds.into_iter().enumerate() {
        scene.add(kind, &partitioned(all, 100 * disk as u32));
    }
    let report = scene.run("crash=page-fault:100", Outcome::Crashed { durable_everywhere: false });
    assert!(report.serial_text().contains("crash: 8 more consoles got nothing: too many"), "{report}");
    let mut durable = 0;
    for disk in 0..kinds.len() {
        let image = scene.image(disk);
        for (index, first) in places(all).enumerate() {
            let lines = Oracle::new(&image[first * gpt::BLOCK..][..BLOCKS * gpt::BLOCK]).unwrap().lines().unwrap();
            assert_eq!(lines.is_empty(), index >= most, "disk {disk}, partition {index}: {lines:#?}");
            durable += usize::from(crash_record(&lines).unwrap().is_some());
            // Each disk's last partition is named in the log, which was whole before the crash.
            let left_out = lines.iter().filter(|line| line.ends_with("9: too many consoles")).count();
            assert!(index >= most || left_out == kinds.len(), "disk {disk}, partition {index}: {lines:#?}");
        }
    }
    assert_eq!(durable, 32);
}

/// Nothing is known of the disks yet, so that the crash path learns of the hang by itself. It leaves that disk alone: a reset would be the
/// end of this machine, and those behind it are not done yet.
#[test]
fn a_disk_that_hangs_before_its_consoles_were_found_holds_up_no_other() {
    let kinds = [Kind::Virtio, Kind::Nvme, Kind::Nvme, Kind::Virtio, Kind::Nvme];
    // Its search, and its first write; and two such disks before a third of their kind.
    for (fault, hanging) in [("hang-read", &[1][..]), ("hang", &[1]), ("hang-read", &[1, 2])] {
        let mut scene = Scene::with_consoles(&kinds);
        for disk in hanging {
            scene.disk(*disk).faults = vec![fault.parse().unwrap()];
        }
        let running =
            scene.start("app=idle hang_ms=0 watchdog=off crash=nmi crash.at=start.instruction:1 mark=before_it_hung");
        let names = [(0, "vda"), (1, "nvme0n1"), (2, "nvme1n1"), (3, "vdb"), (4, "nvme2n1")];
        for (disk, name) in names.into_iter().filter(|(disk, _)| !hanging.contains(disk)) {
            running.wait_for_serial(&format!("crash: {name}: durable after ")).unwrap();
            record(&scene.image(disk), "before_it_hung", name);
        }
        running.kill().unwrap();
    }
}
