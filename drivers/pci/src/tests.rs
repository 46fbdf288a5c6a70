//! What the crate makes of sound and of hostile configuration spaces.

use std::format;
use std::vec::Vec;

use crate::fake::{FakeConfig, FakeFunction, Hostile};
use crate::{
    Address, Bar, BarError, BarKind, Class, Command, ConfigSpace, Function, Header, PortKind, scan, scan_from,
};

const PLACE: (u8, u8, u8) = (0, 3, 0);

fn address() -> Address {
    Address::new(0, PLACE.0, PLACE.1, PLACE.2).expect("a place that exists")
}

fn only(function: FakeFunction) -> FakeConfig {
    FakeConfig::default().with(PLACE, function)
}

fn found(config: &FakeConfig) -> Function<'_, FakeConfig> {
    Function::probe(config, address()).expect("somebody answers")
}

fn places<C: ConfigSpace>(config: &C) -> Vec<std::string::String> {
    scan(config, 0).map(|function| format!("{}", function.address())).collect()
}

#[test]
fn addresses_are_checked_and_shown() {
    assert_eq!(Address::new(0, 0, 32, 0), None);
    assert_eq!(Address::new(0, 0, 0, 8), None);
    let address = Address::new(1, 0xAB, 0x1F, 2).expect("a place that exists");
    assert_eq!(format!("{address}"), "0001:ab:1f.2");
    assert_eq!(address.routing_id(), 0xABFA);
}

#[test]
fn identity_is_decoded() {
    let config =
        only(FakeFunction::new(0x1AF4, 0x1042).with(0x08, 0x0108_0207).with(0x0C, 0x0080_0000).with(0x2C, 0x1100_1AF5));
    let identity = found(&config).identity();
    assert_eq!((identity.vendor, identity.device, identity.revision), (0x1AF4, 0x1042, 7));
    assert_eq!(identity.class, Class { base: 1, sub: 8, interface: 2 });
    assert_eq!(identity.class.code(), crate::spec::class::NVME);
    assert_eq!(identity.subsystem, (0x1AF5, 0x1100));
    assert_eq!(identity.header, Header::Device);
    assert!(identity.multi_function);
}

#[test]
fn words_are_cut_into_bytes() {
    let config = only(FakeFunction::new(1, 1).with(0x40, 0x4433_2211));
    let function = found(&config);
    assert_eq!((function.read8(0x40), function.read8(0x43)), (0x11, 0x44));
    assert_eq!((function.read16(0x40), function.read16(0x42)), (0x2211, 0x4433));
}

#[test]
fn command_writes_leave_status_alone() {
    let config = only(FakeFunction::new(1, 1).with(0x04, 0xFFFF_0100));
    let function = found(&config);
    let wanted = Command::MEMORY | Command::BUS_MASTER | Command::INTX_DISABLE;
    assert_eq!(function.enable(wanted), wanted);
    assert_eq!(function.command(), wanted | Command::SERR);
    function.disable(Command::BUS_MASTER);
    assert_eq!(function.command(), Command::MEMORY | Command::INTX_DISABLE | Command::SERR);
    assert!(config.writes.borrow().iter().all(|(_, offset, value)| *offset == 4 && value >> 16 == 0));
}

#[test]
fn a_command_bit_that_does_not_stick_is_told() {
    let mut fake = FakeFunction::new(1, 1);
    fake.writable[1] = u32::from(Command::MEMORY.bits());
    let config = only(fake);
    assert_eq!(found(&config).enable(Command::MEMORY | Command::BUS_MASTER), Command::MEMORY);
}

