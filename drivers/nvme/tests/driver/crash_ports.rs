//! Crash ports where nothing has crashed: what they need, share, and survive.

use block::{BlockDevice, ErrorKind, State, Tag};
use nvme::Config;
use platform_fake::Machine;

use crate::bench::{kind, ready, ready_with};
use crate::crash::{RECORD_AT, write_record};
use crate::model::{Device, NamespaceOptions, Options, Verdict, lock};

const SECOND: u64 = 1_000_000_000;

#[test]
fn without_a_second_pair_a_port_must_be_recovered_first() {
    let mut bench = ready(Options { max_pairs: 1, ..Options::default() });
    assert!(bench.events().contains(&nvme::Event::NoSpareQueue));
    let mut port = bench.crash.remove(0);
    assert_eq!(port.state(), State::Dead(ErrorKind::NotReady.into()));
    port.recover();
    bench.recovered(&mut port);
    write_record(&bench, &mut port);
    bench.assert_clean();
}

#[test]
fn a_controller_that_refuses_the_spare_pair_is_like_one_that_has_none() {
    for opcode in [5, 1] {
        let machine = Machine::new();
        let device = Device::attach(&machine, Options::default());
        lock(&device).judge(move |entry| {
            let creates_spare = !entry.is_io() && entry.opcode == opcode && entry.dwords[0] as u16 == 2;
            if creates_spare { Verdict::Fail(0x0101) } else { Verdict::Obey }
        });
        let mut bench = crate::bench::start_on(machine, device, Config::default()).unwrap();
        bench.settle();
        bench.take();
        assert_eq!(bench.disks[0].state(), State::Ready);
        let mut port = bench.crash.remove(0);
        assert_eq!(port.state(), State::Dead(ErrorKind::NotReady.into()));
        port.recover();
        bench.recovered(&mut port);
        write_record(&bench, &mut port);
    }
}

#[test]
fn the_spare_pair_is_there_again_after_a_reset_of_the_main_driver() {
    let mut bench = ready(Options::default());
    assert_eq!(bench.crash[0].state(), State::Ready);
    bench.controller.recover();
    assert_eq!(bench.crash[0].state(), State::Dead(ErrorKind::NotReady.into()));
    bench.settle();
    assert_eq!(bench.crash[0].state(), State::Ready);
    let mut port = bench.crash.remove(0);
    let enables = lock(&bench.device).enables;
    write_record(&bench, &mut port);
    assert_eq!(lock(&bench.device).enables, enables);
    bench.assert_clean();
}

#[test]
fn a_port_is_not_ready_where_the_controller_is_not() {
    let mut bench = ready(Options::default());
    lock(&bench.device).faults.gone = true;
    assert_eq!(bench.crash[0].state(), State::Dead(ErrorKind::NotReady.into()));
    let mut port = bench.crash.remove(0);
    port.recover();
    assert!(bench.recovered(&mut port) < SECOND / 100);
    assert_eq!(port.state(), State::Dead(ErrorKind::Gone.into()));
}

#[test]
fn a_spare_pair_that_does_not_answer_is_given_up_for_a_reset() {
    let mut bench = ready(Options::default());
    let mut port = bench.crash.remove(0);
    lock(&bench.device).judge(|entry| if entry.queue == 2 { Verdict::Ignore } else { Verdict::Obey });
    let start = bench.machine.clock().peek();
    port.submit(Tag(0), bench.write(RECORD_AT, 1, 1)).unwrap();
    let failed = bench.completion_of(&mut port);
    assert_eq!(kind(&failed), ErrorKind::TimedOut);
    assert!(failed.buffer.is_some());
    bench.recovered(&mut port);
    assert!(bench.machine.clock().peek() - start < 1_600_000_000);
    // After the reset the port has queue pair 1.
    write_record(&bench, &mut port);
    bench.assert_clean();
}

#[test]
fn a_port_of_a_device_that_stays_silent_dies_in_bounded_time() {
    let mut bench = ready(Options::default());
    let mut port = bench.crash.remove(0);
    lock(&bench.device).faults.deaf = true;
    let start = bench.machine.clock().peek();
    port.submit(Tag(0), bench.write(RECORD_AT, 1, 1)).unwrap();
    assert!(bench.completion_of(&mut port).result.is_err());
    bench.recovered(&mut port);
    assert_eq!(port.state(), State::Dead(ErrorKind::TimedOut.into()));
    // Late command, then two attempts of one admin command each.
    assert!(bench.machine.clock().peek() - start < 6 * SECOND);
    assert!(port.next_event().is_some());
}

#[test]
fn ports_of_several_namespaces_share_a_reset() {
    let namespaces = (1..=3).map(|id| NamespaceOptions { id, ..NamespaceOptions::default() }).collect();
    let mut bench = ready_with(Options { namespaces, max_pairs: 1, ..Options::default() }, Config::default());
    let mut ports = std::mem::take(&mut bench.crash);
    assert!(ports.iter().all(|port| matches!(port.state(), State::Dead(_))));
    ports[2].recover();
    bench.recovered(&mut ports[2]);
    for port in &mut ports {
        assert_eq!(port.state(), State::Ready);
        let fill = port.info().id as u8;
        port.submit(Tag(0), bench.write(5, 1, fill)).unwrap();
        bench.completion_of(port).result.unwrap();
        assert_eq!(lock(&bench.device).media[&u32::from(fill)].block(5)[0], fill);
    }
    assert_eq!(lock(&bench.device).enables, 2);
    bench.assert_clean();
}
