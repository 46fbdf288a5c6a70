//! One queue of a device: its requests, deadlines and recovery.

mod silence;

use block::{Completion, Error, ErrorKind, Geometry, Refused, Request, State, Tag, WriteCache};
use platform::{Deadline, DmaBuffer, Platform};
use virtio_drivers::transport::{DeviceStatus, Transport};

use crate::controller::{
    CHECK_NS, Controller, Failure, Health, Phase, Queues, REQUEST_QUEUE, SPARE_QUEUE, Session, Step, Timeouts, is_gone,
};
use crate::crash::points;
use crate::event::{Event, Events, RequestName};
use crate::flight::{Flight, Flights};
use crate::geometry::Limits;
use crate::queue::{Data, QueueMemory, Shape, SplitQueue, Used};
use crate::spec::{Features, SECTOR_SIZE, request};
use crate::watch::Watch;

/// What a disk did so far, for logs and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that were accepted.
    pub submitted: u64,
    /// Requests that the device completed.
    pub completed: u64,
    /// Doorbells rung for a request.
    pub notified: u64,
    /// Doorbells rung again because nothing had come for a while.
    pub notified_again: u64,
    /// Resets, the first one included.
    pub resets: u64,
}

/// One queue of a device.
pub(crate) struct Port<P: Platform, T: Transport> {
    controller: Controller<P, T>,
    queue: SplitQueue,
    /// Which queue of the device it is.
    number: u16,
    /// On a crash port: the queues that are in use when it takes over, the disk's and its own.
    watches: Option<[Watch; 2]>,
    /// Whether the disk's doorbell was rung once more.
    has_rung: bool,
    /// The crash port's queue, which the disk sets up beside its own.
    spare: Option<QueueMemory>,
    session: Option<Session>,
    flights: Flights,
    next_check: Deadline,
    /// Requests that had been completed at the last check, or when the queue was last empty.
    completed_before: u64,
    /// Whether the device must be looked at before the first request: it was set up by somebody else.
    unverified: bool,
    /// Whether it was given up while it owed answers, which may come yet.
    owes_answers: bool,
    /// Whether it was given up while it owed the end of a reset, which may come yet.
    owes_reset: bool,
    /// When the reset under way was asked for; `None` for the first one.
    reset_began: Option<u64>,
    why: &'static str,
    counters: Counters,
    events: Events,
}

impl<P: Platform, T: Transport> Port<P, T> {
    /// Sets aside memory for a device that is initialised by polling. `entries` is how long a queue the device offers, `spare` where
    /// the crash port's queue is.
    pub(crate) fn new(platform: P, transport: T, entries: u32, spare: Option<QueueMemory>) -> Option<Self> {
        let room = Shape::room_for(entries, transport.requires_legacy_layout());
        let queue = SplitQueue::allocate(&platform, room)?;
        Some(Self {
            controller: Controller::new(platform, transport, Timeouts::DEFAULT, Phase::Fresh),
            queue,
            number: REQUEST_QUEUE,
            watches: None,
            has_rung: false,
            spare,
            session: None,
            flights: Flights::new(),
            next_check: Deadline(0),
            completed_before: 0,
            unverified: false,
            owes_answers: false,
            owes_reset: false,
            reset_began: None,
            why: "not started",
            counters: Counters::default(),
            events: Events::new(),
        })
    }

    /// Makes it a crash port: to be recovered, or armed, before use.
    pub(crate) fn stand_by(&mut self) {
        self.dismiss(Failure::new(ErrorKind::NotReady, "the device has to be recovered first"));
        self.controller.timeouts = Timeouts::CRASH;
    }

    /// On a crash port: keeps an eye on the disk's requests, and on those of a crash path that was interrupted.
    pub(crate) fn watch(&mut self, disk: &Self) {
        self.watches = Some([disk.queue.watch(), self.queue.watch()]);
    }

