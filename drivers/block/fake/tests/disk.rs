//! The RAM disk does what it says, and nothing better.

use block::{BlockDevice, Completion, ErrorKind, Request, State, Tag, WriteCache};
use block_fake::history::Event;
use block_fake::{Disk, Effect, Fault, Kind, Order, Port, Settings};

const BLOCK: usize = 512;

fn disk(change: impl FnOnce(&mut Settings)) -> Disk {
    let mut settings = Settings::new(BLOCK as u32, 1 << 20);
    change(&mut settings);
    Disk::new(settings)
}

fn write(port: &mut Port, tag: u64, first_block: u64, blocks: u32, byte: u8) {
    let buffer = vec![byte; blocks as usize * BLOCK];
    assert!(port.submit(Tag(tag), Request::Write { first_block, blocks, buffer, fua: false }).is_ok());
}

fn flush(port: &mut Port) {
    assert!(port.submit(Tag(99), Request::Flush).is_ok());
}

/// Polls until nothing more comes.
fn drain(port: &mut Port) -> Vec<Completion<Vec<u8>>> {
    let mut done = Vec::new();
    for _ in 0..50 {
        done.extend(port.poll());
    }
    done
}

fn tags(done: &[Completion<Vec<u8>>]) -> Vec<u64> {
    done.iter().map(|completion| completion.tag.0).collect()
}

#[test]
fn what_is_written_is_read() {
    let disk = disk(|_| {});
    let mut port = disk.port();
    write(&mut port, 1, 3, 2, 7);
    drain(&mut port);
    assert!(port.submit(Tag(2), Request::Read { first_block: 2, blocks: 4, buffer: vec![9; 4 * BLOCK] }).is_ok());
    let done = drain(&mut port);
    let bytes = done[0].buffer.as_ref().expect("a buffer");
    assert_eq!([bytes[0], bytes[BLOCK], bytes[3 * BLOCK - 1], bytes[3 * BLOCK]], [0, 7, 7, 0]);
    assert!(port.submit(Tag(3), Request::WriteZeroes { first_block: 4, blocks: 1 }).is_ok());
    drain(&mut port);
    assert_eq!(disk.medium().block(4)[0], 0);
    assert_eq!((disk.counts().writes, disk.counts().reads, disk.counts().zeroes), (1, 1, 1));
}

#[test]
fn requests_complete_in_the_order_of_the_settings() {
    for (order, expected) in [(Order::First, [1, 2, 3]), (Order::Last, [3, 2, 1])] {
        let disk = disk(|settings| {
            settings.order = order;
            settings.latency = 3;
        });
        let mut port = disk.port();
        for tag in 1..=3 {
            write(&mut port, tag, tag * 10, 1, 1);
        }
        assert_eq!(tags(&drain(&mut port)), expected);
    }
    let mut seen = std::collections::HashSet::new();
    for seed in 0..40 {
        let disk = disk(|settings| {
            settings.order = Order::Random(seed);
            settings.latency = 3;
        });
        let mut port = disk.port();
        for tag in 1..=3 {
            write(&mut port, tag, tag * 10, 1, 1);
        }
        seen.insert(tags(&drain(&mut port)));
    }
    assert_eq!(seen.len(), 6, "every order comes up");
}

#[test]
fn only_what_completed_before_a_flush_is_durable() {
    let disk = disk(|_| {});
    let mut port = disk.port();
    write(&mut port, 1, 1, 1, 1);
    drain(&mut port);
    write(&mut port, 2, 2, 1, 2);
    flush(&mut port);
    drain(&mut port);
    let image = disk.history().image_after(disk.now(), |_, _| false);
    assert_eq!((image.block(1)[0], image.block(2)[0]), (1, 0), "the second was in flight when the flush was submitted");
    let image = disk.history().image_after(disk.now(), |_, _| true);
    assert_eq!(image.block(2)[0], 2);
}

#[test]
fn a_cut_tears_between_blocks_and_later_writes_win() {
    let disk = disk(|_| {});
    let mut port = disk.port();
    write(&mut port, 1, 1, 3, 1);
    drain(&mut port);
    write(&mut port, 2, 2, 1, 2);
    drain(&mut port);
    let image = disk.history().image_after(disk.now(), |write, block| write == 1 || block != 2);
    assert_eq!([1, 2, 3].map(|block| image.block(block)[0]), [1, 2, 0]);
}

#[test]
fn without_a_cache_completed_means_durable() {
    let disk = disk(|settings| settings.geometry.write_cache = WriteCache::WriteThrough);
    let mut port = disk.port();
    write(&mut port, 1, 1, 1, 1);
    drain(&mut port);
    assert_eq!(disk.history().image_after(disk.now(), |_, _| false).block(1)[0], 1);
}

#[test]
fn faults_hit_whom_they_should() {
    let disk = disk(|_| {});
    let mut port = disk.port();
    disk.inject(Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write).after(1).times(1));
    disk.inject(Fault::new(Effect::FailAfter(ErrorKind::NoSpace, 1)).blocks(100..101));
    for tag in 1..=3 {
        write(&mut port, tag, tag, 1, 1);
    }
    write(&mut port, 4, 99, 3, 4);
    let results: Vec<bool> = drain(&mut port).iter().map(|completion| completion.result.is_ok()).collect();
    assert_eq!(results, [true, false, true, false]);
    assert_eq!([1, 2, 3].map(|block| disk.medium().block(block)[0]), [1, 0, 1]);
    assert_eq!([99, 100].map(|block| disk.medium().block(block)[0]), [4, 0], "the first block of it was written");
    disk.heal();
    write(&mut port, 5, 100, 1, 5);
    assert!(drain(&mut port)[0].result.is_ok());
}

