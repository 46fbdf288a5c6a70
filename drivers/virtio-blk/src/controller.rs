//! Reset and initialisation of a device, as steps that never wait.
//!
//! ```text
//!   begin_reset()            status := 0
//!        │
//!   Resetting ──────────── status reads 0? ── no ──► deadline: Dead(TimedOut), or Dead(Gone) if it reads all ones
//!        │ yes: the device uses no memory of ours any more
//!        │      ACKNOWLEDGE, DRIVER, features, FEATURES_OK and its echo
//!   Configuring ────────── configuration read the same twice? ── no ──► deadline: Dead(Protocol)
//!        │ yes: limits checked, queues set up, DRIVER_OK
//!     Ready
//! ```
//!
//! [`step`](Controller::step) does one such step. It may be entered with the device, and with every register that this module
//! writes, in any state: the reset makes them all defined.

use core::mem::ManuallyDrop;

use block::{Error, ErrorKind};
use platform::{Deadline, Platform};
use virtio_drivers::transport::{DeviceStatus, Transport};

use crate::crash::points;
use crate::geometry::{Limits, RawConfig};
use crate::queue::{QueueMemory, Shape};
use crate::spec::{Features, LEGACY_FEATURES};

/// How long a device may take for things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request's submission to its completion, in nanoseconds. Then no new requests are taken.
    pub request_ns: u64,
    /// How long overdue requests are waited for after that, while the device answers nothing at all, in nanoseconds.
    pub patience_ns: u64,
    /// What becomes of a device that has used up that time.
    pub silence: Silence,
    /// From asking for a reset until the device says that it is done, in nanoseconds; and once more for reading its configuration.
    pub reset_ns: u64,
}

impl Timeouts {
    /// For ordinary use: a host may be busy with other guests for a while.
    pub const DEFAULT: Self = Self {
        request_ns: 10_000_000_000,
        patience_ns: 20_000_000_000,
        silence: Silence::GiveUp,
        reset_ns: 5_000_000_000,
    };
    /// For the crash path: someone waits for it to end.
    pub const CRASH: Self =
        Self { request_ns: 3_000_000_000, patience_ns: 0, silence: Silence::GiveUp, reset_ns: 2_000_000_000 };
}

/// What becomes of a device that does not answer, though its status says that all is well.
///
/// A reset might help, or make it worse: QEMU carries it out only after the requests in flight have ended, and stops the *whole machine*
/// until then. Where those hang in the host, a reset takes everything else along, other disks' logs first. So none is made unless
/// the device answers at all, or somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is dead: requests end without their buffers. [`recover`](block::BlockDevice::recover) resets it, when somebody dares to.
    GiveUp,
    /// It is reset.
    Reset,
}

/// How often the device's status is looked at, and its doorbell rung once more, while requests are in flight.
pub(crate) const CHECK_NS: u64 = 10_000_000;

/// What was negotiated with a device. Plain data; what a [`CrashPort`](crate::CrashPort) must know to go on where the disk was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub(crate) features: Features,
    pub(crate) legacy: bool,
    pub(crate) limits: Limits,
    pub(crate) shape: Shape,
    /// The shape of the crash port's queue, if the device has one to spare.
    pub(crate) spare: Option<Shape>,
}

impl Session {
    /// What was agreed on with the device.
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Whether the device has a queue that is set aside for the crash port.
    pub const fn has_spare_queue(&self) -> bool {
        self.spare.is_some()
    }
}

/// A failure with its reason in words, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) why: &'static str,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, why: &'static str) -> Self {
        Self { error: kind.into(), why }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// To be reset by the first step.
    Fresh,
    Ready,
    /// Requests are overdue: until the deadline, which each answer moves, they may come yet.
    Silent(Deadline),
    Resetting(Deadline),
    Configuring(Deadline),
    Dead(Failure),
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing yet.
    Waiting,
    /// The device was reset: it uses no memory any more.
    Reset,
    /// It is ready, its queue of this shape.
    Ready(Session),
    /// It is dead.
    Dead(Failure),
}

/// The queues that a device is to be given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queues {
    pub(crate) requests: QueueMemory,
    pub(crate) spare: Option<QueueMemory>,
}

/// Queue numbers: requests, and the crash port's spare one.
pub(crate) const REQUEST_QUEUE: u16 = 0;
/// See [`REQUEST_QUEUE`].
pub(crate) const SPARE_QUEUE: u16 = 1;

