//! A controller: started, polled until it is ready, and asked for its namespaces.

use alloc::sync::Arc;
use alloc::vec::Vec;

use block::{Error, ErrorKind, State};
use platform::{Platform, Registers};

use crate::admin::{Admin, QueuePlace};
use crate::config::{Config, Timeouts};
use crate::crash::{CrashController, CrashPort};
use crate::engine::{Engine, LogRequest, Role, SpareFlag};
use crate::event::{Cause, Event, Events, Failure};
use crate::identify::ControllerInfo;
use crate::init::Phase;
use crate::io::Io;
use crate::log_page::{Log, LogKind};
use crate::namespace::{Member, Namespace};
use crate::queue::QueuePair;
use crate::shared::{CrashSide, Shared, Side};
use crate::spec::register::{self, ALL_ONES, Capabilities};
use crate::spec::{PAGE_SHIFT, register::DOORBELLS};

/// Queue id of the main engine's I/O queue pair, and of the crash engine's after a reset of its own.
const MAIN_QUEUE: u16 = 1;
/// Queue id of the spare pair.
const SPARE_QUEUE: u16 = 2;
/// Requests that the crash path's reserve may have in flight: it is the last resort, not a fast one.
const RESERVE_DEPTH: u16 = 4;

/// An NVMe controller.
///
/// ```text
///   Controller::start ──► poll until state() is Ready ──► take_namespaces, take_crash_ports
/// ```
///
/// Everything that it will ever need is allocated by `start`, but for the lists that the two `take_` methods return.
pub struct Controller<P: Platform> {
    main: Arc<Shared<P>>,
    crash: Arc<CrashSide<P>>,
    namespaces_taken: bool,
    crash_ports_taken: bool,
}

impl<P: Platform> Controller<P> {
    /// Takes up a controller whose registers are mapped and which may use the bus. Writes no register yet:
    /// [`poll`](Self::poll) starts it, so that [`crash_controller`](Self::crash_controller) can be put in place
    /// before.
    ///
    /// # Errors
    /// Why the controller cannot be used: it is gone, needs pages or queues of other sizes, its doorbells lie
    /// outside of `registers`, or there is not enough memory.
    pub fn start(platform: P, registers: P::Registers, config: Config) -> Result<Self, Failure> {
        let fail = |cause| Failure { during: "looking at the controller", cause };
        let capabilities = check_capabilities(&registers).map_err(fail)?;
        let registers = Arc::new(registers);
        let flag = SpareFlag::new();
        let parts = Parts { platform, registers, capabilities, config };
        let no_memory = || fail(Cause::NoMemory);
        let (crash_io, spare) = parts.io(SPARE_QUEUE, config.crash_queue_depth).ok_or_else(no_memory)?;
        let (main_io, _) = parts.io(MAIN_QUEUE, config.queue_depth).ok_or_else(no_memory)?;
        if !crash_io.queue().doorbells_fit(&*parts.registers) {
            return Err(fail(Cause::Unsupported("doorbells beyond the register window")));
        }
        let (reserve_io, _) =
            parts.io(MAIN_QUEUE, config.crash_queue_depth.min(RESERVE_DEPTH)).ok_or_else(no_memory)?;
        let watches = [main_io.queue().watch(), crash_io.queue().watch()];
        let crash_role = Role::Crash { flag: flag.clone(), watches: watches.clone() };
        // Nobody makes a queue pair for the reserve: its flag is never set.
        let reserve_role = Role::Crash { flag: SpareFlag::new(), watches: watches.clone() };
        let main_role = Role::Main { spare, flag, granted: false };
        let crash = parts.engine(crash_role, config.crash_timeouts, crash_io).ok_or_else(no_memory)?;
        let reserve = parts.engine(reserve_role, config.crash_timeouts, reserve_io).ok_or_else(no_memory)?;
        let mut main = parts.engine(main_role, config.timeouts, main_io).ok_or_else(no_memory)?;
        main.phase = Phase::Fresh;
        Ok(Self {
            main: Arc::new(Shared::new(main)),
            crash: Arc::new(CrashSide::new(crash, reserve, watches, parts.registers.clone())),
            namespaces_taken: false,
            crash_ports_taken: false,
        })
    }

    /// Drives whatever is under way. Does not wait. Polling a namespace does the same.
    pub fn poll(&mut self) {
        let _ = self.main.with(Engine::service);
    }

    /// Whether the controller is usable. It is `Recovering` until it has been started.
    pub fn state(&self) -> State {
        self.main.with(|engine| engine.state(None)).unwrap_or(State::Ready)
    }

