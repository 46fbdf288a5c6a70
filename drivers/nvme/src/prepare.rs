//! The admin commands between an enabled controller and a usable one.
//!
//! ```text
//!   Controller ─► WriteCache ─► QueueCount ─► queues ─► spare queues ─┬─► List ─► Describe, Inspect … ─► ready
//!                                                                     └─► Recheck … ─────────────────► ready
//! ```
//!
//! The first time the namespaces are listed and looked at. After a reset those that are known are looked at
//! again: one that has changed in a way that a write could suffer from is lost, not silently another.

use block::{Error, ErrorKind, WriteCache};
use platform::{Platform, Registers};

use crate::admin::{QueuePlace, get_write_cache, set_queue_count};
use crate::bytes::le32;
use crate::checkpoint;
use crate::engine::{Engine, Role};
use crate::event::{Cause, Event};
use crate::identify::{ControllerInfo, Described, NamespaceInfo};
use crate::init::Phase;
use crate::namespace::Member;
use crate::spec::identify::{LIST_ENTRIES, cns};
use crate::spec::register::{self, version};
use crate::status::Status;

/// An admin command of bringing a controller up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Identify the controller.
    Controller,
    /// Ask whether its write cache is on.
    WriteCache,
    /// Ask for queue pairs.
    QueueCount,
    /// Create the I/O completion queue.
    CompletionQueue,
    /// Create the I/O submission queue.
    SubmissionQueue,
    /// Create the spare completion queue.
    SpareCompletionQueue,
    /// Create the spare submission queue.
    SpareSubmissionQueue,
    /// List active namespaces above an id.
    List {
        /// The id.
        after: u32,
    },
    /// Read the descriptors of a candidate.
    Describe {
        /// Which.
        candidate: usize,
    },
    /// Identify a candidate.
    Inspect {
        /// Which.
        candidate: usize,
        /// What its descriptors said.
        described: Described,
    },
    /// Identify a known namespace again.
    Recheck {
        /// Which.
        member: usize,
    },
}

impl Step {
    /// What is being done, for [`crate::Failure::during`].
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Controller => "identifying the controller",
            Self::WriteCache => "reading the write cache's setting",
            Self::QueueCount => "asking for queue pairs",
            Self::CompletionQueue => "creating the completion queue",
            Self::SubmissionQueue => "creating the submission queue",
            Self::SpareCompletionQueue => "creating the spare completion queue",
            Self::SpareSubmissionQueue => "creating the spare submission queue",
            Self::List { .. } => "listing namespaces",
            Self::Describe { .. } => "reading a namespace's descriptors",
            Self::Inspect { .. } | Self::Recheck { .. } => "identifying a namespace",
        }
    }
}

impl<P: Platform> Engine<P> {
    /// Sends a step's command.
    pub(crate) fn prepare(&mut self, step: Step) {
        let pair = QueuePlace::of(self.io.queue());
        let spare = match &self.role {
            Role::Main { spare, .. } => *spare,
            Role::Crash { .. } => pair,
        };
        let candidate = |index: usize| self.candidates.get(index).copied().unwrap_or_default();
        let member = |index: usize| self.members.get(index).map_or(0, |member| member.info.id);
        let command = match step {
            Step::Controller => self.admin.identify(cns::CONTROLLER, 0),
            Step::WriteCache => get_write_cache(),
            Step::QueueCount => set_queue_count(if matches!(self.role, Role::Main { .. }) { 2 } else { 1 }),
            Step::CompletionQueue => pair.create_completion_queue(),
            Step::SubmissionQueue => pair.create_submission_queue(),
            Step::SpareCompletionQueue => spare.create_completion_queue(),
            Step::SpareSubmissionQueue => spare.create_submission_queue(),
            Step::List { after } => self.admin.identify(cns::ACTIVE_NAMESPACES, after),
            Step::Describe { candidate: index } => self.admin.identify(cns::DESCRIPTORS, candidate(index)),
            Step::Inspect { candidate: index, .. } => self.admin.identify(cns::NAMESPACE, candidate(index)),
            Step::Recheck { member: index } => self.admin.identify(cns::NAMESPACE, member(index)),
        };
        self.phase = Phase::Preparing(step);
        let deadline = self.after(self.timeouts.admin_ns);
        self.admin.send(&self.platform, &*self.registers, command, deadline);
    }

