//! Making the next tile ready, so that it can be entered without a wait.
//!
//! ```text
//!             ┌──────────── carried ◄─────────────┐
//!             ▼                                   │
//!  Idle ─► Choosing ──► Settling ─► Reading ─► Carrying
//!             │ not kept      (a tile that is kept)
//!             ▼
//!          Erasing ──► Flushing ──► Ready ──► entered
//! ```
//!
//! *Erasing* zeroes all of the tile but its first block: by the device's write-zeroes where it has that, otherwise from a buffer
//! of zeroes. *Flushing* makes that durable, and with it the header of the current tile. A tile that holds a crash record which is
//! [kept](crate::series) is carried instead: its first block is read, given the new round, and written back, *Settling* being the flush that
//! makes the header before it durable; then the tile after it is chosen.
//!
//! A tile whose header cannot be written is *passed over*: it keeps its old header, and the log goes on in the tile behind. Never two in a row, because a mount
//! looks no further than the tile behind the end it has found; and because a device that takes zeroes but no data would lose its whole log.

use super::side::{Job, Side};
use super::{Console, Current, ERASE_AT, Event, Phase, Reason};
use crate::format::{HEADER_LEN, Header, TILE_BYTES};
use crate::search::after;
use block::{BlockDevice, Error};

/// How often the erasure of a block is made again: a stale block in a tile is worse than a moment lost.
const ERASE_TRIES: u8 = 5;

/// The tile to be entered next, and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NextTile {
    pub(super) tile: u32,
    pub(super) round: u32,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not begun.
    #[default]
    Idle,
    /// About to be erased or carried.
    Choosing,
    /// The header before must be durable before this one is carried: waits for the flush with this number.
    Settling { flush: u64 },
    /// The first block of a tile that is kept is being read.
    Reading,
    /// It is being written with its new round.
    Carrying,
    /// Zero from the first block on up to here; one piece of the rest may be in flight.
    Erasing { from: u32, by: Eraser },
    /// Waits for the flush with this number.
    Flushing { flush: u64 },
    /// Erased, and that is durable.
    Ready,
}

