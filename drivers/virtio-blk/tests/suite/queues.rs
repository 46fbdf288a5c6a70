//! Queues of every length, and indices that wrap.

use block::{BlockDevice, ErrorKind, Request, State, Tag};

use crate::model::{self, Kind, Rig, TestDisk, drain, settle, submit, write, write_and_read};

fn disk_with(kind: Kind, entries: u32, indirect: bool) -> (Rig, TestDisk) {
    let rig = Rig::new(kind, |device| {
        device.set_queue_size(entries);
        if !indirect {
            device.offered &= !model::INDIRECT;
        }
    });
    let (mut disk, _port) = rig.open();
    settle(&mut disk);
    (rig, disk)
}

#[test]
fn every_length_takes_as_many_requests_as_fit() {
    for kind in Kind::ALL {
        for indirect in [false, true] {
            for entries in (1..=10).map(|power| 1_u32 << power) {
                let (rig, mut disk) = disk_with(kind, entries, indirect);
                // Three descriptors a request, or one.
                let fit = if indirect { entries } else { entries / 3 }.min(64);
                let what = format!("{kind:?}, {entries} entries, indirect {indirect}");
                if fit == 0 {
                    assert_eq!(disk.state(), State::Dead(ErrorKind::Unsupported.into()), "{what}");
                    continue;
                }
                assert_eq!(disk.state(), State::Ready, "{what}: {}", disk.why());
                assert_eq!(u32::from(disk.geometry().queue_depth), fit, "{what}");
                rig.device().prompt = false;
                for number in 0..fit {
                    submit(&mut disk, number.into(), write(number.into(), 1, rig.buffer(512, number as u8)));
                }
                let refused = disk.submit(Tag(99), Request::Flush).expect_err("full");
                assert_eq!(refused.error.kind, ErrorKind::QueueFull, "{what}");
                rig.device().complete_all();
                assert_eq!(drain(&mut disk).len() as u32, fit, "{what}");
                rig.device().prompt = true;
                write_and_read(&rig, &mut disk, 3, 3);
                rig.assert_clean();
            }
        }
    }
}

#[test]
fn lengths_that_are_no_power_of_two_are_rounded_where_that_is_possible() {
    let (_rig, disk) = disk_with(Kind::Modern, 100, true);
    assert_eq!(disk.geometry().queue_depth, 64);
    let (_rig, disk) = disk_with(Kind::Legacy, 100, true);
    assert_eq!(disk.state(), State::Dead(ErrorKind::Unsupported.into()));
    let (_rig, disk) = disk_with(Kind::Modern, 0, true);
    assert_eq!(disk.state(), State::Dead(ErrorKind::Unsupported.into()));
    let (_rig, disk) = disk_with(Kind::Legacy, 65_535, true);
    assert_eq!(disk.state(), State::Dead(ErrorKind::Unsupported.into()));
}

#[test]
fn a_legacy_queue_that_grew_since_the_start_is_refused() {
    let rig = Rig::new(Kind::Legacy, |_| {});
    let (mut disk, _port) = rig.open();
    rig.device().set_queue_size(1024);
    settle(&mut disk);
    assert_eq!(
        (disk.state(), disk.why()),
        (State::Dead(ErrorKind::Protocol.into()), "its queue is longer than it was at start")
    );
}

/// Sends `total` requests with up to `depth` in flight, and completes them in a scrambled order; every one must come back once.
fn run_many(rig: &Rig, disk: &mut TestDisk, total: u64, depth: usize) -> Result<(), String> {
    let mut seed = 0x1234_5678_9ABC_DEF0_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    let mut outstanding = std::collections::BTreeSet::new();
    let mut buffers: Vec<_> = (0..depth).map(|_| rig.buffer(512, 0)).collect();
    let mut sent = 0;
    while sent < total || !outstanding.is_empty() {
        while let Some(mut buffer) = if sent < total { buffers.pop() } else { None } {
            buffer.as_mut()[..8].copy_from_slice(&sent.to_le_bytes());
            disk.submit(Tag(sent), write(sent % 4096, 1, buffer)).map_err(|refused| refused.error.to_string())?;
            outstanding.insert(sent);
            sent += 1;
        }
        let waiting = rig.device().jobs.len();
        if waiting == 0 {
            return Err(format!("{} requests in flight, and the device has none", outstanding.len()));
        }
        for left in (waiting / 2..waiting).rev() {
            rig.device().complete(next() % (left + 1));
        }
        for completion in drain(disk) {
            completion.result.map_err(|error| error.to_string())?;
            if !outstanding.remove(&completion.tag.0) {
                return Err(format!("{:?} came twice", completion.tag));
            }
            buffers.extend(completion.buffer);
        }
    }
    Ok(())
}

#[test]
fn seventy_thousand_requests_in_any_order_across_the_wrap() {
    for (kind, entries) in [(Kind::Modern, 256), (Kind::Modern, 16), (Kind::Legacy, 128)] {
        let rig = Rig::new(kind, |device| {
            device.prompt = false;
            device.set_queue_size(entries);
        });
        let (mut disk, _port) = rig.ready();
        run_many(&rig, &mut disk, 70_000, 13).expect("every request comes back once");
        assert_eq!((disk.counters().submitted, disk.counters().completed), (70_000, 70_000));
        assert_eq!((disk.counters().notified, disk.counters().notified_again), (70_000, 0));
        assert!(rig.device().queues[0].done < 70_000_u32 as u16 + 1, "the index wrapped");
        rig.assert_clean();
    }
}

/// The proof that the harness above can go red: a device that does not hear one doorbell at the wrap.
#[test]
fn a_doorbell_that_is_lost_turns_the_harness_red() {
    let rig = Rig::new(Kind::Modern, |device| device.prompt = false);
    let (mut disk, _port) = rig.ready();
    run_many(&rig, &mut disk, 1_000, 1).expect("sound so far");
    rig.device().listening = false;
    let red = run_many(&rig, &mut disk, 1, 1).expect_err("time stands still, so nobody rings again");
    assert_eq!(red, "1 requests in flight, and the device has none");
}

/// And one whose device breaks a promise: DMA to where no memory is, which the fake bus must notice.
#[test]
#[should_panic(expected = "DMA outside of DMA memory")]
fn dma_to_nowhere_turns_the_harness_red() {
    let rig = Rig::new(Kind::Modern, |device| device.prompt = false);
    let (mut disk, _port) = rig.ready();
    submit(&mut disk, 1, write(0, 1, rig.buffer(512, 1)));
    let mut job = rig.device().jobs.remove(0);
    job.data = Some((job.status + 0x100_0000, 512, false));
    rig.device().perform(&job);
    rig.assert_clean();
}
