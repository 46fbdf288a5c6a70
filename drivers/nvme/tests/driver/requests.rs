//! Requests: what they do to the medium, how many fit, and what is tried again.

use block::{BlockDevice, ErrorKind, Request, Tag};
use nvme::{Config, Event};
use platform::Platform;

use crate::bench::{TURN_NS, error, kind, ready, ready_with};
use crate::model::{NamespaceOptions, Options, REGISTERS_AT, Verdict, lock};

const MS: u64 = 1_000_000;

#[test]
fn what_is_written_can_be_read() {
    let mut bench = ready(Options::default());
    let write = bench.write(7, 3, 0x5A);
    let written = bench.perform(write);
    assert!(written.result.is_ok() && written.buffer.is_some());
    assert_eq!(bench.medium(6, 5), [[0; 512], [0x5A; 512], [0x5A; 512], [0x5A; 512], [0; 512]].concat());
    let read = bench.read(6, 3);
    let read = bench.perform(read);
    assert_eq!(read.buffer.unwrap().as_ref(), [[0; 512], [0x5A; 512], [0x5A; 512]].concat());
    bench.assert_clean();
}

#[test]
fn tags_come_back_and_need_not_be_unique() {
    let mut bench = ready(Options { shuffle: 3, ..Options::default() });
    for tag in [5, 6, 5, u64::MAX] {
        let write = bench.write(tag & 7, 1, 1);
        bench.submit(tag, write);
    }
    let mut tags: Vec<u64> = (0..4).map(|_| bench.completion().tag.0).collect();
    tags.sort_unstable();
    assert_eq!(tags, [5, 5, 6, u64::MAX]);
}

#[test]
fn a_write_is_durable_after_a_flush_or_with_fua() {
    let mut bench = ready(Options::default());
    let durable = |bench: &crate::bench::Bench| lock(&bench.device).media[&1].durable.len();
    let write = bench.write(0, 4, 1);
    bench.perform(write).result.unwrap();
    assert_eq!(durable(&bench), 0);
    let fua = Request::Write { first_block: 9, blocks: 1, buffer: bench.buffer(512, 2), fua: true };
    bench.perform(fua).result.unwrap();
    assert_eq!(durable(&bench), 1);
    let flush = bench.perform(Request::Flush);
    assert!(flush.result.is_ok() && flush.buffer.is_none());
    assert_eq!(durable(&bench), 5);
    bench.assert_clean();
}

#[test]
fn zeroes_are_written_without_a_buffer() {
    let mut bench = ready(Options::default());
    let write = bench.write(0, 8, 1);
    bench.perform(write).result.unwrap();
    bench.perform(Request::WriteZeroes { first_block: 2, blocks: 4 }).result.unwrap();
    assert_eq!(bench.medium(0, 8), [[1; 1024].as_slice(), &[0; 2048], &[1; 1024]].concat());
    let most = bench.disks[0].geometry().max_write_zeroes_blocks;
    bench.perform(Request::WriteZeroes { first_block: 0, blocks: most }).result.unwrap();
    bench.assert_clean();
}

/// Every length from every offset within a page that matters: one page, two, a list, a list that just fits.
#[test]
fn buffers_of_any_size_and_place_are_described() {
    for scatter_gather in [0, 1, 2, 3] {
        let bench = write_and_read_all_sizes(scatter_gather);
        let segments = lock(&bench.device).taken.iter().filter(|entry| entry.flags != 0).count();
        assert_eq!(segments > 0, matches!(scatter_gather, 1 | 2), "{scatter_gather}");
    }
}

