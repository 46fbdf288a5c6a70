//! Devices that do not answer, answer too late, or are gone.

use block::{BlockDevice, ErrorKind, Request, State, Tag};
use platform::DmaBuffer;
use virtio_blk::{Silence, Timeouts};

use crate::model::{Kind, Rig, TestDisk, drain, read, settle, submit, write, write_and_read};

fn kinds(completions: &[block::Completion<DmaBuffer>]) -> Vec<(u64, ErrorKind, bool)> {
    let kind = |it: &block::Completion<DmaBuffer>| it.result.expect_err("failed").kind;
    completions.iter().map(|it| (it.tag.0, kind(it), it.buffer.is_some())).collect()
}

/// A disk whose device takes requests and does not complete them.
fn silent() -> (Rig, TestDisk) {
    let rig = Rig::new(Kind::Modern, |device| device.prompt = false);
    let (disk, _port) = rig.ready();
    (rig, disk)
}

/// As [`silent`], with a driver that resets such a device.
fn silent_and_reset() -> (Rig, TestDisk) {
    let (rig, mut disk) = silent();
    disk.set_timeouts(Timeouts { patience_ns: 0, silence: Silence::Reset, ..Timeouts::DEFAULT });
    (rig, disk)
}

#[test]
fn late_answers_are_waited_for_without_taking_more_requests() {
    let (rig, mut disk) = silent();
    submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
    rig.wait_ms(9_999);
    assert!(disk.poll().is_none());
    assert_eq!(disk.state(), State::Ready);
    rig.wait_ms(11);
    assert!(disk.poll().is_none());
    assert_eq!(disk.state(), State::Recovering);
    assert_eq!(disk.submit(Tag(2), Request::Flush).expect_err("not now").error.kind, ErrorKind::NotReady);
    rig.wait_ms(19_000);
    assert!(disk.poll().is_none());
    let resets = rig.device().resets;
    rig.device().complete(0);
    let completion = disk.poll().expect("late, and good");
    assert_eq!((completion.result, completion.buffer.is_some()), (Ok(()), true));
    assert_eq!((disk.state(), rig.device().resets), (State::Ready, resets));
    rig.device().prompt = true;
    write_and_read(&rig, &mut disk, 1, 9);
    rig.assert_clean();
}

#[test]
fn a_slow_device_is_not_a_silent_one() {
    let (rig, mut disk) = silent();
    for number in 0..8 {
        submit(&mut disk, number, write(number, 1, rig.buffer(512, 1)));
    }
    // The last answer comes after 120 s, and each within 15 s of the one before.
    for number in 0..8 {
        rig.wait_ms(15_000);
        assert!(disk.poll().is_none());
        rig.device().complete(0);
        assert_eq!(disk.poll().map(|it| (it.tag.0, it.result)), Some((number, Ok(()))));
    }
    assert_eq!(disk.state(), State::Ready);
}

#[test]
fn a_silent_device_is_given_up_and_left_alone() {
    let (rig, mut disk) = silent();
    submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
    submit(&mut disk, 2, Request::Flush);
    let resets = rig.device().resets;
    rig.wait_ms(10_000);
    assert!(disk.poll().is_none());
    rig.wait_ms(19_990);
    assert!(disk.poll().is_none());
    assert_eq!(disk.state(), State::Recovering);
    rig.wait_ms(10);
    let completions = drain(&mut disk);
    assert_eq!(kinds(&completions), [(1, ErrorKind::TimedOut, false), (2, ErrorKind::TimedOut, false)]);
    assert_eq!((disk.state(), disk.in_flight()), (State::Dead(ErrorKind::TimedOut.into()), 0));
    assert_eq!(rig.device().resets, resets, "a reset may stop the whole machine");
    // Its late DMA hits the request's own memory, which nobody else has; its late answer is nobody's.
    rig.device().complete_all();
    assert!(drain(&mut disk).is_empty());

    rig.device().prompt = true;
    disk.recover();
    settle(&mut disk);
    write_and_read(&rig, &mut disk, 1, 9);
    rig.assert_clean();
}

