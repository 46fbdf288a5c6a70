//! Images made by hand: what is a whole record of this run, and what not.

use std::fs;
use std::time::Duration;

use qemu::{Kind, TemporaryDirectory};

use super::*;

const TILE: usize = 1 << 20;
const BEGIN: &str = "---[ crash 0123456789abcdef ]---\nreason: panic: x\n";
const END: &str = "---[ end crash 0123456789abcdef lines=1 crc32c=1cde80a9 ]---\n";
const DURABLE: Outcome = Outcome::Crashed { durable_everywhere: true };

/// A console of two tiles, of which the second has this text.
fn image(text: &str) -> Vec<u8> {
    let mut image = vec![0; 2 * TILE];
    let header = |tile: u32| format!("\nLinux blockconsole version 1.1\n0badcafe\n00000000\n{tile:08x}\n");
    let mut put = |at: usize, text: String| {
        let padded = format!("{text:0$}\n", text.len().next_multiple_of(512) - 1);
        image[at..at + padded.len()].copy_from_slice(padded.as_bytes());
    };
    put(0, header(0));
    if !text.is_empty() {
        put(TILE, header(1) + text);
    }
    image
}

/// The first lines of a boot.
fn boot(number: u32) -> String {
    let boot = format!("boot {number} of 0badcafe: blockconsole 0.1.0 build 00 at -");
    let tile = format!("tile 1 round 0 boot {number}");
    [boot, tile].map(|words| format!("[    0.000000] INFO  blockconsole: {words}\n")).concat()
}

/// The status of a run with this outcome that found disks of the first kind of content, and left those of the second.
fn status(outcome: Outcome, before: &[&str], after: &[&str]) -> u8 {
    status_of(outcome, false, before, after)
}

fn status_of(outcome: Outcome, was_reset: bool, before: &[&str], after: &[&str]) -> u8 {
    let directory = TemporaryDirectory::new().unwrap();
    let paths: Vec<_> = (0..before.len()).map(|number| directory.file(&format!("disk{number}"))).collect();
    let disks: Vec<_> = paths.iter().map(|path| Disk::new(Kind::Nvme, path)).collect();
    let read = |contents: &[&str]| {
        paths.iter().zip(contents).for_each(|(path, text)| fs::write(path, image(text)).unwrap());
        Findings::read(&disks).unwrap()
    };
    let (before, after) = (read(before), read(after));
    let report = Report {
        outcome,
        serial: Vec::new(),
        messages: String::new(),
        command: String::new(),
        elapsed: Duration::ZERO,
        was_reset,
        registers: None,
    };
    Verdict::new(&report, &before, &after).status()
}

#[test]
fn a_crash_counts_only_by_what_is_on_every_disk() {
    let whole = boot(2) + BEGIN + END;
    let old = boot(1) + BEGIN + END;
    assert_eq!(status(DURABLE, &[&old], &[&whole]), 10);
    assert_eq!(status(DURABLE, &["", &old], &[&(boot(1) + BEGIN + END), &whole]), 10);
    for (after, why) in [
        (boot(2) + BEGIN + &END.replace("lines=1", "lines=2"), "its lines are not as many as it says"),
        (boot(2) + &BEGIN.replace("panic: x", "panic: y") + END, "its check sum is wrong"),
        (boot(2) + BEGIN, "it has no end"),
        (boot(2), "there is none"),
        (old.clone(), "it is of an earlier run"),
        (String::new(), "the disk is empty"),
    ] {
        assert_eq!(status(DURABLE, &[&old], &[&after]), 20, "{why}");
        assert_eq!(status(DURABLE, &[&old, &old], &[&whole, &after]), 20, "{why}");
    }
    let other = whole.replace("0123456789abcdef", "0123456789abcdee");
    assert_eq!(status(DURABLE, &[&old, &old], &[&whole, &other]), 20);
    assert_eq!(status(Outcome::Crashed { durable_everywhere: false }, &[&old], &[&whole]), 20);
    assert_eq!(status(DURABLE, &[], &[]), 20);
}

#[test]
fn other_ends_have_their_status() {
    let lines = boot(1);
    for (outcome, expected) in [
        (Outcome::Finished, 0),
        (Outcome::TimedOut, 30),
        (Outcome::LoaderFailed, 1),
        (Outcome::Killed(9), 1),
        (Outcome::Unexpected(0), 1),
        (Outcome::Unexpected(1), 1),
    ] {
        assert_eq!(status(outcome, &[""], &[&lines]), expected, "{outcome}");
    }
}

#[test]
fn after_a_reset_the_last_words_count() {
    let saved = "[    0.000000] WARN  kernel: recovered: what the boot of then could not write follows\n\
        [    0.300000] INFO  x: last\n[    0.000000] WARN  kernel: recovered: 1 lines, 0 were lost; this boot follows\n";
    let durable = "[    0.000000] WARN  kernel::start: the boot of then crashed; all that it logged is on the disks\n";
    let by_reset = |after: &str| status_of(Outcome::Finished, true, &["", ""], &[&(boot(1) + &boot(2) + saved), after]);
    assert_eq!(by_reset(&(boot(1) + &boot(2) + saved)), 10);
    assert_eq!(by_reset(&(boot(1) + BEGIN + END + &boot(2) + durable)), 10);
    for (after, why) in [
        (boot(1) + &boot(2), "it says nothing"),
        (boot(1) + &boot(2) + &saved.replace(" 0 were", " 3 were"), "some were lost"),
        (boot(1) + &boot(2) + &saved.replace("kernel:", "app:"), "somebody else says so"),
        (boot(1) + saved, "it is of an earlier run"),
        (boot(1) + saved + &boot(2), "the boot before says so"),
        (String::new(), "the disk is empty"),
    ] {
        assert_eq!(by_reset(&after), 20, "{why}");
    }
    // Without a reset it is no matter what the boot before was; and what resets for ever has not finished.
    assert_eq!(status_of(Outcome::Finished, false, &[""], &[&boot(1)]), 0);
    assert_eq!(status_of(Outcome::TimedOut, true, &[""], &[&(boot(1) + &boot(2) + saved)]), 30);
}
