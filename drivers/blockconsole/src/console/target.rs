//! What the crash path must know of a console, kept where it can be read at any time.
//!
//! A [`Target`] is plain data with a CRC-32C. A console publishes a new one into its [`TargetCell`] after every
//! change, and *before* every write that it submits. The cell holds two: a new one is written over the older, and then named as the
//! latest. So whoever interrupts that, an NMI in the middle of it included, finds a whole one; and memory that was
//! overwritten by a stray pointer shows by its CRC, so that it sends no write anywhere.

use super::config::Name;
use super::next_tile::{NextTile, Stage};
use super::point::{Due, LineKind, Point};
use super::{Console, Current, Identity, Tiles};
use crate::checksum::Crc32c;
use crate::place::{Extent, MAX_EXTENTS, Place, PlaceError};
use crate::series::{KEPT_RECORDS, Kept, KeptRecord};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// "bcontgt" and the version of the layout.
const MAGIC: u64 = u64::from_be_bytes(*b"bcontgt\x01");
const POINT_WORDS: usize = 6;
const TARGET_WORDS: usize = 1 + 4 + 1 + 2 * MAX_EXTENTS + 3 + KEPT_RECORDS + 1 + 6 + 2 * POINT_WORDS + 2;

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
    /// `base` is where everything before has been written.
    pub(super) current: Option<Current>,
    pub(super) next_tile: u32,
    pub(super) next_round: u32,
    pub(super) is_next_ready: bool,
    pub(super) kept: Kept,
    /// Where the text at `base` comes from.
    pub(super) point: Point,
    /// Where the text after the block at `base` comes from, if that block was written with a pad.
    pub(super) after: Option<Point>,
    pub(super) durable: u64,
}

/// Why a target cannot be used. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// Nothing was ever published.
    Empty,
    /// The CRC is wrong: memory was overwritten.
    Checksum,
    /// It makes no sense, though its CRC is right.
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
    /// meanwhile, it is the one before.
    ///
    /// # Errors
    /// If there is none, or it was damaged.
    pub fn load(&self) -> Result<Target, BadTarget> {
        let latest = self.latest.load(Ordering::Acquire);
        let result = self.load_slot(latest);
        match result {
            Err(BadTarget::Checksum) => self.load_slot(latest ^ 1).map_err(|_| BadTarget::Checksum),
            result => result,
        }
    }

    fn load_slot(&self, slot: u64) -> Result<Target, BadTarget> {
        let words = self.slots.get((slot & 1) as usize).ok_or(BadTarget::Empty)?;
        let words: [u64; TARGET_WORDS] =
            core::array::from_fn(|i| words.get(i).map_or(0, |word| word.load(Ordering::Relaxed)));
        Target::decode(&words)
    }

    fn store(&self, target: &Target) {
        // One console publishes here, so that nobody else changes this.
        let older = self.latest.load(Ordering::Relaxed) & 1 ^ 1;
        let words = target.encode();
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
            self.cell.store(&self.target());
        }
    }

    /// What the crash path would have to know at this moment.
    pub fn target(&self) -> Target {
        let base = self.completed_base();
        let current = self.tiles.current.map(|current| Current { base, ..current });
        let point = self.completed_point();
        let is_open = |fill: &&super::fill::Fill<B>| fill.clean > 0 && fill.base == base;
        let after = self.fill.as_ref().filter(is_open).map(|fill| Point {
            line: LineKind::Between,
            skip: 0,
            sequence: fill.clean_complete,
            complete: fill.clean_complete,
            time_ns: self.source.point().time_ns,
            due: Due::default(),
            ..Point::START
        });
        let NextTile { tile, round, stage } = self.tiles.next;
        let side_writes = self.side.as_ref().is_some_and(super::side::Side::writes);
        Target {
            name: self.config.name,
            index: self.config.index,
            place: self.config.place,
            expected: self.config.expected,
            in_flight: side_writes || self.outstanding().next().is_some(),
            is_idle: !self.is_active(),
            state: TargetState {
                identity: self.tiles.identity,
                current,
                next_tile: tile,
                next_round: round,
                is_next_ready: stage == Stage::Ready,
                kept: self.tiles.kept,
                point,
                after,
                durable: self.durable(),
            },
        }
    }
}

impl Target {
    fn encode(&self) -> [u64; TARGET_WORDS] {
        let mut out = Words { words: [0; TARGET_WORDS], at: 0 };
        let state = &self.state;
        out.put(MAGIC);
        self.name.to_words().into_iter().for_each(|word| out.put(word));
        let extents = self.place.extents();
        out.put(pair(self.place.block_size(), extents.len() as u32));
        for i in 0..MAX_EXTENTS {
            let extent = extents.get(i).copied().unwrap_or_default();
            out.put(extent.first_block);
            out.put(extent.blocks);
        }
        let flags = [
            self.expected.is_some(),
            self.in_flight,
            self.is_idle,
            state.identity.is_some(),
            state.current.is_some(),
            state.is_next_ready,
            state.after.is_some(),
            state.current.is_some_and(|current| current.has_header),
        ];
        let flags = flags.iter().enumerate().fold(0, |bits, (i, flag)| bits | u32::from(*flag) << i);
        out.put(pair(flags, u32::from(self.index)));
        let identity = state.identity.unwrap_or(Identity { uuid: 0, boot: 0 });
        out.put(pair(identity.uuid, identity.boot));
        out.put(pair(self.expected.unwrap_or(0), 0));
        let kept = state.kept.records();
        for i in 0..KEPT_RECORDS {
            let record = kept.get(i).copied().unwrap_or_default();
            out.put(pair(record.first, record.last));
        }
        out.put(kept.len() as u64);
        let current = state.current.unwrap_or(Current { tile: 0, round: 0, base: 0, high: 0, has_header: false });
        out.put(pair(current.tile, current.round));
        out.put(pair(current.base, current.high));
        out.put(pair(state.next_tile, state.next_round));
        out.put(state.durable);
        out.put_point(&state.point);
        out.put_point(&state.after.unwrap_or(Point::START));
        let crc = out.crc();
        if let Some(last) = out.words.last_mut() {
            *last = u64::from(crc);
        }
        out.words
    }

