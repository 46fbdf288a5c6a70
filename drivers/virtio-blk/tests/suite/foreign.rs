//! The device layer on a transport of `virtio-drivers`' own.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use block::{BlockDevice, Request, State};
use platform_fake::{Bus, Machine};
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};

use crate::model::{drain, settle, submit, write};

/// Registers that are plain memory: they say what was last written to them.
struct Plain(&'static [AtomicU32; WORDS]);

const WORDS: usize = 0x200 / 4;
const DRIVER_OK: u32 = 1 | 2 | 4 | 8;

impl Plain {
    fn new() -> Self {
        let plain = Self(Box::leak(Box::new([const { AtomicU32::new(0) }; WORDS])));
        plain.set(0x000, 0x7472_6976);
        plain.set(0x004, 2);
        plain.set(0x008, 2);
        // Both halves of the features read alike: flush and, in the upper half, VERSION_1.
        plain.set(0x010, 1 << 9 | 1);
        plain.set(0x034, 64);
        plain.set(0x100, 4096);
        plain
    }

    fn get(&self, offset: usize) -> u32 {
        self.0[offset / 4].load(Ordering::SeqCst)
    }

    fn set(&self, offset: usize, value: u32) {
        self.0[offset / 4].store(value, Ordering::SeqCst);
    }

    fn transport(&self) -> MmioTransport<'static> {
        let start = NonNull::from(self.0).cast::<VirtIOHeader>();
        // SAFETY: the memory is never freed, is as long as it is said to be, aligned to 4, and only accessed atomically or, by the
        // transport, volatile, all by one thread.
        unsafe { MmioTransport::new(start, WORDS * 4) }.expect("a good device")
    }

    /// Completes the request in the given place of the available ring.
    fn complete(&self, bus: &Bus, number: u16) {
        let ring = |offset| u64::from(self.get(offset)) | u64::from(self.get(offset + 4)) << 32;
        let (descriptors, available, used) = (ring(0x080), ring(0x090), ring(0x0A0));
        let mut head = [0; 2];
        bus.read(available + 4 + 2 * u64::from(number), &mut head).expect("queue memory");
        let head = u16::from_le_bytes(head);
        let mut status = [0; 8];
        // The last of the chain: a write has three descriptors, a flush two.
        let mut flags = [0; 2];
        bus.read(descriptors + 16 * u64::from(head + 1) + 12, &mut flags).expect("queue memory");
        let last = head + 1 + u16::from(flags[0] & 1);
        bus.read(descriptors + 16 * u64::from(last), &mut status).expect("queue memory");
        bus.write(u64::from_le_bytes(status), &[0]).expect("queue memory");
        bus.write(used + 4 + 8 * u64::from(number), &u32::from(head).to_le_bytes()).expect("queue memory");
        bus.write(used + 2, &(number + 1).to_le_bytes()).expect("queue memory");
    }
}

#[test]
fn the_device_layer_works_on_a_transport_of_virtio_drivers() {
    let machine = Machine::new();
    let (plain, other) = (Plain::new(), Plain::new());
    let (mut disk, _port) =
        virtio_blk::open(machine.clone(), plain.transport(), other.transport()).expect("enough memory");
    settle(&mut disk);
    assert_eq!(disk.state(), State::Ready, "{}", disk.why());
    assert_eq!((plain.get(0x070), plain.get(0x044), plain.get(0x038)), (DRIVER_OK, 1, 64));
    plain.set(0x050, !0);
    submit(&mut disk, 1, write(0, 1, machine.bus().allocate(512, 8).expect("enough memory")));
    assert_eq!(plain.get(0x050), 0, "the doorbell of queue 0");
    submit(&mut disk, 2, Request::Flush);
    assert!(disk.poll().is_none());
    plain.complete(machine.bus(), 0);
    plain.complete(machine.bus(), 1);
    let completions = drain(&mut disk);
    assert_eq!(completions.iter().map(|it| (it.tag.0, it.result)).collect::<Vec<_>>(), [(1, Ok(())), (2, Ok(()))]);
}

#[test]
fn a_transport_is_never_dropped() {
    let machine = Machine::new();
    let (plain, other) = (Plain::new(), Plain::new());
    let (mut disk, port) =
        virtio_blk::open(machine.clone(), plain.transport(), other.transport()).expect("enough memory");
    settle(&mut disk);
    other.set(0x070, DRIVER_OK);
    drop((disk, port));
    // This one resets its device when it is dropped.
    assert_eq!((plain.get(0x070), other.get(0x070)), (DRIVER_OK, DRIVER_OK));
    drop(plain.transport());
    assert_eq!(plain.get(0x070), 0);
}
