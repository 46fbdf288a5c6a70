//! Initialisation of devices that are slow, wrong or not there.

use block::{Access, BlockDevice, ErrorKind, Request, State, Tag, WriteCache};
use platform::Platform;

use crate::model::{self, Device, Kind, Rig, TestDisk, run, settle, write, write_and_read};

/// Starts a disk and lets it settle.
fn started(kind: Kind, script: impl FnOnce(&mut Device)) -> (Rig, TestDisk) {
    let rig = Rig::new(kind, script);
    let (mut disk, _port) = rig.open();
    settle(&mut disk);
    (rig, disk)
}

fn dead_with(kind: Kind, script: impl FnOnce(&mut Device)) -> (ErrorKind, &'static str) {
    let (_rig, disk) = started(kind, script);
    match disk.state() {
        State::Dead(error) => (error.kind, disk.why()),
        state => panic!("{state:?}: {}", disk.why()),
    }
}

#[test]
fn nothing_fits_before_the_device_is_ready() {
    let rig = Rig::new(Kind::Modern, |_| {});
    let (mut disk, port) = rig.open();
    assert_eq!(rig.device().resets, 0, "opening leaves the device alone");
    assert_eq!(disk.state(), State::Recovering);
    assert!(matches!(port.state(), State::Dead(error) if error.kind == ErrorKind::NotReady));
    let refused = disk.submit(Tag(0), Request::Flush).expect_err("not yet");
    assert_eq!(refused.error.kind, ErrorKind::NotReady);
}

#[test]
fn a_reset_is_waited_for() {
    for kind in Kind::ALL {
        let rig = Rig::new(kind, |device| {
            device.status = 0x0F;
            device.reset_reads = 50;
        });
        let (mut disk, _port) = rig.open();
        for _ in 0..49 {
            assert!(disk.poll().is_none());
            assert_eq!(disk.state(), State::Recovering);
        }
        settle(&mut disk);
        assert_eq!(disk.state(), State::Ready, "{kind:?}: {}", disk.why());
        // The model notes every write that comes before a reset is done.
        rig.assert_clean();
    }
}

#[test]
fn a_reset_that_never_ends_is_given_up_at_its_deadline() {
    let rig = Rig::new(Kind::Modern, |device| {
        device.status = 0x0F;
        device.reset_reads = u32::MAX;
    });
    let (mut disk, _port) = rig.open();
    settle(&mut disk);
    rig.wait_ms(4_999);
    settle(&mut disk);
    assert_eq!(disk.state(), State::Recovering);
    rig.wait_ms(1);
    settle(&mut disk);
    assert_eq!(disk.state(), State::Dead(ErrorKind::TimedOut.into()));
    rig.assert_clean();

    // It comes to its senses later.
    rig.device().reset_reads = 1;
    disk.recover();
    settle(&mut disk);
    assert_eq!(disk.state(), State::Ready);
    write_and_read(&rig, &mut disk, 1, 1);
}

#[test]
fn a_device_that_is_not_there_is_gone() {
    for kind in [Kind::Modern, Kind::Legacy] {
        let rig = Rig::new(kind, |_| {});
        let (mut disk, mut port) = rig.open();
        rig.device().gone = true;
        settle(&mut disk);
        rig.wait_ms(5_000);
        settle(&mut disk);
        assert_eq!(disk.state(), State::Dead(ErrorKind::Gone.into()));
        port.recover();
        settle(&mut port);
        rig.wait_ms(2_000);
        settle(&mut port);
        assert_eq!(port.state(), State::Dead(ErrorKind::Gone.into()));
    }
}

#[test]
fn features_ok_is_read_again() {
    let (kind, why) = dead_with(Kind::Modern, |device| device.refuse_features = true);
    assert_eq!((kind, why), (ErrorKind::Unsupported, "it refused the features that it had offered"));
}

#[test]
fn a_device_that_was_given_up_is_told_so() {
    let (rig, _disk) = started(Kind::Modern, |device| device.refuse_features = true);
    assert_eq!(rig.device().status & 0x80, 0x80);
}