    /// How many requests the device was given and has not answered, by the disk or by this crash port; `None` if that cannot be said.
    pub(crate) fn unanswered(&mut self) -> Option<u32> {
        let mut sum = 0;
        for watch in self.watches.iter().flatten() {
            sum += u32::from(watch.unanswered()?);
        }
        if sum == 0 {
            return Some(0);
        }
        let status = self.controller.transport.get_status();
        if is_gone(status) || !status.contains(DeviceStatus::DRIVER_OK) {
            // Whatever it was given before: it has been reset since, and not started again.
            return Some(0);
        }
        if status.contains(DeviceStatus::DEVICE_NEEDS_RESET) {
            return None;
        }
        if !core::mem::replace(&mut self.has_rung, true) {
            // It may have been interrupted between a request and its doorbell.
            self.controller.transport.notify(REQUEST_QUEUE);
        }
        Some(sum)
    }

    fn dismiss(&mut self, failure: Failure) {
        self.controller.phase = Phase::Dead(failure);
        self.why = failure.why;
    }

    pub(crate) fn queue_memory(&self) -> QueueMemory {
        self.queue.memory()
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    pub(crate) fn why(&self) -> &'static str {
        self.why
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.queue.in_flight()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    pub(crate) fn lost_events(&self) -> u64 {
        self.events.lost()
    }

    pub(crate) fn reclaim(&mut self) -> Option<(Tag, DmaBuffer)> {
        self.flights.reclaim()
    }

    pub(crate) fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.controller.timeouts = timeouts;
    }

    /// Goes on with the spare queue of a device that somebody else initialised.
    pub(crate) fn arm(&mut self, session: &Session) {
        self.session = Some(*session);
        match session.spare {
            Some(shape) => {
                self.queue.reset(shape);
                self.number = SPARE_QUEUE;
                self.unverified = true;
                self.controller.phase = Phase::Ready;
                self.why = "a spare queue is set up";
            }
            None => self.dismiss(Failure::new(ErrorKind::NotReady, "the device has no queue to spare")),
        }
    }

    fn limits(&self) -> Limits {
        self.session.map_or(Limits::UNKNOWN, |session| session.limits)
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let mut geometry = self.limits().geometry;
        if self.number == SPARE_QUEUE {
            geometry.queue_depth = self.queue.shape().slots.max(1);
        }
        geometry
    }

    pub(crate) fn max_discard_blocks(&self) -> u32 {
        self.limits().max_discard_blocks
    }

    pub(crate) fn state(&self) -> State {
        match self.controller.phase {
            Phase::Ready => State::Ready,
            Phase::Fresh | Phase::Silent(_) | Phase::Resetting(_) | Phase::Configuring(_) => State::Recovering,
            Phase::Dead(failure) => State::Dead(failure.error),
        }
    }

    pub(crate) fn submit(&mut self, tag: Tag, request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
        match self.admit(&request) {
            Ok(slot) => {
                self.start(slot, tag, request);
                Ok(())
            }
            Err(error) => Err(Refused { error, request }),
        }
    }

    pub(crate) fn discard(&mut self, tag: Tag, first_block: u64, blocks: u32) -> Result<(), Error> {
        let limits = self.limits();
        // A discard must fit just as a write of zeroes must, but for the limit.
        let like = Request::<DmaBuffer>::WriteZeroes { first_block, blocks };
        let limit = limits.max_discard_blocks;
        like.check(&Geometry { max_write_zeroes_blocks: limit, ..limits.geometry })?;
        let slot = self.free_slot()?;
        let sectors = blocks * limits.sectors_per_block();
        let sector = first_block * u64::from(limits.sectors_per_block());
        self.send(slot, tag, None, request::DISCARD, sector, Data::Segment { sectors });
        Ok(())
    }

