//! Every transport carries every request, with queues of every length.

use crate::model::{BASE, Kind, Rig, drain, read, run, submit, write_and_read};
use block::{Access, BlockDevice, Request, Tag, WriteCache};

#[test]
fn every_transport_reads_writes_flushes_and_zeroes() {
    for kind in Kind::ALL {
        let rig = Rig::new(kind, |_| {});
        let (mut disk, _port) = rig.ready();
        let geometry = disk.geometry();
        assert_eq!((geometry.block_size, geometry.block_count), (512, 4096), "{kind:?}");
        assert_eq!((geometry.queue_depth, geometry.write_cache), (64, WriteCache::Volatile));
        assert_eq!((geometry.max_write_zeroes_blocks, geometry.access), (1024, Access::ReadWrite));
        write_and_read(&rig, &mut disk, 7, 0xA5);
        run(&mut disk, Request::Flush).result.expect("flushed");
        run(&mut disk, Request::WriteZeroes { first_block: 7, blocks: 1 }).result.expect("zeroed");
        let back = run(&mut disk, read(7, 1, rig.buffer(512, 0xFF)));
        assert!(back.buffer.expect("comes back").as_ref().iter().all(|byte| *byte == 0));
        write_and_read(&rig, &mut disk, 9, 0x5A);
        disk.discard(Tag(5), 9, 1).expect("accepted");
        assert!(drain(&mut disk).iter().all(|completion| completion.result.is_ok()));
        assert_eq!(rig.device().log.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(), [1, 0, 4, 13, 0, 1, 0, 11]);
        rig.assert_clean();
    }
}

#[test]
fn a_doorbell_is_one_register_write() {
    for kind in Kind::ALL {
        let rig = Rig::new(kind, |_| {});
        let (mut disk, _port) = rig.ready();
        let before = rig.machine.register_writes(BASE).len();
        submit(&mut disk, 1, Request::Flush);
        assert_eq!(rig.machine.register_writes(BASE).len(), before + 1, "{kind:?}");
    }
}