#[test]
fn a_device_that_was_given_up_and_answers_again_is_taken_back() {
    let (rig, mut disk) = silent();
    submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
    submit(&mut disk, 2, write(2, 1, rig.buffer(512, 2)));
    rig.wait_ms(10_000);
    assert!(disk.poll().is_none());
    rig.wait_ms(20_000);
    assert_eq!(drain(&mut disk).len(), 2);
    let resets = rig.device().resets;
    for answered in 0..2 {
        rig.wait_ms(10);
        assert!(disk.poll().is_none());
        assert_eq!(
            (disk.state(), rig.device().resets),
            (State::Dead(ErrorKind::TimedOut.into()), resets),
            "{answered}"
        );
        assert!(disk.reclaim().is_none(), "the device may still use them");
        rig.device().complete(0);
    }
    rig.wait_ms(10);
    assert!(settle(&mut disk).is_empty());
    assert_eq!((disk.state(), rig.device().resets), (State::Ready, resets + 1));
    let mut buffers: Vec<_> = std::iter::from_fn(|| disk.reclaim()).map(|(tag, buffer)| (tag, buffer.len())).collect();
    buffers.sort();
    assert_eq!(buffers, [(Tag(1), 512), (Tag(2), 512)]);
    let events: Vec<_> = std::iter::from_fn(|| disk.next_event()).map(|event| event.to_string()).collect();
    assert_eq!(
        events,
        [
            "2 requests are not answered in time",
            "device is dead: it does not answer",
            "the device answers again",
            "resetting the device: it answers again",
            "device is ready after 0 µs",
        ]
    );
    rig.device().prompt = true;
    write_and_read(&rig, &mut disk, 1, 9);
    rig.assert_clean();
}

#[test]
fn a_request_without_an_answer_ends_at_its_deadline_with_a_reset() {
    let (rig, mut disk) = silent_and_reset();
    submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
    rig.wait_ms(500);
    submit(&mut disk, 2, write(2, 1, rig.buffer(512, 2)));
    rig.wait_ms(9_499);
    assert!(disk.poll().is_none());
    assert_eq!(disk.state(), State::Ready);
    rig.wait_ms(11);
    let completions = settle(&mut disk);
    assert_eq!(kinds(&completions), [(1, ErrorKind::TimedOut, true), (2, ErrorKind::Aborted, true)]);
    assert_eq!(disk.state(), State::Ready, "the device was reset");
    rig.device().prompt = true;
    write_and_read(&rig, &mut disk, 1, 9);
    rig.assert_clean();
}

#[test]
fn buffers_stay_with_the_driver_until_the_reset_worked() {
    let (rig, mut disk) = silent_and_reset();
    rig.device().disk[..512].fill(0xD1);
    rig.device().reset_reads = 20;
    submit(&mut disk, 1, read(0, 1, rig.buffer(512, 0)));
    let job = rig.device().jobs[0].clone();
    rig.wait_ms(10_000);
    for _ in 0..10 {
        assert!(disk.poll().is_none(), "the device may still write to the buffer");
    }
    // The answer comes after the time-out, before the reset is done: its DMA still hits the request's own memory.
    let (status, len) = rig.device().perform(&job);
    rig.device().finish(&job, Some(status), len);
    let completions = settle(&mut disk);
    assert_eq!(kinds(&completions), [(1, ErrorKind::TimedOut, true)]);
    // The stray used entry was not taken for an answer to a request of the new life.
    rig.device().prompt = true;
    write_and_read(&rig, &mut disk, 5, 5);
    assert_eq!(drain(&mut disk).len(), 0);
    rig.assert_clean();
}

#[test]
fn a_device_whose_reset_ends_too_late_is_taken_back_and_gives_the_buffers_back() {
    let (rig, mut disk) = silent_and_reset();
    rig.device().reset_reads = 1000;
    submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
    rig.wait_ms(10_000);
    assert!(drain(&mut disk).is_empty());
    rig.wait_ms(5_000);
    assert_eq!(kinds(&drain(&mut disk)), [(1, ErrorKind::TimedOut, false)]);
    rig.wait_ms(60_000);
    assert!(disk.poll().is_none());
    assert_eq!(disk.state(), State::Dead(ErrorKind::TimedOut.into()));
    assert!(disk.reclaim().is_none(), "the device may still use it");
    rig.device().finish_reset();
    rig.device().reset_reads = 0;
    rig.wait_ms(1_000);
    settle(&mut disk);
    assert_eq!(disk.state(), State::Ready);
    assert_eq!(disk.reclaim().map(|(tag, buffer)| (tag, buffer.len())), Some((Tag(1), 512)));
    rig.assert_clean();
}

