//! The crash port takes over, wherever the crash came.

use std::panic::{AssertUnwindSafe, catch_unwind};

use block::{BlockDevice, ErrorKind, Request, State, Tag};
use platform_fake::InjectedCrash;
use virtio_blk::CHECKPOINTS;

use crate::model::{self, Kind, Rig, TestDisk, TestPort, settle, submit, write};

/// Where the crash text goes.
const PLACE: u64 = 1000;

/// What the crash path does: submits a write and a flush, and recovers whenever it has to. Bounded.
fn save(rig: &Rig, port: &mut TestPort) -> Result<(), String> {
    for step in [Some(0xC7), None] {
        let mut tries = 0;
        loop {
            tries += 1;
            if tries > 3 {
                return Err(format!("given up: {:?}, {}", port.state(), port.why()));
            }
            if matches!(port.state(), State::Dead(_)) {
                port.recover();
            }
            settle(port);
            let request = step.map_or(Request::Flush, |fill| write(PLACE, 8, rig.buffer(4096, fill)));
            if port.submit(Tag(1), request).is_err() {
                continue;
            }
            let completion = (0..100).find_map(|_| {
                rig.wait_ms(1);
                port.poll()
            });
            match completion {
                Some(completion) if completion.result.is_ok() => break,
                Some(_) | None => {}
            }
        }
    }
    Ok(())
}

fn assert_saved(rig: &Rig, what: &str) {
    let start = PLACE as usize * 512;
    assert!(rig.device().disk[start..start + 4096].iter().all(|byte| *byte == 0xC7), "{what}: text is not there");
    let log = rig.device().log.clone();
    let written = log.iter().rposition(|entry| *entry == (1, PLACE, 4096)).expect("written");
    assert!(log[written..].iter().any(|(kind, ..)| *kind == 4), "{what}: not flushed");
    rig.assert_clean();
}

/// An ordinary life: initialisation, requests that complete, some that do not, a recovery, and one more.
fn live(rig: &Rig, disk: &mut TestDisk, port: &mut TestPort) {
    settle(disk);
    if let Some(session) = disk.session() {
        port.arm(session);
    }
    for number in 0..3 {
        submit(disk, number, write(number, 1, rig.buffer(512, 1)));
    }
    while disk.poll().is_some() {}
    rig.device().prompt = false;
    for number in 3..6 {
        submit(disk, number, write(number, 1, rig.buffer(512, 0xEE)));
    }
    disk.recover();
    settle(disk);
    if let Some(session) = disk.session() {
        port.arm(session);
    }
    submit(disk, 7, write(7, 1, rig.buffer(512, 0xEE)));
}

/// Crashes at the `nth` passing of a point; whether it was reached.
fn crash_at(rig: &Rig, disk: &mut TestDisk, port: &mut TestPort, point: &'static str, nth: usize) -> bool {
    rig.machine.crash_at(point, nth);
    match catch_unwind(AssertUnwindSafe(|| live(rig, disk, port))) {
        Ok(()) => false,
        Err(crash) => {
            assert_eq!(crash.downcast_ref(), Some(&InjectedCrash(point)));
            true
        }
    }
}

#[test]
fn a_crash_at_every_step_still_leaves_its_text_on_the_disk() {
    for kind in Kind::ALL {
        for spare in [true, false] {
            for point in CHECKPOINTS {
                let mut reached = 0;
                for nth in 1..=8 {
                    let rig = Rig::new(kind, |device| {
                        if !spare {
                            device.offered &= !model::MULTI_QUEUE;
                        }
                    });
                    let (mut disk, mut port) = rig.open();
                    if !crash_at(&rig, &mut disk, &mut port, point, nth) {
                        break;
                    }
                    reached += 1;
                    rig.device().prompt = true;
                    let what = format!("{kind:?}, spare {spare}, {point}, passing {nth}");
                    save(&rig, &mut port).unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_saved(&rig, &what);
                }
                assert!(reached > 0, "{point} is never passed");
            }
        }
    }
}