fn write_and_read_all_sizes(scatter_gather: u32) -> crate::bench::Bench {
    let mut bench = ready(Options { mdts: 8, scatter_gather, ..Options::default() });
    assert_eq!(bench.disks[0].geometry().max_transfer_blocks, 2048);
    for blocks in [1, 7, 8, 9, 15, 16, 17, 24, 511, 512, 2047, 2048u32] {
        for offset in [0, 8, 512, 3584, 4088] {
            let len = blocks as usize * 512;
            let whole = bench.machine.allocate_dma(offset + len, 4096).unwrap();
            let (_, mut buffer) = whole.split_at(offset);
            for (index, byte) in buffer.as_mut().iter_mut().enumerate() {
                *byte = (index / 512 + index % 7 + offset) as u8;
            }
            let expected = buffer.as_ref().to_vec();
            let write = Request::Write { first_block: 100, blocks, buffer, fua: false };
            let written = bench.perform(write);
            written.result.unwrap();
            assert_eq!(bench.medium(100, u64::from(blocks)), expected, "{blocks} blocks at {offset}");
            let mut buffer = written.buffer.unwrap();
            buffer.as_mut().fill(0);
            let read = bench.perform(Request::Read { first_block: 100, blocks, buffer });
            assert!(read.buffer.unwrap().as_ref() == expected, "{blocks} blocks at {offset}");
        }
    }
    bench.assert_clean();
    bench
}

#[test]
fn a_device_that_refuses_the_lists_that_it_announced_gets_pages() {
    for status in [0x4002, 0x400D, 0x400F, 0x4011] {
        let mut bench = ready(Options { scatter_gather: 1, ..Options::default() });
        lock(&bench.device).judge(move |entry| match entry.flags {
            0 => Verdict::Obey,
            _ => Verdict::Fail(status),
        });
        for round in 0..3 {
            let write = bench.write(0, 100, round + 1);
            assert!(bench.perform(write).result.is_ok());
            assert!(bench.medium(0, 100).iter().all(|byte| *byte == round + 1));
        }
        assert_eq!(lock(&bench.device).taken.iter().filter(|entry| entry.flags != 0).count(), 1);
        assert!(bench.events().contains(&Event::NoScatterGather));
        bench.assert_clean();
    }
}

#[test]
fn without_a_list_a_refusal_is_one() {
    let mut bench = ready(Options { scatter_gather: 1, ..Options::default() });
    fail(&bench, 0x4002, usize::MAX);
    let write = bench.write(0, 1, 1);
    assert_eq!(kind(&bench.perform(write)), ErrorKind::Device);
    assert_eq!(lock(&bench.device).io_opcodes().len(), 1);
}

#[test]
fn sixty_four_are_in_flight_and_one_more_is_refused() {
    let mut bench = ready(Options::default());
    for tag in 0..64 {
        let write = bench.write(tag, 1, tag as u8);
        bench.submit(tag, write);
    }
    let write = bench.write(64, 1, 64);
    let refused = bench.disks[0].submit(Tag(64), write).unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::QueueFull);
    let Request::Write { first_block: 64, buffer, .. } = refused.request else { panic!("another request") };
    assert_eq!(buffer.as_ref()[0], 64);
    bench.turn();
    assert_eq!(lock(&bench.device).taken.iter().filter(|entry| entry.is_io()).count(), 64);
    assert!(bench.completion().result.is_ok());
    let write = bench.write(64, 1, 64);
    bench.submit(64, write);
    for _ in 0..64 {
        assert!(bench.completion().result.is_ok());
    }
    assert!(bench.disks[0].poll().is_none());
    bench.assert_clean();
}

#[test]
fn what_does_not_fit_is_refused_and_given_back() {
    let mut bench = ready(Options::default());
    let end = bench.disks[0].geometry().block_count;
    let odd = bench.machine.allocate_dma(4096, 4096).unwrap().split_at(8).1;
    let requests = [
        (bench.read(end, 1), ErrorKind::OutOfRange),
        (bench.write(end - 1, 2, 0), ErrorKind::OutOfRange),
        (bench.read(u64::MAX, 1), ErrorKind::OutOfRange),
        (bench.read(0, 0), ErrorKind::BadRequest),
        (bench.read(0, 257), ErrorKind::BadRequest),
        (Request::Read { first_block: 0, blocks: 8, buffer: odd }, ErrorKind::BadRequest),
        (Request::WriteZeroes { first_block: 0, blocks: 257 }, ErrorKind::BadRequest),
    ];
    for (request, expected) in requests {
        assert_eq!(bench.disks[0].submit(Tag(0), request).unwrap_err().error.kind, expected);
    }
    assert!(lock(&bench.device).io_opcodes().is_empty());
    let without = ready(Options { write_zeroes: false, ..Options::default() })
        .disks
        .remove(0)
        .submit(Tag(0), Request::WriteZeroes { first_block: 0, blocks: 1 });
    assert_eq!(without.unwrap_err().error.kind, ErrorKind::Unsupported);
}

