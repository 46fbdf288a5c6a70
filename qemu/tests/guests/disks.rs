//! Disks have the faults they were given; the write log is true.

use qemu::write_log::{Fate, PowerCut, WriteLog};
use qemu::{Disk, Guest, Kind, Machine, Outcome, Report, Running, TemporaryDirectory};

use crate::tiny;

const SIZE: u64 = 1 << 20;

/// Starts a guest that does nothing, with this disk.
fn start(directory: &TemporaryDirectory, kind: Kind, change: impl FnOnce(&mut Disk)) -> Running {
    let mut disk = Disk::new(kind, directory.file("disk"));
    (disk.size, disk.format) = (Some(SIZE), false);
    change(&mut disk);
    let mut guest: Guest = tiny::guest(directory, &[]);
    guest.machine = Machine::for_disks(std::slice::from_ref(&disk)).unwrap();
    guest.disks = vec![disk];
    guest.start().unwrap()
}

/// Runs a command of `qemu-io` on the disk, in the place of a guest.
fn disk_io(guest: &mut Running, kind: Kind, command: &str) {
    let part = if matches!(kind, Kind::Virtio | Kind::VirtioLegacy) { "/virtio-backend" } else { "" };
    let said = guest.qmp().monitor(&format!("qemu-io -d /machine/peripheral/disk0{part} \"{command}\"")).unwrap();
    assert_eq!(said.trim(), "");
}

/// Ends QEMU by its own will, so that it prints what it has to say.
fn quit(mut guest: Running) -> Report {
    guest.qmp().execute("quit", serde_json::json!({})).unwrap();
    let report = guest.wait().unwrap();
    assert_eq!(report.outcome, Outcome::Unexpected(0), "{report}");
    report
}

/// What became of each command: `true` if it worked.
fn results(fault: &str, kind: Kind, commands: &[&str]) -> Vec<bool> {
    let directory = TemporaryDirectory::new().unwrap();
    let mut guest = start(&directory, kind, |disk| disk.faults = vec![fault.parse().unwrap()]);
    commands.iter().for_each(|command| disk_io(&mut guest, kind, command));
    let report = quit(guest);
    let lines = report.messages.lines().filter_map(|line| {
        let failed = line.contains("failed: Input/output error") || line.contains("failed: No space left");
        let worked = line.starts_with("wrote 512/512") || line.starts_with("read 512/512");
        (failed || worked).then_some(worked)
    });
    lines.collect()
}

#[test]
fn every_kind_of_disk_is_there() {
    for kind in [Kind::Nvme, Kind::Virtio, Kind::VirtioLegacy, Kind::VirtioMmio] {
        for block_size in [512, 4096] {
            let directory = TemporaryDirectory::new().unwrap();
            let mut guest = start(&directory, kind, |disk| disk.block_size = block_size);
            disk_io(&mut guest, kind, "write -P 0x5a 8192 4096");
            quit(guest);
            let image = std::fs::read(directory.file("disk")).unwrap();
            assert_eq!(image.len() as u64, SIZE);
            assert_eq!(image.iter().filter(|byte| **byte == 0x5a).count(), 4096, "{kind:?} {block_size}");
        }
    }
}

#[test]
fn faults_strike_where_they_should() {
    let (write, far, zero, read) = ("write 4096 512", "write 8192 512", "write -z 4096 512", "read 4096 512");
    for kind in [Kind::Nvme, Kind::Virtio] {
        assert_eq!(results("eio-write", kind, &[write, read, far, zero, write]), [false, true, false, false, false]);
        assert_eq!(results("eio-write@8", kind, &[write, far, read, write]), [false, true, true, false]);
        assert_eq!(results("eio-write-once@8", kind, &[far, write, write]), [true, false, true]);
        assert_eq!(results("eio-read", kind, &[write, read, read]), [true, false, false]);
        assert_eq!(results("enospc", kind, &[read, write]), [true, false]);
        assert_eq!(results("nth-write:1", kind, &[write, read, far]), [false, true, false]);
        assert_eq!(results("nth-write:3", kind, &[write, far, write, zero, read]), [true, true, false, false, true]);
    }
}

