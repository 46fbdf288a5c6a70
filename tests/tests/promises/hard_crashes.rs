//! Crashes in bad company: locks held, memory overwritten, a disk that hangs.

use std::time::{Duration, Instant};

use qemu::{Kind, Outcome, Running};
use tests::oracle::{self, Oracle, crash_record};
use tests::recipe::{TILE, make_console, noise};
use tests::{Scene, bcon_lines, gpt, random_word, run};

/// The record of the only crash on a disk that is one console.
fn record(scene: &Scene, disk: usize) -> Vec<String> {
    let lines = scene.lines(disk);
    crash_record(&lines).unwrap().unwrap_or_else(|| panic!("no record on disk {disk}: {lines:#?}")).to_vec()
}

fn marks(scene: &Scene, disk: usize, word: &str) -> usize {
    oracle::marks(&scene.lines(disk), word)
}

#[test]
fn with_all_locks_held_and_the_processor_in_a_bad_state() {
    for kind in ["panic", "page-fault", "stack-overflow", "oom", "heap-corrupt"] {
        let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
        let word = random_word();
        scene.run_crash(&format!("mark={word} crash={kind} crash.with=locks,interrupts-off,sse,direction,flags"));
        for disk in 0..2 {
            record(&scene, disk);
            assert_eq!(marks(&scene, disk, &word), 1, "{kind}, disk {disk}");
        }
    }
}

#[test]
fn overwritten_memory_sends_no_write_to_a_wrong_place() {
    let (first, count) = (2_056, 10_000);
    let mut disk = gpt::disk(20_000, &[(40, 2_000), (first, count), (12_100, 7_000)]);
    let place = first as usize * gpt::BLOCK..(first + count) as usize * gpt::BLOCK;
    make_console(&mut disk[place.clone()], 7);
    let decoy = noise(4 * TILE, 5);

    let mut scene = Scene::new();
    for kind in [Kind::Virtio, Kind::Nvme] {
        scene.add(kind, &disk);
        scene.add(kind, &decoy);
    }
    let word = random_word();
    let report = scene.run_crash(&format!("mark={word} crash=panic crash.corrupt=on"));
    assert!(report.serial_text().contains("was overwritten; the disks were searched"), "{report}");
    for number in [0, 2] {
        let after = scene.image(number);
        assert!(after[..place.start] == disk[..place.start], "disk {number}: written in front of the partition");
        assert!(after[place.end..] == disk[place.end..], "disk {number}: written behind the partition");
        let lines = Oracle::new(&after[place.clone()]).unwrap().lines().unwrap();
        assert!(crash_record(&lines).unwrap().is_some(), "disk {number}");
        assert!(lines.iter().any(|text| text.ends_with(&format!("mark {word}"))), "disk {number}");
        assert!(scene.image(number + 1) == decoy, "disk {}: has no console, and was written to", number + 1);
    }
}

/// Waits until the guest has printed a line that begins like this, whole.
fn wait_for_line(running: &Running, start: &str) {
    let is_whole = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.find(start).is_some_and(|at| text[at..].contains('\n'))
    };
    let limit = Instant::now() + Duration::from_secs(60);
    let came = running.serial().wait_until(Some(limit), is_whole);
    assert!(came, "no line {start:?}: {}", String::from_utf8_lossy(&running.serial().bytes()));
}