    /// Takes the answer to a step's command, and goes on with the next.
    pub(crate) fn prepared(&mut self, step: Step, result: Result<u32, Status>) {
        match step {
            Step::Controller => self.controller_identified(result),
            Step::WriteCache => {
                // One that does not say is taken to be on.
                self.write_cache_on = result.map_or(true, |value| value & 1 != 0);
                self.prepare(Step::QueueCount);
            }
            Step::QueueCount => {
                self.grant_queues(result);
                self.prepare(Step::CompletionQueue);
            }
            Step::CompletionQueue => match result {
                Err(status) => self.fail(Cause::Refused(status)),
                Ok(_) => {
                    self.platform.checkpoint(checkpoint::INIT_QUEUE_HALF);
                    self.prepare(Step::SubmissionQueue);
                }
            },
            Step::SubmissionQueue => match result {
                Err(status) => self.fail(Cause::Refused(status)),
                Ok(_) => {
                    self.platform.checkpoint(checkpoint::INIT_QUEUE_CREATED);
                    match self.role {
                        Role::Main { granted: true, .. } => self.prepare(Step::SpareCompletionQueue),
                        _ => self.look_at_namespaces(),
                    }
                }
            },
            Step::SpareCompletionQueue if result.is_ok() => {
                self.platform.checkpoint(checkpoint::INIT_SPARE_HALF);
                self.prepare(Step::SpareSubmissionQueue);
            }
            Step::SpareCompletionQueue | Step::SpareSubmissionQueue => {
                if result.is_err() {
                    self.no_spare();
                }
                self.look_at_namespaces();
            }
            Step::List { after } => self.listed(after, result),
            Step::Describe { candidate } => {
                // A controller that cannot describe has no other command set either.
                let described = result.map_or_else(|_| Described::default(), |_| Described::parse(self.admin.data()));
                self.prepare(Step::Inspect { candidate, described });
            }
            Step::Inspect { candidate, described } => self.inspected(candidate, described, result),
            Step::Recheck { member } => self.rechecked(member, result),
        }
    }

    fn controller_identified(&mut self, result: Result<u32, Status>) {
        if let Err(status) = result {
            return self.fail(Cause::Refused(status));
        }
        let info = match ControllerInfo::parse(self.admin.data(), self.capabilities) {
            Ok(info) => info,
            Err(reason) => return self.fail(Cause::Protocol(reason)),
        };
        if self.info.is_some_and(|known| !known.is_same_as(&info)) {
            return self.fail(Cause::Unsupported("another controller has taken this one's place"));
        }
        self.write_cache_on = info.has_write_cache;
        self.info = Some(info);
        self.prepare(if info.has_write_cache { Step::WriteCache } else { Step::QueueCount });
    }

    fn grant_queues(&mut self, result: Result<u32, Status>) {
        // Both counts are from 0. Every I/O controller has one pair; one that does not say so has no more.
        let pairs = result.map_or(1, |value| (value & 0xFFFF).min(value >> 16) + 1);
        if let Role::Main { granted, .. } = &mut self.role {
            *granted = pairs >= 2;
        }
        if pairs < 2 {
            self.no_spare();
        }
    }

    fn no_spare(&mut self) {
        if let Role::Main { granted, .. } = &mut self.role {
            *granted = false;
            self.events.push(Event::NoSpareQueue);
        }
    }

    fn look_at_namespaces(&mut self) {
        self.platform.checkpoint(checkpoint::INIT_NAMESPACES);
        if !self.members.is_empty() {
            return self.prepare(Step::Recheck { member: 0 });
        }
        self.candidates.clear();
        if self.registers.read32(register::VS) >= version::V1_1 {
            self.prepare(Step::List { after: 0 });
        } else {
            self.count_namespaces();
        }
    }