#[test]
fn a_crash_of_the_crash_path_itself_can_be_recovered_from() {
    for kind in Kind::ALL {
        for spare in [true, false] {
            for point in CHECKPOINTS {
                let rig = Rig::new(kind, |device| {
                    if !spare {
                        device.offered &= !model::MULTI_QUEUE;
                    }
                });
                let (_disk, mut port) = rig.ready();
                rig.machine.crash_at(point, 1);
                let what = format!("{kind:?}, spare {spare}, {point}");
                if catch_unwind(AssertUnwindSafe(|| save(&rig, &mut port))).is_err() {
                    port.recover();
                    settle(&mut port);
                    save(&rig, &mut port).unwrap_or_else(|error| panic!("{what}: {error}"));
                }
                assert_saved(&rig, &what);
            }
        }
    }
}

/// Lets the device work, and time pass, until it has answered everything; `false` if it does not.
fn wait_for_answers(rig: &Rig, port: &mut TestPort) -> bool {
    (0..100).any(|_| {
        rig.wait_ms(1);
        port.unanswered() == Some(0)
    })
}

#[test]
fn once_everything_is_answered_nothing_overtakes_the_text_without_a_reset() {
    let (mut waited, mut quiet) = (0, 0);
    for kind in Kind::ALL {
        for point in CHECKPOINTS {
            for nth in 1..=8 {
                let rig = Rig::new(kind, |_| {});
                let (mut disk, mut port) = rig.open();
                if !crash_at(&rig, &mut disk, &mut port, point, nth) {
                    break;
                }
                let what = format!("{kind:?}, {point}, passing {nth}");
                waited += u32::from(port.unanswered() != Some(0));
                rig.device().prompt = true;
                rig.device().complete_all();
                // Its doorbell may have been what was interrupted.
                assert!(wait_for_answers(&rig, &mut port), "{what}");
                let is_running = rig.device().status & 4 != 0;
                if port.state() != State::Ready || !is_running {
                    continue;
                }
                quiet += 1;
                let resets = rig.device().resets;
                save(&rig, &mut port).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(rig.device().resets, resets, "{what}");
                assert_saved(&rig, &what);
            }
        }
    }
    assert!(waited >= 20 && quiet >= 40, "{waited} of {quiet} had something to wait for");
}

#[test]
fn requests_are_counted_until_they_are_answered_or_gone() {
    for kind in Kind::ALL {
        let rig = Rig::new(kind, |device| device.prompt = false);
        let (mut disk, mut port) = rig.ready();
        assert_eq!(port.unanswered(), Some(0));
        for number in 0..5 {
            submit(&mut disk, number, write(number, 1, rig.buffer(512, 0xEE)));
            assert_eq!(port.unanswered(), Some(number as u32 + 1));
        }
        assert!(!wait_for_answers(&rig, &mut port));
        assert_eq!(port.unanswered(), Some(5), "{kind:?}");
        port.recover();
        settle(&mut port);
        assert_eq!(port.unanswered(), Some(0), "{kind:?}: it was reset");
        submit(&mut port, 9, write(PLACE, 1, rig.buffer(512, 1)));
        assert_eq!(port.unanswered(), Some(1), "{kind:?}: its own");
        rig.device().complete_all();
        assert_eq!(port.unanswered(), Some(0), "{kind:?}");
    }
}

#[test]
fn every_checkpoint_that_is_passed_is_listed() {
    let rig = Rig::new(Kind::Modern, |_| {});
    let (mut disk, mut port) = rig.open();
    live(&rig, &mut disk, &mut port);
    for name in rig.machine.checkpoints_passed() {
        assert!(CHECKPOINTS.contains(&name), "{name}");
    }
}

#[test]
fn the_spare_queue_needs_no_reset() {
    for kind in Kind::ALL {
        let rig = Rig::new(kind, |device| device.prompt = false);
        let (mut disk, mut port) = rig.ready();
        submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
        assert_eq!(port.state(), State::Ready);
        rig.device().prompt = true;
        let resets = rig.device().resets;
        save(&rig, &mut port).expect("saved");
        assert_eq!(rig.device().resets, resets, "{kind:?}");
        assert!(rig.device().notifications.ends_with(&[1, 1]));
        assert_saved(&rig, "spare queue");
    }
}