#[test]
fn queues_and_phases_wrap_with_three_entries() {
    for shuffle in [0, 1, 77] {
        let mut bench = ready(Options { max_entries: 3, shuffle, ..Options::default() });
        assert_eq!(bench.disks[0].geometry().queue_depth, 2);
        for round in 0..100u64 {
            let requests: Vec<_> =
                (0..=round % 2).map(|tag| (tag, bench.write(round * 2 + tag, 1, round as u8))).collect();
            let count = requests.len();
            for (tag, request) in requests {
                bench.submit(tag, request);
            }
            for _ in 0..count {
                assert!(bench.completion().result.is_ok());
            }
        }
        assert!(bench.medium(198, 2).iter().all(|byte| *byte == 99));
        bench.assert_clean();
    }
}

/// Each register write may stop a virtual machine.
#[test]
fn a_request_costs_little_more_than_one_register_write() {
    let mut bench = ready(Options::default());
    let writes = |bench: &crate::bench::Bench| bench.machine.register_writes(REGISTERS_AT).len();
    let (before, reads) = (writes(&bench), lock(&bench.device).reads);
    for tag in 0..900 {
        let write = bench.write(tag, 1, 1);
        assert!(bench.perform(write).result.is_ok());
    }
    assert_eq!(writes(&bench) - before, 900 + 100);
    assert!(lock(&bench.device).reads - reads <= 900, "status is read once a millisecond at most");
    bench.assert_clean();
}

#[test]
fn completions_in_any_order_find_their_requests() {
    for shuffle in 1..20 {
        let mut bench = ready(Options { shuffle, ..Options::default() });
        for tag in 0..40 {
            let read = tag % 2 == 0;
            let request = if read { bench.read(1000 + tag, 1) } else { bench.write(tag, 1, tag as u8) };
            bench.submit(tag, request);
        }
        for _ in 0..40 {
            let completion = bench.completion();
            completion.result.unwrap();
            let expected = if completion.tag.0.is_multiple_of(2) { 0 } else { completion.tag.0 as u8 };
            assert_eq!(completion.buffer.unwrap().as_ref()[511], expected);
        }
        bench.assert_clean();
    }
}

#[test]
fn blocks_of_4096_bytes() {
    let namespace = NamespaceOptions { shift: 12, blocks: 1000, ..NamespaceOptions::default() };
    let mut bench = ready(Options { namespaces: vec![namespace], ..Options::default() });
    let geometry = bench.disks[0].geometry();
    assert_eq!((geometry.block_size, geometry.max_transfer_blocks), (4096, 32));
    let buffer = bench.buffer(32 * 4096, 0x77);
    bench.perform(Request::Write { first_block: 968, blocks: 32, buffer, fua: true }).result.unwrap();
    assert!(bench.medium(968, 32).iter().all(|byte| *byte == 0x77));
    bench.assert_clean();
}

/// Has the model fail the first `times` I/O commands.
fn fail(bench: &crate::bench::Bench, status: u16, times: usize) {
    let mut left = times;
    lock(&bench.device).judge(move |entry| {
        if entry.is_io() && left > 0 {
            left -= 1;
            return Verdict::Fail(status);
        }
        Verdict::Obey
    });
}

#[test]
fn what_may_pass_is_tried_again() {
    for status in [0x0280, 0x0281, 0x0006, 0x0021, 0x0303] {
        let mut bench = ready(Options::default());
        fail(&bench, status, 3);
        let write = bench.write(5, 1, 1);
        assert!(bench.perform(write).result.is_ok(), "{status:x}");
        assert_eq!(bench.medium(5, 1), [1; 512]);
        assert_eq!(lock(&bench.device).io_opcodes(), [1; 4]);
        let retries = bench.events().iter().filter(|event| matches!(event, Event::Retried { .. })).count();
        assert_eq!(retries, 3);
        bench.assert_clean();
    }
}