    /// Decides whether a request can go in, and where.
    fn admit(&mut self, request: &Request<DmaBuffer>) -> Result<u16, Error> {
        if self.controller.phase != Phase::Ready {
            return Err(ErrorKind::NotReady.into());
        }
        request.check(&self.geometry())?;
        let flushes = self.session.is_some_and(|session| session.features.contains(Features::FLUSH));
        let write_cache = self.limits().geometry.write_cache;
        match request {
            Request::Flush if !flushes => return Err(ErrorKind::Unsupported.into()),
            // There is no such bit in a virtio request: only where each completed write is on the medium anyway.
            Request::Write { fua: true, .. } if write_cache != WriteCache::WriteThrough => {
                return Err(ErrorKind::Unsupported.into());
            }
            _ => {}
        }
        self.free_slot()
    }

    fn free_slot(&mut self) -> Result<u16, Error> {
        if self.controller.phase != Phase::Ready || !self.verify() {
            return Err(ErrorKind::NotReady.into());
        }
        self.flights.free_slot(self.queue.shape().slots).ok_or(ErrorKind::QueueFull.into())
    }

    /// Makes sure, once, that a device which somebody else set up is running; starts a recovery if not.
    fn verify(&mut self) -> bool {
        if self.unverified {
            let working = self.controller.health() == Health::Working;
            if !working || !self.controller.transport.queue_used(self.number) {
                self.recover_because("the device was not running when the crash came");
                return false;
            }
            self.unverified = false;
        }
        true
    }

    fn start(&mut self, slot: u16, tag: Tag, request: Request<DmaBuffer>) {
        let limits = self.limits();
        let (bytes, sectors) = (limits.geometry.block_size, limits.sectors_per_block());
        // No overflow: `check` kept blocks within the device and within limits that were computed from 32 bits of bytes.
        let sector = |block: u64| block * u64::from(sectors);
        match request {
            Request::Read { first_block, blocks, buffer } => {
                let data = Data::In { bus_address: buffer.bus_address(), len: blocks * bytes };
                self.send(slot, tag, Some(buffer), request::IN, sector(first_block), data);
            }
            Request::Write { first_block, blocks, buffer, fua: _ } => {
                let data = Data::Out { bus_address: buffer.bus_address(), len: blocks * bytes };
                self.send(slot, tag, Some(buffer), request::OUT, sector(first_block), data);
            }
            Request::WriteZeroes { first_block, blocks } => {
                let data = Data::Segment { sectors: blocks * sectors };
                self.send(slot, tag, None, request::WRITE_ZEROES, sector(first_block), data);
            }
            Request::Flush => self.send(slot, tag, None, request::FLUSH, 0, Data::None),
        }
    }

