//! What was acknowledged outlives a power cut, whenever it comes.
//!
//! A guest says on its serial port up to where its records are durable, and QEMU logs every write and flush of its disk.
//! Afterwards the power is cut behind each entry of that log: with the writes that no flush had made durable all there, all
//! lost, and some of them lost, whole or torn. Each of these disks must be a sound console, must hold every record that had been
//! acknowledged by then, and must show nothing of an earlier boot as if it were of this one.

use anyhow::{Result, ensure};
use qemu::write_log::{Acknowledged, Fate, PowerCut, WriteLog, acknowledgements};
use qemu::{Kind, Outcome, last_acknowledged};
use tests::Scene;
use tests::oracle::{Oracle, line};
use tests::recipe::Random;

/// Lines that the boots before log, and the boot whose power is cut. The numbers tell their lines apart.
const BEFORE: &str = "app=lines:20000 serial=off";
const CUT: &str = "app=lines:12345 ack=serial pad_ms=20";

/// A boot on a disk, recorded.
struct Recording {
    boot: u32,
    before: Vec<u8>,
    log: WriteLog,
    after: Vec<u8>,
    acknowledged: Vec<Acknowledged>,
}

fn record(kind: Kind, block_size: u32, boots_before: u32) -> Recording {
    let mut scene = Scene::new();
    scene.add_console(kind, 4).block_size = block_size;
    for _ in 0..boots_before {
        scene.run(BEFORE, Outcome::Finished);
    }
    let before = scene.image(0);
    let log_path = scene.path("log");
    scene.disk(0).write_log = Some(log_path.clone());

    let running = scene.start(CUT);
    let acknowledged = acknowledgements(running.serial(), std::slice::from_ref(&log_path));
    running.wait().unwrap().expect(Outcome::Finished).unwrap();
    assert!(acknowledged.len() > 5, "only {} acknowledgements", acknowledged.len());
    let log = WriteLog::read(&log_path).unwrap();
    Recording { boot: boots_before + 1, before, log, after: scene.image(0), acknowledged }
}

/// Cuts the power everywhere.
fn check(recording: &Recording) -> Result<()> {
    let Recording { boot, before, log, after, acknowledged } = recording;
    let all = records(after, *boot);
    assert!(all.iter().filter(|record| record.contains(" of 12345 ")).count() == 12_345);
    let mut random = Random(u64::from(*boot));
    let mut cut = PowerCut::new(log, before.clone());
    loop {
        let reached = acknowledged.iter().take_while(|ack| log.entries_in(ack.log_lengths[0]) <= cut.position()).last();
        let durable = reached.map_or(0, |ack| ack.records);
        let images =
            [cut.image(|_| Fate::Lost)?, cut.image(|_| Fate::Whole)?, cut.image(|sectors| fate(&mut random, sectors))?];
        let different = if cut.pending() > 0 { 3 } else { 1 };
        for (number, image) in images.iter().take(different).enumerate() {
            let place = format!("after entry {}, image {number}", cut.position());
            let found = records(image, *boot);
            let whole = found.len() >= durable && found[..durable] == all[..durable];
            ensure!(whole, "{place}: {durable} records were acknowledged, and {} are there", found.len());
            let stale = found.iter().find(|record| record.contains(" of 20000 "));
            ensure!(stale.is_none(), "{place}: {stale:?} is of an earlier boot");
        }
        if cut.step()?.is_none() {
            break;
        }
    }
    ensure!(cut.image(|_| Fate::Whole)? == *after, "the log does not lead to the disk");
    Ok(())
}

fn fate(random: &mut Random, sectors: usize) -> Fate {
    match random.below(3) {
        0 => Fate::Lost,
        1 => Fate::Whole,
        _ => Fate::Torn(random.below(sectors.max(1))),
    }
}

/// The records that a boot left on a disk, without the lines that the console itself adds.
fn records(image: &[u8], boot: u32) -> Vec<String> {
    let lines = Oracle::new(image).unwrap().lines().unwrap();
    let begin = lines.iter().rposition(|text| {
        line(text)
            .is_some_and(|line| line.target == "blockconsole" && line.message.starts_with(&format!("boot {boot} of ")))
    });
    let own = |text: &String| line(text).is_some_and(|line| line.target == "blockconsole");
    lines.into_iter().skip(begin.map_or(usize::MAX, |begin| begin + 1)).filter(|text| !own(text)).collect()
}

#[test]
fn on_a_new_virtio_disk() {
    check(&record(Kind::Virtio, 512, 0)).unwrap();
}

#[test]
fn on_a_new_nvme_disk_and_only_what_is_true() {
    let mut recording = record(Kind::Nvme, 512, 0);
    check(&recording).unwrap();
    // The check must go red: on a record that is acknowledged before it is written, and on one that was never there.
    recording.acknowledged[1].log_lengths = recording.acknowledged[0].log_lengths.clone();
    let error = check(&recording).unwrap_err().to_string();
    assert!(error.contains("records were acknowledged"), "{error}");
    recording.acknowledged.clear();
    recording.after[1 << 20 | 600] ^= 1;
    let error = check(&recording).unwrap_err().to_string();
    assert!(error.contains("does not lead to the disk"), "{error}");
}

#[test]
fn on_a_virtio_disk_that_has_wrapped() {
    check(&record(Kind::Virtio, 512, 3)).unwrap();
}

#[test]
fn on_an_nvme_disk_that_has_wrapped() {
    check(&record(Kind::Nvme, 4096, 3)).unwrap();
}

#[test]
fn a_guest_that_is_killed_leaves_what_it_acknowledged() {
    let mut random = Random::new();
    for kind in [Kind::Virtio, Kind::Nvme] {
        let scene = Scene::with_consoles(&[kind]);
        let running = scene.start("app=lines:1000000 ack=serial");
        let wanted = 1000 + random.below(20_000);
        assert!(running.serial().wait_until(None, |bytes| last_acknowledged(bytes) > wanted));
        let report = running.kill().unwrap();
        let durable = last_acknowledged(&report.serial);
        let found = records(&scene.image(0), 1);
        let numbers = found.iter().filter_map(|text| line(text)?.message.strip_prefix("line ")?.get(..7)?.parse().ok());
        let numbers: Vec<usize> = numbers.collect();
        assert!(found.len() >= durable, "{} of {durable} records", found.len());
        assert!(numbers.iter().copied().eq(1..=numbers.len()), "lines are missing in between");
        scene.run("app=diag", Outcome::Finished);
    }
}
