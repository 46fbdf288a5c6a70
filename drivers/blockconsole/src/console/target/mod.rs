//! What the crash path must know of a console, readable at any time.
//!
//! A [`Target`] is plain data with a checksum. A console publishes a new one into its [`TargetCell`] after every
//! change, and *before* every write that it submits. The cell holds two: a new one is written over the older, and then named as the
//! latest. So whoever interrupts that, an NMI in the middle of it included, finds a whole one; and memory that was
//! overwritten by a stray pointer shows by its checksum, so that it sends no write anywhere.

#[cfg(test)]
mod tests;
mod words;

use super::config::Name;
use super::fill::Fill;
use super::flush::Covers;
use super::next_tile::{NextTile, Stage};
use super::point::{Due, LineKind, Point};
use super::side::Side;
use super::{Console, Current, Identity, Tiles};
use crate::place::{Place, PlaceError};
use crate::series::Kept;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
pub(super) use words::FixedWords;
use words::TARGET_WORDS;

/// What the crash path must know of a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The device's name.
    pub name: Name,
    /// The console's index, for tags.
    pub index: u8,
    /// Where it lies.
    pub place: Place,
    /// The uuid that must be there, if one was asked for.
    pub expected: Option<u32>,
    /// Whether a write, or an erasure, was with the device.
    pub in_flight: bool,
    /// Whether the console had stopped: there is nothing to take over.
    pub is_idle: bool,
    pub(super) state: TargetState,
}

/// The state of a log that is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetState {
    pub(super) identity: Option<Identity>,
    /// Where the log goes on is not known: there is nothing to be relied on but whose disk it is, if that is known.
    pub(super) is_mounting: bool,
    /// `base` is where everything before has been written.
    pub(super) current: Option<Current>,
    pub(super) next_tile: u32,
    pub(super) next_round: u32,
    pub(super) is_next_ready: bool,
    /// The tile before that, or before the current one, was passed over.
    pub(super) has_passed_over: bool,
    pub(super) kept: Kept,
    /// Where the text at `base` comes from.
    pub(super) point: Point,
    /// Where the text after the block at `base` comes from, if that block was written with a pad.
    pub(super) after: Option<Point>,
    pub(super) durable: Covers,
}

/// Why a target cannot be used. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// Nothing was ever published.
    Empty,
    /// The checksum is wrong: memory was overwritten.
    Checksum,
    /// It makes no sense, though its checksum is right.
    Nonsense,
    /// Its place makes no sense.
    Place(PlaceError),
    /// The console had stopped.
    Idle,
}

/// Where a console keeps its latest [`Target`].
pub struct TargetCell {
    slots: [[AtomicU64; TARGET_WORDS]; 2],
    /// Which slot is the latest.
    latest: AtomicU64,
}

impl TargetCell {
    /// An empty cell.
    pub const fn new() -> Self {
        Self { slots: [const { [const { AtomicU64::new(0) }; TARGET_WORDS] }; 2], latest: AtomicU64::new(0) }
    }

    /// Takes the latest target, from wherever: at worst, when a console on another processor goes on publishing
    /// meanwhile, or the latest is damaged, it is the one before.
    ///
    /// # Errors
    /// If there is none, or it was damaged.
    pub fn load(&self) -> Result<Target, BadTarget> {
        let latest = self.latest.load(Ordering::Acquire);
        let result = self.load_slot(latest);
        match result {
            // The one before tells where to go on as well, only not whether anything is in flight now.
            Err(BadTarget::Checksum) => self
                .load_slot(latest ^ 1)
                .map(|target| Target { in_flight: true, ..target })
                .map_err(|_| BadTarget::Checksum),
            result => result,
        }
    }

    fn load_slot(&self, slot: u64) -> Result<Target, BadTarget> {
        let words = self.slots.get((slot & 1) as usize).ok_or(BadTarget::Empty)?;
        let words: [u64; TARGET_WORDS] =
            core::array::from_fn(|i| words.get(i).map_or(0, |word| word.load(Ordering::Relaxed)));
        Target::decode(&words)
    }

    fn store(&self, target: &Target, fixed: &FixedWords) {
        // One console publishes here, so that nobody else changes this.
        let older = self.latest.load(Ordering::Relaxed) & 1 ^ 1;
        let words = target.encode(fixed);
        if let Some(slot) = self.slots.get(older as usize) {
            for (place, word) in slot.iter().zip(words) {
                place.store(word, Ordering::Relaxed);
            }
        }
        self.latest.store(older, Ordering::Release);
    }
}

impl Default for TargetCell {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'_, B, N> {
    /// Publishes the target, if it has changed.
    pub(super) fn publish(&mut self) {
        if core::mem::replace(&mut self.is_changed, false) {
            self.cell.store(&self.target(), &self.fixed_words);
        }
    }

    /// What the crash path would have to know at this moment.
    pub fn target(&self) -> Target {
        let base = self.completed_base();
        let mut current = self.tiles.current.map(|current| Current { base, ..current });
        let mut point = self.completed_point();
        let is_open = |fill: &&Fill<B>| fill.clean > 0 && fill.base == base;
        let mut after = self.fill.as_ref().filter(is_open).map(|fill| Point {
            line: LineKind::Between,
            skip: 0,
            sequence: fill.clean_complete,
            complete: fill.clean_complete,
            time_ns: self.source.point().time_ns,
            due: Due::default(),
            ..Point::START
        });
        let mut next = self.tiles.next;
        if self.is_undone {
            (current, next, point) = self.undone();
            after = None;
        }
        let NextTile { tile, round, stage } = next;
        let side_writes = self.side.as_ref().is_some_and(Side::writes);
        Target {
            name: self.config.name,
            index: self.config.index,
            place: self.config.place,
            expected: self.config.expected,
            in_flight: side_writes || self.outstanding().next().is_some(),
            is_idle: !self.is_active(),
            state: TargetState {
                identity: self.tiles.identity,
                is_mounting: self.must_mount(),
                current,
                next_tile: tile,
                next_round: round,
                is_next_ready: stage == Stage::Ready,
                has_passed_over: self.has_passed_over,
                kept: self.tiles.kept,
                point,
                after,
                durable: self.flushes.durable_until(),
            },
        }
    }
}

impl Target {
    /// The boot's number there, the tile that is being written, and its round.
    pub fn position(&self) -> Option<(u32, u32, u32)> {
        let current = self.state.current?;
        Some((self.state.identity?.boot, current.tile, current.round))
    }

    /// The part of a console's state that says which tiles it is concerned with.
    pub(super) fn tiles(&self) -> Tiles {
        let state = &self.state;
        let stage = match (state.is_next_ready, state.current) {
            (true, _) => Stage::Ready,
            (false, Some(_)) => Stage::Idle,
            (false, None) => Stage::Choosing,
        };
        let next = NextTile { tile: state.next_tile, round: state.next_round, stage };
        Tiles { identity: state.identity, current: state.current, next, kept: state.kept }
    }
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no target"),
            Self::Checksum => f.write_str("the target's checksum is wrong"),
            Self::Nonsense => f.write_str("the target makes no sense"),
            Self::Place(error) => write!(f, "the target's place makes no sense: {error}"),
            Self::Idle => f.write_str("the console had stopped"),
        }
    }
}

impl core::error::Error for BadTarget {}