#[test]
fn a_disk_that_hangs_holds_up_no_other() {
    for (hanging, sound, name) in [(Kind::Virtio, Kind::Nvme, "nvme0n1"), (Kind::Nvme, Kind::Virtio, "vda")] {
        let mut scene = Scene::with_consoles(&[hanging, sound]);
        scene.disk(0).faults = vec!["hang".parse().unwrap()];
        let running = scene.start("crash=panic:300 watchdog=off");
        // The reset of the one that hangs, which comes when all has been said of the others, stops this machine for ever.
        running.wait_for_serial("does not answer; reset once all else is done").unwrap();
        let said = format!("crash: {name}: durable after ");
        wait_for_line(&running, &said);
        let serial = String::from_utf8_lossy(&running.serial().bytes()).into_owned();
        running.kill().unwrap();
        let rest = serial.lines().find_map(|line| line.strip_prefix(&said)).unwrap_or_else(|| panic!("{serial}"));
        let counts = rest.split_ascii_whitespace().filter_map(|word| word.split_once('='));
        let commands: u32 = counts.filter(|(name, _)| *name != "resets").map(|(_, n)| n.parse::<u32>().unwrap()).sum();
        assert!(commands <= 6, "{rest}");
        let record = record(&scene, 1);
        assert!(record[1].contains("provoked by crash=panic"));
        // The record tells of the request that hangs, and of nothing of the sort on the disk that is sound.
        let state =
            |disk: &str| record.iter().find(|line| line.starts_with(&format!("console {disk}: logging, "))).unwrap();
        let hung = if hanging == Kind::Virtio { "vda" } else { "nvme0n1" };
        assert!(state(hung).contains(" in flight without an answer, 0 errors"), "{}", state(hung));
        let count = state(hung).split(", ").find_map(|part| part.split_once(" in flight")?.0.parse::<u32>().ok());
        assert!(count.is_some_and(|count| count > 0), "{}", state(hung));
        assert!(!state(name).contains("without an answer"), "{}", state(name));
    }
}

/// It looks like a disk whose answer is about to come, and its reset would stop the machine before anything is said.
#[test]
fn a_disk_that_hangs_from_the_moment_of_the_crash_on_holds_up_no_other() {
    for (hanging, sound, name, other) in
        [(Kind::Virtio, Kind::Nvme, "nvme0n1", "vda"), (Kind::Nvme, Kind::Virtio, "vda", "nvme0n1")]
    {
        for queues in ["2", "1"] {
            let property = if hanging == Kind::Virtio { "num-queues" } else { "max_ioqpairs" };
            // Which disk makes which write is a matter of which comes up first.
            let was_in_flight = [2, 3, 4, 5].into_iter().any(|write| {
                let mut scene = Scene::with_consoles(&[hanging, sound]);
                scene.disk(0).faults = vec!["hang".parse().unwrap()];
                scene.disk(0).properties.push(format!("{property}={queues}"));
                let running = scene.start(&format!("crash=panic crash.at=disk.write:{write} watchdog=off"));
                wait_for_line(&running, &format!("crash: {other}: "));
                wait_for_line(&running, &format!("crash: {name}: durable after "));
                let serial = String::from_utf8_lossy(&running.serial().bytes()).into_owned();
                running.kill().unwrap();
                assert!(serial.contains("panic: provoked by crash=panic"), "{serial}");
                assert!(record(&scene, 1)[1].contains("provoked by crash=panic"), "{serial}");
                serial.contains(&format!("crash: {other}: does not answer; reset once all else is done"))
            });
            assert!(was_in_flight, "{hanging:?} with {queues} queues: its first write is none of the first five");
        }
    }
}

#[test]
fn a_flush_that_hangs_holds_up_no_other_disk() {
    let mut scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    scene.disk(0).faults = vec!["hang-flush".parse().unwrap()];
    // Without a queue to spare, the crash path has to reset the disk.
    scene.disk(0).properties.push("num-queues=1".to_owned());
    let running = scene.start("app=idle crash=panic:500 watchdog=off");
    running.wait_for_serial("crash: vda: does not answer; reset once all else is done").unwrap();
    wait_for_line(&running, "crash: nvme0n1: durable after ");
    running.kill().unwrap();
    assert!(record(&scene, 1)[1].contains("provoked by crash=panic"));
}

