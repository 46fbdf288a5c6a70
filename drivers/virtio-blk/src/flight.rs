//! The requests that were accepted, from submission until they are handed back.

use block::{Completion, Error, ErrorKind, Tag};
use platform::{Deadline, DmaBuffer};

use crate::event::RequestName;
use crate::queue::SLOTS;

/// A request that was accepted and not handed back yet.
pub(crate) struct Flight {
    pub(crate) tag: Tag,
    pub(crate) name: RequestName,
    pub(crate) buffer: Option<DmaBuffer>,
    pub(crate) deadline: Deadline,
    /// Bytes that the device is to write, where it is known to count them right.
    pub(crate) expected: u32,
}

enum Slot {
    Free,
    /// The device has it.
    InFlight(Flight),
    /// The device does not have it any more, or is dead and keeps the buffer. To be handed back.
    Failed(Flight, Error),
}

/// One place for each request that a queue can take.
pub(crate) struct Flights {
    slots: [Slot; SLOTS],
    /// Buffers that a device which was given up may still use.
    kept: [Option<(Tag, DmaBuffer)>; SLOTS],
    /// Whether the device was reset since: the kept buffers are nobody's any more.
    kept_are_free: bool,
    /// How many slots are `Failed`.
    failed: u32,
}

impl Flights {
    pub(crate) const fn new() -> Self {
        Self { slots: [const { Slot::Free }; SLOTS], kept: [const { None }; SLOTS], kept_are_free: false, failed: 0 }
    }

    /// A free one of the first `count` slots.
    pub(crate) fn free_slot(&self, count: u16) -> Option<u16> {
        let slots = self.slots.iter().take(count.into()).zip(0..);
        slots.filter(|(slot, _)| matches!(slot, Slot::Free)).map(|(_, number)| number).next()
    }

    /// Puts a request into a free slot.
    pub(crate) fn begin(&mut self, slot: u16, flight: Flight) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Slot::InFlight(flight);
        }
    }

    /// Takes the request out of a slot that the device is done with.
    pub(crate) fn end(&mut self, slot: u16) -> Option<Flight> {
        let place = self.slots.get_mut(usize::from(slot))?;
        match core::mem::replace(place, Slot::Free) {
            Slot::InFlight(flight) => Some(flight),
            other => {
                *place = other;
                None
            }
        }
    }

    /// How many requests in flight are overdue.
    pub(crate) fn late(&self, now: u64) -> u32 {
        let is_late = |slot: &&Slot| matches!(slot, Slot::InFlight(flight) if flight.deadline.0 <= now);
        self.slots.iter().filter(is_late).count() as u32
    }

    /// The device was reset: it has nothing any more.
    pub(crate) fn abort(&mut self, now: u64) {
        self.kept_are_free = true;
        self.fail(|flight, _| match flight.deadline.0 <= now {
            true => ErrorKind::TimedOut.into(),
            false => ErrorKind::Aborted.into(),
        });
    }

    /// The device is dead and may still use the buffers: they are kept until it was reset.
    pub(crate) fn give_up(&mut self, error: Error) {
        self.kept_are_free = false;
        self.fail(|flight, kept| {
            if let Some(buffer) = flight.buffer.take() {
                *kept = Some((flight.tag, buffer));
            }
            error
        });
    }

    /// A buffer of a request that had been given up, with its tag, once the device was reset.
    pub(crate) fn reclaim(&mut self) -> Option<(Tag, DmaBuffer)> {
        if !self.kept_are_free {
            return None;
        }
        self.kept.iter_mut().find_map(Option::take)
    }

    fn fail(&mut self, end: impl Fn(&mut Flight, &mut Option<(Tag, DmaBuffer)>) -> Error) {
        for (slot, kept) in self.slots.iter_mut().zip(&mut self.kept) {
            match core::mem::replace(slot, Slot::Free) {
                Slot::InFlight(mut flight) => {
                    let error = end(&mut flight, kept);
                    *slot = Slot::Failed(flight, error);
                    self.failed += 1;
                }
                other => *slot = other,
            }
        }
    }

    /// The next request that failed.
    pub(crate) fn hand_back(&mut self) -> Option<Completion<DmaBuffer>> {
        if self.failed == 0 {
            return None;
        }
        let slot = self.slots.iter_mut().find(|slot| matches!(slot, Slot::Failed(..)))?;
        let Slot::Failed(flight, error) = core::mem::replace(slot, Slot::Free) else { return None };
        self.failed -= 1;
        Some(Completion { tag: flight.tag, result: Err(error), buffer: flight.buffer })
    }
}