/// How a tile is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eraser {
    /// By the device's own operation.
    Command,
    /// By writes from a buffer of zeroes.
    Writes,
    /// By such writes of one block, up to here, because a larger one failed; this one has failed so often.
    Blocks { until: u32, failed: u8 },
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'_, B, N> {
    /// Chooses what tile comes after the current one, without doing anything to it yet.
    pub(super) fn plan_next(&mut self) {
        if let Some(Current { tile, round, .. }) = self.tiles.current {
            let (tile, round) = after(tile, round, self.tile_count());
            self.tiles.next = NextTile { tile, round, stage: Stage::Idle };
            self.plan = (tile, round);
        }
    }

    /// Takes the next tile as far as it goes at once.
    pub(super) fn next_tile_step<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D) {
        // Few stages follow each other without a request in between.
        for _ in 0..4 {
            let before = self.tiles.next;
            self.next_tile_stage(device);
            if self.tiles.next == before || !matches!(self.phase, Phase::Logging) {
                return;
            }
        }
    }

    fn next_tile_stage<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D) {
        let block = self.block_size();
        match self.tiles.next.stage {
            Stage::Idle if self.is_next_due() => self.set_stage(Stage::Choosing),
            Stage::Choosing => self.choose_next(device),
            Stage::Settling { flush } if self.flushes.is_done(flush) => self.set_stage(Stage::Reading),
            Stage::Reading => self.read_kept(device, block),
            Stage::Carrying => self.carry(device, block),
            Stage::Erasing { from, by } => self.erase(device, from, by),
            Stage::Flushing { flush } if self.flushes.is_done(flush) => self.set_stage(Stage::Ready),
            Stage::Idle | Stage::Settling { .. } | Stage::Flushing { .. } | Stage::Ready => {}
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        self.tiles.next.stage = stage;
        self.is_changed = true;
    }

    /// Whether it is time to begin. What is current by then has a header that has completed.
    fn is_next_due(&self) -> bool {
        let Some(current) = self.tiles.current else { return true };
        let filled = self.position().map_or(0, |(_, _, filled)| filled);
        // A console of one tile has nothing to erase but what it has just written.
        let waits = self.crash.is_some() || self.tile_count() == 1;
        let is_due =
            if waits { self.is_tile_full() && self.outstanding().next().is_none() } else { filled >= ERASE_AT };
        current.has_header && is_due
    }

    fn choose_next<D: BlockDevice<Buffer = B>>(&mut self, device: &D) {
        let next = self.tiles.next;
        if self.tiles.kept.contains(next.tile) {
            let flush = self.flushes.ask();
            self.set_stage(Stage::Settling { flush });
        } else {
            let has_command = device.geometry().max_write_zeroes_blocks > 0 && !self.has_failed_to_zero;
            let by = if has_command { Eraser::Command } else { Eraser::Writes };
            self.set_stage(Stage::Erasing { from: self.block_size(), by });
        }
    }

    fn read_kept<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, block: u32) {
        let next = self.tiles.next;
        if self.side.is_none() {
            let Some(buffer) = self.pool.take() else { return };
            self.ask_side(Job::Read, next.tile, 0, block, Some(buffer));
        }
        let Some((side, result)) = self.side_step(device) else { return };
        let Some(mut buffer) = side.buffer else { return self.set_stage(Stage::Choosing) };
        let header = Header::decode(buffer.as_ref()).filter(|header| self.is_own(header.uuid));
        match (result, header, buffer.as_mut().get_mut(..HEADER_LEN)) {
            (Ok(()), Some(header), Some(place)) => {
                place.copy_from_slice(&Header { round: next.round, ..header }.encode());
                self.ask_side(Job::Write, next.tile, 0, block, Some(buffer));
                self.set_stage(Stage::Carrying);
            }
            (result, ..) => {
                self.pool.put(buffer);
                match result {
                    // There is nothing of ours to keep: it will be erased and entered as any other.
                    Ok(()) => {
                        self.tiles.kept.release(next.tile);
                        self.set_stage(Stage::Choosing);
                    }
                    Err(error) => self.leave_kept(error),
                }
            }
        }
    }

    fn carry<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, block: u32) {
        let next = self.tiles.next;
        let Some((side, result)) = self.side_step(device) else { return };
        if let Some(buffer) = side.buffer {
            self.pool.put(buffer);
        }
        debug_assert_eq!(side.end, block);
        self.flushes.note_write();
        if let Err(error) = result {
            return self.leave_kept(error);
        }
        self.has_passed_over = false;
        let (tile, round) = after(next.tile, next.round, self.tile_count());
        self.tiles.next = NextTile { tile, round, stage: Stage::Choosing };
        self.is_changed = true;
    }

    /// Leaves a tile that is kept as it is, because its header cannot be brought up to date.
    fn leave_kept(&mut self, error: Error) {
        let NextTile { tile, round, .. } = self.tiles.next;
        if !self.count_failure(error) {
            return;
        }
        if tile == 0 {
            // There is no log without it: once more, until it counts too often.
            self.set_stage(Stage::Choosing);
        } else {
            self.pass_over(tile, round, error);
        }
    }

    /// Goes on behind a tile whose header cannot be written; but not if that is the second one in a row.
    pub(super) fn pass_over(&mut self, tile: u32, round: u32, error: Error) {
        if self.has_passed_over {
            return self.stop(Reason::Headers(error));
        }
        self.has_passed_over = true;
        let (tile, round) = after(tile, round, self.tile_count());
        self.tiles.next = NextTile { tile, round, stage: Stage::Choosing };
        self.is_changed = true;
    }

    fn is_own(&self, uuid: u32) -> bool {
        self.tiles.identity.is_some_and(|identity| identity.uuid == uuid)
    }

    fn erase<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, from: u32, by: Eraser) {
        if let Some((side, result)) = self.side_step(device) {
            self.erased(side, result, by);
            return;
        }
        if self.side.is_some() {
            return;
        }
        if from >= TILE_BYTES {
            let flush = self.flushes.ask();
            self.set_stage(Stage::Flushing { flush });
            return;
        }
        let tile = self.tiles.next.tile;
        self.zero(device, tile, from, TILE_BYTES, by);
    }

    /// Begins to zero the bytes of a tile from `from` on, as many as go at once. Used by the crash path as well.
    pub(super) fn zero<D: BlockDevice<Buffer = B>>(
        &mut self,
        device: &mut D,
        tile: u32,
        from: u32,
        to: u32,
        by: Eraser,
    ) {
        let block = self.block_size();
        let run = self.config.place.contiguous(tile, from).min(to.saturating_sub(from));
        let (limit, buffer) = match by {
            Eraser::Command => (device.geometry().max_write_zeroes_blocks.saturating_mul(block), None),
            Eraser::Writes | Eraser::Blocks { .. } => {
                let Some(mut buffer) = self.pool.take() else { return };
                let limit = if matches!(by, Eraser::Blocks { .. }) { block } else { self.transfer_bytes() };
                if let Some(bytes) = buffer.as_mut().get_mut(..limit as usize) {
                    bytes.fill(0);
                }
                (limit, Some(buffer))
            }
        };
        let job = if by == Eraser::Command { Job::WriteZeroes } else { Job::Write };
        self.ask_side(job, tile, from, from + run.min(limit), buffer);
        self.side_step(device);
    }

    fn erased(&mut self, side: Side<B>, result: Result<(), Error>, by: Eraser) {
        self.flushes.note_write();
        if let Some(buffer) = side.buffer {
            self.pool.put(buffer);
        }
        // Success does not reset the count of failures: a device may well take zeroes, and nothing else.
        let stage = match (result, by) {
            (Ok(()), Eraser::Blocks { until, .. }) if side.end < until => {
                Stage::Erasing { from: side.end, by: Eraser::Blocks { until, failed: 0 } }
            }
            (Ok(()), Eraser::Blocks { .. }) => Stage::Erasing { from: side.end, by: Eraser::Writes },
            (Ok(()), by) => Stage::Erasing { from: side.end, by },
            (Err(_), Eraser::Command) => {
                self.has_failed_to_zero = true;
                Stage::Erasing { from: side.start, by: Eraser::Writes }
            }
            (Err(error), Eraser::Writes) => {
                if !self.count_failure(error) {
                    return;
                }
                Stage::Erasing { from: side.start, by: Eraser::Blocks { until: side.end, failed: 0 } }
            }
            (Err(_), Eraser::Blocks { until, failed }) if failed < ERASE_TRIES => {
                Stage::Erasing { from: side.start, by: Eraser::Blocks { until, failed: failed + 1 } }
            }
            // A block that cannot be written keeps what it held; text will go around it. Many of them in a row are not a
            // bad place on a disk, but a bad disk.
            (Err(error), Eraser::Blocks { until, .. }) => {
                if !self.count_failure(error) {
                    return;
                }
                let by = if side.end < until { Eraser::Blocks { until, failed: 0 } } else { Eraser::Writes };
                Stage::Erasing { from: side.end, by }
            }
        };
        if matches!(self.phase, Phase::Logging) {
            self.set_stage(stage);
        }
    }

    /// Enters the next tile, if it is ready and the current one is done with.
    pub(super) fn enter_next(&mut self) -> bool {
        let is_done = self.tiles.current.is_none() || self.is_tile_full();
        let next = self.tiles.next;
        if next.stage != Stage::Ready || !is_done || self.outstanding().next().is_some() {
            return false;
        }
        let (tile, round) = (next.tile, next.round);
        self.tiles.current = Some(Current { tile, round, base: 0, high: 0, has_header: false, is_durable: false });
        self.careful_until = 0;
        self.source.set_tile_due();
        if let Some(damaged) = self.announce.take() {
            self.events.push(Event::NowLogging { name: self.config.name, tile: next.tile, damaged });
        }
        self.plan_next();
        self.is_changed = true;
        true
    }
}
