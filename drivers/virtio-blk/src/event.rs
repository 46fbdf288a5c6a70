//! What happened, in words, for the log: failures, late answers, resets.
//!
//! A driver must not log by itself: whoever logs may be waiting for this very disk. So it keeps the last few
//! events, and its owner asks for them.

use core::fmt;

use crate::spec::request;

/// A request, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestName {
    /// Its type (5.2.6).
    pub kind: u32,
    /// Its first sector of 512 bytes; 0 for a flush.
    pub sector: u64,
    /// Number of sectors; 0 for a flush.
    pub sectors: u32,
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind {
            request::IN => "read",
            request::OUT => "write",
            request::FLUSH => "flush",
            request::DISCARD => "discard",
            request::WRITE_ZEROES => "write of zeroes",
            _ => "request",
        };
        match self.sectors {
            0 => f.write_str(verb),
            sectors => write!(f, "{verb} of {sectors} sectors from {}", self.sector),
        }
    }
}

/// Something that happened to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request failed.
    Failed {
        /// Which.
        request: RequestName,
        /// The status that the device gave; `None` if it gave none.
        status: Option<u8>,
    },
    /// Requests were not answered by their deadline. The device has some more time.
    Late {
        /// How many.
        requests: u32,
    },
    /// Late answers came, and nothing is overdue any more.
    AnsweredLate,
    /// The device had been given up, and has now answered all that it was asked: it is reset, and taken up again.
    AnswersAgain,
    /// A reset begins, for this reason.
    ResetBegun(&'static str),
    /// The reset is over, and the device is ready.
    ResetDone {
        /// How long it took, in ns.
        took_ns: u64,
    },
    /// The device is dead, for this reason.
    Dead(&'static str),
}

impl Event {
    const fn is_about_a_request(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { request, status: Some(request::IO_ERROR) } => write!(f, "{request} failed: I/O error"),
            Self::Failed { request, status: Some(request::UNSUPPORTED) } => {
                write!(f, "{request} failed: not supported")
            }
            Self::Failed { request, status: Some(request::OK) } => write!(f, "{request} failed: it was cut short"),
            Self::Failed { request, status: Some(status) } => write!(f, "{request} failed: status {status:#x}"),
            Self::Failed { request, status: None } => write!(f, "{request} failed: answered without a status"),
            Self::Late { requests } => write!(f, "{requests} requests are not answered in time"),
            Self::AnsweredLate => f.write_str("the late answers came"),
            Self::AnswersAgain => f.write_str("the device answers again"),
            Self::ResetBegun(why) => write!(f, "resetting the device: {why}"),
            Self::ResetDone { took_ns } => write!(f, "device is ready after {} µs", took_ns / 1000),
            Self::Dead(why) => write!(f, "device is dead: {why}"),
        }
    }
}

/// How many events are kept.
const KEPT: usize = 16;
/// How many of these places are for events about the device: requests may fail by the hundreds.
const RESERVED: usize = 6;

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
        let limit = if event.is_about_a_request() { KEPT - RESERVED } else { KEPT };
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
