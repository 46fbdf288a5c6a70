//! Namespaces: several at once, odd ones, and ones that change or vanish.

use block::{Access, BlockDevice, ErrorKind, Request, State, Tag};
use nvme::{Config, Event};

use crate::bench::{Bench, ready, ready_with};
use crate::model::{NamespaceOptions, Options, lock};

fn with(namespaces: Vec<NamespaceOptions>) -> Options {
    Options { namespaces, ..Options::default() }
}

fn plain(id: u32) -> NamespaceOptions {
    NamespaceOptions { id, uuid: [id as u8; 16], ..NamespaceOptions::default() }
}

fn refusals(bench: &mut Bench) -> Vec<(u32, &'static str)> {
    let refused = |event: &Event| match event {
        Event::NamespaceRefused { id, reason } => Some((*id, *reason)),
        _ => None,
    };
    bench.events().iter().filter_map(refused).collect()
}

#[test]
fn several_share_the_controller_and_each_gets_its_own_completions() {
    let mut bench = ready(Options { shuffle: 5, ..with(vec![plain(1), plain(3), plain(700)]) });
    let ids: Vec<u32> = bench.disks.iter().map(|disk| disk.info().id).collect();
    assert_eq!(ids, [1, 3, 700]);
    let mut disks = std::mem::take(&mut bench.disks);
    for tag in 0..20 {
        for disk in &mut disks {
            let buffer = bench.buffer(512, disk.info().id as u8);
            let write = Request::Write { first_block: tag, blocks: 1, buffer, fua: false };
            disk.submit(Tag(u64::from(disk.info().id) << 8 | tag), write).unwrap();
        }
    }
    // Polling the last one moves the others on as well.
    for disk in disks.iter_mut().rev() {
        for _ in 0..20 {
            let completion = bench.completion_of(disk);
            completion.result.unwrap();
            assert_eq!(completion.tag.0 >> 8, u64::from(disk.info().id));
        }
        assert!(disk.poll().is_none());
        let id = disk.info().id;
        assert!(lock(&bench.device).media[&id].bytes(0, 20).iter().all(|byte| *byte == id as u8));
    }
    bench.assert_clean();
}

#[test]
fn one_whose_completions_nobody_takes_does_not_stop_the_others() {
    let mut bench = ready(with(vec![plain(1), plain(2)]));
    let mut disks = std::mem::take(&mut bench.disks);
    let depth = u64::from(disks[0].geometry().queue_depth);
    assert_eq!(depth, 32);
    for tag in 0..depth {
        disks[0].submit(Tag(tag), bench.write(tag, 1, 1)).unwrap();
    }
    let refused = disks[0].submit(Tag(0), bench.write(0, 1, 1)).unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::QueueFull);
    for tag in 0..500 {
        disks[1].submit(Tag(tag), bench.write(tag, 1, 2)).unwrap();
        assert!(bench.completion_of(&mut disks[1]).result.is_ok());
    }
    for _ in 0..depth {
        assert!(disks[0].poll().is_some_and(|completion| completion.result.is_ok()));
    }
}

#[test]
fn what_must_not_be_written_is_read_only_with_a_reason() {
    let metadata = NamespaceOptions { metadata: 8, ..plain(2) };
    let protected = NamespaceOptions { metadata: 8, protection: 1, ..plain(3) };
    let zoned = NamespaceOptions { command_set: 2, ..plain(4) };
    let locked = NamespaceOptions { write_protected: true, ..plain(5) };
    let mut bench = ready(with(vec![plain(1), metadata, protected, zoned, locked]));
    let access: Vec<Access> = bench.disks.iter().map(|disk| disk.geometry().access).collect();
    let reasons = [
        "its format has metadata",
        "its format has protection information",
        "zoned namespace",
        "namespace is write protected",
    ];
    assert_eq!(access[0], Access::ReadWrite);
    assert_eq!(access[1..], reasons.map(Access::ReadOnly));
    let mut disks = std::mem::take(&mut bench.disks);
    let mut ports = std::mem::take(&mut bench.crash);
    for (disk, port) in disks.iter_mut().zip(&mut ports).skip(1) {
        let write = |bench: &Bench| bench.write(0, 1, 1);
        assert_eq!(disk.submit(Tag(0), write(&bench)).unwrap_err().error.kind, ErrorKind::ReadOnly);
        assert_eq!(port.submit(Tag(0), write(&bench)).unwrap_err().error.kind, ErrorKind::ReadOnly);
        let zeroes = Request::WriteZeroes { first_block: 0, blocks: 1 };
        assert_eq!(disk.submit(Tag(0), zeroes).unwrap_err().error.kind, ErrorKind::ReadOnly);
        let read = disk.submit(Tag(0), bench.read(0, 1));
        if disk.info().metadata_bytes != 0 {
            assert_eq!(read.unwrap_err().error.kind, ErrorKind::Unsupported);
        } else {
            read.unwrap();
            assert!(bench.completion_of(disk).result.is_ok());
        }
    }
    assert!(lock(&bench.device).io_opcodes().iter().all(|opcode| *opcode == 2));
    bench.assert_clean();
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let key_value = NamespaceOptions { command_set: 1, ..plain(2) };
    let unknown = NamespaceOptions { command_set: 9, ..plain(3) };
    let empty = NamespaceOptions { blocks: 0, ..plain(4) };
    let tiny = NamespaceOptions { shift: 3, ..plain(5) };
    let no_format = NamespaceOptions { patch: vec![(26, 5)], ..plain(6) };
    let huge_blocks = NamespaceOptions { shift: 16, ..plain(7) };
    let mut bench =
        ready(Options { mdts: 1, ..with(vec![plain(1), key_value, unknown, empty, tiny, no_format, huge_blocks]) });
    assert_eq!(bench.disks.len(), 1);
    assert_eq!(
        refusals(&mut bench),
        [
            (2, "a key value namespace has no blocks"),
            (3, "its command set is unknown"),
            (4, "it has no blocks"),
            (5, "its blocks are not of 512 bytes to 64 KiB"),
            (6, "its format does not exist"),
            (7, "its blocks are larger than a transfer may be"),
        ]
    );
    let write = bench.write(0, 1, 1);
    assert!(bench.perform(write).result.is_ok());
}

