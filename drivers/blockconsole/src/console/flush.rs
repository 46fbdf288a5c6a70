//! Flushes: when they are made, and what is durable after them.
//!
//! A flush is made when something waits for it (a tile that was erased, [`Console::finish`]), when nothing is being written,
//! and at least every [`INTERVAL_NS`] under load. It makes durable what had completed when it was submitted. On devices without a
//! volatile cache, or without a flush, a flush is a matter of bookkeeping only.
//!
//! # A flush that fails
//! Who repeats it may be lied to: hosts report an error of their disk to one flush, drop what they could not write, and let the next one
//! succeed. So after a failure nothing counts as written that is not durable. The log goes back to where it was durable
//! ([`Console::redo`]), and writes on behind what was written; so lines may be there twice. A tile whose header is not durable is erased and entered once more,
//! and what was done to the next one is done again.

use super::next_tile::{NextTile, Stage};
use super::point::{Due, LineKind, Point};
use super::{Console, Current, Kind, MAX_FAILURES, Phase, Reason, tag};
use crate::place::needs_flush;
use block::{BlockDevice, Error, ErrorKind, Request};

/// Under load, a flush is made this long after the last one.
const INTERVAL_NS: u64 = 100_000_000;

/// Flushes, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flushes {
    /// Number of the flush that was submitted last; the first is 1.
    started: u64,
    /// Number of the last one that succeeded.
    done: u64,
    /// Number of the one that somebody waits for.
    wanted: u64,
    in_flight: Option<InFlight>,
    /// Failures since the last success.
    failures: u32,
    /// Something was written since the last flush was submitted.
    is_dirty: bool,
    started_ns: u64,
    durable: Covers,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    serial: u32,
    covers: Covers,
    /// The tile, and its round, whose header had been written.
    entered: Option<(u32, u32)>,
}

/// What is durable when a flush succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Covers {
    /// Every record before this one.
    pub(super) records: u64,
    /// The time of a record shortly before that one.
    pub(super) time_ns: u64,
    /// Whether the boot line is still to come.
    pub(super) is_boot_due: bool,
    /// Whether the tile line of the current tile is.
    pub(super) is_tile_due: bool,
}

impl Default for Covers {
    fn default() -> Self {
        Self { records: 0, time_ns: 0, is_boot_due: true, is_tile_due: true }
    }
}

impl Covers {
    fn before(point: &Point) -> Self {
        Self {
            records: point.complete,
            time_ns: point.time_ns,
            is_boot_due: point.due.boot || point.line == LineKind::Boot,
            is_tile_due: point.due.tile || point.line == LineKind::Tile,
        }
    }
}

impl Flushes {
    pub(super) fn durable(&self) -> u64 {
        self.durable.records
    }