    /// What it is doing, in words.
    pub fn phase(&self) -> &'static str {
        self.main.with(|engine| engine.phase.name()).unwrap_or("in use")
    }

    /// Why it is dead, if it is.
    pub fn failure(&self) -> Option<Failure> {
        self.main.with(|engine| if let Phase::Dead(failure) = engine.phase { Some(failure) } else { None }).flatten()
    }

    /// Who it is, once it has said so.
    pub fn info(&self) -> Option<ControllerInfo> {
        self.main.with(|engine| engine.info).flatten()
    }

    /// Its namespaces, in the order of their ids. Empty before it is ready, and the second time.
    pub fn take_namespaces(&mut self) -> Vec<Namespace<P>> {
        let namespaces = self.main.with(|engine| {
            if self.namespaces_taken || !matches!(engine.phase, Phase::Ready) {
                return Vec::new();
            }
            self.namespaces_taken = true;
            let members = engine.members.iter().enumerate();
            members.map(|(index, member)| Namespace::new(self.main.clone(), index, member)).collect()
        });
        namespaces.unwrap_or_default()
    }

    /// A crash port for each namespace, in the same order. Empty before the controller is ready, and the second time.
    pub fn take_crash_ports(&mut self) -> Vec<CrashPort<P>> {
        let known = self.main.with(|engine| {
            matches!(engine.phase, Phase::Ready).then(|| (engine.members.clone(), engine.info, engine.write_cache_on))
        });
        let Some((members, info, write_cache_on)) = known.flatten() else { return Vec::new() };
        if self.crash_ports_taken {
            return Vec::new();
        }
        let adopted = self.crash.with_both(|engine| {
            if !matches!(engine.phase, Phase::Dormant) {
                // A crash path is at work, and finds out for itself.
                return;
            }
            let fresh = members.iter().map(Member::unused).take(engine.members.capacity());
            engine.members.clear();
            engine.members.extend(fresh);
            (engine.info, engine.write_cache_on) = (info, write_cache_on);
            engine.settle_members();
        });
        self.crash_ports_taken = adopted.is_some();
        let controller = self.crash_controller();
        (0..members.len()).map_while(|index| controller.port(index)).collect()
    }

    /// The crash side of this controller, from the start on.
    pub fn crash_controller(&self) -> CrashController<P> {
        CrashController::new(self.crash.clone())
    }

    /// Asks for a log page; [`take_log`](Self::take_log) gives it, after some polling.
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`], or [`ErrorKind::QueueFull`] while another admin command is in flight.
    pub fn request_log(&mut self, kind: LogKind) -> Result<(), Error> {
        self.main.with(|engine| engine.request_log(kind)).unwrap_or(Err(ErrorKind::QueueFull.into()))
    }

    /// The log page that was asked for, once it is here.
    pub fn take_log(&mut self) -> Option<Result<Log, Error>> {
        let log = self.main.with(|engine| match core::mem::replace(&mut engine.log, LogRequest::None) {
            LogRequest::Done(log) => Some(log),
            other => {
                engine.log = other;
                None
            }
        });
        log.flatten()
    }

    /// The next thing that happened. Whoever owns the controller logs these; the driver itself never does.
    pub fn next_event(&mut self) -> Option<Event> {
        self.main.with(|engine| engine.events.pop()).flatten()
    }

    /// How many events were lost because nobody asked for them.
    pub fn lost_events(&self) -> u64 {
        self.main.with(|engine| engine.events.lost()).unwrap_or(0)
    }

    /// Resets the controller, as [`block::BlockDevice::recover`] does for any of its namespaces.
    pub fn recover(&mut self) {
        self.main.recover();
    }

    /// Asks the controller to shut down, for which it must be ready with nothing in flight; `false` if that is
    /// not so. The state becomes `Dead(NotReady)` when it has. Only a reset brings it back.
    pub fn shut_down(&mut self) -> bool {
        self.main.with(Engine::shut_down).unwrap_or(false)
    }
}

/// What both engines are made of.
struct Parts<P: Platform> {
    platform: P,
    registers: Arc<P::Registers>,
    capabilities: Capabilities,
    config: Config,
}

impl<P: Platform> Parts<P> {
    fn io(&self, id: u16, depth: u16) -> Option<(Io, QueuePlace)> {
        let entries = Config::queue_entries(depth, self.capabilities.max_queue_entries());
        let limit = self.config.transfer_limit();
        let queue = QueuePair::new(&self.platform, id, entries, self.capabilities)?;
        let place = QueuePlace::of(&queue);
        Some((Io::new(&self.platform, queue, depth, limit)?, place))
    }

    fn engine(&self, role: Role, timeouts: Timeouts, io: Io) -> Option<Engine<P>> {
        let room = self.config.max_namespaces;
        Some(Engine {
            platform: self.platform.clone(),
            registers: self.registers.clone(),
            capabilities: self.capabilities,
            role,
            timeouts,
            config: self.config,
            admin: Admin::new(&self.platform, self.capabilities)?,
            io,
            phase: Phase::Dormant,
            info: None,
            write_cache_on: true,
            trusts_segments: self.config.scatter_gather,
            members: Vec::with_capacity(room),
            candidates: Vec::with_capacity(room),
            events: Events::new(),
            attempts_left: 0,
            reset_began: 0,
            next_check: 0,
            strays: 0,
            fruitless_resets: 0,
            hopeless: false,
            abort: None,
            log: LogRequest::None,
            may_revive: false,
            revival_ns: None,
        })
    }
}

/// Whether this driver can drive a controller with these capabilities.
fn check_capabilities(registers: &impl Registers) -> Result<Capabilities, Cause> {
    if registers.len() <= DOORBELLS {
        return Err(Cause::Unsupported("register window without doorbells"));
    }
    let capabilities = Capabilities(registers.read64(register::CAP));
    if capabilities.0 == u64::MAX || registers.read32(register::CSTS) == ALL_ONES {
        return Err(Cause::Gone);
    }
    if capabilities.min_page_shift() > PAGE_SHIFT {
        return Err(Cause::Unsupported("memory pages of 4 KiB"));
    }
    if capabilities.max_queue_entries() < 2 {
        return Err(Cause::Protocol("queues of one entry"));
    }
    if !capabilities.has_nvm_command_set() && !capabilities.has_command_set_choice() {
        return Err(Cause::Unsupported("the NVM command set"));
    }
    Ok(capabilities)
}
