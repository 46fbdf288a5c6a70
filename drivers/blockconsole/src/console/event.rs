//! What a console has to tell, for the kernel to log.

use super::config::Name;
use crate::search::Refusal;
use block::Error;
use core::fmt;

/// Why a console does not log, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This is no console, or not the one that is expected.
    Refused(Refusal),
    /// The device takes no writes, for this reason.
    ReadOnly(&'static str),
    /// Its place does not lie on the device.
    NotOnDevice,
    /// The buffers given to it hold less than a block, or too few are left of them.
    Buffers,
    /// The device is dead.
    Dead(Error),
    /// [`MAX_FAILURES`](super::MAX_FAILURES) writes failed one after the other; this is the last one's error.
    Failing(Error),
    /// The headers of two tiles in a row could not be written; this is the last one's error.
    Headers(Error),
    /// A request was about to leave the console's place. It was not made.
    Outside,
}

/// What happened to a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was mounted, and is about to log.
    NowLogging {
        /// The device's name.
        name: Name,
        /// The tile that the log goes on in.
        tile: u32,
        /// Whether headers were damaged, so that all tiles had to be looked at.
        damaged: bool,
    },
    /// It has stopped, or could not begin.
    NoLongerLogging {
        /// The device's name.
        name: Name,
        /// Why.
        reason: Reason,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refusal::NoHeader) => f.write_str("it has no console's header"),
            Self::Refused(Refusal::Unreadable) => f.write_str("its header cannot be read"),
            Self::Refused(Refusal::OtherUuid(uuid)) => write!(f, "its uuid is {uuid:08x}"),
            Self::ReadOnly(why) => write!(f, "it takes no writes: {why}"),
            Self::NotOnDevice => f.write_str("the console's place is not on it"),
            Self::Buffers => f.write_str("there are no buffers for it"),
            Self::Dead(error) => write!(f, "{error}"),
            Self::Failing(error) => write!(f, "{} failures in a row, the last: {error}", super::MAX_FAILURES),
            Self::Headers(error) => write!(f, "the headers of two tiles could not be written, the last: {error}"),
            Self::Outside => f.write_str("a request would have left the console's place"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NowLogging { name, tile, damaged } => {
                let damage = if *damaged { " (headers are damaged)" } else { "" };
                write!(f, "now logging to {name} at {tile}{damage}")
            }
            Self::NoLongerLogging { name, reason } => write!(f, "no longer logging to {name}: {reason}"),
        }
    }
}

/// Events that wait to be fetched. More than that at a time do not come up: of each kind one, between two fetches.
#[derive(Default)]
pub(super) struct Events {
    waiting: [Option<Event>; 4],
}

impl Events {
    /// Adds one; if nobody fetches them, the oldest goes.
    pub(super) fn push(&mut self, event: Event) {
        if self.waiting.iter().all(Option::is_some) {
            self.pop();
        }
        if let Some(place) = self.waiting.iter_mut().find(|place| place.is_none()) {
            *place = Some(event);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.waiting.rotate_left(1);
        self.waiting.last_mut()?.take()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use block::ErrorKind;
    use std::string::ToString;

    #[test]
    fn the_messages_are_those_of_the_format() {
        let name = Name::new("vda");
        let now = Event::NowLogging { name, tile: 7, damaged: false };
        assert_eq!(now.to_string(), "now logging to vda at 7");
        let reason = Reason::Failing(ErrorKind::Media.into());
        let no_longer = Event::NoLongerLogging { name, reason };
        assert_eq!(no_longer.to_string(), "no longer logging to vda: 10 failures in a row, the last: medium error");
    }

    #[test]
    fn events_come_in_order_and_the_oldest_goes_first() {
        let mut events = Events::default();
        let event = |tile| Event::NowLogging { name: Name::new("x"), tile, damaged: false };
        assert_eq!(events.pop(), None);
        for tile in 0..6 {
            events.push(event(tile));
        }
        for tile in 2..6 {
            assert_eq!(events.pop(), Some(event(tile)));
        }
        assert_eq!(events.pop(), None);
    }
}
