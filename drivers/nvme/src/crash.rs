//! Crash ports: the way to the disk when its driver was interrupted for good.
//!
//! What a crash port needs was set aside when the controller was started: an engine with queues, a data page and
//! PRP lists of its own. It takes no lock of the main engine's and reads nothing that the main engine writes,
//! with the exception of two words: whether the spare I/O queue pair exists, and how far its own pair is. So it does not
//! matter what the main engine was doing, or that it holds its lock:
//!
//! - If the spare pair exists and the controller runs, [`state`](BlockDevice::state) is `Ready` and the port can
//!   be used at once. What the main engine has in flight goes on, and may still reach the medium.
//! - Otherwise the state is `Dead(NotReady)`, and [`recover`](BlockDevice::recover) must come first. It stops
//!   the controller, whatever that was doing, and brings it up again on the port's own queues. From then on
//!   nothing of the main engine's can reach the medium.
//!
//! [`unanswered`](CrashPort::unanswered) says whether the main engine has anything in flight. Once it has not, nothing of it can reach the
//! medium any more, and a port that is `Ready` is as good as after a reset. And a reset amid commands is not harmless everywhere: QEMU's
//! controller (7.2) does not survive one that overtakes a doorbell, and makes the whole machine wait for commands that hang.
//!
//! The crash ports of a controller's namespaces share an engine, as the namespaces do: `recover` on one of them
//! is a reset for all. Once a crash port has been used, the main engine and its namespaces must not be.
//!
//! A crash path may crash as well. If `recover` finds that engine in use, whoever uses it was interrupted for
//! good, since a crash path is alone on the machine. Then a second engine, set aside for that, takes over with a
//! reset, for all ports of the controller. What the first one had in flight is lost with its buffers.

use alloc::sync::Arc;

use block::{BlockDevice, Completion, Geometry, Refused, Request, State, Tag};
use platform::{DmaBuffer, Platform};

use crate::engine::Engine;
use crate::event::Event;
use crate::identify::NamespaceInfo;
use crate::namespace::{Member, Port};
use crate::shared::{CrashSide, Side};

/// The crash side of a controller as a whole: for a crash that comes before there are crash ports, because the
/// controller was still being started.
///
/// [`recover`](Self::recover) it, [`poll`](Self::poll) it until it is not [`State::Recovering`], and it has
/// ports. Allocates nothing.
pub struct CrashController<P: Platform> {
    side: Arc<CrashSide<P>>,
}

impl<P: Platform> CrashController<P> {
    pub(crate) const fn new(side: Arc<CrashSide<P>>) -> Self {
        Self { side }
    }

    /// Whether there are ports that can be used.
    pub fn state(&self) -> State {
        self.side.with(|engine| engine.state(None)).unwrap_or(<CrashSide<P> as Side<P>>::BUSY)
    }

    /// Starts a reset, as [`BlockDevice::recover`] does on any of the ports.
    pub fn recover(&mut self) {
        self.side.recover();
    }

    /// See [`CrashPort::unanswered`].
    pub fn unanswered(&self) -> Option<u32> {
        self.side.unanswered()
    }

    /// Drives what is under way. Does not wait.
    pub fn poll(&mut self) {
        let _ = self.side.with(Engine::service);
    }

    /// The crash port of the namespace at an index, counted from 0 in the order of their ids. Ports of the same
    /// index are handles of the same port: whoever polls first gets the completion.
    pub fn port(&self, index: usize) -> Option<CrashPort<P>> {
        let port = |engine: &mut Engine<P>| {
            engine.members.get(index).map(|member| CrashPort::new(self.side.clone(), index, member))
        };
        self.side.with(port).flatten()
    }

    /// The next thing that happened on the crash side of this controller.
    pub fn next_event(&self) -> Option<Event> {
        self.side.with(|engine| engine.events.pop()).flatten()
    }
}

/// A way to a namespace that shares nothing with the [`Namespace`](crate::Namespace) handle but the controller.
pub struct CrashPort<P: Platform> {
    port: Port<P, CrashSide<P>>,
}

impl<P: Platform> CrashPort<P> {
    fn new(side: Arc<CrashSide<P>>, index: usize, member: &Member) -> Self {
        Self { port: Port::new(side, index, member) }
    }

    /// What the namespace is.
    pub const fn info(&self) -> &NamespaceInfo {
        &self.port.info
    }

    /// How many I/O commands the controller has been given and not answered yet, by the main engine and by crash ports, of all
    /// namespaces. Takes no lock. `None` if it cannot be said: memory was overwritten, or the controller has failed for good.
    ///
    /// A command that was interrupted at the very instruction that hands it over counts as given, and will never be answered.
    pub fn unanswered(&self) -> Option<u32> {
        self.port.side.unanswered()
    }

    /// The next thing that happened on the crash ports of this controller.
    pub fn next_event(&self) -> Option<Event> {
        self.port.side.with(|engine| engine.events.pop()).flatten()
    }
}

impl<P: Platform> BlockDevice for CrashPort<P> {
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