#[test]
fn a_flush_fails_when_it_should() {
    for (fault, failures) in [("eio-flush", 2), ("eio-flush-once", 1), ("eio-read", 0)] {
        let directory = TemporaryDirectory::new().unwrap();
        let mut guest = start(&directory, Kind::Nvme, |disk| disk.faults = vec![fault.parse().unwrap()]);
        for _ in 0..2 {
            // Forced to the medium, which QEMU does by a flush.
            disk_io(&mut guest, Kind::Nvme, "write -f 0 512");
        }
        let report = quit(guest);
        let failed = report.messages.lines().filter(|line| line.contains("failed: Input/output error")).count();
        assert_eq!(failed, failures, "{fault}: {report}");
    }
}

#[test]
fn a_write_is_held_back_until_it_is_released() {
    for kind in [Kind::Nvme, Kind::Virtio, Kind::VirtioMmio] {
        let directory = TemporaryDirectory::new().unwrap();
        let mut guest = start(&directory, kind, |disk| disk.faults = vec!["hang".parse().unwrap()]);
        disk_io(&mut guest, kind, "aio_write -P 0x77 0 512");
        let image = || std::fs::read(directory.file("disk")).unwrap()[0];
        assert_eq!(image(), 0);
        guest.release_write(0).unwrap();
        disk_io(&mut guest, kind, "aio_flush");
        assert_eq!(image(), 0x77);
        quit(guest);
    }
}

#[test]
fn a_write_can_be_held_back_only_where_qemu_can_do_it() {
    let directory = TemporaryDirectory::new().unwrap();
    let mut guest = start(&directory, Kind::Nvme, |_| ());
    assert!(guest.hold_next_write(0).is_err());
    assert!(guest.hold_next_write(1).is_err());
}

#[test]
fn the_write_log_gives_the_final_image() {
    for kind in [Kind::Nvme, Kind::Virtio] {
        let directory = TemporaryDirectory::new().unwrap();
        let mut guest = start(&directory, kind, |disk| disk.write_log = Some(directory.file("log")));
        // Many at a time, but none where another one is under way: the order of those would be QEMU's to choose.
        for number in 1..40 {
            let (what, length) = if number % 3 == 0 { ("-z", 8192) } else { ("-P 7", number * 128 / 512 * 512 + 512) };
            disk_io(&mut guest, kind, &format!("aio_write {what} {} {length}", number * 8192));
        }
        disk_io(&mut guest, kind, "aio_flush");
        disk_io(&mut guest, kind, "write -z 8192 65536");
        disk_io(&mut guest, kind, "flush");
        disk_io(&mut guest, kind, "write -P 0xff 0 512");
        // Killed, since power cuts are what this is for.
        guest.kill().unwrap();

        let log = WriteLog::read(&directory.file("log")).unwrap();
        let mut cut = PowerCut::new(&log, vec![0; SIZE as usize]);
        while cut.step().unwrap().is_some() {}
        assert!(cut.position() >= 42, "{log:?}");
        assert_eq!(cut.pending(), 1);
        let image = std::fs::read(directory.file("disk")).unwrap();
        assert!(cut.image(|_| Fate::Whole).unwrap() == image);
        assert!(cut.image(|_| Fate::Lost).unwrap() != image);
    }
}

#[test]
fn a_disk_that_the_machine_cannot_have_is_refused() {
    let directory = TemporaryDirectory::new().unwrap();
    let mut guest = tiny::guest(&directory, &[]);
    guest.disks = vec![Disk::new(Kind::VirtioMmio, directory.file("disk"))];
    assert!(guest.start().unwrap_err().to_string().contains("q35 machine has no virtio-mmio"));
    let both = [Kind::VirtioMmio, Kind::Nvme].map(|kind| Disk::new(kind, directory.file("disk")));
    assert!(Machine::for_disks(&both).unwrap_err().to_string().contains("nvme"));
}