#[test]
fn what_goes_on_failing_is_told_with_its_status() {
    let mut bench = ready(Options::default());
    fail(&bench, 0x0280, usize::MAX);
    let write = bench.write(2048, 8, 1);
    let failed = bench.perform(write);
    assert_eq!(error(&failed), block::Error::with_status(ErrorKind::Media, 0x280));
    assert!(failed.buffer.is_some());
    assert_eq!(lock(&bench.device).io_opcodes().len(), 4);
    assert_eq!(
        bench.events().last().unwrap().to_string(),
        "write of 8 blocks from 2048 of namespace 1 failed after 4 attempts: media error: write fault (2/80h)"
    );
    bench.assert_clean();
}

#[test]
fn what_must_not_be_tried_again_is_not() {
    for (status, expected) in [
        (0x4280, ErrorKind::Media),
        (0x4006, ErrorKind::Device),
        (0x0002, ErrorKind::Device),
        (0x0001, ErrorKind::Unsupported),
        (0x0080, ErrorKind::OutOfRange),
        (0x0081, ErrorKind::NoSpace),
        (0x0020, ErrorKind::ReadOnly),
        (0x0182, ErrorKind::ReadOnly),
        (0x000B, ErrorKind::Gone),
        (0x0286, ErrorKind::Media),
        (0x0542, ErrorKind::Device),
        (0x3FFF, ErrorKind::Device),
    ] {
        let mut bench = ready_with(Options::default(), Config { retries: 1, ..Config::default() });
        fail(&bench, status, usize::MAX);
        let write = bench.write(5, 1, 1);
        let failed = bench.perform(write);
        assert_eq!(kind(&failed), expected, "{status:x}");
        assert_eq!(error(&failed).device_status, u32::from(status & 0x7FF));
        let tries = if status == 0x3FFF { 2 } else { 1 };
        assert_eq!(lock(&bench.device).io_opcodes().len(), tries, "{status:x}");
    }
}

#[test]
fn the_delay_that_a_status_asks_for_is_kept() {
    let mut bench = ready(Options { retry_delays: [1, 3, 0], ..Options::default() });
    fail(&bench, 0x0280 | 2 << 11, 2);
    let write = bench.write(5, 1, 1);
    let start = bench.machine.clock().peek();
    assert!(bench.perform(write).result.is_ok());
    let took = bench.machine.clock().peek() - start;
    assert!((600 * MS..600 * MS + 20 * TURN_NS).contains(&took), "{took}");
}

#[test]
fn a_namespace_that_is_not_ready_gets_time() {
    let mut bench = ready(Options::default());
    fail(&bench, 0x0082, 2);
    let write = bench.write(5, 1, 1);
    let start = bench.machine.clock().peek();
    assert!(bench.perform(write).result.is_ok());
    let took = bench.machine.clock().peek() - start;
    assert!((300 * MS..320 * MS).contains(&took), "{took}");
}

#[test]
fn a_retry_that_would_come_too_late_is_not_waited_for() {
    let mut bench = ready(Options { retry_delays: [200, 0, 0], ..Options::default() });
    fail(&bench, 0x0280 | 1 << 11, 1);
    let write = bench.write(5, 1, 1);
    assert_eq!(kind(&bench.perform(write)), ErrorKind::Media);
    assert!(bench.machine.clock().peek() < 1000 * MS);
}

#[test]
fn other_requests_go_on_while_one_waits_for_a_retry() {
    let mut bench = ready(Options { retry_delays: [10, 0, 0], ..Options::default() });
    fail(&bench, 0x0280 | 1 << 11, 1);
    let write = bench.write(5, 1, 1);
    bench.submit(1, write);
    bench.turn();
    assert!(bench.disks[0].poll().is_none());
    for tag in 2..200 {
        let write = bench.write(tag, 1, 2);
        bench.submit(tag, write);
        assert_eq!(bench.completion().tag, Tag(tag));
    }
    assert_eq!(bench.completion().tag, Tag(1));
    bench.assert_clean();
}
