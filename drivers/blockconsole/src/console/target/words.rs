//! A target as the words of its cell.
//!
//! First what never changes: magic, name and place, and the checksum of these. Then what does, and its checksum, in which the first
//! is taken up. So publishing a target sums up a few words only.

use super::{BadTarget, Target, TargetState};
use crate::console::config::Name;
use crate::console::flush::Covers;
use crate::console::point::{Due, LineKind, Point};
use crate::console::{Current, Identity};
use crate::place::{Extent, MAX_EXTENTS, Place};
use crate::ring::checksum::Checksum;
use crate::series::{KEPT_RECORDS, Kept, KeptRecord};

/// What stands there if there is no current tile.
const NO_TILE: Current = Current { tile: 0, round: 0, base: 0, high: 0, has_header: false, is_durable: false };
/// "bcontgt" and the version of the layout.
const MAGIC: u64 = u64::from_be_bytes(*b"bcontgt\x03");
const POINT_WORDS: usize = 5;
/// Magic, name, place, checksum.
const FIXED_WORDS: usize = 1 + 4 + (1 + 2 * MAX_EXTENTS) + 1;
/// Flags and numbers, what is kept, tiles, points, checksum.
pub(super) const TARGET_WORDS: usize = FIXED_WORDS + 3 + (KEPT_RECORDS + 1) + 5 + 2 * POINT_WORDS + 1;

/// The words that never change, made once.
pub(in crate::console) struct FixedWords([u64; FIXED_WORDS]);

impl FixedWords {
    pub(in crate::console) fn new(name: &Name, place: &Place) -> Self {
        let mut out = Words { words: [0; TARGET_WORDS], at: 0 };
        out.put(MAGIC);
        name.to_words().into_iter().for_each(|word| out.put(word));
        let extents = place.extents();
        out.put(pair(place.block_size(), extents.len() as u32));
        for i in 0..MAX_EXTENTS {
            let extent = extents.get(i).copied().unwrap_or_default();
            out.put(extent.first_block);
            out.put(extent.blocks);
        }
        out.put(out.fixed_checksum());
        Self(core::array::from_fn(|i| out.words.get(i).copied().unwrap_or(0)))
    }
}

impl Target {
    pub(super) fn encode(&self, fixed: &FixedWords) -> [u64; TARGET_WORDS] {
        let mut out = Words { words: [0; TARGET_WORDS], at: 0 };
        fixed.0.iter().for_each(|word| out.put(*word));
        let state = &self.state;
        let flags = [
            self.expected.is_some(),
            self.in_flight,
            self.is_idle,
            state.identity.is_some(),
            state.current.is_some(),
            state.is_next_ready,
            state.after.is_some(),
            state.current.is_some_and(|current| current.has_header),
            state.is_mounting,
            state.current.is_some_and(|current| current.is_durable),
            state.durable.is_boot_due,
            state.durable.is_tile_due,
            state.has_passed_over,
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
        let current = state.current.unwrap_or(NO_TILE);
        out.put(pair(current.tile, current.round));
        out.put(pair(current.base, current.high));
        out.put(pair(state.next_tile, state.next_round));
        out.put(state.durable.records);
        out.put(state.durable.time_ns);
        out.put_point(&state.point);
        out.put_point(&state.after.unwrap_or(Point::START));
        out.put(out.checksum());
        out.words
    }

    pub(super) fn decode(words: &[u64; TARGET_WORDS]) -> Result<Self, BadTarget> {
        if words.iter().all(|word| *word == 0) {
            return Err(BadTarget::Empty);
        }
        let mut from = Words { words: *words, at: 0 };
        if words.last() != Some(&from.checksum()) || words.get(FIXED_WORDS - 1) != Some(&from.fixed_checksum()) {
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
        // The checksum of all this.
        from.get();
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
        let (records, time_ns) = (from.get(), from.get());
        let durable = Covers { records, time_ns, is_boot_due: flag(10), is_tile_due: flag(11) };
        let point = from.get_point().ok_or(BadTarget::Nonsense)?;
        let after = from.get_point().ok_or(BadTarget::Nonsense)?;
        let state = TargetState {
            identity: flag(3).then_some(Identity { uuid, boot }),
            is_mounting: flag(8),
            current: flag(4).then_some(Current { tile, round, base, high, has_header: flag(7), is_durable: flag(9) }),
            next_tile,
            next_round,
            is_next_ready: flag(5),
            has_passed_over: flag(12),
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
        Some(point)
    }

    /// The checksum of the words that never change.
    fn fixed_checksum(&self) -> u64 {
        Checksum::of(MAGIC, self.words.get(..FIXED_WORDS - 1).unwrap_or_default())
    }

    /// The checksum of the others, and of that checksum.
    fn checksum(&self) -> u64 {
        Checksum::of(MAGIC, self.words.get(FIXED_WORDS - 1..TARGET_WORDS - 1).unwrap_or_default())
    }
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}
