//! Finding registers: PCI capabilities that lie, ports, MMIO windows.

use block::{BlockDevice, ErrorKind, State};
use pci::{Command, Function};
use platform::Platform;
use platform_fake::FakeClock;
use virtio_blk::pci::{PciDevice, ProbeError, is_virtio_block};
use virtio_blk::transport::{AnyTransport, Mmio, MmioError, MmioPlace};

use crate::model::{BASE, FakeConfig, Handle, Kind, Rig, settle};

fn probe(function: &Function<'_, FakeConfig>) -> Result<PciDevice, ProbeError> {
    let clock = FakeClock::default();
    clock.step_by(1_000_000);
    virtio_blk::pci::probe(&clock, function)
}

#[test]
fn a_modern_device_is_found_and_switched_on() {
    let config = FakeConfig::modern(BASE);
    let function = config.function();
    assert!(is_virtio_block(&function));
    assert!(matches!(probe(&function), Ok(PciDevice::Modern(_))));
    assert_eq!(function.command(), Command::MEMORY | Command::BUS_MASTER | Command::INTX_DISABLE);
    assert_eq!(config.word(0x40) >> 31, 1, "not writable in this fake");
}

#[test]
fn msi_x_is_switched_off() {
    let mut config = FakeConfig::modern(BASE);
    config.writable[0x10] = 1 << 31;
    assert!(probe(&config.function()).is_ok());
    assert_eq!(config.word(0x40), 0x0000_4811);
}

#[test]
fn other_devices_are_not_touched() {
    for id in [0x1041_1AF4, 0x1042_1AF5, 0x1000_1AF4, 0x0010_1B36] {
        let config = FakeConfig::modern(BASE);
        config.set(0, id);
        assert_eq!(probe(&config.function()), Err(ProbeError::NotVirtioBlock), "{id:#x}");
        assert_eq!(config.function().command(), Command::empty());
    }
}

#[test]
fn a_legacy_device_is_found_by_its_ports() {
    let config = FakeConfig::legacy(0xC080);
    let function = config.function();
    assert_eq!(probe(&function), Ok(PciDevice::Legacy { port: 0xC080, len: 80 }));
    assert_eq!(function.command(), Command::IO | Command::BUS_MASTER | Command::INTX_DISABLE);
}

#[test]
fn a_device_without_registers_is_refused() {
    let mut config = FakeConfig::legacy(0xC080);
    config.set_bar(0, 0, 0);
    assert_eq!(probe(&config.function()), Err(ProbeError::NoRegisters));
    let mut config = FakeConfig::legacy(0);
    assert_eq!(probe(&config.function()), Err(ProbeError::NoRegisters), "no port was assigned");
    config.set_bar(0, 0xC081, 0xFFF0);
    assert_eq!(probe(&config.function()), Err(ProbeError::NoRegisters), "too few ports");
}

#[test]
fn a_transitional_device_with_bad_capabilities_is_used_by_its_ports() {
    let mut config = FakeConfig::modern(BASE);
    config.set(0, 0x1001_1AF4);
    config.set_bar(0, 0xC081, 0xFF80);
    assert!(matches!(probe(&config.function()), Ok(PciDevice::Modern(_))));
    config.set_bar(4, 0xC, !0x3FFF);
    config.set_bar(5, 0, !0);
    assert!(matches!(probe(&config.function()), Ok(PciDevice::Legacy { .. })), "region 4 has no address");
}

#[test]
fn a_command_bit_that_does_not_stick_is_told() {
    let mut config = FakeConfig::modern(BASE);
    config.writable[1] = u32::from(Command::MEMORY.bits());
    assert_eq!(probe(&config.function()), Err(ProbeError::CommandRefused(Command::BUS_MASTER)));
}

#[test]
fn capabilities_that_point_elsewhere_are_not_followed() {
    // (place in configuration space, hostile value) of common configuration and doorbells.
    let cases = [
        ("common beyond the region", 0x60, 0x4000),
        ("common wraps around", 0x60, 0xFFFF_FFF0),
        ("common too short", 0x64, 55),
        ("common too long", 0x64, 0xFFFF_FFFF),
        ("common in region 5", 0x5C, 5),
        ("doorbells in region 6", 0x6C, 6),
        ("doorbells beyond the region", 0x70, 0x3FFF),
        ("doorbells empty", 0x74, 0),
    ];
    for (what, place, value) in cases {
        let config = FakeConfig::modern(BASE);
        config.set(place, value);
        assert_eq!(probe(&config.function()), Err(ProbeError::NoRegisters), "{what}");
    }
}