#[test]
fn version_1_must_be_offered_but_by_legacy_devices() {
    let (kind, why) = dead_with(Kind::Modern, |device| device.offered &= !model::VERSION_1);
    assert_eq!((kind, why), (ErrorKind::Unsupported, "it does not offer VERSION_1"));
    assert_eq!(started(Kind::Legacy, |_| {}).1.state(), State::Ready);
}

#[test]
fn what_is_accepted_is_what_the_driver_can_do() {
    let (rig, _disk) = started(Kind::Modern, |device| device.offered = u64::MAX);
    let accepted = rig.device().accepted;
    assert_eq!(accepted & (model::PACKED | model::EVENT_INDEX), 0);
    let access_platform = 1 << 33;
    assert_eq!(accepted & (model::VERSION_1 | access_platform), model::VERSION_1 | access_platform);
    assert_eq!(accepted.count_ones(), 12);
}

#[test]
fn a_configuration_that_changes_while_it_is_read_is_read_again() {
    for kind in Kind::ALL {
        let (rig, disk) = started(kind, |device| device.config_changes = 7);
        assert_eq!(disk.state(), State::Ready, "{kind:?}");
        let config = rig.device().config.clone();
        let changed = u64::from(config[0]) | u64::from(config[1]) << 8;
        assert_eq!(changed, 0x1038);
        assert_eq!(disk.geometry().block_count, changed, "{kind:?}: what was read last, and whole");
    }
}

