//! Devices that do not answer: how long they are waited for, and what then.
//!
//! ```text
//!   Ready ── overdue ──► Silent ── patience used up ──► Dead ── all is answered ──► reset ──► Ready
//!     ▲                    │                              │
//!     └── answered late ◄──┘                              └── nothing comes: left alone
//! ```

use block::ErrorKind;
use platform::{Deadline, Platform};
use virtio_drivers::transport::{DeviceStatus, Transport};

use super::Port;
use crate::controller::{CHECK_NS, Failure, Health, Phase, Silence};
use crate::event::Event;

/// How often a device is looked at that owes the end of a reset.
const RESET_CHECK_NS: u64 = 1_000_000_000;

impl<P: Platform, T: Transport> Port<P, T> {
    /// Every [`CHECK_NS`] while requests are in flight: looks at the device's status and at the deadlines, and rings again if
    /// nothing was completed since the last time.
    pub(super) fn check(&mut self) {
        if self.queue.in_flight() == 0 {
            return;
        }
        let now = self.controller.platform.now_ns();
        if now < self.next_check.0 {
            return;
        }
        self.next_check = Deadline(now.saturating_add(CHECK_NS));
        match self.controller.health() {
            Health::Working => {}
            Health::Failed => return self.recover_because("the device asked to be reset"),
            Health::Gone => {
                let failure = Failure::new(ErrorKind::Gone, "its registers read as all ones");
                self.controller.phase = Phase::Dead(failure);
                return self.die(failure);
            }
        }
        let late = self.flights.late(now);
        let is_late = late > 0;
        match (self.controller.phase, self.controller.timeouts.silence) {
            (Phase::Ready, _) if !is_late => {}
            (Phase::Silent(_), _) if !is_late => self.controller.phase = Phase::Ready,
            (Phase::Ready, _) if self.controller.timeouts.patience_ns > 0 => {
                self.why = "a request was not answered by its deadline";
                self.events.push(Event::Late { requests: late });
                self.controller.phase = Phase::Silent(self.patience(now));
            }
            (Phase::Silent(until), _) if now < until.0 => {}
            (_, Silence::Reset) => return self.recover_because("a request was not answered by its deadline"),
            (_, Silence::GiveUp) => {
                let failure = Failure::new(ErrorKind::TimedOut, "it does not answer");
                self.controller.phase = Phase::Dead(failure);
                // Nobody waits for a crash port's disk to come back.
                self.owes_answers = self.spare.is_some();
                return self.die(failure);
            }
        }
        let before = core::mem::replace(&mut self.completed_before, self.counters.completed);
        if before == self.counters.completed {
            self.controller.transport.notify(self.number);
            self.counters.notified_again += 1;
        }
    }

    fn patience(&self, now: u64) -> Deadline {
        Deadline(now.saturating_add(self.controller.timeouts.patience_ns))
    }

    /// A device that answers late is slow, not dead.
    pub(super) fn note_late_answer(&mut self) {
        let now = self.controller.platform.now_ns();
        if self.flights.late(now) > 0 {
            self.controller.phase = Phase::Silent(self.patience(now));
        } else {
            self.events.push(Event::AnsweredLate);
            self.controller.phase = Phase::Ready;
        }
    }

    /// A device that was given up is taken up again when it has answered everything: then nothing hangs in it any more
    /// that a reset would have to wait for. Only memory is looked at.
    pub(super) fn look_for_answers(&mut self) {
        let now = self.controller.platform.now_ns();
        if now < self.next_check.0 {
            return;
        }
        self.next_check = Deadline(now.saturating_add(CHECK_NS));
        if self.queue.is_all_answered() {
            self.events.push(Event::AnswersAgain);
            self.recover_because("it answers again");
        }
    }
    /// A device whose reset took too long is started anew when the reset has ended after all: once a second, its status is looked at.
    pub(super) fn look_for_reset(&mut self) {
        let now = self.controller.platform.now_ns();
        if now < self.next_check.0 {
            return;
        }
        self.next_check = Deadline(now.saturating_add(RESET_CHECK_NS));
        if self.controller.transport.get_status() == DeviceStatus::empty() {
            self.recover_because("its reset has ended at last");
        }
    }
}