#[test]
fn capability_lists_that_loop_or_end_early_are_survived() {
    let config = FakeConfig::modern(BASE);
    config.set(0x8C, config.word(0x8C) & !0xFF00 | 0x4800);
    assert!(probe(&config.function()).is_ok(), "a loop after everything was found");
    let config = FakeConfig::modern(BASE);
    config.set(0x58, config.word(0x58) & !0xFF00 | 0x4000);
    assert_eq!(probe(&config.function()), Err(ProbeError::NoRegisters), "a loop before the doorbells");
    for start in [0xF0, 0xF8, 0xFC] {
        let config = FakeConfig::modern(BASE);
        config.set(0x34, start);
        config.set(start as usize, 0x0214_0009);
        assert_eq!(probe(&config.function()), Err(ProbeError::NoRegisters), "over the end at {start:#x}");
    }
}

#[test]
fn random_configuration_spaces_never_panic() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..3000 {
        let config = FakeConfig::modern(BASE);
        for _ in 0..4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = 0x10 + 4 * (seed >> 40) as usize % 0xF0 / 4 * 4;
            config.set(place.min(0xFC), (seed >> 16) as u32);
        }
        let _ = probe(&config.function());
    }
}

fn open(rig: &Rig, config: &FakeConfig) -> Option<Handle> {
    let device = probe(&config.function()).expect("found");
    device.open(&rig.machine, |_, _| rig.machine.map_registers(BASE, 0x1000).expect("attached"))
}

#[test]
fn doorbells_outside_their_region_are_never_rung() {
    for multiplier in [1, 0x8000, u32::MAX] {
        let rig = Rig::new(Kind::Modern, |device| {
            device.offered &= !crate::model::MULTI_QUEUE;
            device.first_doorbell = 3;
        });
        let config = FakeConfig::modern(BASE);
        config.set(0x78, multiplier);
        let (transport, other) = (open(&rig, &config).expect("mapped"), open(&rig, &config).expect("mapped"));
        let (mut disk, _port) = virtio_blk::open(rig.machine.clone(), transport, other).expect("enough memory");
        settle(&mut disk);
        assert_eq!(
            (disk.state(), disk.why()),
            (State::Dead(ErrorKind::Unsupported.into()), "its queue cannot be set up"),
            "{multiplier:#x}"
        );
    }
}

#[test]
fn windows_that_cannot_be_mapped_are_told() {
    let rig = Rig::new(Kind::Modern, |_| {});
    assert!(open(&rig, &FakeConfig::modern(BASE + 0x1_0000)).is_none());
}

#[test]
fn a_modern_device_without_configuration_is_refused() {
    let rig = Rig::new(Kind::Modern, |_| {});
    let config = FakeConfig::modern(BASE);
    config.set(0x8C, 0x09);
    let (transport, other) = (open(&rig, &config).expect("mapped"), open(&rig, &config).expect("mapped"));
    let (mut disk, _port) = virtio_blk::open(rig.machine.clone(), transport, other).expect("enough memory");
    settle(&mut disk);
    assert_eq!((disk.state(), disk.why()), (State::Dead(ErrorKind::Protocol.into()), "its configuration lacks fields"));
}

#[test]
fn a_configuration_that_is_too_short_is_refused() {
    let rig = Rig::new(Kind::Modern, |_| {});
    let config = FakeConfig::modern(BASE);
    config.set(0x98, 36);
    let (transport, other) = (open(&rig, &config).expect("mapped"), open(&rig, &config).expect("mapped"));
    let (mut disk, _port) = virtio_blk::open(rig.machine.clone(), transport, other).expect("enough memory");
    settle(&mut disk);
    assert_eq!(disk.state(), State::Dead(ErrorKind::Protocol.into()));
}

