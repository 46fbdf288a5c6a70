//! Completions in any order, and answers that no good device gives.

use block::{BlockDevice, ErrorKind, Request, State, Tag};

use crate::model::{Kind, Rig, drain, read, run, settle, submit, write, write_and_read};

#[test]
fn completions_come_in_any_order() {
    let rig = Rig::new(Kind::Modern, |device| device.prompt = false);
    let (mut disk, _port) = rig.ready();
    for number in 0..8 {
        submit(&mut disk, number, write(number, 1, rig.buffer(512, number as u8)));
    }
    assert_eq!((disk.in_flight(), rig.device().jobs.len()), (8, 8));
    for which in [3, 0, 5, 2, 0, 2, 1, 0] {
        rig.device().complete(which);
    }
    let completions = drain(&mut disk);
    assert_eq!(completions.iter().map(|it| it.tag.0).collect::<Vec<_>>(), [3, 0, 7, 4, 1, 6, 5, 2]);
    for completion in completions {
        completion.result.expect("written");
        // Each tag's own buffer comes back with it.
        assert_eq!(completion.buffer.expect("comes back").as_ref()[0], completion.tag.0 as u8);
    }
    assert_eq!(disk.in_flight(), 0);
    rig.assert_clean();
}

#[test]
fn sixty_four_requests_fit_and_no_more() {
    let rig = Rig::new(Kind::Modern, |device| device.prompt = false);
    let (mut disk, _port) = rig.ready();
    for number in 0..64 {
        submit(&mut disk, number, write(number, 1, rig.buffer(512, 1)));
    }
    let refused = disk.submit(Tag(64), write(64, 1, rig.buffer(512, 9))).expect_err("full");
    assert_eq!(refused.error.kind, ErrorKind::QueueFull);
    assert_eq!(refused.request.into_buffer().expect("comes back").as_ref()[0], 9);
    rig.device().complete(40);
    assert_eq!(disk.poll().map(|it| it.tag), Some(Tag(40)));
    submit(&mut disk, 65, Request::Flush);
    rig.device().complete_all();
    assert_eq!(drain(&mut disk).len(), 64);
    rig.assert_clean();
}

#[test]
fn requests_that_do_not_fit_are_refused_with_their_buffers() {
    let rig = Rig::new(Kind::Modern, |_| {});
    let (mut disk, _port) = rig.ready();
    let mut refused = |request| {
        let refused = disk.submit(Tag(1), request).expect_err("does not fit");
        (refused.error.kind, refused.request.into_buffer().is_some())
    };
    assert_eq!(refused(write(4096, 1, rig.buffer(512, 1))), (ErrorKind::OutOfRange, true));
    assert_eq!(refused(read(u64::MAX, 1, rig.buffer(512, 1))), (ErrorKind::OutOfRange, true));
    assert_eq!(refused(read(0, 2, rig.buffer(512, 1))), (ErrorKind::BadRequest, true));
    assert_eq!(refused(write(0, 0, rig.buffer(512, 1))), (ErrorKind::BadRequest, true));
    assert_eq!(refused(Request::WriteZeroes { first_block: 0, blocks: 1025 }), (ErrorKind::BadRequest, false));
    let fua = Request::Write { first_block: 0, blocks: 1, buffer: rig.buffer(512, 1), fua: true };
    assert_eq!(refused(fua), (ErrorKind::Unsupported, true));
    assert_eq!(disk.discard(Tag(1), 4095, 2).map_err(|error| error.kind), Err(ErrorKind::OutOfRange));
    assert_eq!(disk.discard(Tag(1), 0, 1025).map_err(|error| error.kind), Err(ErrorKind::BadRequest));
    assert!(rig.device().log.is_empty());
}

/// Submits one request of a kind and lets `answer` play the device.
fn answered(
    kind: Kind,
    request: impl FnOnce(&Rig) -> Request<platform::DmaBuffer>,
    answer: impl FnOnce(&mut crate::model::Device, crate::model::Job),
) -> Result<(), block::Error> {
    let rig = Rig::new(kind, |device| device.prompt = false);
    let (mut disk, _port) = rig.ready();
    submit(&mut disk, 1, request(&rig));
    let job = rig.device().jobs.remove(0);
    answer(&mut rig.device(), job);
    let completion = disk.poll().expect("completed");
    assert!(disk.poll().is_none());
    assert!(completion.buffer.is_some());
    assert_eq!(disk.state(), State::Ready);
    completion.result
}

#[test]
fn the_device_s_own_errors_are_told_apart() {
    let write_one = |rig: &Rig| write(0, 1, rig.buffer(512, 1));
    let status = |status| {
        answered(Kind::Modern, write_one, move |device, job| device.finish(&job, Some(status), 1))
            .map_err(|error| (error.kind, error.device_status))
    };
    assert_eq!(status(0), Ok(()));
    assert_eq!(status(1), Err((ErrorKind::Media, 1)));
    assert_eq!(status(2), Err((ErrorKind::Unsupported, 2)));
    assert_eq!(status(3), Err((ErrorKind::Device, 3)));
}

