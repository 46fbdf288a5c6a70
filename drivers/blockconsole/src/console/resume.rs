//! After a crash: another console takes over, on a device of its own.
//!
//! It knows nothing but the [`Target`]. Before it writes anything it
//! 1. resets the device if anything was in flight and may still arrive, so that no late write can overwrite what it writes;
//! 2. reads the header of the tile it is in again, and compares it. Where another one stands there, or none, it mounts anew,
//!    and takes only a console with the same uuid.
//!
//! Then it writes what was not written yet, from the ring, and the crash record, in as few writes as there can be; zeroes
//! what the crashed console's writes may have left behind that; and flushes. A backlog that fits one transfer takes one write and one flush.

use super::next_tile::Eraser;
use super::point::{Due, LineKind, Point};
use super::side::Job;
use super::target::{BadTarget, Target, TargetCell};
use super::{Config, Console, Phase, Reason};
use crate::format::Header;
use crate::marks::BootFacts;
use crate::ring::{Next, Patience, RecordBuffer, Ring};
use block::{BlockDevice, State};

/// What a console that takes over is told.
#[derive(Clone, Copy, Debug)]
pub struct Crash<'a> {
    /// What the boot line says, in case it was not written yet.
    pub facts: BootFacts<'a>,
    /// The crash record, from its first line to its last.
    pub record: &'a [u8],
    /// Records before this one are written; later ones are left alone, so that it ends. Usually
    /// [`Ring::written`] at the time of the crash.
    pub until: u64,
}

/// What is known of the writes that were with the device when the crash came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// They may still reach the medium: where there were any, the device is reset.
    MayArrive,
    /// They will not: the device was reset, or has answered them all. What became of each is not known.
    Over,
}

/// How far a console is that took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has work to do: poll and pump on.
    Working,
    /// Everything is written and durable.
    Done,
    /// It could not, for this reason.
    Failed(Reason),
}

/// What a console that took over has besides others.
pub(super) struct Dying<'a> {
    pub(super) trailer: &'a [u8],
    pub(super) until: u64,
    must_reset: bool,
    /// Whether anything was in flight: what that was to write is there, or not, or in parts.
    was_in_flight: bool,
    /// Whether the console that crashed was about to mount.
    must_mount: bool,
    /// Where the text after the block at `base` comes from, if that block holds text already.
    after: Option<Point>,
    cover: Eraser,
    outcome: Outcome,
}

impl Dying<'_> {
    pub(super) fn fail(&mut self, reason: Reason) {
        if self.outcome == Outcome::Working {
            self.outcome = Outcome::Failed(reason);
        }
    }
}

impl<'a, B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'a, B, N> {
    /// Makes a console that goes on where another one was when it published this target.
    ///
    /// Its device must share nothing with the other's but the controller. `cell` may be the one that the target was taken from: if
    /// there is another crash, that is where the next one takes over.
    ///
    /// # Errors
    /// If the console had stopped: there is nothing to go on with.
    pub fn resume(
        target: &Target,
        pending: Pending,
        crash: Crash<'a>,
        cell: &'a TargetCell,
        buffers: [B; N],
    ) -> Result<Self, BadTarget> {
        if target.is_idle {
            return Err(BadTarget::Idle);
        }
        let Target { name, index, place, expected, .. } = *target;
        let config = Config { index, name, place, expected, facts: crash.facts, pad_ns: 0 };
        let mut console = Self::idle(config, cell, buffers);
        let state = &target.state;
        console.tiles = target.tiles();
        // The record of a crash within a crash is another one: it begins anew.
        let is_record = state.point.line == LineKind::Trailer;
        let mut point = if is_record { state.point.restart() } else { state.point };
        point.due.trailer = true;
        console.source.rewind(point);
        console.flushes.set_durable(state.durable);
        console.has_passed_over = state.has_passed_over;
        console.plan = (state.next_tile, state.next_round);
        console.crash = Some(Dying {
            trailer: crash.record,
            until: crash.until,
            must_reset: target.in_flight && pending == Pending::MayArrive,
            was_in_flight: target.in_flight,
            must_mount: state.is_mounting || state.identity.is_none(),
            after: state.after,
            cover: Eraser::Command,
            outcome: Outcome::Working,
        });
        console.phase = Phase::Recovering { asked: false };
        Ok(console)
    }