#[test]
fn a_disk_that_begins_to_hang_in_the_crash_path_holds_up_no_other() {
    for (hanging, sound, names) in
        [(Kind::Virtio, Kind::Nvme, ["vda", "nvme0n1"]), (Kind::Nvme, Kind::Virtio, ["nvme0n1", "vda"])]
    {
        let mut scene = Scene::with_consoles(&[hanging, sound]);
        // A fault that never strikes: writes can be held back then.
        scene.disk(0).faults = vec!["nth-write:1000".parse().unwrap()];
        if hanging == Kind::Virtio {
            // With a queue to spare, the first way is one without a reset.
            scene.disk(0).properties.push("num-queues=2".to_owned());
        }
        let mut running = scene.start("app=idle watchdog=off pad_ms=20 ack=serial");
        wait_until_idle(&running, &names);
        running.hold_next_write(0).unwrap();
        running.qmp().inject_nmi().unwrap();
        // The reset, when the driver has waited for long enough, stops this machine for ever. All has been said before.
        wait_for_line(&running, &format!("crash: {}: not done yet", names[0]));
        wait_for_line(&running, &format!("crash: {}: durable after ", names[1]));
        if hanging == Kind::Virtio {
            // Where that leads nowhere, there is a second.
            wait_for_line(&running, "crash: vda: does not answer; reset once all else is done");
        }
        running.kill().unwrap();
        assert!(record(&scene, 1)[1].contains("non-maskable interrupt"));
    }
}

#[test]
fn a_disk_that_hangs_while_it_is_searched_holds_up_no_other() {
    let mut scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme, Kind::Virtio]);
    scene.disk(0).faults = vec!["hang-read".parse().unwrap()];
    let mut running = scene.start("app=idle watchdog=off");
    running.wait_for_serial("vda: 8192 KiB in blocks of 512").unwrap();
    running.qmp().inject_nmi().unwrap();
    // The others were being started, or searched, or logged to; the reset of this one stops the machine for ever.
    for (name, disk) in [("nvme0n1", 1), ("vdb", 2)] {
        wait_for_line(&running, &format!("crash: {name}: durable after "));
        assert!(record(&scene, disk)[1].contains("non-maskable interrupt"));
    }
    running.kill().unwrap();
}

/// Waits until an idle guest logs to these consoles, and has said that all of its records are durable: before or after it shows them.
fn wait_until_idle(running: &Running, names: &[&str]) {
    let is_idle = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let records = text.lines().filter(|line| line.starts_with('[')).count();
        let all_log = names.iter().all(|name| text.contains(&format!("now logging to {name}")));
        let durable = text.lines().rev().find_map(|line| line.strip_prefix("durable ")?.parse::<usize>().ok());
        all_log && text.ends_with('\n') && durable == Some(records)
    };
    let limit = Instant::now() + Duration::from_secs(60);
    let came = running.serial().wait_until(Some(limit), is_idle);
    assert!(came, "it is never idle: {}", String::from_utf8_lossy(&running.serial().bytes()));
}