#[test]
fn a_device_without_a_spare_queue_is_reset_first() {
    for queues in [0_u16, 1] {
        let rig = Rig::new(Kind::Modern, |device| device.set_config(34, &queues.to_le_bytes()));
        let (disk, mut port) = rig.ready();
        assert!(!disk.session().expect("ready").has_spare_queue());
        assert_eq!(port.state(), State::Dead(ErrorKind::NotReady.into()));
        assert!(port.submit(Tag(1), Request::Flush).is_err());
        let resets = rig.device().resets;
        save(&rig, &mut port).expect("saved");
        assert_eq!(rig.device().resets, resets + 1);
        assert_saved(&rig, "one queue");
    }
}

#[test]
fn a_device_that_says_it_has_more_queues_than_it_has_is_survived() {
    let rig = Rig::new(Kind::Modern, |device| device.queues.truncate(1));
    let (disk, _port) = rig.ready();
    assert!(!disk.session().expect("ready").has_spare_queue());
}

#[test]
fn recovery_by_the_crash_port_ends_all_that_was_in_flight() {
    let rig = Rig::new(Kind::Modern, |device| device.prompt = false);
    let (mut disk, mut port) = rig.ready();
    for number in 0..10 {
        submit(&mut disk, number, write(number, 1, rig.buffer(512, 0xEE)));
    }
    assert_eq!(rig.device().jobs.len(), 10);
    port.recover();
    settle(&mut port);
    assert_eq!(port.state(), State::Ready);
    assert_eq!(rig.device().jobs.len(), 0, "late writes cannot overwrite the crash text");
    rig.device().prompt = true;
    save(&rig, &mut port).expect("saved");
    assert!(rig.device().disk[..10 * 512].iter().all(|byte| *byte == 0));
    assert_saved(&rig, "recovered");
}

#[test]
fn the_port_shares_no_memory_with_the_disk() {
    // The interrupted driver scribbles over all of its own DMA memory: the port does not notice.
    let rig = Rig::new(Kind::Modern, |_| {});
    let (_disk, mut port) = rig.ready();
    let queue = rig.device().queues[0].clone();
    for offset in (0..queue.used + 0x800 - queue.descriptors).step_by(256) {
        rig.machine.bus().write(queue.descriptors + offset, &[0xFF; 256]).expect("its own memory");
    }
    save(&rig, &mut port).expect("saved");
    assert_saved(&rig, "scribbled");
}

#[test]
fn a_silent_spare_queue_is_given_up_at_its_deadline_and_can_be_reset() {
    let rig = Rig::new(Kind::Modern, |device| device.prompt = false);
    let (_disk, mut port) = rig.ready();
    let resets = rig.device().resets;
    submit(&mut port, 1, write(PLACE, 1, rig.buffer(512, 1)));
    rig.wait_ms(2_999);
    assert!(port.poll().is_none());
    rig.wait_ms(11);
    let completion = port.poll().expect("given up");
    assert_eq!(completion.result.map_err(|error| error.kind), Err(ErrorKind::TimedOut));
    assert!(completion.buffer.is_none());
    assert_eq!((port.state(), rig.device().resets), (State::Dead(ErrorKind::TimedOut.into()), resets));
    rig.device().prompt = true;
    save(&rig, &mut port).expect("saved");
    assert_eq!(rig.device().resets, resets + 1);
    assert_saved(&rig, "second way");
}

#[test]
fn a_port_of_a_dead_device_ends_too() {
    let rig = Rig::new(Kind::Modern, |device| device.reset_reads = 1);
    let (_disk, mut port) = rig.ready();
    rig.device().reset_reads = u32::MAX;
    port.recover();
    rig.wait_ms(1_999);
    settle(&mut port);
    assert_eq!(port.state(), State::Recovering);
    rig.wait_ms(1);
    settle(&mut port);
    assert_eq!(port.state(), State::Dead(ErrorKind::TimedOut.into()));
}

/// The proof that these tests can go red: the same scene with a device that drops what it is asked to write.
#[test]
#[should_panic(expected = "text is not there")]
fn text_that_is_lost_turns_the_harness_red() {
    let rig = Rig::new(Kind::Modern, |_| {});
    let (_disk, mut port) = rig.ready();
    save(&rig, &mut port).expect("saved");
    rig.device().disk.fill(0);
    assert_saved(&rig, "dropped");
}