#[test]
fn a_lying_flush_makes_nothing_durable() {
    let disk = disk(|_| {});
    disk.inject(Fault::new(Effect::Lie).kind(Kind::Flush));
    let mut port = disk.port();
    write(&mut port, 1, 1, 1, 1);
    drain(&mut port);
    flush(&mut port);
    assert!(drain(&mut port)[0].result.is_ok());
    assert_eq!(disk.history().image_after(disk.now(), |_, _| false).block(1)[0], 0);
}

#[test]
fn a_hanging_request_ends_with_a_reset_of_any_port() {
    let disk = disk(|_| {});
    disk.inject(Fault::new(Effect::Hang).times(1));
    let (mut port, mut other) = (disk.port(), disk.port());
    write(&mut port, 1, 1, 1, 1);
    assert!(drain(&mut port).is_empty());
    other.recover();
    assert_eq!(other.state(), State::Recovering);
    other.poll();
    assert_eq!(other.state(), State::Ready);
    let done = drain(&mut port);
    assert_eq!((done[0].result, done[0].buffer.is_some()), (Err(ErrorKind::Aborted.into()), true));
    // What it has done by now it has done; it does nothing more.
    let before = disk.medium().block(1).clone();
    assert!(disk.history().events().iter().any(|event| matches!(event, Event::Void { .. })));
    write(&mut other, 2, 1, 1, 2);
    drain(&mut other);
    assert!(before[0] < 2 && disk.medium().block(1)[0] == 2);
}

#[test]
fn a_driver_with_a_deadline_resets_by_itself() {
    let disk = disk(|settings| settings.deadline = Some(10));
    disk.inject(Fault::new(Effect::Hang).times(1));
    let mut port = disk.port();
    write(&mut port, 1, 1, 1, 1);
    let done = drain(&mut port);
    assert_eq!(done[0].result, Err(ErrorKind::TimedOut.into()));
    assert_eq!((port.state(), disk.counts().resets), (State::Ready, 1));
}

#[test]
fn a_dead_device_keeps_its_buffers_until_a_reset_works() {
    let disk = disk(|settings| settings.resets = false);
    let mut port = disk.port();
    write(&mut port, 1, 1, 1, 1);
    disk.kill();
    assert!(matches!(port.state(), State::Dead(_)));
    let done = drain(&mut port);
    assert!(done[0].buffer.is_none());
    port.recover();
    assert!(matches!(port.state(), State::Dead(_)));
    disk.heal();
    port.recover();
    port.poll();
    assert_eq!(port.state(), State::Ready);
}

#[test]
fn what_its_user_does_wrong_is_noted() {
    let disk = disk(|_| {});
    disk.allow_only(0..100);
    let mut port = disk.port();
    write(&mut port, 1, 10, 4, 1);
    assert!(disk.violations().is_empty());
    write(&mut port, 2, 13, 1, 1);
    assert_eq!(disk.violations().len(), 1, "it overlaps the first");
    drain(&mut port);
    write(&mut port, 3, 98, 3, 1);
    assert_eq!(disk.violations().len(), 2, "it goes outside");
}

#[test]
fn what_does_not_fit_is_refused() {
    let disk = disk(|settings| {
        settings.geometry.queue_depth = 2;
        settings.geometry.write_cache = WriteCache::Unknown;
    });
    let mut port = disk.port();
    let refused = port.submit(Tag(1), Request::Flush).expect_err("no flush");
    assert_eq!(refused.error.kind, ErrorKind::Unsupported);
    let beyond = Request::Write { first_block: 2048, blocks: 1, buffer: vec![0; BLOCK], fua: false };
    assert_eq!(port.submit(Tag(1), beyond).expect_err("beyond the end").error.kind, ErrorKind::OutOfRange);
    write(&mut port, 1, 1, 1, 1);
    write(&mut port, 2, 2, 1, 1);
    let third = Request::Write { first_block: 3, blocks: 1, buffer: vec![0; BLOCK], fua: false };
    assert_eq!(port.submit(Tag(3), third).expect_err("full").error.kind, ErrorKind::QueueFull);
}

#[test]
fn a_flush_that_forgets_takes_with_it_what_was_not_durable() {
    let disk = Disk::new(Settings::new(512, 1 << 20));
    let mut port = disk.port();
    let mut write = |byte: u8, block: u64| {
        let request = Request::Write { first_block: block, blocks: 1, buffer: vec![byte; 512], fua: false };
        assert!(port.submit(Tag(0), request).is_ok());
        while port.poll().is_none() {}
    };
    write(b'a', 1);
    let mut flush = disk.port();
    let mut flushed = || {
        assert!(flush.submit(Tag(1), Request::Flush).is_ok());
        loop {
            if let Some(completion) = flush.poll() {
                return completion.result;
            }
        }
    };
    assert_eq!(flushed(), Ok(()));
    write(b'b', 1);
    write(b'c', 2);
    disk.inject(Fault::new(Effect::Forget(ErrorKind::Media)).kind(Kind::Flush).times(1));
    assert_eq!(flushed(), Err(ErrorKind::Media.into()));
    assert_eq!(flushed(), Ok(()), "and says no word of it");
    for medium in [disk.medium(), disk.history().durable()] {
        assert_eq!((medium.block(1)[0], medium.block(2)[0]), (b'a', 0));
    }
}
