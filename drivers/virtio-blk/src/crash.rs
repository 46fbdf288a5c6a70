//! The way to the disk after a crash, and the places where tests crash.

use block::{BlockDevice, Completion, Geometry, Refused, Request, State, Tag};
use platform::{DmaBuffer, Platform};
use virtio_drivers::transport::Transport;

use crate::controller::Session;
use crate::event::Event;
use crate::port::Port;

/// A second way to a disk, for when the code that uses the [`Disk`](crate::Disk) is never to run again.
///
/// Made together with the disk, with memory, a transport and clock handle of its own, and no lock: of what the
/// interrupted code may have left half-done it touches only device registers, and one word that says how many requests there were.
/// - After [`arm`](Self::arm) with a session that has a spare queue, requests go to that queue at once. If
///   the device turns out not to be running (it was being reset when the crash came), the first submission is refused and
///   starts a recovery by itself.
/// - Otherwise its state is `Dead` with [`NotReady`](block::ErrorKind::NotReady) until [`recover`](BlockDevice::recover), which resets the whole
///   device, from whatever state, and starts it anew with this port's queue.
///
/// From its first use on, the disk must not be used any more.
///
/// On QEMU a reset is carried out after the requests in flight have ended, and the whole machine waits for it. So whoever has several disks to
/// save had better begin with those that need no reset.
pub struct CrashPort<P: Platform, T: Transport>(pub(crate) Port<P, T>);

impl<P: Platform, T: Transport> CrashPort<P, T> {
    /// Takes over what the disk has negotiated. To be called each time the disk has become
    /// [`Ready`](block::State::Ready); touches no register.
    pub fn arm(&mut self, session: &Session) {
        self.0.arm(session);
    }

    /// Why it is dead, or what happened last, in words.
    pub fn why(&self) -> &'static str {
        self.0.why()
    }

    /// The next thing that happened.
    pub fn next_event(&mut self) -> Option<Event> {
        self.0.next_event()
    }

    /// How many requests the device has been given and not answered yet, by the disk and by this port. Once it is 0, nothing of the
    /// disk's can reach the medium any more, and a port that is `Ready` is as good as after a reset. `None` if it cannot be said:
    /// memory was overwritten, or the device asks for a reset.
    ///
    /// Rings the disk's doorbell once more, if need be: that may be what the crash interrupted.
    pub fn unanswered(&mut self) -> Option<u32> {
        self.0.unanswered()
    }

    /// How many requests the device has.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight()
    }
}

impl<P: Platform, T: Transport> BlockDevice for CrashPort<P, T> {
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

/// Names of the [checkpoints](Platform::checkpoint), in the order in which they are passed.
pub(crate) mod points {
    pub(crate) const RESET_BEFORE: &str = "virtio.reset.before";
    pub(crate) const RESET_REQUESTED: &str = "virtio.reset.requested";
    pub(crate) const RESET_DONE: &str = "virtio.reset.done";
    pub(crate) const INIT_ACKNOWLEDGED: &str = "virtio.init.acknowledged";
    pub(crate) const INIT_FEATURES: &str = "virtio.init.features";
    pub(crate) const INIT_CONFIGURED: &str = "virtio.init.configured";
    pub(crate) const INIT_QUEUE: &str = "virtio.init.queue";
    pub(crate) const INIT_SPARE_QUEUE: &str = "virtio.init.spare_queue";
    pub(crate) const INIT_READY: &str = "virtio.init.ready";
    pub(crate) const SUBMIT_TAKEN: &str = "virtio.submit.taken";
    pub(crate) const SUBMIT_POISONED: &str = "virtio.submit.poisoned";
    pub(crate) const SUBMIT_DESCRIBED: &str = "virtio.submit.described";
    pub(crate) const SUBMIT_LISTED: &str = "virtio.submit.listed";
    pub(crate) const SUBMIT_PUBLISHED: &str = "virtio.submit.published";
    pub(crate) const NOTIFY_BEFORE: &str = "virtio.notify.before";
    pub(crate) const NOTIFY_AFTER: &str = "virtio.notify.after";
    pub(crate) const COMPLETE_SEEN: &str = "virtio.complete.seen";
    pub(crate) const COMPLETE_TAKEN: &str = "virtio.complete.taken";
}

/// Every place in this driver where a crash can be injected: the names that it gives to [`Platform::checkpoint`].
pub const CHECKPOINTS: [&str; 18] = [
    points::RESET_BEFORE,
    points::RESET_REQUESTED,
    points::RESET_DONE,
    points::INIT_ACKNOWLEDGED,
    points::INIT_FEATURES,
    points::INIT_CONFIGURED,
    points::INIT_QUEUE,
    points::INIT_SPARE_QUEUE,
    points::INIT_READY,
    points::SUBMIT_TAKEN,
    points::SUBMIT_POISONED,
    points::SUBMIT_DESCRIBED,
    points::SUBMIT_LISTED,
    points::SUBMIT_PUBLISHED,
    points::NOTIFY_BEFORE,
    points::NOTIFY_AFTER,
    points::COMPLETE_SEEN,
    points::COMPLETE_TAKEN,
];