#[test]
fn a_completion_without_a_status_is_no_success() {
    let result =
        answered(Kind::Modern, |rig| write(0, 1, rig.buffer(512, 1)), |device, job| device.finish(&job, None, 1));
    assert_eq!(result.map_err(|error| error.kind), Err(ErrorKind::Protocol));
}

#[test]
fn a_read_that_came_short_is_no_success() {
    let read_two = |rig: &Rig| read(0, 2, rig.buffer(1024, 1));
    let short = |len| {
        answered(Kind::Modern, read_two, move |device, job| device.finish(&job, Some(0), len))
            .map_err(|error| error.kind)
    };
    assert_eq!(short(1025), Ok(()));
    assert_eq!(short(1024), Ok(()), "some hosts do not count the status byte");
    assert_eq!(short(1023), Err(ErrorKind::Protocol));
    assert_eq!(short(0), Err(ErrorKind::Protocol));
    let legacy = answered(Kind::Legacy, read_two, |device, job| device.finish(&job, Some(0), 0));
    assert_eq!(legacy, Ok(()), "legacy devices report any length");
}

#[test]
fn a_used_length_beyond_the_buffer_reaches_nothing() {
    let result = answered(
        Kind::Modern,
        |rig| read(0, 1, rig.buffer(512, 1)),
        |device, job| device.finish(&job, Some(0), u32::MAX),
    );
    assert_eq!(result, Ok(()));
}

/// Two requests in flight, then nonsense from the device: everything comes back, the device is reset, and works.
/// Returns how many requests were aborted.
fn nonsense(kind: Kind, nonsense: impl FnOnce(&mut crate::model::Device)) -> usize {
    let rig = Rig::new(kind, |device| device.prompt = false);
    let (mut disk, _port) = rig.ready();
    for number in 0..2 {
        submit(&mut disk, number, write(number, 1, rig.buffer(512, 1)));
    }
    let resets = rig.device().resets;
    nonsense(&mut rig.device());
    let mut completions = drain(&mut disk);
    assert_eq!(disk.state(), State::Recovering, "{}", disk.why());
    completions.extend(settle(&mut disk));
    assert_eq!(disk.state(), State::Ready, "{}", disk.why());
    assert_eq!(rig.device().resets, resets + 1);
    assert_eq!(completions.len(), 2, "each request completes once");
    assert!(completions.iter().all(|it| it.buffer.is_some()));
    rig.device().prompt = true;
    write_and_read(&rig, &mut disk, 3, 0x33);
    rig.assert_clean();
    completions.iter().filter(|it| it.result.map_err(|error| error.kind) == Err(ErrorKind::Aborted)).count()
}

#[test]
fn ids_that_are_not_in_flight_make_the_device_start_over() {
    for kind in [Kind::Modern, Kind::Legacy] {
        for id in [6, 64 * 3, 1, 255, 256, 65_536, u32::MAX] {
            assert_eq!(nonsense(kind, |device| device.push_used(0, id, 1)), 2);
        }
    }
}

#[test]
fn an_id_that_is_reported_twice_makes_the_device_start_over() {
    let aborted = nonsense(Kind::Modern, |device| {
        device.complete(0);
        device.push_used(0, 0, 1);
    });
    assert_eq!(aborted, 1, "the other had been completed well");
}

#[test]
fn a_used_index_that_jumps_makes_the_device_start_over() {
    for by in [3, 64, 256, 0x8000, 0xFFFF] {
        let aborted = nonsense(Kind::Modern, |device| device.jump_used(0, by));
        assert_eq!(aborted, 2, "none of the entries that it jumped over was believed");
    }
}

#[test]
fn indirect_ids_are_checked_too() {
    // 128 entries are too few for 64 chains of three.
    for id in [2, 63, 64, 127, u32::MAX] {
        let rig = Rig::new(Kind::Modern, |device| {
            device.prompt = false;
            device.set_queue_size(128);
        });
        let (mut disk, _port) = rig.ready();
        submit(&mut disk, 0, Request::Flush);
        submit(&mut disk, 1, Request::Flush);
        rig.device().push_used(0, id, 1);
        assert!(disk.poll().is_none());
        assert_eq!(disk.state(), State::Recovering);
    }
}

#[test]
fn errors_do_not_stop_a_disk() {
    let rig = Rig::new(Kind::Modern, |device| device.prompt = false);
    let (mut disk, _port) = rig.ready();
    submit(&mut disk, 1, write(0, 1, rig.buffer(512, 1)));
    let job = rig.device().jobs.remove(0);
    rig.device().finish(&job, Some(1), 1);
    assert!(disk.poll().is_some_and(|it| it.result.is_err()));
    rig.device().prompt = true;
    write_and_read(&rig, &mut disk, 0, 7);
    assert_eq!(run(&mut disk, Request::Flush).result, Ok(()));
    rig.assert_clean();
}