#[test]
fn a_configuration_that_always_changes_is_given_up_at_its_deadline() {
    for kind in Kind::ALL {
        let rig = Rig::new(kind, |device| device.config_changes = u32::MAX);
        let (mut disk, _port) = rig.open();
        settle(&mut disk);
        assert_eq!(disk.state(), State::Recovering);
        rig.wait_ms(5_000);
        settle(&mut disk);
        assert_eq!(disk.state(), State::Dead(ErrorKind::Protocol.into()), "{kind:?}");
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused_with_a_reason() {
    for size in [0_u32, 1, 256, 513, 3 << 9, 131_072, u32::MAX] {
        let (kind, why) = dead_with(Kind::Modern, |device| device.set_config(20, &size.to_le_bytes()));
        assert_eq!((kind, why), (ErrorKind::Unsupported, "its block size is no power of two from 512 to 65536"));
    }
    let (kind, why) = dead_with(Kind::Modern, |device| device.set_config(0, &[0; 8]));
    assert_eq!((kind, why), (ErrorKind::Unsupported, "it has no blocks"));
    let (kind, why) = dead_with(Kind::Modern, |device| {
        device.offered |= model::SIZE_MAX;
        device.set_config(8, &511_u32.to_le_bytes());
    });
    assert_eq!((kind, why), (ErrorKind::Unsupported, "its longest segment is shorter than a block"));
}

#[test]
fn the_largest_numbers_overflow_nothing() {
    let (rig, mut disk) = started(Kind::Modern, |device| {
        device.offered |= model::SIZE_MAX;
        device.set_config(0, &[0xFF; 20]);
        device.set_config(36, &[0xFF; 24]);
    });
    assert_eq!(disk.state(), State::Ready, "{}", disk.why());
    let geometry = disk.geometry();
    assert_eq!(geometry.block_count, u64::MAX);
    assert_eq!((geometry.max_transfer_blocks, geometry.max_write_zeroes_blocks), (32_768, 131_072));
    assert_eq!(disk.max_discard_blocks(), 131_072);
    let failed = run(&mut disk, write(u64::MAX - 1, 1, rig.buffer(512, 1)));
    assert_eq!(failed.result.map_err(|error| error.kind), Err(ErrorKind::Media));
    let failed = run(&mut disk, Request::WriteZeroes { first_block: u64::MAX - 131_072, blocks: 131_072 });
    assert!(failed.result.is_err());
}

#[test]
fn four_kilobyte_blocks_are_counted_right() {
    let (rig, mut disk) = started(Kind::Modern, |device| device.set_config(20, &4096_u32.to_le_bytes()));
    let geometry = disk.geometry();
    assert_eq!((geometry.block_size, geometry.block_count), (4096, 512));
    assert_eq!((geometry.max_write_zeroes_blocks, disk.max_discard_blocks()), (128, 128));
    write_and_read(&rig, &mut disk, 511, 0x44);
    assert_eq!(rig.device().log[0], (1, 511 * 8, 4096));
    run(&mut disk, Request::WriteZeroes { first_block: 511, blocks: 1 }).result.expect("zeroed");
    assert!(rig.device().disk[511 * 4096..].iter().all(|byte| *byte == 0));
    rig.assert_clean();
}

#[test]
fn segments_are_kept_as_short_as_the_device_wants() {
    let (_rig, disk) = started(Kind::Modern, |device| {
        device.offered |= model::SIZE_MAX;
        device.set_config(8, &65_535_u32.to_le_bytes());
    });
    assert_eq!(disk.geometry().max_transfer_blocks, 127);
}

#[test]
fn a_read_only_disk_refuses_writes_with_a_reason() {
    let (rig, mut disk) = started(Kind::Modern, |device| device.offered |= model::READ_ONLY);
    assert_eq!(disk.geometry().access, Access::ReadOnly("the host gave it as a read-only disk"));
    let refused = disk.submit(Tag(1), write(0, 1, rig.buffer(512, 1))).expect_err("read-only");
    assert_eq!(refused.error.kind, ErrorKind::ReadOnly);
    assert_eq!(disk.discard(Tag(1), 0, 1).map_err(|error| error.kind), Err(ErrorKind::ReadOnly));
    assert!(rig.device().log.is_empty());
}

#[test]
fn the_write_cache_is_what_the_device_says() {
    let cache = |offered: fn(u64) -> u64, writeback: u8| {
        let (_, disk) = started(Kind::Modern, |device| {
            device.offered = offered(device.offered);
            device.set_config(32, &[writeback]);
        });
        disk.geometry().write_cache
    };
    assert_eq!(cache(|all| all, 1), WriteCache::Volatile);
    assert_eq!(cache(|all| all, 0), WriteCache::WriteThrough);
    assert_eq!(cache(|all| all & !model::CONFIG_WCE, 0), WriteCache::Volatile);
    assert_eq!(cache(|all| all & !model::FLUSH, 1), WriteCache::Unknown);
    assert_eq!(cache(|all| all & !model::FLUSH & !model::CONFIG_WCE, 0), WriteCache::Unknown);
}

#[test]
fn flush_and_zeroes_are_not_sent_to_devices_without_them() {
    let (rig, mut disk) = started(Kind::Modern, |device| {
        device.offered &= !(model::FLUSH | model::WRITE_ZEROES | model::DISCARD);
    });
    for request in [Request::Flush, Request::WriteZeroes { first_block: 0, blocks: 1 }] {
        let refused = disk.submit(Tag(1), request).expect_err("there is none");
        assert_eq!(refused.error.kind, ErrorKind::Unsupported);
    }
    assert_eq!(disk.discard(Tag(1), 0, 1).map_err(|error| error.kind), Err(ErrorKind::Unsupported));
    assert!(rig.device().log.is_empty());
    write_and_read(&rig, &mut disk, 0, 1);
}

#[test]
fn force_unit_access_is_for_write_through_disks() {
    let (rig, mut disk) = started(Kind::Modern, |device| device.set_config(32, &[0]));
    let request = Request::Write { first_block: 0, blocks: 1, buffer: rig.buffer(512, 1), fua: true };
    run(&mut disk, request).result.expect("every write is on the medium");
}

#[test]
fn too_little_memory_is_told() {
    let rig = Rig::new(Kind::Modern, |_| {});
    rig.machine.bus().limit(30_000);
    assert!(virtio_blk::open(rig.machine.clone(), rig.transport(), rig.transport()).is_none());
    assert!(rig.machine.allocate_dma(4096, 4096).is_some(), "there was some left");
}
