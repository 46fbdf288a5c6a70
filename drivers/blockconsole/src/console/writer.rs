//! Writes of text: when they are made, and what becomes of one that fails.
//!
//! Text is written as soon as a block of it is full, if nothing is being written, and in pieces as large as a transfer may be under
//! load; so the busier the device, the larger the writes. Text that fills no block waits for [`pad_ns`](super::Config::pad_ns), counted from the
//! oldest of it.

use super::fill::Fill;
use super::next_tile::Stage;
use super::point::Point;
use super::{Console, Current, Kind, Phase, RESERVE, Reason, tag};
use crate::format::{Header, TILE_BYTES};
use crate::ring::Ring;
use crate::search::after;
use block::{BlockDevice, Error, ErrorKind, Request};

/// A write of text to the current tile.
pub(super) struct Write<B> {
    pub(super) tile: u32,
    pub(super) start: u32,
    pub(super) end: u32,
    /// Where its text comes from.
    point: Point,
    state: State<B>,
}

enum State<B> {
    InFlight {
        serial: u32,
        again: bool,
    },
    /// To be submitted; `again` if it has failed once.
    Waiting {
        buffer: B,
        again: bool,
    },
    /// In flight, but the console has stopped meanwhile: whatever comes of it.
    Abandoned {
        serial: u32,
    },
}

impl<B> Write<B> {
    pub(super) fn is_in_flight(&self) -> bool {
        !matches!(self.state, State::Waiting { .. })
    }

    fn is_abandoned(&self) -> bool {
        matches!(self.state, State::Abandoned { .. })
    }
}