    /// How far it is; a console that did not take over from another is always at work.
    pub fn outcome(&self) -> Outcome {
        self.crash.as_ref().map_or(Outcome::Working, |crash| crash.outcome)
    }

    /// Whether it is not known where the log goes on.
    pub(super) fn must_mount(&self) -> bool {
        match self.phase {
            Phase::Mounting(_) => true,
            Phase::Recovering { .. } => self.crash.as_ref().is_some_and(|crash| crash.must_mount),
            Phase::Idle | Phase::Logging | Phase::Verifying | Phase::Closing => false,
        }
    }

    pub(super) fn verify_step<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, ring: &Ring<'_>) {
        if let Phase::Recovering { asked } = self.phase {
            let must = self.crash.as_ref().is_some_and(|crash| crash.must_reset) || device.state() != State::Ready;
            if must && !asked {
                self.phase = Phase::Recovering { asked: true };
                device.recover();
                return;
            }
            if self.must_mount() {
                self.start_mount(self.source.point());
                return;
            }
            self.phase = Phase::Verifying;
        }
        let current = self.tiles.current.filter(|current| current.has_header);
        if self.side.is_none() {
            let Some(buffer) = self.pool.take() else { return self.stop(Reason::Buffers) };
            let tile = current.map_or(0, |current| current.tile);
            self.ask_side(Job::Read, tile, 0, self.block_size(), Some(buffer));
        }
        let Some((side, result)) = self.side_step(device) else { return };
        let header = side.buffer.as_ref().filter(|_| result.is_ok()).and_then(|buffer| Header::decode(buffer.as_ref()));
        if let Some(buffer) = side.buffer {
            self.pool.put(buffer);
        }
        let is_own = header.is_some_and(|header| {
            self.tiles.identity.is_some_and(|identity| identity.uuid == header.uuid)
                && current.is_none_or(|current| current.round == header.round)
        });
        if is_own {
            self.phase = Phase::Logging;
            self.settle_open_block(ring);
        } else {
            let mut point = self.source.point().restart();
            point.due.tile = true;
            self.start_mount(point);
        }
    }

    /// Decides what becomes of a block that holds text already and was to be written again with more behind it.
    ///
    /// It stays as it is, if nothing was in flight. Otherwise nobody knows how much of the newer text it holds, so that it is written
    /// again, lest that text be there twice; unless its older text can no longer be made.
    fn settle_open_block(&mut self, ring: &Ring<'_>) {
        let block = self.block_size();
        let Some(crash) = &self.crash else { return };
        let (Some(after), Some(current)) = (crash.after, &mut self.tiles.current) else { return };
        let point = self.source.point();
        let mut cursor = ring.cursor_at(point.sequence);
        let is_there = match ring.next(&mut cursor, &mut RecordBuffer::new(), Patience::Crash) {
            Next::Record(record) => record.sequence == point.sequence,
            _ => point.sequence == after.sequence,
        };
        if !crash.was_in_flight || !is_there {
            current.base = current.base.saturating_add(block);
            let due = Due { trailer: true, ..after.due };
            self.source.rewind(Point { due, ..after });
        }
    }

    /// Zeroes what the crashed console may have written behind the last block, and waits for the last flush.
    pub(super) fn close_step<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D) {
        if let Some((side, result)) = self.side_step(device) {
            if let Some(buffer) = side.buffer {
                self.pool.put(buffer);
            }
            self.flushes.note_write();
            let Some(crash) = &mut self.crash else { return };
            match (result, crash.cover, &mut self.tiles.current) {
                (Err(_), Eraser::Command, _) => crash.cover = Eraser::Writes,
                // What cannot be zeroed stays: the record is whole without it.
                (_, _, Some(current)) => current.base = side.end,
                (_, _, None) => {}
            }
        }
        if self.side.is_some() {
            return;
        }
        let (Some(crash), Some(current)) = (&mut self.crash, self.tiles.current) else { return };
        if device.geometry().max_write_zeroes_blocks == 0 {
            crash.cover = Eraser::Writes;
        }
        if current.base < current.high {
            let by = crash.cover;
            self.zero(device, current.tile, current.base, current.high, by);
        } else if self.flushes.is_clean() {
            crash.outcome = Outcome::Done;
            self.phase = Phase::Idle;
            self.is_changed = true;
        }
    }
}