/// A device's registers, and how far its initialisation is.
pub(crate) struct Controller<P: Platform, T: Transport> {
    pub(crate) platform: P,
    /// Never dropped: some transports reset the device then, and wait for it without end.
    pub(crate) transport: ManuallyDrop<T>,
    pub(crate) timeouts: Timeouts,
    pub(crate) phase: Phase,
    features: Features,
}

impl<P: Platform, T: Transport> Controller<P, T> {
    /// A device that is left alone for now.
    pub(crate) fn new(platform: P, transport: T, timeouts: Timeouts, phase: Phase) -> Self {
        let transport = ManuallyDrop::new(transport);
        Self { platform, transport, timeouts, phase, features: Features::empty() }
    }

    /// Asks the device to reset itself.
    pub(crate) fn begin_reset(&mut self) {
        self.platform.checkpoint(points::RESET_BEFORE);
        self.phase = Phase::Resetting(self.platform.deadline(self.timeouts.reset_ns));
        self.transport.set_status(DeviceStatus::empty());
        self.platform.checkpoint(points::RESET_REQUESTED);
    }

    /// Does what can be done without waiting. `prepare` empties the request queue's memory and gives it its shape.
    pub(crate) fn step(&mut self, queues: Queues, prepare: impl FnOnce(Shape)) -> Step {
        match self.phase {
            Phase::Resetting(deadline) => self.await_reset(deadline),
            Phase::Configuring(deadline) => self.configure(deadline, queues, prepare),
            Phase::Fresh | Phase::Ready | Phase::Silent(_) | Phase::Dead(_) => Step::Waiting,
        }
    }

    fn await_reset(&mut self, deadline: Deadline) -> Step {
        let status = self.transport.get_status();
        if status == DeviceStatus::empty() {
            self.platform.checkpoint(points::RESET_DONE);
            return match self.negotiate() {
                Ok(()) => Step::Reset,
                // What was in flight is no longer, all the same.
                Err(failure) => {
                    self.fail(failure);
                    Step::Reset
                }
            };
        }
        if !self.platform.is_past(deadline) {
            return Step::Waiting;
        }
        // No FAILED bit here: it would be a write to a device that does not answer.
        let failure = match is_gone(status) {
            true => Failure::new(ErrorKind::Gone, "its registers read as all ones"),
            false => Failure::new(ErrorKind::TimedOut, "it did not end its reset"),
        };
        self.phase = Phase::Dead(failure);
        Step::Dead(failure)
    }

    /// From ACKNOWLEDGE to FEATURES_OK (3.1.1).
    fn negotiate(&mut self) -> Result<(), Failure> {
        let legacy = self.transport.requires_legacy_layout();
        let mut status = DeviceStatus::ACKNOWLEDGE;
        self.transport.set_status(status);
        status |= DeviceStatus::DRIVER;
        self.transport.set_status(status);
        self.platform.checkpoint(points::INIT_ACKNOWLEDGED);

        let offered = self.transport.read_device_features();
        let mut accepted = Features::from_bits_truncate(offered) & supported();
        if legacy {
            accepted &= Features::from_bits_retain(LEGACY_FEATURES);
        } else if !accepted.contains(Features::VERSION_1) {
            return Err(Failure::new(ErrorKind::Unsupported, "it does not offer VERSION_1"));
        }
        self.transport.write_driver_features(accepted.bits());
        if !legacy {
            status |= DeviceStatus::FEATURES_OK;
            self.transport.set_status(status);
            if !self.transport.get_status().contains(DeviceStatus::FEATURES_OK) {
                return Err(Failure::new(ErrorKind::Unsupported, "it refused the features that it had offered"));
            }
        }
        self.transport.set_guest_page_size(platform::dma::PAGE_SIZE as u32);
        self.features = accepted;
        self.phase = Phase::Configuring(self.platform.deadline(self.timeouts.reset_ns));
        self.platform.checkpoint(points::INIT_FEATURES);
        Ok(())
    }