    /// Takes every id up to the highest: what there was before there were lists.
    fn count_namespaces(&mut self) {
        let highest = self.info.map_or(0, |info| info.max_namespace_id);
        let limit = u32::try_from(self.config.max_namespaces).unwrap_or(u32::MAX);
        if highest > limit {
            self.events.push(Event::MoreNamespaces);
        }
        self.candidates.clear();
        self.candidates.extend(1..=highest.min(limit));
        self.describe(0);
    }

    fn listed(&mut self, mut after: u32, result: Result<u32, Status>) {
        if result.is_err() {
            return self.count_namespaces();
        }
        let page = self.admin.data();
        let mut ended = false;
        for index in 0..LIST_ENTRIES {
            let id = le32(page, 4 * index);
            // The ids ascend: one that does not is the end of what can be believed.
            ended = id <= after;
            if ended {
                break;
            }
            if self.candidates.len() >= self.config.max_namespaces {
                self.events.push(Event::MoreNamespaces);
                ended = true;
                break;
            }
            self.candidates.push(id);
            after = id;
        }
        if ended { self.describe(0) } else { self.prepare(Step::List { after }) }
    }

    fn describe(&mut self, candidate: usize) {
        if candidate >= self.candidates.len() {
            return self.finish_init();
        }
        if self.registers.read32(register::VS) >= version::V1_3 {
            self.prepare(Step::Describe { candidate });
        } else {
            self.prepare(Step::Inspect { candidate, described: Described::default() });
        }
    }

    fn inspected(&mut self, candidate: usize, described: Described, result: Result<u32, Status>) {
        let id = self.candidates.get(candidate).copied().unwrap_or_default();
        let parsed = match result {
            Ok(_) => NamespaceInfo::parse(id, self.admin.data(), described.command_set),
            Err(_) => Err("the controller does not identify it"),
        };
        let controller = self.info.as_ref().ok_or("the controller is unknown");
        let member = parsed.and_then(|found| Member::new(found, described, self.transfer_limit(), controller?));
        match member {
            Ok(member) => self.members.push(member),
            Err(reason) => self.events.push(Event::NamespaceRefused { id, reason }),
        }
        self.describe(candidate + 1);
    }

    fn rechecked(&mut self, index: usize, result: Result<u32, Status>) {
        if let Some(member) = self.members.get_mut(index) {
            let found = match result {
                Ok(_) => NamespaceInfo::parse(member.info.id, self.admin.data(), member.command_set),
                Err(_) => Err("the controller does not identify it"),
            };
            match found.and_then(|info| member.compare(&info)) {
                Ok(()) => member.condition = Ok(()),
                Err(reason) => {
                    member.condition = Err(Error::new(ErrorKind::Gone));
                    self.events.push(Event::NamespaceLost { id: member.info.id, reason });
                }
            }
        }
        if index + 1 < self.members.len() {
            self.prepare(Step::Recheck { member: index + 1 });
        } else {
            self.finish_init();
        }
    }

    /// Bytes that one command may carry.
    fn transfer_limit(&self) -> u32 {
        let own = self.config.transfer_limit();
        let limit = self.info.and_then(|info| info.max_transfer_bytes);
        limit.map_or(own, |limit| u32::try_from(limit).unwrap_or(u32::MAX).min(own))
    }

    /// Sets what depends on all members, or on what may change with a reset.
    pub(crate) fn settle_members(&mut self) {
        let count = u16::try_from(self.members.len()).unwrap_or(u16::MAX).max(1);
        let share = (self.io.depth() / count).max(1);
        for member in &mut self.members {
            member.geometry.queue_depth = share;
            member.geometry.write_cache =
                if self.write_cache_on { WriteCache::Volatile } else { WriteCache::WriteThrough };
        }
    }
}