#[test]
fn bars_are_sized_with_decoding_off_and_restored() {
    let config = only(
        FakeFunction::new(1, 1)
            .with(0x04, 0x0000_0007)
            .with_bar(0, 0xFE00_0004, 0xFFFF_C000)
            .with_bar(1, 0x0000_0080, 0xFFFF_FFFF)
            .with_bar(2, 0x0000_C041, 0x0000_FFC0)
            .with_bar(3, 0xFEBF_0008, 0xFFFF_F000),
    );
    let function = found(&config);
    let wide = Bar {
        index: 0,
        kind: BarKind::Memory { wide: true, prefetchable: false },
        address: 0x80_FE00_0000,
        size: 0x4000,
    };
    assert_eq!(function.bar(0), Ok(wide));
    assert_eq!(function.memory_bar(0), Ok(wide));
    assert_eq!(function.bar(2), Ok(Bar { index: 2, kind: BarKind::Io, address: 0xC040, size: 0x40 }));
    assert_eq!(function.memory_bar(2), Err(BarError::Absent));
    assert_eq!(
        function.bar(3),
        Ok(Bar {
            index: 3,
            kind: BarKind::Memory { wide: false, prefetchable: true },
            address: 0xFEBF_0000,
            size: 4096
        })
    );
    assert_eq!(function.bar(1), Err(BarError::Absent), "the upper half of another");
    assert_eq!(function.bar(4), Err(BarError::Absent), "zero-size register");
    assert_eq!(function.bar(6), Err(BarError::Absent), "no such register");
    assert_eq!(function.bars().map(|bar| bar.index).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(function.command().bits(), 7);
    assert_eq!(function.read32(0x10), 0xFE00_0004);
    assert_eq!(function.read32(0x14), 0x80);

    // Between each pair of ones and restored value the command register has decoding off.
    let mut decoding = true;
    for (_, offset, value) in config.writes.borrow().iter() {
        match *offset {
            4 => decoding = value & 3 != 0,
            _ => assert!(!decoding, "register {offset:#x} written while decoding"),
        }
    }
    assert!(decoding);
}

#[test]
fn an_unassigned_bar_is_reported() {
    let config = only(FakeFunction::new(1, 1).with_bar(0, 0, 0xFFFF_F000));
    let function = found(&config);
    let bar = function.bar(0).expect("it is implemented");
    assert!(!bar.is_assigned());
    assert_eq!(bar.size, 4096);
    assert_eq!(bar.region(0, 4), None);
    assert_eq!(function.memory_bar(0), Err(BarError::Unassigned));
}

#[test]
fn regions_stay_inside_their_bar() {
    let bar =
        Bar { index: 0, kind: BarKind::Memory { wide: true, prefetchable: false }, address: 0x1_0000, size: 0x1000 };
    assert_eq!(bar.region(0, 0x1000), Some(0x1_0000));
    assert_eq!(bar.region(0xFFC, 4), Some(0x1_0FFC));
    assert_eq!(bar.region(0xFFC, 5), None);
    assert_eq!(bar.region(u64::MAX, 2), None);
}

#[test]
fn bars_that_make_no_sense_are_refused() {
    // (contents, writable bits) of register 0, and of 1 where it is the upper half.
    let cases = [
        ("reserved type", (0x0000_0006, 0xFFFF_F000), None),
        ("holes in the mask", (0xFE00_0000, 0xFF0F_F000), None),
        ("past the end of 64 bits", (0xFFFF_F00C, 0xFFFF_F000), Some((0xFFFF_FFFF, 0xFFFF_FFFF))),
        ("not aligned to its size", (0x0000_1000, 0xFFFF_0000), None),
    ];
    for (what, (low, low_mask), high) in cases {
        let mut fake = FakeFunction::new(1, 1).with_bar(0, low, low_mask);
        if let Some((high, high_mask)) = high {
            fake = fake.with_bar(1, high, high_mask);
        }
        assert_eq!(found(&only(fake)).bar(0), Err(BarError::Malformed), "{what}");
    }
    let last = only(FakeFunction::new(1, 1).with_bar(5, 0xFE00_0004, 0xFFFF_F000));
    assert_eq!(found(&last).bar(5), Err(BarError::Malformed), "64 bits in the last register");
}

#[test]
fn capabilities_are_walked_in_order() {
    let config = only(
        FakeFunction::new(1, 1)
            .with_capabilities(0x43)
            .with(0x40, 0x0000_7009)
            .with(0x70, 0x0000_5010)
            .with(0x50, 0x11),
    );
    let ids: Vec<_> = found(&config).capabilities().map(|capability| (capability.id, capability.offset)).collect();
    assert_eq!(ids, [(0x09, 0x40), (0x10, 0x70), (0x11, 0x50)]);
}

#[test]
fn capability_lists_that_loop_or_leave_end() {
    let looped = only(FakeFunction::new(1, 1).with_capabilities(0x40).with(0x40, 0x0000_5009).with(0x50, 0x0000_4009));
    assert_eq!(found(&looped).capabilities().count(), 2);
    let itself = only(FakeFunction::new(1, 1).with_capabilities(0x40).with(0x40, 0x0000_4009));
    assert_eq!(found(&itself).capabilities().count(), 1);
    let into_header = only(FakeFunction::new(1, 1).with_capabilities(0x40).with(0x40, 0x0000_1009));
    assert_eq!(found(&into_header).capabilities().count(), 1);
    let unlisted = only(FakeFunction::new(1, 1).with(0x34, 0x40).with(0x40, 0x09));
    assert_eq!(found(&unlisted).capabilities().count(), 0, "status does not announce a list");
    let ones = only(FakeFunction::new(1, 1).with_capabilities(0x40).with(0x40, !0));
    assert_eq!(found(&ones).capabilities().count(), 0);
}

#[test]
fn the_longest_capability_list_is_walked_whole() {
    let mut fake = FakeFunction::new(1, 1).with_capabilities(0x40);
    for offset in (0x40..0x100).step_by(4) {
        fake = fake.with(offset, u32::from((offset + 4) & 0xFF) << 8 | 0x09);
    }
    assert_eq!(found(&only(fake)).capabilities().count(), 48);
}

#[test]
fn extended_capabilities_end() {
    let config = only(FakeFunction::new(1, 1).with(0x100, 0x1401_0001).with(0x140, 0x1001_0002));
    let walked: Vec<_> = found(&config).extended_capabilities().take(5000).collect();
    assert_eq!(walked[..2], [(1, 1, 0x100), (2, 1, 0x140)]);
    assert!(walked.len() < 1024, "a loop ends");
}

#[test]
fn link_and_power_are_read() {
    let config = only(
        FakeFunction::new(1, 1)
            .with_capabilities(0x40)
            .with(0x40, 0x0142_5010)
            .with(0x4C, 1 << 20 | 4 << 4 | 3)
            .with(0x50, 0x2021_0000)
            .with(0x58, 1 << 22),
    );
    let function = found(&config);
    assert_eq!(function.port_kind(), Some(PortKind::RootPort));
    let link = function.link().expect("it has a link");
    assert_eq!((link.speed, link.width, link.max_speed, link.max_width), (1, 2, 3, 4));
    assert_eq!((link.active, link.present), (Some(true), Some(true)));
    assert_eq!(function.is_powered(), None);

    let mut asleep = FakeFunction::new(1, 1).with_capabilities(0x40).with(0x40, 0x01).with(0x44, 3);
    asleep = asleep.with_bar(0, 0xFE00_0000, 0xFFFF_C000);
    asleep.writable[0x11] = 3;
    let config = only(asleep);
    let function = found(&config);
    assert_eq!(function.is_powered(), Some(false));
    let mut paused = None;
    function.power_on(|ns| {
        // It loses its base address, and has been told to wake up by now.
        assert_eq!(function.is_powered(), Some(true));
        function.write32(0x10, 0);
        paused = Some(ns);
    });
    assert_eq!(paused, Some(10_000_000));
    assert_eq!(function.read32(0x10), 0xFE00_0000);
    function.power_on(|_| panic!("it is on"));
}

#[test]
fn capabilities_at_the_very_end_are_not_read_past() {
    let config = only(FakeFunction::new(1, 1).with_capabilities(0xFC).with(0xFC, 0x0041_0001).with(0x100, 0));
    assert_eq!(found(&config).is_powered(), None);
    let config = only(FakeFunction::new(1, 1).with_capabilities(0xFC).with(0xFC, 0x0042_0010));
    assert_eq!(found(&config).link(), None);
}

#[test]
fn the_scan_follows_bridges_and_functions() {
    let config = FakeConfig::default()
        .with((0, 0, 0), FakeFunction::new(0x8086, 0x29C0))
        .with((0, 2, 0), FakeFunction::bridge(5))
        .with((0, 31, 0), FakeFunction::new(0x8086, 1).with(0x0C, 0x80 << 16))
        .with((0, 31, 2), FakeFunction::new(0x8086, 2))
        .with((0, 30, 0), FakeFunction::new(0x8086, 3))
        .with((0, 30, 4), FakeFunction::new(0x8086, 4))
        .with((5, 0, 0), FakeFunction::new(0x1AF4, 0x1042))
        .with((5, 1, 0), FakeFunction::new(0x1AF4, 0x1042))
        .with((9, 0, 0), FakeFunction::new(0x1AF4, 0x1042));
    assert_eq!(
        places(&config),
        [
            "0000:00:00.0",
            "0000:00:02.0",
            "0000:00:1e.0",
            "0000:00:1f.0",
            "0000:00:1f.2",
            "0000:05:00.0",
            "0000:05:01.0"
        ]
    );
    assert_eq!(scan_from(&config, 0, &[9]).count(), 1);
    // Nobody is asked twice, nor beyond the range, nor devices that are not to be asked.
    let with_roots = |buses, devices| scan(&config, 0).with_unnamed_roots(buses, devices).count();
    let without = scan(&config, 0).count();
    assert_eq!(with_roots(0..=255, 32), without + 1);
    assert_eq!(with_roots(0..=8, 32), without);
    assert_eq!(with_roots(0..=255, 0), without);
}

#[test]
fn only_device_0_is_looked_for_behind_a_root_port() {
    let port = FakeFunction::bridge(1).with_capabilities(0x40).with(0x40, 0x0042_0010);
    let config = FakeConfig::default()
        .with((0, 1, 0), port)
        .with((1, 0, 0), FakeFunction::new(0x144D, 0xA80A))
        .with((1, 1, 0), FakeFunction::new(0x144D, 0xA80A));
    assert_eq!(places(&config), ["0000:00:01.0", "0000:01:00.0"]);
}

#[test]
fn bridges_that_lead_in_circles_end() {
    let config = FakeConfig::default()
        .with((0, 1, 0), FakeFunction::bridge(1))
        .with((1, 1, 0), FakeFunction::bridge(2))
        .with((2, 1, 0), FakeFunction::bridge(1))
        .with((2, 2, 0), FakeFunction::bridge(0));
    assert_eq!(places(&config).len(), 4);
}

#[test]
fn a_machine_where_everybody_is_a_bridge_is_scanned_once() {
    // Every address answers, is multi-function, and leads to some bus.
    let config = Hostile(|address: Address, offset| match offset {
        0x00 => 0x0001_1234,
        0x0C => 0x81 << 16,
        0x18 => u32::from(address.bus().wrapping_mul(7).wrapping_add(address.device())) << 8,
        _ => 0,
    });
    assert!(scan(&config, 0).count() <= 256 * 32 * 8);
}

#[test]
fn nobody_there() {
    let config = FakeConfig::default();
    assert_eq!(scan(&config, 0).count(), 0);
    assert_eq!(*config.reads.borrow(), 32, "one look a device");
    let zeroes = Hostile(|_, _| 0);
    assert_eq!(scan(&zeroes, 0).count(), 0);
}

#[test]
fn a_function_that_goes_away_is_noticed_everywhere() {
    // Answers once, when it is probed, and is gone then.
    let reads = core::cell::Cell::new(0);
    let config = Hostile(move |_: Address, _| {
        reads.set(reads.get() + 1);
        if reads.get() == 1 { 0x0001_1234 } else { !0 }
    });
    let function = Function::probe(&config, address()).expect("it answers once");
    assert!(!function.is_present());
    assert_eq!(function.bars().count(), 0);
    assert_eq!(function.bar(0), Err(BarError::Absent));
    assert_eq!(function.capabilities().count(), 0);
    assert_eq!(function.extended_capabilities().count(), 0);
    assert_eq!((function.link(), function.port_kind(), function.is_powered()), (None, None, None));
    assert_eq!(function.secondary_bus(), None);
}

#[test]
fn random_contents_never_panic_nor_run_away() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..2000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mix = seed;
        let config = Hostile(move |_: Address, offset| {
            let mut x = mix ^ u64::from(offset).wrapping_mul(0x2545_F491_4F6C_DD1D);
            x ^= x >> 29;
            x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (x >> 32) as u32 & if offset == 0x0C { 0x0001_0000 } else { !0 }
        });
        let Some(function) = Function::probe(&config, address()) else { continue };
        assert!(function.bars().count() <= 6);
        assert!(function.capabilities().count() <= 48);
        assert!(function.extended_capabilities().count() <= 960);
        let _ = (function.link(), function.is_powered(), function.identity());
        function.power_on(|_| ());
    }
}