#[test]
fn mmio_windows_are_looked_at_before_they_are_used() {
    let rig = Rig::new(Kind::Mmio, |_| {});
    let window = |offset| rig.machine.map_registers(BASE + offset, 0x200).expect("attached");
    assert!(Mmio::probe(window(0)).is_ok());
    assert!(matches!(Mmio::probe(window(4)), Err(MmioError::NoMagic(2))));
    let transport: Handle = AnyTransport::Mmio(Mmio::probe(window(0)).expect("a good device"));
    assert_eq!(transport.name(), "MMIO");
    rig.device().gone = true;
    assert!(matches!(Mmio::probe(window(0)), Err(MmioError::NoMagic(u32::MAX))));
}

#[test]
fn command_line_words_are_decoded() {
    let place = |bus_address, len| Some(MmioPlace { bus_address, len });
    assert_eq!(MmioPlace::parse("virtio_mmio.device=512@0xfeb00e00:12"), place(0xFEB0_0E00, 512));
    assert_eq!(MmioPlace::parse("virtio_mmio.device=4K@0xd0000000:5"), place(0xD000_0000, 4096));
    assert_eq!(
        MmioPlace::parse("virtio_mmio.device=1M@3489660928:5:0"),
        place(0xD000_0000, 4096),
        "no more than is of use"
    );
    for word in [
        "virtio_mmio.device=",
        "virtio_mmio.device=4K@0xd0000000",
        "virtio_mmio.device=@0xd0000000:5",
        "virtio_mmio.device=K@0xd0000000:5",
        "virtio_mmio.device=4K@:5",
        "virtio_mmio.device=0@0xd0000000:5",
        "virtio_mmio.device=4@0xd0000000:5",
        "virtio_mmio.device=18446744073709551615G@0:5",
        "virtio_mmio.device=4K@0xfffffffffffff001:5",
        "virtio_mmio.device=4Ä@0xd0000000:5",
        "loglevel=debug",
    ] {
        assert_eq!(MmioPlace::parse(word), None, "{word}");
    }
}

/// A device as QEMU's microvm declares it: name, hardware id, unique id, coherence, and resources.
fn declared(base: u32, len: u32) -> Vec<u8> {
    let mut aml =
        b"\x5B\x82\x42\x04VR23\x08_HID\x0DLNRO0005\0\x08_UID\x0A\x17\x08_CCA\x01\x08_CRS\x11\x1A\x0A\x17".to_vec();
    aml.extend([0x86, 0x09, 0x00, 0x01]);
    aml.extend(base.to_le_bytes());
    aml.extend(len.to_le_bytes());
    aml.extend([0x89, 0x06, 0x00, 0x01, 0x01, 0x2F, 0, 0, 0, 0x79, 0]);
    aml
}

fn found(aml: &[u8]) -> Vec<(u64, usize)> {
    MmioPlace::find_all(aml).map(|place| (place.bus_address, place.len)).collect()
}

#[test]
fn devices_that_acpi_declares_are_found() {
    let mut aml = b"DSDT and more\x08_HID\x0CPNP0C0C\0".to_vec();
    aml.extend(declared(0xFEB0_2E00, 512));
    aml.extend(declared(0xFEB0_2C00, 512));
    assert_eq!(found(&aml), [(0xFEB0_2E00, 512), (0xFEB0_2C00, 512)]);
    for len in 0..aml.len() {
        assert!(found(&aml[..len]).len() <= 2, "cut off at {len}");
    }
}

#[test]
fn acpi_declarations_that_make_no_sense_are_left_out() {
    assert_eq!(found(&[]), []);
    assert_eq!(found(&declared(0xFEB0_0000, 0)), []);
    assert_eq!(found(&declared(0xFEB0_0000, 0x107)), [], "no room for a capacity");
    // Without resources of its own, a device does not get the next one's.
    let mut aml = declared(0xFEB0_0000, 512);
    aml.truncate(44);
    aml.extend(declared(0xFEB0_0200, 512));
    assert_eq!(found(&aml), [(0xFEB0_0200, 512)]);
    // Nor what comes far behind.
    aml.truncate(44);
    aml.extend([0; 300]);
    aml.extend(&declared(0xFEB0_0200, 512)[44..]);
    assert_eq!(found(&aml), []);
}
