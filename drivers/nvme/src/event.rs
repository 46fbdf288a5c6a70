//! What happened, in words, for the log: failures, retries, resets.
//!
//! A driver must not log by itself: whoever logs may be waiting for this very disk. So it keeps the last few
//! events, and its owner asks for them.

use core::fmt;

use block::{Error, ErrorKind};

use crate::status::Status;

/// Why a controller does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the driver was doing.
    pub during: &'static str,
    /// What went wrong.
    pub cause: Cause,
}

/// What went wrong with a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There was not enough DMA memory.
    NoMemory,
    /// The controller cannot do what is needed.
    Unsupported(&'static str),
    /// It did not answer by the deadline.
    TimedOut,
    /// It reported a fatal failure (`CSTS.CFS`).
    FatalStatus,
    /// Its registers read as all ones.
    Gone,
    /// It answered a command that it has to know with an error.
    Refused(Status),
    /// Its answer made no sense.
    Protocol(&'static str),
    /// It was reset again and again without having completed anything in between.
    Hopeless,
    /// It was shut down on request.
    ShutDown,
}

impl Failure {
    /// The error that requests get.
    pub const fn error(&self) -> Error {
        match self.cause {
            Cause::NoMemory | Cause::ShutDown => Error::new(ErrorKind::NotReady),
            Cause::Unsupported(_) => Error::new(ErrorKind::Unsupported),
            Cause::TimedOut => Error::new(ErrorKind::TimedOut),
            Cause::FatalStatus | Cause::Hopeless => Error::new(ErrorKind::Fatal),
            Cause::Gone => Error::new(ErrorKind::Gone),
            Cause::Refused(status) => status.to_error(),
            Cause::Protocol(_) => Error::new(ErrorKind::Protocol),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.during, self.cause)
    }
}

impl core::error::Error for Failure {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("not enough DMA memory"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
            Self::TimedOut => f.write_str("no answer by the deadline"),
            Self::FatalStatus => f.write_str("the controller reports a fatal failure"),
            Self::Gone => f.write_str("the controller is gone: its registers read as all ones"),
            Self::Refused(status) => write!(f, "refused: {status}"),
            Self::Protocol(what) => write!(f, "the controller's answer makes no sense: {what}"),
            Self::Hopeless => f.write_str("several resets in a row did not help"),
            Self::ShutDown => f.write_str("shut down on request"),
        }
    }
}

/// An I/O command, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandName {
    /// What it does.
    pub verb: &'static str,
    /// Namespace.
    pub namespace: u32,
    /// First block; 0 for a flush.
    pub first_block: u64,
    /// Number of blocks; 0 for a flush.
    pub blocks: u32,
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, namespace, first_block, blocks } = self;
        match blocks {
            0 => write!(f, "{verb} of namespace {namespace}"),
            _ => write!(f, "{verb} of {blocks} blocks from {first_block} of namespace {namespace}"),
        }
    }
}

/// Why a controller is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// It is being started.
    Start,
    /// The owner asked for it.
    Asked,
    /// A command was late.
    Late,
    /// An admin command was late.
    AdminLate,
    /// The controller reported a fatal failure.
    FatalStatus,
    /// The controller says that it is not ready, though it was.
    NotReady,
    /// Too many completions made no sense.
    Protocol,
    /// It had been given up a while ago.
    Again,
}