    fn send(&mut self, slot: u16, tag: Tag, buffer: Option<DmaBuffer>, kind: u32, sector: u64, data: Data) {
        let legacy = self.session.is_none_or(|session| session.legacy);
        let expected = match data {
            // Legacy devices are known to report other lengths (2.7.8.2).
            Data::In { len, .. } if !legacy => len,
            _ => 0,
        };
        let now = self.controller.platform.now_ns();
        let deadline = Deadline(now.saturating_add(self.controller.timeouts.request_ns));
        if self.queue.in_flight() == 0 {
            self.next_check = Deadline(now.saturating_add(CHECK_NS));
            self.completed_before = self.counters.completed;
        }
        let sectors = match data {
            Data::In { len, .. } | Data::Out { len, .. } => len / SECTOR_SIZE,
            Data::Segment { sectors } => sectors,
            Data::None => 0,
        };
        let name = RequestName { kind, sector, sectors };
        self.flights.begin(slot, Flight { tag, name, buffer, deadline, expected });
        self.counters.submitted += 1;
        self.controller.platform.checkpoint(points::SUBMIT_TAKEN);
        if self.queue.submit(&self.controller.platform, slot, kind, sector, data) {
            self.controller.platform.checkpoint(points::NOTIFY_BEFORE);
            self.controller.transport.notify(self.number);
            self.counters.notified += 1;
            self.controller.platform.checkpoint(points::NOTIFY_AFTER);
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
        match self.controller.phase {
            Phase::Ready | Phase::Silent(_) => match self.queue.take_used() {
                Ok(Some(used)) => return self.finish(used),
                Ok(None) => self.check(),
                Err(why) => self.recover_because(why),
            },
            Phase::Fresh | Phase::Resetting(_) | Phase::Configuring(_) => self.advance(),
            Phase::Dead(_) if self.owes_answers => self.look_for_answers(),
            Phase::Dead(_) if self.owes_reset => self.look_for_reset(),
            Phase::Dead(_) => {}
        }
        self.flights.hand_back()
    }

    fn finish(&mut self, used: Used) -> Option<Completion<DmaBuffer>> {
        self.controller.platform.checkpoint(points::COMPLETE_SEEN);
        let flight = self.flights.end(used.slot)?;
        self.counters.completed += 1;
        self.controller.platform.checkpoint(points::COMPLETE_TAKEN);
        if matches!(self.controller.phase, Phase::Silent(_)) {
            self.note_late_answer();
        }
        let result = match used.status {
            Some(request::OK) if used.len >= flight.expected => Ok(()),
            Some(request::IO_ERROR) => Err(Error::with_status(ErrorKind::Media, request::IO_ERROR.into())),
            Some(request::UNSUPPORTED) => Err(Error::with_status(ErrorKind::Unsupported, request::UNSUPPORTED.into())),
            // Done, but fewer bytes than were asked for; or completed without a word.
            Some(request::OK) | None => Err(ErrorKind::Protocol.into()),
            Some(other) => Err(Error::with_status(ErrorKind::Device, other.into())),
        };
        if result.is_err() {
            self.events.push(Event::Failed { request: flight.name, status: used.status });
        }
        Some(Completion { tag: flight.tag, result, buffer: flight.buffer })
    }

    fn recover_because(&mut self, why: &'static str) {
        self.why = why;
        self.begin_reset(Some(why));
    }

    /// Starts a reset of the whole device, from any state.
    pub(crate) fn recover(&mut self) {
        self.begin_reset(Some("asked for"));
    }

    fn begin_reset(&mut self, why: Option<&'static str>) {
        self.reset_began = why.map(|_| self.controller.platform.now_ns());
        if let Some(why) = why {
            self.events.push(Event::ResetBegun(why));
        }
        self.owes_answers = false;
        self.owes_reset = false;
        self.number = REQUEST_QUEUE;
        self.unverified = false;
        self.counters.resets += 1;
        self.controller.begin_reset();
    }

    /// One step of a recovery.
    fn advance(&mut self) {
        if self.controller.phase == Phase::Fresh {
            return self.begin_reset(None);
        }
        let queues = Queues { requests: self.queue.memory(), spare: self.spare };
        let queue = &mut self.queue;
        match self.controller.step(queues, |shape| queue.reset(shape)) {
            Step::Waiting => {}
            Step::Reset => {
                self.flights.abort(self.controller.platform.now_ns());
                self.queue.forget();
                self.watches.iter().flatten().for_each(Watch::retire);
                if let Phase::Dead(failure) = self.controller.phase {
                    self.why = failure.why;
                    self.events.push(Event::Dead(failure.why));
                }
            }
            Step::Ready(session) => {
                self.session = Some(session);
                if let Some(began) = self.reset_began.take() {
                    let took_ns = self.controller.platform.now_ns().saturating_sub(began);
                    self.events.push(Event::ResetDone { took_ns });
                }
            }
            Step::Dead(failure) => {
                // Nobody waits for a crash port's disk to come back.
                self.owes_reset = failure.error.kind == ErrorKind::TimedOut && self.spare.is_some();
                self.die(failure);
            }
        }
    }

    fn die(&mut self, failure: Failure) {
        self.why = failure.why;
        self.events.push(Event::Dead(failure.why));
        self.flights.give_up(failure.error);
        self.queue.forget();
    }
}
