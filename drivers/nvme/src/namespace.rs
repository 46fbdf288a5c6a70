//! Namespaces: the disks that a controller offers.
//!
//! Several namespaces share a controller and its queue pair. Each has its share of the places in
//! the queue, so that one whose completions nobody takes cannot stop the others, and whoever polls
//! one of them also moves the others on.

use alloc::sync::Arc;
use core::marker::PhantomData;

use block::{BlockDevice, Completion, Error, ErrorKind, Geometry, Refused, Request, State, Tag, WriteCache};
use platform::{DmaBuffer, Platform};

use crate::engine::Engine;
use crate::event::Event;
use crate::identify::{ControllerInfo, Described, NamespaceInfo, NamespaceNames};
use crate::shared::{Shared, Side};
use crate::spec::io;

/// A namespace as an engine keeps it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) info: NamespaceInfo,
    pub(crate) command_set: u8,
    pub(crate) geometry: Geometry,
    /// Whether it is what it was.
    pub(crate) condition: Result<(), Error>,
    /// Places in the queue that its requests have.
    pub(crate) in_use: u16,
    /// What Identify Namespace alone said of its names: what it must say after a reset.
    fingerprint: NamespaceNames,
}

impl Member {
    /// Works out what requests a namespace takes, `transfer_limit` bytes at most.
    ///
    /// # Errors
    /// In words, why it cannot be used at all.
    pub(crate) fn new(
        found: NamespaceInfo,
        described: Described,
        transfer_limit: u32,
        controller: &ControllerInfo,
    ) -> Result<Self, &'static str> {
        let max_transfer_blocks = (transfer_limit / found.block_size).min(io::MAX_BLOCKS);
        if max_transfer_blocks == 0 {
            return Err("its blocks are larger than a transfer may be");
        }
        // Before 2.0 a controller does not say how much it can zero at once. Other drivers keep to its transfer
        // limit, which is thus what controllers are tested with.
        let most = controller.max_transfer_bytes.map_or(io::MAX_BLOCKS, |bytes| {
            u32::try_from(bytes / u64::from(found.block_size)).unwrap_or(u32::MAX).min(io::MAX_BLOCKS)
        });
        let place = if found.is_shared { controller.place_of(found.id) } else { 0 };
        let names = NamespaceNames { place, ..described.names.or(&found.names) };
        let geometry = Geometry {
            block_size: found.block_size,
            block_count: found.block_count,
            max_transfer_blocks,
            max_write_zeroes_blocks: if controller.has_write_zeroes { most } else { 0 },
            queue_depth: 1,
            write_cache: WriteCache::Volatile,
            access: found.access,
        };
        Ok(Self {
            info: NamespaceInfo { names, ..found },
            command_set: described.command_set,
            geometry,
            condition: Ok(()),
            in_use: 0,
            fingerprint: found.names,
        })
    }

    /// The same namespace, as an engine starts with it that has no requests.
    pub(crate) fn unused(&self) -> Self {
        Self { condition: Ok(()), in_use: 0, ..self.clone() }
    }

    /// Whether a namespace that answers now is the one that is known.
    ///
    /// # Errors
    /// In words, what has changed. More blocks than before are no harm.
    pub(crate) fn compare(&mut self, found: &NamespaceInfo) -> Result<(), &'static str> {
        if found.names != self.fingerprint {
            return Err("another namespace has taken its place");
        }
        if (found.block_size, found.metadata_bytes) != (self.info.block_size, self.info.metadata_bytes) {
            return Err("its format has changed");
        }
        if found.block_count < self.info.block_count {
            return Err("it has shrunk");
        }
        self.geometry.access = found.access;
        Ok(())
    }

    /// Checks a request: against the geometry, and for what only this driver knows.
    pub(crate) fn check(&self, request: &Request<DmaBuffer>) -> Result<(), Error> {
        request.check(&self.geometry)?;
        if self.info.metadata_bytes != 0 {
            // The metadata would need a place of their own, or stand between the blocks.
            return Err(ErrorKind::Unsupported.into());
        }
        match request {
            Request::Read { buffer, .. } | Request::Write { buffer, .. } if !buffer.bus_address().is_multiple_of(4) => {
                Err(ErrorKind::BadRequest.into())
            }
            _ => Ok(()),
        }
    }
}

