//! A virtio disk as a [`BlockDevice`].

use block::{BlockDevice, Completion, Error, Geometry, Refused, Request, State, Tag};
use platform::{DmaBuffer, Platform};
use virtio_drivers::transport::Transport;

use crate::controller::{Session, Timeouts};
use crate::crash::CrashPort;
use crate::event::Event;
use crate::port::{Counters, Port};

/// A virtio-blk device.
///
/// It is initialised by [`poll`](BlockDevice::poll), and its state is `Recovering` until that has ended. Before that the
/// [`geometry`](BlockDevice::geometry) is that of an empty, read-only disk.
pub struct Disk<P: Platform, T: Transport>(Port<P, T>);

/// Makes a disk of a device and, with memory and a transport of its own, its crash port.
///
/// The two transports must be separate handles of the same device. The device is not touched yet, so that a crash in its
/// initialisation finds the crash port in place.
///
/// Returns `None` when there is not enough DMA memory: 40 KiB are used, up to 240 KiB for a
/// legacy device with long queues.
pub fn open<P: Platform, T: Transport>(
    platform: P,
    mut transport: T,
    crash_transport: T,
) -> Option<(Disk<P, T>, CrashPort<P, T>)> {
    // The lengths that a legacy device insists on; they are constant as long as it exists.
    let requests = transport.max_queue_size(crate::controller::REQUEST_QUEUE);
    let spare = transport.max_queue_size(crate::controller::SPARE_QUEUE);
    let mut crash = Port::new(platform.clone(), crash_transport, requests.max(spare), None)?;
    crash.stand_by();
    let disk = Port::new(platform, transport, requests, Some(crash.queue_memory()))?;
    crash.watch(&disk);
    Some((Disk(disk), CrashPort(crash)))
}

impl<P: Platform, T: Transport> Disk<P, T> {
    /// Sets other time-outs, for requests and resets from now on.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.0.set_timeouts(timeouts);
    }

    /// What was negotiated; `None` until the disk was ready once. For [`CrashPort::arm`].
    pub fn session(&self) -> Option<&Session> {
        self.0.session()
    }

    /// Why it is dead, or what made it recover last, in words.
    pub fn why(&self) -> &'static str {
        self.0.why()
    }

    /// How many requests the device has.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// The next thing that happened. Whoever owns the disk logs these; the driver itself never does.
    pub fn next_event(&mut self) -> Option<Event> {
        self.0.next_event()
    }

    /// How many events were lost because nobody asked for them.
    pub fn lost_events(&self) -> u64 {
        self.0.lost_events()
    }

    /// A buffer of a request that was given up without it, and that request's tag: once the device has been reset after all.
    /// What is not asked for before the device is given up again is lost.
    pub fn reclaim(&mut self) -> Option<(Tag, DmaBuffer)> {
        self.0.reclaim()
    }

    /// Blocks that one [`discard`](Self::discard) may cover; 0 where the device has none.
    pub fn max_discard_blocks(&self) -> u32 {
        self.0.max_discard_blocks()
    }

    /// Tells the device that the contents of blocks do not matter any more. Completes as other requests do.
    ///
    /// # Errors
    /// As for [`submit`](BlockDevice::submit).
    pub fn discard(&mut self, tag: Tag, first_block: u64, blocks: u32) -> Result<(), Error> {
        self.0.discard(tag, first_block, blocks)
    }
}

impl<P: Platform, T: Transport> BlockDevice for Disk<P, T> {
    type Buffer = DmaBuffer;

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn state(&self) -> State {
        self.0.state()
    }

    fn submit(&mut self, tag: Tag, request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
        self.0.submit(tag, request)
    }

    fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
        self.0.poll()
    }

    fn recover(&mut self) {
        self.0.recover();
    }
}
