//! What happens to disks, said in the log; not without end.

use crate::devices::disk::{Disk, Name};
use blockconsole::rate::{Admission, RateLimit};
use core::fmt;
use log::{Level, log, warn};

/// Something that happened to a disk, or to its controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// NVMe.
    Nvme(nvme::Event),
    /// virtio.
    Virtio(virtio_blk::Event),
}

impl Event {
    /// How much it matters: whatever a sound disk does is no reason to worry.
    pub const fn level(&self) -> Level {
        use nvme::{Event as Nvme, ResetReason};
        use virtio_blk::Event as Virtio;
        match self {
            Self::Nvme(Nvme::ResetBegun(ResetReason::Start) | Nvme::ResetDone { .. }) => Level::Info,
            Self::Nvme(Nvme::NoSpareQueue | Nvme::NamespaceRefused { .. } | Nvme::MoreNamespaces) => Level::Info,
            Self::Virtio(Virtio::AnsweredLate | Virtio::AnswersAgain | Virtio::ResetDone { .. }) => Level::Info,
            Self::Nvme(Nvme::Dead(_)) | Self::Virtio(Virtio::Dead(_)) => Level::Error,
            Self::Nvme(_) | Self::Virtio(_) => Level::Warn,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nvme(event) => event.fmt(f),
            Self::Virtio(event) => event.fmt(f),
        }
    }
}

/// Events that may be said at once, and the time after which there may be one more. A failing disk may have an event for each request, and
/// each line about one is a request to the very same disk.
const BURST: u32 = 24;
const INTERVAL_NS: u64 = 1_000_000_000;

/// Says what happens to one disk. What is too much is counted, and the count is said.
pub struct Reporter {
    limit: RateLimit<1>,
    owes_a_count: bool,
}

impl Reporter {
    /// One that has not said anything yet.
    pub const fn new() -> Self {
        Self { limit: RateLimit::new(BURST, INTERVAL_NS), owes_a_count: false }
    }

    /// Says what has happened to a disk of this name since it was last called.
    pub fn say(&mut self, name: &Name, disk: &mut Disk, now_ns: u64) {
        while let Some(event) = disk.next_event() {
            self.say_one(name.device(), &event, now_ns);
        }
        if self.owes_a_count
            && let Some(overdue) = self.limit.take_overdue(now_ns)
        {
            self.owes_a_count = false;
            say_count(name.device(), overdue.lines);
        }
    }

    fn say_one(&mut self, name: &str, event: &Event, now_ns: u64) {
        match self.limit.admit(SITE, now_ns) {
            Admission::Suppress => {
                self.owes_a_count = true;
                return;
            }
            Admission::Admit => {}
            Admission::AdmitAfter(events) => say_count(name, events),
        }
        log!(event.level(), "{name}: {event}");
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new()
    }
}

/// Each disk has a limit of its own, so that this need not tell them apart.
const SITE: u64 = 1;

fn say_count(name: &str, events: u64) {
    warn!("{name}: {events} more events were not logged");
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme::ResetReason;

    #[test]
    fn what_a_sound_disk_does_is_no_reason_to_worry() {
        let starts = [
            Event::Nvme(nvme::Event::ResetBegun(ResetReason::Start)),
            Event::Nvme(nvme::Event::ResetDone { took_ns: 1 }),
            Event::Virtio(virtio_blk::Event::ResetDone { took_ns: 1 }),
        ];
        assert!(starts.iter().all(|event| event.level() == Level::Info));
        assert_eq!(Event::Nvme(nvme::Event::ResetBegun(ResetReason::Late)).level(), Level::Warn);
        assert_eq!(Event::Virtio(virtio_blk::Event::ResetBegun("x")).level(), Level::Warn);
        assert_eq!(Event::Virtio(virtio_blk::Event::Dead("x")).level(), Level::Error);
    }
}