#[test]
fn a_slot_is_asked_and_switched_off() {
    let with_slot = |capabilities: u32, status: u32| {
        let mut port = FakeFunction::bridge(5).with_capabilities(0x40).with(0x18, 0x0007_0500);
        port = port.with(0x40, 0x0142_0010).with(0x54, capabilities).with(0x58, status);
        port.writable[0x16] = 0x0000_FFFF;
        only(port)
    };
    assert!(found(&with_slot(0b01, 0)).slot().is_none(), "no power switch");
    let gone = with_slot(0b11, !0);
    assert!(!found(&gone).slot().expect("it has one").take_press(), "all ones are no press");
    let config = with_slot(0b11, 0x0049_01C0);
    let function = found(&config);
    assert_eq!(function.buses_behind(), Some(5..=7));
    let slot = function.slot().expect("it has one");
    assert!(slot.take_press());
    // Only the button's bit is cleared, and control is as it was.
    assert_eq!(config.writes.borrow().last().map(|write| (write.1, write.2)), Some((0x58, 0x0001_01C0)));
    slot.blink();
    assert_eq!(config.writes.borrow().last().map(|write| (write.1, write.2)), Some((0x58, 0x0000_02C0)));
    slot.power_off();
    assert_eq!(config.writes.borrow().last().map(|write| (write.1, write.2)), Some((0x58, 0x0000_07C0)));
}