/// A namespace: a disk.
///
/// A write that failed in a way that may pass is made again by the driver itself,
/// [`Config::retries`](crate::Config::retries) times at most and within its time-out, if the device allows it:
/// an error that comes out of [`poll`](BlockDevice::poll) is final unless its kind says otherwise. As retried
/// commands may overtake others, two writes to the same block must not be in flight at the same time; that holds
/// for NVMe in general.
///
/// No method ever waits, not even for a lock: if another handle of the same controller is being used at this
/// very moment, such as by the code that an interrupt has interrupted, [`submit`](BlockDevice::submit) refuses
/// with [`ErrorKind::QueueFull`] and [`poll`](BlockDevice::poll) finds nothing.
pub struct Namespace<P: Platform> {
    port: Port<P, Shared<P>>,
}

impl<P: Platform> Namespace<P> {
    pub(crate) fn new(shared: Arc<Shared<P>>, index: usize, member: &Member) -> Self {
        Self { port: Port::new(shared, index, member) }
    }

    /// What it is.
    pub const fn info(&self) -> &NamespaceInfo {
        &self.port.info
    }

    /// The next thing that happened on its controller, to it or to any other namespace: what
    /// [`Controller::next_event`](crate::Controller::next_event) gives to those that have kept the controller's handle.
    pub fn next_event(&self) -> Option<Event> {
        self.port.side.with(|engine| engine.events.pop()).flatten()
    }
}

impl<P: Platform> Namespace<P> {
    /// Asks its controller to shut down, as [`Controller::shut_down`](crate::Controller::shut_down) does for those that
    /// have kept the controller's handle: with all its namespaces.
    pub fn shut_down(&mut self) -> bool {
        self.port.side.with(Engine::shut_down).unwrap_or(false)
    }

    /// A buffer that a request was given up without because the controller was dead, and the request's tag: once the
    /// controller has been stopped after all.
    pub fn reclaim(&mut self) -> Option<(Tag, DmaBuffer)> {
        self.port.side.with(|engine| engine.io.reclaim(self.port.index)).flatten()
    }
}

impl<P: Platform> BlockDevice for Namespace<P> {
    type Buffer = DmaBuffer;

    fn geometry(&self) -> Geometry {
        self.port.geometry()
    }

    fn state(&self) -> State {
        self.port.state()
    }

    fn submit(&mut self, tag: Tag, request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
        self.port.submit(tag, request)
    }

    fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
        self.port.poll()
    }

    fn recover(&mut self) {
        self.port.recover();
    }
}

/// A member of an engine, from outside.
pub(crate) struct Port<P: Platform, S: Side<P>> {
    pub(crate) side: Arc<S>,
    pub(crate) info: NamespaceInfo,
    index: usize,
    geometry: Geometry,
    platform: PhantomData<fn() -> P>,
}

impl<P: Platform, S: Side<P>> Port<P, S> {
    pub(crate) fn new(side: Arc<S>, index: usize, member: &Member) -> Self {
        Self { side, info: member.info, index, geometry: member.geometry, platform: PhantomData }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let now = self.side.with(|engine| engine.members.get(self.index).map(|member| member.geometry));
        now.flatten().unwrap_or(self.geometry)
    }

    pub(crate) fn state(&self) -> State {
        self.side.with(|engine| engine.state(Some(self.index))).unwrap_or(S::BUSY)
    }

    pub(crate) fn submit(&mut self, tag: Tag, request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
        let mut request = Some(request);
        let submitted = self.side.with(|engine| {
            // `with` calls this at most once, so the request is there.
            request.take().map_or(Ok(()), |request| engine.submit(self.index, tag, request))
        });
        match (submitted, request) {
            (Some(result), _) => result,
            (None, Some(request)) => Err(Refused { error: ErrorKind::QueueFull.into(), request }),
            (None, None) => Ok(()),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
        let found = self.side.with(|engine| {
            engine.take_done(self.index).or_else(|| {
                engine.service();
                engine.take_done(self.index)
            })
        });
        found.flatten()
    }

    pub(crate) fn recover(&mut self) {
        self.side.recover();
    }
}
