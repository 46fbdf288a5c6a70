//! Whether there is anything to do, for whoever pumps all the time.
//!
//! A pump that did nothing would do nothing again, unless something has changed that it looks at: a completion, a new record, what its
//! owner asks for, or the time. So all this is noted, and compared.

use super::point::Point;
use super::{Console, Phase};
use crate::ring::Ring;

/// What a device says of itself may change as well; that is looked at so often.
const LOOK_NS: u64 = 1_000_000;

/// When a pump found nothing to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// Records that there were.
    written: u64,
    /// When something will be due.
    until_ns: u64,
}

/// What any step of a pump changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Requests that were made, or tried.
    serial: u32,
    flushes: u64,
    /// How far the text has come.
    point: Point,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'_, B, N> {
    /// Whether a [`pump`](Self::pump) would do nothing now, on a device that has been ready since the last one. To find that out
    /// takes much less time.
    #[inline]
    pub fn is_quiet(&self, ring: &Ring<'_>, now_ns: u64) -> bool {
        self.rest.is_some_and(|rest| rest.written == ring.written() && now_ns < rest.until_ns)
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { serial: self.serial, flushes: self.flushes.started(), point: self.source.point() }
    }

    /// Finds out whether there will be nothing to do for a while, after a pump that began here, when there were so many records.
    pub(super) fn rest_from(&self, before: &Progress, written: u64, now_ns: u64) -> Option<Rest> {
        let may_rest = matches!(self.phase, Phase::Logging) && self.crash.is_none() && !self.source.waits_for_writer();
        if !may_rest || self.is_changed || *before != self.progress() {
            return None;
        }
        let pad = self.fill.as_ref().filter(|fill| fill.has_news()).and_then(|fill| fill.oldest_ns);
        let pad_ns = pad.map_or(u64::MAX, |oldest| oldest.saturating_add(self.config.pad_ns));
        let until_ns = now_ns.saturating_add(LOOK_NS).min(pad_ns).min(self.flushes.next_ns());
        Some(Rest { written, until_ns })
    }
}