    /// The same, with the time of the log there.
    pub(super) fn durable_until(&self) -> Covers {
        self.durable
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Number of the flush that was submitted last.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// When one is made for no other reason than that it has become time to.
    pub(super) fn next_ns(&self) -> u64 {
        let waits = self.is_dirty && self.in_flight.is_none();
        if waits { self.started_ns.saturating_add(INTERVAL_NS) } else { u64::MAX }
    }

    /// Notes that something was written.
    pub(super) fn note_write(&mut self) {
        self.is_dirty = true;
    }

    /// Asks for a flush that is yet to be submitted, and returns its number.
    pub(super) fn ask(&mut self) -> u64 {
        self.wanted = self.started + 1;
        self.wanted
    }

    /// Whether this flush, or a later one, has succeeded.
    pub(super) fn is_done(&self, flush: u64) -> bool {
        self.done >= flush
    }

    /// Whether everything that was written is durable.
    pub(super) fn is_clean(&self) -> bool {
        !self.is_dirty && self.in_flight.is_none()
    }

    /// Forgets what is under way, but not what is durable.
    pub(super) fn reset(&mut self) {
        *self = Self { durable: self.durable, started: self.started, done: self.started, ..Self::default() };
    }

    /// Takes over what another console knew to be durable.
    pub(super) fn set_durable(&mut self, durable: Covers) {
        self.durable = durable;
    }

    /// Starts a new count: another console, of which nothing is durable.
    pub(super) fn forget(&mut self) {
        self.reset();
        self.durable = Covers::default();
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'_, B, N> {
    /// Makes a flush if one is due.
    pub(super) fn flush_step<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, now_ns: u64) {
        if !self.is_active() || self.flushes.in_flight.is_some() || self.is_undone {
            return;
        }
        let covers = Covers::before(&self.completed_point());
        let entered = self.tiles.current.filter(|current| current.has_header);
        let entered = entered.map(|current| (current.tile, current.round));
        let state = self.flushes;
        let is_wanted = state.wanted > state.started;
        let is_idle = self.outstanding().next().is_none();
        let is_late = now_ns.saturating_sub(state.started_ns) >= INTERVAL_NS;
        let is_urgent = self.finish > state.durable.records && covers.records >= self.finish;
        // A crash has one flush, at its end.
        let may = self.crash.is_none() || matches!(self.phase, Phase::Closing);
        if !is_wanted && !(may && state.is_dirty && (is_idle || is_late || is_urgent)) {
            return;
        }
        self.flushes.started_ns = now_ns;
        self.flushes.is_dirty = false;
        self.flushes.started = state.started + 1;
        if !needs_flush(&device.geometry()) {
            self.flushed(covers, entered);
            return;
        }
        let serial = self.next_serial();
        let tag = tag::encode(self.config.index, Kind::Flush, serial);
        self.flushes.in_flight = Some(InFlight { serial, covers, entered });
        if let Err(refused) = device.submit(tag, Request::Flush) {
            self.flushes = Flushes { is_dirty: true, in_flight: None, ..state };
            if !matches!(refused.error.kind, ErrorKind::QueueFull | ErrorKind::NotReady) {
                self.count_failure(refused.error);
            }
        }
    }

    fn flushed(&mut self, covers: Covers, entered: Option<(u32, u32)>) {
        self.flushes.done = self.flushes.started;
        if covers.records >= self.flushes.durable.records {
            self.flushes.durable = covers;
        }
        if let Some(current) = &mut self.tiles.current {
            current.is_durable |= entered == Some((current.tile, current.round));
        }
        self.is_changed = true;
    }

    pub(super) fn complete_flush(&mut self, serial: u32, result: Result<(), Error>) {
        let Some(flush) = self.flushes.in_flight.take_if(|flush| flush.serial == serial) else { return };
        match result {
            Ok(()) => {
                self.flushes.failures = 0;
                self.flushed(flush.covers, flush.entered);
            }
            Err(error) => {
                self.flushes.is_dirty = true;
                // Their count is their own, because writes to a cache may well succeed all the time.
                self.flushes.failures += 1;
                if self.flushes.failures >= 2 * MAX_FAILURES && self.is_active() {
                    self.stop(Reason::Failing(error));
                }
                if matches!(self.phase, Phase::Logging | Phase::Closing) {
                    self.is_undone = true;
                    self.phase = Phase::Logging;
                    self.drop_side();
                }
            }
        }
    }

    /// Goes back to where the log is durable, once no write is in flight any more.
    pub(super) fn redo(&mut self) {
        let (current, next, point) = self.undone();
        self.is_undone = false;
        if let Some(fill) = self.fill.take() {
            self.pool.put(fill.buffer);
        }
        self.going_back = None;
        (self.tiles.current, self.tiles.next) = (current, next);
        if current.is_none() {
            self.plan = (next.tile, next.round);
        }
        self.source.rewind(point);
        self.is_changed = true;
    }

    /// Where the log goes on after a flush that failed: tiles, and text.
    pub(super) fn undone(&self) -> (Option<Current>, NextTile, Point) {
        let covers = self.flushes.durable;
        let mut due = Due { boot: covers.is_boot_due, ..Due::default() };
        due.trailer = self.crash.as_ref().is_some_and(|crash| !crash.trailer.is_empty());
        let mut next = self.tiles.next;
        let mut current = self.tiles.current;
        match &mut current {
            Some(current) if current.is_durable => {
                // Behind all that may be there, on a line of its own.
                current.base = current.high;
                due.tile = covers.is_tile_due;
                let is_padded = self.fill.as_ref().is_some_and(|fill| fill.clean > 0) && self.going_back.is_none();
                due.feed = !is_padded;
                if !matches!(next.stage, Stage::Idle | Stage::Ready) {
                    let (tile, round) = self.plan;
                    next = NextTile { tile, round, stage: Stage::Choosing };
                }
            }
            Some(Current { tile, round, .. }) => {
                next = NextTile { tile: *tile, round: *round, stage: Stage::Choosing };
                current = None;
            }
            None if next.stage == Stage::Ready => {}
            None => {
                let (tile, round) = self.plan;
                next = NextTile { tile, round, stage: Stage::Choosing };
            }
        }
        let Covers { records, time_ns, .. } = covers;
        (current, next, Point { sequence: records, complete: records, time_ns, due, ..Point::START })
    }
}