    fn configure(&mut self, deadline: Deadline, queues: Queues, prepare: impl FnOnce(Shape)) -> Step {
        let config = match RawConfig::read(&*self.transport, self.features) {
            Ok(Some(config)) => Ok(config),
            Ok(None) if !self.platform.is_past(deadline) => return Step::Waiting,
            Ok(None) => Err(Failure::new(ErrorKind::Protocol, "its configuration never stays the same")),
            Err(failure) => Err(failure),
        };
        match config.and_then(|config| self.start(&config, queues, prepare)) {
            Ok(session) => {
                self.phase = Phase::Ready;
                self.platform.checkpoint(points::INIT_READY);
                Step::Ready(session)
            }
            Err(failure) => {
                self.fail(failure);
                Step::Dead(failure)
            }
        }
    }

    /// From the limits to DRIVER_OK.
    fn start(&mut self, config: &RawConfig, queues: Queues, prepare: impl FnOnce(Shape)) -> Result<Session, Failure> {
        let legacy = self.transport.requires_legacy_layout();
        let mut limits = config.limits(self.features)?;
        self.platform.checkpoint(points::INIT_CONFIGURED);

        let shape = self.shape(REQUEST_QUEUE, queues.requests)?;
        prepare(shape);
        self.set_up(REQUEST_QUEUE, shape, queues.requests)?;
        limits.geometry.queue_depth = shape.slots;
        self.platform.checkpoint(points::INIT_QUEUE);

        let spare = queues.spare.filter(|_| config.queues(self.features) > SPARE_QUEUE).and_then(|memory| {
            let shape = self.shape(SPARE_QUEUE, memory).ok()?;
            self.set_up(SPARE_QUEUE, shape, memory).ok().map(|()| shape)
        });
        self.platform.checkpoint(points::INIT_SPARE_QUEUE);

        let mut status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::DRIVER_OK;
        if !legacy {
            status |= DeviceStatus::FEATURES_OK;
        }
        self.transport.set_status(status);
        match self.health() {
            Health::Working => Ok(Session { features: self.features, legacy, limits, shape, spare }),
            Health::Gone => Err(Failure::new(ErrorKind::Gone, "its registers read as all ones")),
            Health::Failed => Err(Failure::new(ErrorKind::Fatal, "it failed as soon as it was started")),
        }
    }

    fn shape(&mut self, queue: u16, memory: QueueMemory) -> Result<Shape, Failure> {
        let legacy = self.transport.requires_legacy_layout();
        let max = self.transport.max_queue_size(queue);
        let shape = Shape::choose(max, legacy, self.features.contains(Features::INDIRECT))
            .ok_or(Failure::new(ErrorKind::Unsupported, "its queue is too short or too long"))?;
        if shape.entries > memory.room {
            return Err(Failure::new(ErrorKind::Protocol, "its queue is longer than it was at start"));
        }
        Ok(shape)
    }

    fn set_up(&mut self, queue: u16, shape: Shape, memory: QueueMemory) -> Result<(), Failure> {
        let [descriptors, available, used] = memory.addresses(shape.entries);
        self.transport.queue_set(queue, shape.entries.into(), descriptors, available, used);
        match self.transport.queue_used(queue) {
            true => Ok(()),
            false => Err(Failure::new(ErrorKind::Unsupported, "its queue cannot be set up")),
        }
    }

    /// Gives up, and tells the device so (3.1.1).
    fn fail(&mut self, failure: Failure) {
        self.phase = Phase::Dead(failure);
        let status = self.transport.get_status();
        if !is_gone(status) {
            self.transport.set_status(status | DeviceStatus::FAILED);
        }
    }

    /// What the device says of itself.
    pub(crate) fn health(&self) -> Health {
        let status = self.transport.get_status();
        if is_gone(status) {
            Health::Gone
        } else if status.contains(DeviceStatus::DRIVER_OK) && !status.contains(DeviceStatus::DEVICE_NEEDS_RESET) {
            Health::Working
        } else {
            Health::Failed
        }
    }
}

/// The state of a device that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Working,
    /// It asks to be reset, or was, behind our back.
    Failed,
    Gone,
}

/// Whether the registers are gone: no device has all of these bits set at once.
pub(crate) fn is_gone(status: DeviceStatus) -> bool {
    status.contains(DeviceStatus::all())
}

/// The features that are accepted where they are offered.
///
/// Neither the event index (notifications are decided by the flag alone, without a 16-bit comparison that could go wrong), nor
/// packed queues, nor in-order use. `SEG_MAX` is left alone since a request has one segment of data.
fn supported() -> Features {
    Features::all() - Features::EVENT_INDEX - Features::PACKED - Features::SEG_MAX
}