#[test]
fn a_dead_device_keeps_its_buffers() {
    let (rig, mut disk) = silent_and_reset();
    rig.device().reset_reads = u32::MAX;
    submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
    submit(&mut disk, 2, Request::Flush);
    rig.wait_ms(10_000);
    assert!(settle(&mut disk).is_empty());
    rig.wait_ms(5_000);
    let completions = settle(&mut disk);
    assert_eq!(kinds(&completions), [(1, ErrorKind::TimedOut, false), (2, ErrorKind::TimedOut, false)]);
    assert_eq!(disk.state(), State::Dead(ErrorKind::TimedOut.into()));
    let refused = disk.submit(Tag(3), Request::Flush).expect_err("dead");
    assert_eq!(refused.error.kind, ErrorKind::NotReady);

    rig.device().reset_reads = 1;
    rig.device().prompt = true;
    disk.recover();
    assert!(settle(&mut disk).is_empty());
    write_and_read(&rig, &mut disk, 1, 3);
    rig.assert_clean();
}

#[test]
fn a_device_that_goes_away_takes_its_buffers_along() {
    let (rig, mut disk) = silent();
    submit(&mut disk, 1, read(1, 1, rig.buffer(512, 1)));
    rig.device().gone = true;
    assert!(disk.poll().is_none());
    rig.wait_ms(10);
    let completions = drain(&mut disk);
    assert_eq!(kinds(&completions), [(1, ErrorKind::Gone, false)]);
    assert_eq!(disk.state(), State::Dead(ErrorKind::Gone.into()));
}

#[test]
fn a_device_that_asks_for_a_reset_gets_one() {
    let (rig, mut disk) = silent();
    submit(&mut disk, 1, read(1, 1, rig.buffer(512, 1)));
    rig.device().status |= 0x40;
    rig.wait_ms(10);
    assert_eq!(kinds(&settle(&mut disk)), [(1, ErrorKind::Aborted, true)]);
    assert_eq!((disk.state(), disk.why()), (State::Ready, "the device asked to be reset"));
}

#[test]
fn a_device_that_was_reset_behind_our_back_is_noticed() {
    let (rig, mut disk) = silent();
    submit(&mut disk, 1, read(1, 1, rig.buffer(512, 1)));
    rig.device().finish_reset();
    rig.wait_ms(10);
    assert_eq!(kinds(&settle(&mut disk)), [(1, ErrorKind::Aborted, true)]);
    rig.device().prompt = true;
    write_and_read(&rig, &mut disk, 1, 3);
}

#[test]
fn a_lost_doorbell_is_rung_again() {
    let rig = Rig::new(Kind::Modern, |_| {});
    let (mut disk, _port) = rig.ready();
    rig.device().listening = false;
    submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
    rig.device().listening = true;
    assert!(disk.poll().is_none());
    rig.wait_ms(10);
    assert!(disk.poll().is_none(), "this poll rings");
    assert!(disk.poll().is_some_and(|it| it.result.is_ok()));
    assert_eq!(disk.counters().notified_again, 1);
}

#[test]
fn no_doorbell_is_rung_that_the_device_does_not_want() {
    let (rig, mut disk) = silent();
    rig.device().suppress(0, true);
    submit(&mut disk, 1, Request::Flush);
    assert!(rig.device().notifications.is_empty());
    rig.device().suppress(0, false);
    submit(&mut disk, 2, Request::Flush);
    assert_eq!(rig.device().notifications, [0]);
}

#[test]
fn an_idle_disk_leaves_the_device_alone() {
    let (rig, mut disk) = silent();
    rig.wait_ms(60_000);
    rig.device().gone = true;
    assert!(drain(&mut disk).is_empty());
    assert_eq!(disk.state(), State::Ready);
}

#[test]
fn recovery_can_be_asked_for_at_any_time() {
    let (rig, mut disk) = silent();
    rig.device().reset_reads = 3;
    submit(&mut disk, 1, write(1, 1, rig.buffer(512, 1)));
    disk.recover();
    assert_eq!(disk.state(), State::Recovering);
    disk.recover();
    assert!(disk.poll().is_none());
    disk.recover();
    assert_eq!(kinds(&settle(&mut disk)), [(1, ErrorKind::Aborted, true)]);
    assert_eq!(disk.state(), State::Ready);
    assert_eq!(rig.device().resets, 4);
}

#[test]
fn every_wait_ends_while_the_clock_runs() {
    // Time passes by itself here, and nobody ever answers: whatever the driver does, it must come to an end.
    for (rig, mut disk) in [silent(), silent_and_reset()] {
        rig.device().reset_reads = u32::MAX;
        rig.machine.clock().step_by(1_000_000);
        for number in 0..64 {
            submit(&mut disk, number, Request::Flush);
        }
        let mut ended = 0;
        for _ in 0..40_000 {
            ended += usize::from(disk.poll().is_some());
        }
        assert_eq!(ended, 64);
        assert!(matches!(disk.state(), State::Dead(_)));
    }
}