/// A write that failed twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    start: u32,
    end: u32,
    point: Point,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'_, B, N> {
    /// The writes that are not over.
    pub(super) fn outstanding(&self) -> impl Iterator<Item = &Write<B>> {
        self.writes.iter().flatten()
    }

    /// The point before which all text is written, though perhaps not flushed.
    pub(super) fn completed_point(&self) -> Point {
        let writes = self.outstanding().filter(|write| !write.is_abandoned()).map(|write| (write.start, write.point));
        let failed = self.going_back.iter().map(|failed| (failed.start, failed.point));
        if let Some((_, point)) = writes.chain(failed).min_by_key(|(start, _)| *start) {
            return point;
        }
        match &self.fill {
            Some(fill) if fill.clean > 0 => Point { complete: fill.clean_complete, ..fill.start },
            Some(fill) => fill.start,
            None => self.source.point(),
        }
    }

    /// Where in the tile that point lies: the beginning of a block.
    pub(super) fn completed_base(&self) -> u32 {
        let writes = self.outstanding().filter(|write| !write.is_abandoned()).map(|write| write.start);
        let failed = self.going_back.iter().map(|failed| failed.start);
        let next = self.fill.as_ref().map(|fill| fill.base).or(self.tiles.current.map(|current| current.base));
        writes.chain(failed).chain(next).min().unwrap_or(0)
    }

    /// Takes text from the ring, writes what is due, and makes the next tile ready.
    pub(super) fn log_step<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, ring: &Ring<'_>, now_ns: u64) {
        self.resubmit(device);
        if self.is_undone {
            if self.outstanding().next().is_some() {
                return;
            }
            self.redo();
        }
        if self.going_back.is_some() && self.outstanding().next().is_none() {
            self.go_back();
        }
        self.next_tile_step(device);
        let mut is_dry = false;
        for _ in 0..=N {
            let can_write = self.tiles.current.is_some() && !self.is_tile_full();
            if self.going_back.is_some() || !(can_write || self.enter_next()) {
                break;
            }
            is_dry = !self.fill_up(ring, now_ns);
            if !self.write_due(device, now_ns, is_dry) {
                break;
            }
        }
        if !matches!(self.phase, Phase::Logging) {
            return;
        }
        let has_news = self.fill.as_ref().is_some_and(Fill::has_news);
        if self.crash.is_some()
            && is_dry
            && !has_news
            && self.outstanding().next().is_none()
            && self.going_back.is_none()
        {
            self.phase = Phase::Closing;
            self.drop_text();
        }
    }

    /// Whether nothing more can be written to the current tile.
    pub(super) fn is_tile_full(&self) -> bool {
        let end = if self.tile_count() == 1 && self.crash.is_none() { TILE_BYTES - RESERVE } else { TILE_BYTES };
        self.fill.is_none() && self.tiles.current.is_some_and(|current| current.base >= end)
    }

    /// How many bytes one write may have that begins here.
    fn capacity(&self, base: u32) -> u32 {
        let Some(current) = self.tiles.current else { return 0 };
        let has_reserve = self.tiles.next.stage != Stage::Ready && self.crash.is_none();
        let limit = if has_reserve { TILE_BYTES - RESERVE } else { TILE_BYTES };
        let most = if base < self.careful_until { self.block_size() } else { self.transfer_bytes() };
        most.min(self.config.place.contiguous(current.tile, base)).min(limit.saturating_sub(base))
    }

    /// Fills text in; `false` if there is no more.
    fn fill_up(&mut self, ring: &Ring<'_>, now_ns: u64) -> bool {
        let (Some(current), Some(identity)) = (self.tiles.current, self.tiles.identity) else { return true };
        let base = self.fill.as_ref().map_or(current.base, |fill| fill.base);
        let capacity = self.capacity(base) as usize;
        if self.fill.is_none() {
            if capacity == 0 {
                return true;
            }
            let Some(buffer) = self.pool.take() else { return true };
            let header = Header { uuid: identity.uuid, round: current.round, tile: current.tile };
            self.fill = Some(Fill::open(buffer, base, &header, self.source.point(), now_ns));
        }
        let feed = self.feed(ring, now_ns);
        let block = self.block_size() as usize;
        match &mut self.fill {
            Some(fill) => fill.fill(&mut self.source, &feed, capacity, block),
            None => true,
        }
    }

    /// Submits a write if one is due; `false` if none is.
    fn write_due<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, now_ns: u64, is_dry: bool) -> bool {
        let Some(fill) = &self.fill else { return false };
        // No two writes of one block at a time: their order would be the device's choice.
        if fill.clean > 0 && self.outstanding().any(|write| write.end > fill.base) {
            return false;
        }
        // Where a write failed, one after the other, so that each block is judged by itself.
        let first = self.outstanding().map(|write| write.start).min();
        if first.is_some_and(|first| first.min(fill.base) < self.careful_until) {
            return false;
        }
        let border = fill.mark.at;
        let rest = fill.len - border;
        let is_full = fill.len >= self.capacity(fill.base) as usize;
        let is_idle = self.outstanding().next().is_none() && self.crash.is_none();
        let is_due = fill.has_news() && is_dry && self.source.is_between() && self.is_pad_due(fill, now_ns);
        if is_due && rest > 0 {
            // After a crash nothing follows: the block need not be written again.
            let next = if self.crash.is_some() { None } else { self.pool.take() };
            if next.is_none() && self.crash.is_none() {
                return false;
            }
            let Some(fill) = self.fill.take() else { return false };
            let (block, complete) = (self.block_size() as usize, self.source.point().complete);
            let (padded, rest) = fill.pad(next, block, complete);
            self.write(device, padded, rest)
        } else if border > 0 && (is_full || is_idle || is_due) {
            let next = if rest > 0 { self.pool.take() } else { None };
            if rest > 0 && next.is_none() {
                return false;
            }
            let Some(fill) = self.fill.take() else { return false };
            let (full, rest) = fill.split(next);
            self.write(device, full, rest)
        } else {
            false
        }
    }

    fn is_pad_due(&self, fill: &Fill<B>, now_ns: u64) -> bool {
        let written = if fill.clean > 0 { fill.clean_complete } else { fill.start.complete };
        let is_late = fill.oldest_ns.is_some_and(|oldest| now_ns.saturating_sub(oldest) >= self.config.pad_ns);
        self.crash.is_some() || self.finish > written || is_late
    }

    /// Hands a fill out, and goes on with the rest of it.
    fn write<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, full: Fill<B>, rest: Option<Fill<B>>) -> bool {
        let (start, end) = (full.base, full.base + full.len as u32);
        self.fill = rest;
        let Some(current) = &mut self.tiles.current else { return false };
        current.base = self.fill.as_ref().map_or(end, |fill| fill.base);
        current.high = current.high.max(end);
        let tile = current.tile;
        let Some(slot) = self.writes.iter().position(Option::is_none) else { return false };
        let state = State::Waiting { buffer: full.buffer, again: false };
        if let Some(place) = self.writes.get_mut(slot) {
            *place = Some(Write { tile, start, end, point: full.start, state });
        }
        self.submit_write(device, slot);
        true
    }

    /// Submits the writes that wait; those that the log will go back behind are dropped.
    fn resubmit<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D) {
        let behind = if self.is_undone { 0 } else { self.going_back.map_or(u32::MAX, |failed| failed.start) };
        for slot in 0..N {
            let waits = |write: &mut Write<B>| matches!(write.state, State::Waiting { .. });
            let Some(place) = self.writes.get_mut(slot) else { continue };
            if place.as_ref().is_some_and(|write| write.start >= behind) {
                if let Some(Write { state: State::Waiting { buffer, .. }, .. }) = place.take_if(waits) {
                    self.pool.put(buffer);
                }
            } else if place.as_mut().is_some_and(waits) {
                self.submit_write(device, slot);
            }
        }
    }

    fn submit_write<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, slot: usize) {
        let serial = self.next_serial();
        let Some(Some(write)) = self.writes.get_mut(slot) else { return };
        let Ok(blocks) = self.config.place.blocks_of(write.tile, write.start, write.end) else {
            self.stop(Reason::Outside);
            return;
        };
        let (buffer, again) = match core::mem::replace(&mut write.state, State::InFlight { serial, again: false }) {
            State::Waiting { buffer, again } => (buffer, again),
            other => {
                write.state = other;
                return;
            }
        };
        write.state = State::InFlight { serial, again };
        self.is_changed = true;
        self.publish();
        let tag = tag::encode(self.config.index, Kind::Text { slot: slot as u16 }, serial);
        let request = Request::Write { first_block: blocks.first, blocks: blocks.count, buffer, fua: false };
        let Err(refused) = device.submit(tag, request) else { return };
        let (error, buffer) = (refused.error, refused.request.into_buffer());
        match (error.kind, buffer) {
            (ErrorKind::QueueFull | ErrorKind::NotReady, Some(buffer)) => {
                if let Some(Some(write)) = self.writes.get_mut(slot) {
                    write.state = State::Waiting { buffer, again };
                }
            }
            (_, buffer) => {
                if let Some(buffer) = self.complete_text(slot as u16, serial, Err(error), buffer) {
                    self.pool.put(buffer);
                }
            }
        }
    }

    /// Notes how a write ended, and gives its buffer back if it is free now.
    pub(super) fn complete_text(
        &mut self,
        slot: u16,
        serial: u32,
        result: Result<(), Error>,
        buffer: Option<B>,
    ) -> Option<B> {
        let Some(place) = self.writes.get_mut(usize::from(slot)) else { return buffer };
        let Some(write) = place else { return buffer };
        let again = match write.state {
            State::InFlight { serial: own, again } if own == serial => Some(again),
            State::Abandoned { serial: own } if own == serial => None,
            _ => return buffer,
        };
        let (error, again) = match (result, again) {
            (Err(error), Some(again)) => (error, again),
            (result, again) => {
                let is_header = write.start == 0;
                *place = None;
                self.flushes.note_write();
                if result.is_ok() && again.is_some() {
                    self.failures = 0;
                    self.has_passed_over &= !is_header;
                    if let Some(current) = &mut self.tiles.current {
                        current.has_header |= is_header;
                    }
                }
                return buffer;
            }
        };
        match buffer {
            Some(buffer) if !again => {
                write.state = State::Waiting { buffer, again: true };
                None
            }
            buffer => {
                let failed = Failed { start: write.start, end: write.end, point: write.point };
                *place = None;
                if self.going_back.is_none_or(|other| failed.start < other.start) {
                    self.going_back = Some(failed);
                }
                self.flushes.note_write();
                self.count_failure(error);
                buffer
            }
        }
    }

    /// Goes on from where a failed write began: with single blocks, and around one that has failed by itself.
    fn go_back(&mut self) {
        let Some(failed) = self.going_back.take() else { return };
        let Some(current) = self.tiles.current else { return };
        if let Some(fill) = self.fill.take() {
            self.pool.put(fill.buffer);
        }
        self.is_changed = true;
        self.careful_until = self.careful_until.max(current.high);
        let is_block = failed.end - failed.start <= self.block_size();
        if is_block && !current.has_header && current.tile != 0 {
            // A tile without a header is no tile. (Tile 0 has to be tried again: there is no log without it.)
            self.tiles.current = None;
            self.source.rewind(failed.point.restart());
            self.plan = after(current.tile, current.round, self.tile_count());
            return self.pass_over(current.tile, current.round, self.last_error);
        }
        let goes_around = is_block && current.has_header;
        let (base, point) =
            if goes_around { (failed.end, failed.point.restart()) } else { (failed.start, failed.point) };
        self.tiles.current = Some(Current { base, ..current });
        self.source.rewind(point);
    }

    /// Gives up all text that is not with the device.
    pub(super) fn drop_text(&mut self) {
        if let Some(fill) = self.fill.take() {
            self.pool.put(fill.buffer);
        }
        for place in &mut self.writes {
            match place {
                Some(Write { state: state @ State::InFlight { .. }, .. }) => {
                    if let State::InFlight { serial, .. } = *state {
                        *state = State::Abandoned { serial };
                    }
                }
                Some(Write { state: State::Waiting { .. }, .. }) => {
                    if let Some(Write { state: State::Waiting { buffer, .. }, .. }) = place.take() {
                        self.pool.put(buffer);
                    }
                }
                _ => {}
            }
        }
        self.going_back = None;
        self.careful_until = 0;
    }
}