impl ResetReason {
    const fn words(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Asked => "asked for",
            Self::Late => "no answer to a command by the deadline",
            Self::AdminLate => "no answer to an admin command by the deadline",
            Self::FatalStatus => "fatal failure reported",
            Self::NotReady => "not ready any more",
            Self::Protocol => "completions made no sense",
            Self::Again => "trying once more after a while",
        }
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command failed, for good.
    Failed {
        /// Which.
        command: CommandName,
        /// How.
        status: Status,
        /// How often it was made.
        attempts: u8,
    },
    /// A command failed and is made again.
    Retried {
        /// Which.
        command: CommandName,
        /// How.
        status: Status,
        /// How often it was made so far.
        attempts: u8,
    },
    /// A command was not answered in time.
    Late {
        /// Which.
        command: CommandName,
        /// How long ago it was submitted, in ns.
        waited_ns: u64,
    },
    /// The controller says that it takes scatter gather lists, but does not.
    NoScatterGather,
    /// A late command is being aborted.
    Aborting,
    /// The controller answers, but does not abort: what is late gets all the time that a command may take.
    AbortRefused,
    /// The Abort was not answered, or did not end the command.
    AbortFailed,
    /// A completion that belongs to no command, or is wrong otherwise.
    Protocol(&'static str),
    /// A reset begins.
    ResetBegun(ResetReason),
    /// An attempt to bring the controller up failed; another is made.
    AttemptFailed(Failure),
    /// The controller is ready.
    ResetDone {
        /// How long it took, in ns.
        took_ns: u64,
    },
    /// The controller has no queue pair to spare: a crash port has to reset it.
    NoSpareQueue,
    /// A namespace cannot be used.
    NamespaceRefused {
        /// Which.
        id: u32,
        /// Why.
        reason: &'static str,
    },
    /// A namespace is not what it was before the reset.
    NamespaceLost {
        /// Which.
        id: u32,
        /// Why.
        reason: &'static str,
    },
    /// There are more namespaces than the driver was told to take.
    MoreNamespaces,
    /// The controller is dead.
    Dead(Failure),
}

impl Event {
    const fn is_about_a_command(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Retried { .. } | Self::Late { .. } | Self::Protocol(_))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { command, status, attempts } => {
                write!(f, "{command} failed after {attempts} attempts: {status}")
            }
            Self::Retried { command, status, attempts } => {
                write!(f, "{command} is tried again, attempt {attempts} failed: {status}")
            }
            Self::Late { command, waited_ns } => {
                write!(f, "{command} is not answered after {} ms", waited_ns / 1_000_000)
            }
            Self::NoScatterGather => f.write_str("scatter gather lists are refused: going on without"),
            Self::Aborting => f.write_str("aborting the late command"),
            Self::AbortRefused => f.write_str("the controller answers, but does not abort: waiting on"),
            Self::AbortFailed => f.write_str("the abort did not help"),
            Self::Protocol(what) => write!(f, "completion makes no sense: {what}"),
            Self::ResetBegun(reason) => write!(f, "resetting the controller: {}", reason.words()),
            Self::AttemptFailed(failure) => write!(f, "{failure}; trying again"),
            Self::ResetDone { took_ns } => write!(f, "controller is ready after {} µs", took_ns / 1000),
            Self::NoSpareQueue => f.write_str("no queue pair to spare: a crash will reset the controller"),
            Self::NamespaceRefused { id, reason } => write!(f, "namespace {id} cannot be used: {reason}"),
            Self::NamespaceLost { id, reason } => write!(f, "namespace {id} is lost: {reason}"),
            Self::MoreNamespaces => f.write_str("there are more namespaces than are taken"),
            Self::Dead(failure) => write!(f, "controller is dead: {failure}"),
        }
    }
}

/// How many events are kept.
const KEPT: usize = 32;
/// How many of these places are for events about the controller: single commands may fail by the hundreds, and then
/// the reset that ends it must not go unsaid.
const RESERVED: usize = 12;

/// The latest events that nobody has asked for yet.
pub(crate) struct Events {
    ring: [Option<Event>; KEPT],
    next: usize,
    count: usize,
    lost: u64,
}

impl Events {
    pub(crate) const fn new() -> Self {
        Self { ring: [None; KEPT], next: 0, count: 0, lost: 0 }
    }

    /// Keeps an event; the first ones are worth more than the last ones, so a full ring takes no more.
    pub(crate) fn push(&mut self, event: Event) {
        let limit = if event.is_about_a_command() { KEPT - RESERVED } else { KEPT };
        match self.ring.get_mut((self.next + self.count) % KEPT) {
            Some(place) if self.count < limit => {
                *place = Some(event);
                self.count += 1;
            }
            _ => self.lost = self.lost.saturating_add(1),
        }
    }

    /// The oldest event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.ring.get_mut(self.next).and_then(Option::take)?;
        self.next = (self.next + 1) % KEPT;
        self.count = self.count.saturating_sub(1);
        Some(event)
    }

    /// How many events found no room so far.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn events_come_out_in_order_and_losses_are_counted() {
        let mut events = Events::new();
        for id in 0..KEPT as u32 + 3 {
            events.push(Event::NamespaceRefused { id, reason: "test" });
        }
        assert_eq!(events.lost(), 3);
        for id in 0..KEPT as u32 {
            assert_eq!(events.pop(), Some(Event::NamespaceRefused { id, reason: "test" }));
        }
        assert_eq!(events.pop(), None);
        events.push(Event::Aborting);
        assert_eq!(events.pop(), Some(Event::Aborting));
    }

    #[test]
    fn many_failures_do_not_drown_the_reset_that_ends_them() {
        let mut events = Events::new();
        for _ in 0..100 {
            events.push(Event::Protocol("test"));
        }
        events.push(Event::ResetBegun(ResetReason::Protocol));
        let all: std::vec::Vec<_> = core::iter::from_fn(|| events.pop()).collect();
        assert_eq!(all.len(), KEPT - RESERVED + 1);
        assert_eq!(all.last(), Some(&Event::ResetBegun(ResetReason::Protocol)));
    }

    #[test]
    fn a_failed_command_is_told_in_words() {
        let command = CommandName { verb: "write", namespace: 1, first_block: 2048, blocks: 8 };
        let event = Event::Failed { command, status: Status::new(2, 0x80), attempts: 4 };
        assert_eq!(
            event.to_string(),
            "write of 8 blocks from 2048 of namespace 1 failed after 4 attempts: media error: write fault (2/80h)"
        );
    }
}