#[test]
fn a_controller_without_namespaces_is_ready_and_has_no_disks() {
    let bench = ready(with(Vec::new()));
    assert_eq!((bench.disks.len(), bench.crash.len()), (0, 0));
}

#[test]
fn more_than_are_wanted_are_left_out() {
    let config = Config { max_namespaces: 2, ..Config::default() };
    let mut bench = ready_with(with((1..=5).map(plain).collect()), config);
    assert_eq!(bench.disks.len(), 2);
    assert!(bench.events().contains(&Event::MoreNamespaces));
}

#[test]
fn more_than_a_list_holds_are_listed_in_pieces() {
    let config = Config { max_namespaces: 3000, ..Config::default() };
    // All but the last are empty, so that there are few disks.
    let ids = 1..=2100;
    let namespaces = ids.map(|id| NamespaceOptions { blocks: if id < 2099 { 0 } else { 100 }, ..plain(id) });
    let bench = ready_with(with(namespaces.collect()), config);
    let ids: Vec<u32> = bench.disks.iter().map(|disk| disk.info().id).collect();
    assert_eq!(ids, [2099, 2100]);
}

#[test]
fn an_old_controller_has_no_list_and_no_descriptors() {
    let bench = ready(Options { version: 0x0001_0000, ..with(vec![plain(1), plain(3)]) });
    assert_eq!(bench.disks.len(), 2);
    let asked: Vec<u32> =
        lock(&bench.device).taken.iter().filter(|entry| entry.opcode == 6).map(|entry| entry.dwords[0]).collect();
    assert!(asked.iter().all(|structure| *structure < 2), "{asked:?}");
    bench.assert_clean();
}

#[test]
fn names_tell_the_same_medium_behind_two_controllers() {
    let first = ready(with(vec![NamespaceOptions { nguid: [9; 16], ..plain(1) }]));
    let second = ready(with(vec![NamespaceOptions { uuid: [0; 16], nguid: [9; 16], ..plain(1) }, plain(2)]));
    let names = first.disks[0].info().names;
    assert!(names.is_same_medium(&second.disks[0].info().names));
    assert!(!names.is_same_medium(&second.disks[1].info().names));
}

/// Changes namespace 1 of two, resets, and returns the bench.
fn after_change(change: impl Fn(&mut crate::model::Medium)) -> Bench {
    let mut bench = ready(with(vec![NamespaceOptions { nguid: [9; 16], ..plain(1) }, plain(2)]));
    change(lock(&bench.device).media.get_mut(&1).unwrap());
    bench.controller.recover();
    bench.settle();
    assert_eq!(bench.controller.state(), State::Ready);
    assert_eq!(bench.disks[1].state(), State::Ready);
    bench.assert_clean();
    bench
}

#[test]
fn a_namespace_that_is_another_after_a_reset_is_lost() {
    let changes: [fn(&mut crate::model::Medium); 4] = [
        |medium| medium.detached = true,
        |medium| medium.options.nguid = [8; 16],
        |medium| medium.options.shift = 12,
        |medium| medium.options.blocks = 100,
    ];
    for change in changes {
        let mut bench = after_change(change);
        assert_eq!(bench.disks[0].state(), State::Dead(ErrorKind::Gone.into()));
        let write = bench.write(0, 1, 1);
        assert_eq!(bench.disks[0].submit(Tag(0), write).unwrap_err().error.kind, ErrorKind::NotReady);
        assert!(bench.events().iter().any(|event| matches!(event, Event::NamespaceLost { id: 1, .. })));
    }
}

#[test]
fn a_namespace_that_has_grown_keeps_its_size_here() {
    let bench = after_change(|medium| medium.options.blocks *= 2);
    assert_eq!(bench.disks[0].state(), State::Ready);
    assert_eq!(bench.disks[0].geometry().block_count, 8192);
}

#[test]
fn a_namespace_that_is_write_protected_after_a_reset_is_read_only() {
    let bench = after_change(|medium| medium.options.write_protected = true);
    assert_eq!(bench.disks[0].state(), State::Ready);
    assert!(matches!(bench.disks[0].geometry().access, Access::ReadOnly(_)));
}

#[test]
fn a_namespace_that_vanishes_fails_its_requests_and_no_others() {
    let mut bench = ready(with(vec![plain(1), plain(2)]));
    lock(&bench.device).media.get_mut(&1).unwrap().detached = true;
    let mut disks = std::mem::take(&mut bench.disks);
    disks[0].submit(Tag(1), bench.write(0, 1, 1)).unwrap();
    disks[1].submit(Tag(2), bench.write(0, 1, 1)).unwrap();
    assert_eq!(crate::bench::kind(&bench.completion_of(&mut disks[0])), ErrorKind::Gone);
    assert!(bench.completion_of(&mut disks[1]).result.is_ok());
}
