//! A virtio-blk device made of memory, which does what a test tells it to.
#![allow(dead_code, reason = "each test file uses its own part of the model")]

mod config_space;
mod device;
mod registers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use block::{BlockDevice, Completion, Request, State, Tag};
use platform::{DmaBuffer, Platform};
use platform_fake::{Machine, Window};
use virtio_blk::transport::{AnyTransport, LegacyPci, Mmio};
use virtio_blk::{CrashPort, Disk};

pub(crate) use config_space::FakeConfig;
pub(crate) use device::*;
pub(crate) use registers::{Kind, RegisterFile};

/// Where the model's registers are on the bus.
pub(crate) const BASE: u64 = 0x80_FE00_0000;

pub(crate) type Handle = AnyTransport<Window, Window>;
pub(crate) type TestDisk = Disk<Machine, Handle>;
pub(crate) type TestPort = CrashPort<Machine, Handle>;

/// A machine with one virtio disk.
pub(crate) struct Rig {
    pub(crate) machine: Machine,
    model: Arc<Mutex<RegisterFile>>,
}

impl Rig {
    /// A machine with a device of this kind, as `script` changes it.
    pub(crate) fn new(kind: Kind, script: impl FnOnce(&mut Device)) -> Self {
        let machine = Machine::new();
        let mut device = Device::new(machine.bus().clone(), kind);
        script(&mut device);
        let model = Arc::new(Mutex::new(RegisterFile::new(kind, device)));
        machine.attach(BASE, 0x4000, model.clone());
        Self { machine, model }
    }

    /// The device, to look at or to change. Not to be held across calls into the driver.
    pub(crate) fn device(&self) -> DeviceGuard<'_> {
        DeviceGuard(self.model.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A transport handle, made as the kernel does.
    pub(crate) fn transport(&self) -> Handle {
        let kind = self.device().0.kind;
        let window = || self.machine.map_registers(BASE, 0x4000).expect("attached");
        match kind {
            Kind::Modern => {
                let config = FakeConfig::modern(BASE);
                let function = config.function();
                let found = virtio_blk::pci::probe(&self.machine, &function).expect("a good device");
                found.open(&self.machine, |_, _| window()).expect("mapped")
            }
            Kind::Legacy => AnyTransport::Legacy(LegacyPci::new(window())),
            Kind::MmioLegacy | Kind::Mmio => AnyTransport::Mmio(Mmio::probe(window()).expect("a good device")),
        }
    }

    /// Driver and crash port, just started.
    pub(crate) fn open(&self) -> (TestDisk, TestPort) {
        virtio_blk::open(self.machine.clone(), self.transport(), self.transport()).expect("enough memory")
    }

    /// Driver and crash port, ready and armed.
    pub(crate) fn ready(&self) -> (TestDisk, TestPort) {
        let (mut disk, mut port) = self.open();
        settle(&mut disk);
        assert_eq!(disk.state(), State::Ready, "{}", disk.why());
        port.arm(disk.session().expect("ready"));
        (disk, port)
    }

    /// DMA memory, filled with a byte.
    pub(crate) fn buffer(&self, len: usize, fill: u8) -> DmaBuffer {
        let mut buffer = self.machine.allocate_dma(len, 4096).expect("enough memory");
        buffer.as_mut().fill(fill);
        buffer
    }

    /// Lets the machine's time pass.
    pub(crate) fn wait_ms(&self, ms: u64) {
        self.machine.clock().advance(ms * 1_000_000);
    }

    /// Asserts that neither side did what it must not.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.machine.bus().faults(), [], "DMA outside of DMA memory");
        assert_eq!(self.device().violations, [] as [String; 0], "the driver broke a rule");
    }
}

/// Access to the device of a [`Rig`].
pub(crate) struct DeviceGuard<'a>(MutexGuard<'a, RegisterFile>);

impl std::ops::Deref for DeviceGuard<'_> {
    type Target = Device;
    fn deref(&self) -> &Device {
        &self.0.device
    }
}

impl std::ops::DerefMut for DeviceGuard<'_> {
    fn deref_mut(&mut self) -> &mut Device {
        &mut self.0.device
    }
}

/// Polls until the device is ready or dead: bounded, since time stands still.
pub(crate) fn settle<D: BlockDevice>(device: &mut D) -> Vec<Completion<D::Buffer>> {
    let mut completions = Vec::new();
    for _ in 0..200 {
        completions.extend(device.poll());
        if device.state() != State::Recovering {
            break;
        }
    }
    while let Some(completion) = device.poll() {
        completions.push(completion);
    }
    completions
}

/// Takes what is there to take.
pub(crate) fn drain<D: BlockDevice>(device: &mut D) -> Vec<Completion<D::Buffer>> {
    std::iter::from_fn(|| device.poll()).collect()
}

/// A write request.
pub(crate) fn write(first_block: u64, blocks: u32, buffer: DmaBuffer) -> Request<DmaBuffer> {
    Request::Write { first_block, blocks, buffer, fua: false }
}

/// A read request.
pub(crate) fn read(first_block: u64, blocks: u32, buffer: DmaBuffer) -> Request<DmaBuffer> {
    Request::Read { first_block, blocks, buffer }
}

/// Submits a request that must be accepted.
pub(crate) fn submit<D: BlockDevice<Buffer = DmaBuffer>>(device: &mut D, tag: u64, request: Request<DmaBuffer>) {
    if let Err(refused) = device.submit(Tag(tag), request) {
        panic!("refused: {}", refused.error);
    }
}

/// Submits, and expects exactly one completion, at once.
pub(crate) fn run<D: BlockDevice<Buffer = DmaBuffer>>(
    device: &mut D,
    request: Request<DmaBuffer>,
) -> Completion<DmaBuffer> {
    submit(device, 77, request);
    let completion = device.poll().expect("completed at once");
    assert_eq!(completion.tag, Tag(77));
    completion
}

/// Writes a block and reads it back.
pub(crate) fn write_and_read<D: BlockDevice<Buffer = DmaBuffer>>(rig: &Rig, device: &mut D, block: u64, fill: u8) {
    let len = device.geometry().block_size as usize;
    run(device, write(block, 1, rig.buffer(len, fill))).result.expect("written");
    let back = run(device, read(block, 1, rig.buffer(len, !fill)));
    back.result.expect("read");
    assert!(back.buffer.expect("comes back").as_ref().iter().all(|byte| *byte == fill));
}