    fn decode(words: &[u64; TARGET_WORDS]) -> Result<Self, BadTarget> {
        if words.iter().all(|word| *word == 0) {
            return Err(BadTarget::Empty);
        }
        let mut from = Words { words: *words, at: 0 };
        if words.last() != Some(&u64::from(from.crc())) {
            return Err(BadTarget::Checksum);
        }
        if from.get() != MAGIC {
            return Err(BadTarget::Nonsense);
        }
        let name = Name::from_words([from.get(), from.get(), from.get(), from.get()]);
        let (block_size, count) = halves(from.get());
        let extents: [Extent; MAX_EXTENTS] =
            core::array::from_fn(|_| Extent { first_block: from.get(), blocks: from.get() });
        let extents = extents.get(..count as usize).ok_or(BadTarget::Nonsense)?;
        let place = Place::new(block_size, extents).map_err(BadTarget::Place)?;
        let (flags, index) = halves(from.get());
        let flag = |i: u32| flags >> i & 1 == 1;
        let (uuid, boot) = halves(from.get());
        let (expected, _) = halves(from.get());
        let records: [KeptRecord; KEPT_RECORDS] = core::array::from_fn(|_| {
            let (first, last) = halves(from.get());
            KeptRecord { first, last }
        });
        let mut kept = Kept::NONE;
        let count = from.get();
        for record in records.iter().take(usize::try_from(count).unwrap_or(0)) {
            kept.push(*record, place.tiles());
        }
        let (tile, round) = halves(from.get());
        let (base, high) = halves(from.get());
        let (next_tile, next_round) = halves(from.get());
        let durable = from.get();
        let point = from.get_point().ok_or(BadTarget::Nonsense)?;
        let after = from.get_point().ok_or(BadTarget::Nonsense)?;
        let state = TargetState {
            identity: flag(3).then_some(Identity { uuid, boot }),
            current: flag(4).then_some(Current { tile, round, base, high, has_header: flag(7) }),
            next_tile,
            next_round,
            is_next_ready: flag(5),
            kept,
            point,
            after: flag(6).then_some(after),
            durable,
        };
        let target = Self {
            name,
            index: index as u8,
            place,
            expected: flag(0).then_some(expected),
            in_flight: flag(1),
            is_idle: flag(2),
            state,
        };
        if target.makes_sense() { Ok(target) } else { Err(BadTarget::Nonsense) }
    }

    fn makes_sense(&self) -> bool {
        let tiles = self.place.tiles();
        let block = self.place.block_size();
        let is_place = |offset: u32| offset.is_multiple_of(block) && offset <= crate::format::TILE_BYTES;
        let current_fits = self
            .state
            .current
            .is_none_or(|current| u64::from(current.tile) < tiles && is_place(current.base) && is_place(current.high));
        current_fits
            && u64::from(self.state.next_tile) < tiles
            && (self.state.current.is_none() || self.state.identity.is_some())
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

/// A target in the making, or being read.
struct Words {
    words: [u64; TARGET_WORDS],
    at: usize,
}

impl Words {
    fn put(&mut self, word: u64) {
        if let Some(place) = self.words.get_mut(self.at) {
            *place = word;
        }
        self.at += 1;
    }

    fn get(&mut self) -> u64 {
        let word = self.words.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        word
    }

    fn put_point(&mut self, point: &Point) {
        let Due { feed, boot, tile, trailer } = point.due;
        let due = [feed, boot, tile, trailer].iter().enumerate().fold(0, |bits, (i, due)| bits | u32::from(*due) << i);
        self.put(pair(point.line as u32 | due << 8, point.skip));
        self.put(point.value);
        self.put(point.time_ns);
        self.put(point.sequence);
        self.put(point.complete);
        self.put(0);
    }

    fn get_point(&mut self) -> Option<Point> {
        let (line, skip) = halves(self.get());
        let due = |i: u32| line >> (8 + i) & 1 == 1;
        let due = Due { feed: due(0), boot: due(1), tile: due(2), trailer: due(3) };
        let line = LineKind::from_number(line as u8)?;
        let point = Point {
            line,
            skip,
            value: self.get(),
            time_ns: self.get(),
            sequence: self.get(),
            complete: self.get(),
            due,
        };
        self.get();
        Some(point)
    }

    /// The CRC of all words but the last, which holds it.
    fn crc(&self) -> u32 {
        let mut crc = Crc32c::new();
        for word in self.words.iter().take(TARGET_WORDS - 1) {
            crc.update(&word.to_le_bytes());
        }
        crc.finish()
    }
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
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