#[test]
fn a_hang_that_nobody_notices_still_has_its_lines_written() {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    let word = random_word();
    let running = scene.start(&format!("mark={word} crash=hang hang_ms=0 watchdog=off"));
    running.wait_for_serial(&format!("mark {word}")).unwrap();
    // Nobody but the tick is left to write it.
    let limit = Instant::now() + Duration::from_secs(60);
    let is_there = |disk| {
        let (image, mark) = (scene.image(disk), format!("mark {word}\n"));
        image.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    while !(is_there(0) && is_there(1)) {
        assert!(Instant::now() < limit, "the mark is not written");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.kill().unwrap();
}

#[test]
fn hypervisors_learn_of_a_crash_once_its_record_is_durable() {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    let mut guest = scene.guest("crash=panic panic=halt");
    guest.arguments = ["-device", "pvpanic"].map(Into::into).to_vec();
    let mut running = guest.start().unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    running.qmp().wait_for_event("GUEST_CRASHLOADED", limit).unwrap();
    running.kill().unwrap();
    for disk in 0..2 {
        assert!(record(&scene, disk)[1].contains("provoked by crash=panic"));
    }
}

#[test]
fn after_a_crash_the_machine_is_reset_or_switched_off() {
    for (action, cause) in [("reboot", "guest-reset"), ("exit", "guest-shutdown")] {
        let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
        let mut guest = scene.guest(&format!("crash=panic panic={action}"));
        guest.exit_device = false;
        let mut running = guest.start().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        let event = running.qmp().wait_for_event("SHUTDOWN", limit).unwrap();
        assert_eq!(event["reason"], cause);
        running.wait().unwrap();
        for disk in 0..2 {
            assert!(record(&scene, disk)[1].contains("provoked by crash=panic"));
        }
    }
}

#[test]
fn each_boot_says_how_the_one_before_ended() {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    scene.run("", Outcome::Finished);
    scene.run_crash("crash=null-read loglevel=debug");
    let running = scene.start("app=idle pad_ms=20 ack=serial");
    wait_until_idle(&running, &["vda", "nvme0n1"]);
    running.kill().unwrap();
    scene.run("loglevel=debug", Outcome::Finished);
    for (disk, name) in ["vda", "nvme0n1"].into_iter().enumerate() {
        let lines = scene.lines(disk);
        let told: Vec<&str> =
            lines.iter().filter_map(|line| line.split_once(&format!("{name}: boot "))).map(|told| told.1).collect();
        let [first, second, third] = told[..] else { panic!("{told:?}") };
        assert_eq!((first, third), ("1 finished", "3 was cut short"));
        assert!(second.starts_with("2 crashed: page fault: read from 0x0: a null pointer"), "{second}");
    }
}

#[test]
fn the_next_boot_says_why_the_one_before_crashed() {
    let scene = Scene::with_consoles(&[Kind::Virtio]);
    let mut guest = scene.guest("crash=panic panic=reboot");
    guest.restarts = true;
    run(guest, Outcome::Finished);
    let lines = scene.lines(0);
    let said = |line: &String| {
        line.contains("kernel::start: the boot ") && line.contains(" crashed: panic: provoked by crash=panic")
    };
    assert!(lines.iter().any(said), "{lines:#?}");
}

#[test]
fn bytes_of_the_stack_stay_out_of_the_record_if_so_asked() {
    for (word, shows) in [("on", true), ("off", false)] {
        let scene = Scene::with_consoles(&[Kind::Virtio]);
        scene.run_crash(&format!("crash=page-fault crash.stack={word}"));
        let record = record(&scene, 0);
        assert_eq!(record.iter().any(|line| line.starts_with("stack ")), shows, "{record:#?}");
        assert!(record.iter().any(|line| line.starts_with("frame ")), "{record:#?}");
    }
}

#[test]
fn an_nmi_can_be_reported_and_the_program_goes_on() {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    let mut running = scene.start("app=idle nmi=report crash=panic:2000 watchdog=off");
    running.wait_for_serial("now logging to nvme0n1").unwrap();
    running.qmp().inject_nmi().unwrap();
    running.wait_for_serial("non-maskable interrupt at 0x").unwrap();
    running.wait().unwrap().expect(Outcome::Crashed { durable_everywhere: true }).unwrap();
    for disk in 0..2 {
        assert!(record(&scene, disk)[1].contains("provoked by crash=panic"));
        assert!(scene.lines(disk).iter().any(|line| line.contains("non-maskable interrupt at 0x")));
    }
}

#[test]
fn after_a_triple_fault_the_next_boot_saves_the_last_words() {
    let scene = Scene::with_consoles(&[Kind::Virtio, Kind::Nvme]);
    let word = random_word();
    let mut guest = scene.guest(&format!("mark={word} crash=triple-fault"));
    guest.restarts = true;
    run(guest, Outcome::Finished);
    for disk in 0..2 {
        // The reset cut a line in the middle, which the plain reader joins with the next boot's first.
        let lines = bcon_lines(&scene.image_path(disk));
        assert_eq!(lines.iter().filter(|text| text.ends_with(&format!("mark {word}"))).count(), 1);
        let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{lines:#?}"));
        let (begin, saved) = (at("recovered: what the boot "), at(&format!("mark {word}")));
        assert!(begin < saved && saved < at("; this boot follows"), "{lines:#?}");
        assert!(at(" was reset or cut short") > saved, "{lines:#?}");
        // Its reset was not by a second crash.
        assert_eq!(crash_record(&lines).unwrap(), None);
    }
}
