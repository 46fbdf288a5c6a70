//! A console mounts, logs, wraps, and its crash path takes over.

mod support;

use blockconsole::Event;
use blockconsole::console::{Name, Outcome};
use support::rig::line;
use support::{Rig, UUID, disk};

#[test]
fn a_fresh_disk_is_logged_to_in_tile_1() {
    let disk = disk(512, 8);
    let mut rig = Rig::boot(&disk);
    rig.log("hello");
    rig.settle();
    assert_eq!(rig.events, [Event::NowLogging { name: Name::new("ram0"), tile: 1, damaged: false }]);
    assert_eq!(rig.console.durable(), 0, "one line does not fill a block");
    rig.wait(999_999_999);
    assert_eq!(rig.console.durable(), 0);
    rig.wait(1);
    assert_eq!(rig.console.durable(), 1, "after a second it is padded");
    assert_eq!(rig.console.identity(), Some((UUID, 1)));
    let log = rig.log_text();
    assert_eq!(
        log.tiles[1].text,
        "[    0.000000] INFO  blockconsole: boot 1 of 1a2b3c4d: blockconsole 0.1.0 build abcd at 2023-11-14T22:13:20Z\n\
         [    0.000000] INFO  blockconsole: tile 1 round 0 boot 1\n\
         [    0.000000] INFO  test: hello\n"
    );
    assert!(disk.violations().is_empty());
}

#[test]
fn a_console_with_nothing_to_do_is_quiet_until_something_comes() {
    let disk = disk(512, 8);
    let mut rig = Rig::boot(&disk);
    let is_quiet = |rig: &Rig| rig.console.is_quiet(&rig.ring, rig.now_ns);
    assert!(!is_quiet(&rig), "it has to mount");
    // A block's worth of lines, and a beginning of the next one.
    rig.log_and_settle(10, 100);
    assert!(is_quiet(&rig));
    rig.now_ns += 999_999;
    assert!(is_quiet(&rig));
    rig.now_ns += 1;
    assert!(!is_quiet(&rig), "the device may say something else by now");
    rig.settle();
    assert!(is_quiet(&rig));
    rig.log("one more");
    assert!(!is_quiet(&rig), "a record");
    rig.settle();
    assert!(is_quiet(&rig));
    rig.console.finish(rig.ring.written());
    assert!(!is_quiet(&rig), "it is asked to");
    rig.settle();
    assert!(is_quiet(&rig) && rig.console.durable() == rig.ring.written());
    // Text that waits for its pad is quiet until that is due, to the nanosecond.
    rig.log("the last");
    rig.settle();
    rig.now_ns += 999_999_999;
    rig.settle();
    assert!(is_quiet(&rig) && rig.console.durable() < rig.ring.written());
    rig.now_ns += 1;
    assert!(!is_quiet(&rig));
}

#[test]
fn every_line_is_there_once_and_in_order_across_tiles_and_wraps() {
    for block in [512, 4096, 65_536] {
        let disk = disk(block, 4);
        let mut rig = Rig::boot(&disk);
        rig.log_and_settle(40_000, 200);
        rig.finish();
        let mut log = rig.log_text();
        // The next tile may be erased already, but for its first block.
        log.tiles.retain(|tile| tile.text.len() > block as usize);
        let messages = log.messages("test");
        // Two tiles at least are there whole.
        assert!(messages.len() > 2 * 1_000_000 / 240, "{}", messages.len());
        let first = 40_000 - messages.len() as u64;
        for (i, message) in messages.iter().enumerate() {
            assert_eq!(*message, line(first + i as u64, 200));
        }
        assert!(disk.violations().is_empty(), "{:?}", disk.violations());
    }
}

#[test]
fn a_crash_leaves_the_backlog_and_the_record() {
    let disk = disk(512, 4);
    let mut rig = Rig::boot(&disk);
    rig.log_lines(10, 100);
    rig.settle();
    rig.log_lines(10, 100);
    let before = disk.counts();
    assert_eq!(rig.crash(b"---[ crash 1 ]---\nlast words\n---[ end crash 1 ]---\n"), Outcome::Done);
    let after = disk.counts();
    assert!(after.writes - before.writes <= 4 && after.flushes - before.flushes == 1);
    let log = rig.log_text();
    let messages = log.messages("test");
    assert_eq!(messages, (0..20).map(|i| line(i, 100)).collect::<Vec<_>>());
    assert!(log.text().ends_with("---[ crash 1 ]---\nlast words\n---[ end crash 1 ]---\n"));
}

#[test]
fn a_trickle_does_not_postpone_the_pad() {
    let disk = disk(4096, 8);
    let mut rig = Rig::boot(&disk);
    rig.settle();
    for number in 0..9 {
        rig.log("a line every 300 ms");
        rig.settle();
        // The first is 900 ms old before the fourth comes, and 1200 ms before the fifth.
        assert_eq!(rig.console.durable() > 0, number >= 4, "line {number}");
        rig.wait(300_000_000);
    }
    rig.wait(1_000_000_000);
    assert_eq!(rig.console.durable(), 9);
}

#[test]
fn text_is_flushed_every_so_often_under_load() {
    let disk = disk(512, 64);
    let mut rig = Rig::boot(&disk);
    rig.settle();
    // Something is always in flight, and nothing ever pauses.
    disk.set(|settings| settings.latency = 5);
    let mut last = 0;
    for turn in 0..2000u64 {
        rig.log_lines(10, 200);
        rig.now_ns += 1_000_000;
        rig.turn();
        if turn % 200 == 199 {
            assert!(rig.console.durable() > last, "within 200 ms something became durable");
            last = rig.console.durable();
        }
    }
    assert!(disk.counts().flushes >= 15);
}

#[test]
fn a_console_of_one_tebibyte_is_mounted_with_at_most_25_reads() {
    let disk = disk(4096, 1 << 20);
    for boot in 1..4 {
        let before = disk.counts().reads;
        let mut rig = Rig::boot(&disk);
        // So much that the end of the text has to be looked for at the next mount.
        rig.log_and_settle(3500, 200);
        rig.finish();
        let reads = disk.counts().reads - before;
        assert!(reads <= 25, "{reads} reads");
        assert_eq!(rig.console.identity(), Some((UUID, boot)));
    }
}
