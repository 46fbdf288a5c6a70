//! Carried tiles: crash records that were kept when the log came round to them.

use super::{Log, Position, TileLine};
use blockconsole::last_boot::MAX_TILES_TRIED;
use blockconsole::series::Kept;
use std::collections::BTreeSet;
use std::ops::Range;

/// Tile lines that are read in search of carried tiles, at most.
const ENOUGH: u64 = 65_536;
/// Carried tiles that are told apart; far more than a console ever keeps.
const MAX_CARRIED: usize = 1024;

impl Log {
    /// Looks for carried tiles among these positions, also for those that the newest boot does not keep any more. Those
    /// that are found come first in the order from now on.
    ///
    /// A tile is carried by a boot that names it in each of its tile lines. So it is enough to look where a boot begins or
    /// ends, which halving finds: a few reads for each boot, and never more than one for each tile and each that is named. A log of so
    /// many boots that this takes too long has been tampered with.
    pub fn find_carried(&mut self, positions: Range<u64>) {
        let known = self.carried.len() as u64;
        let (start, end) = (positions.start.max(known), positions.end.min(self.len()));
        if start >= end || self.boot_numbers().is_none() {
            return;
        }
        let enough = self.reads().saturating_add(ENOUGH);
        let mut named = BTreeSet::new();
        let (first, last) = (self.look_for_kept(start, &mut named), self.look_for_kept(end - 1, &mut named));
        let mut open = vec![(start, first, end - 1, last)];
        while let Some((low, at_low, high, at_high)) = open.pop() {
            let is_one_boot =
                at_low.zip(at_high).is_some_and(|(low, high)| (low.boot, low.kept) == (high.boot, high.kept));
            if high - low < 2 || is_one_boot || self.reads() > enough {
                continue;
            }
            let middle = low + (high - low) / 2;
            let at_middle = self.look_for_kept(middle, &mut named);
            open.push((low, at_low, middle, at_middle));
            open.push((middle, at_middle, high, at_high));
        }
        self.take_carried(named.into_iter().take(ENOUGH as usize));
    }

    /// As [`Self::find_carried`], but looks at every tile, in case that the lines that would name them are damaged.
    pub fn find_all_carried(&mut self) {
        let tiles = self.runs.clone();
        self.take_carried(tiles.iter().flat_map(|run| run.first..run.end).map(|tile| tile as u32));
    }

    /// Reads the tile line at a position, and takes note of the tiles that it names as kept, or of the tile itself if it is
    /// a carried one.
    fn look_for_kept(&self, index: u64, named: &mut BTreeSet<u32>) -> Option<TileLine> {
        let position = self.position(index)?;
        let line = self.tile_line(position.tile)?;
        if position.is_carried_by(&line) {
            named.insert(position.tile);
        }
        named.extend(line.kept.records().iter().flat_map(|record| [record.first, record.last]));
        Some(line)
    }

    /// Which of these tiles are carried, in order.
    pub(crate) fn take_carried(&mut self, tiles: impl Iterator<Item = u32>) {
        for tile in tiles {
            if self.carried.len() >= MAX_CARRIED || self.carried.iter().any(|&(known, _)| known == tile) {
                continue;
            }
            let Some(run) = self.runs.iter().find(|run| (run.first..run.end).contains(&u64::from(tile))) else {
                continue;
            };
            let position = Position { tile, round: run.round, carried: false };
            if let Some(line) = self.tile_line(tile).filter(|line| position.is_carried_by(line)) {
                self.carried.push((tile, line.round));
            }
        }
        let newest = self.found.newest_round;
        self.carried.sort_by_key(|&(tile, round)| (std::cmp::Reverse(newest.wrapping_sub(round)), tile));
        self.arrange();
    }

    /// What the newest tile says is kept. A carried tile may be newer by its header: its own line is an old one.
    pub(super) fn newest_kept(&self) -> Kept {
        for tile in (0..=self.found.newest).rev().take(MAX_TILES_TRIED as usize) {
            match self.tile_line(tile) {
                Some(line) if line.round != self.found.newest_round => {}
                line => return line.map_or(Kept::NONE, |line| line.kept),
            }
        }
        Kept::NONE
    }
}
