//! Where a console's log ends, and in which order its tiles are to be read.
//!
//! A log is read by *positions*: 0 is the oldest tile, the last one the newest. The order is that of rounds, and within a
//! round that of places. It is found in O(log n) reads, by looking only where headers differ.
//!
//! The tile behind the newest may be erased already, but for its first block: its text is in its place, and ends there.
//!
//! Two things disturb that order. A tile whose header is damaged lies between two of one round and is taken for
//! one of them. And a *carried* tile holds a crash record that was kept when the log came round to it: its header has the
//! newer round, its tile line tells the older one. Such tiles come first in the order. Those that the
//! newest tile names as kept are known at once; [`Log::find_carried`] looks for those that earlier boots kept. Until then they
//! stand where their places are, and whoever looks at a tile there tells them by [`Position::is_carried_by`].

mod carried;

use crate::medium::Medium;
use crate::target::Console;
use anyhow::{Result, anyhow};
use blockconsole::format::{Age, HEADER_LEN, Header, TILE_BYTES, tile_start, tiles_in};
use blockconsole::marks::Mark;
use blockconsole::search::{Answer, Found, Refusal, Search, Step};
use blockconsole::series::Kept;
use std::cell::Cell;

/// A tile's size as a buffer's length.
pub(crate) const TILE: usize = TILE_BYTES as usize;

/// Bytes that a look at a tile's header takes.
const HEADER_LOOK: usize = 512;
/// Bytes that a look at a tile's first lines takes: nearly always enough, and always enough. A crash record of 16 KiB may
/// stand before the tile line.
const LINE_LOOKS: [usize; 2] = [4 << 10, 64 << 10];
/// Header reads that finding the order of tiles may take; a disk on which that is not enough has been tampered with.
const MAX_LOOKS: u64 = 16_384;

/// A run of neighbouring tiles of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first tile.
    pub first: u64,
    /// The tile after its last one.
    pub end: u64,
    /// The round that its tiles were written in.
    pub round: u32,
}

impl Run {
    /// Number of tiles.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.first)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a tile's own lines say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileLine {
    /// The round in which its text was written.
    pub round: u32,
    /// The boot that wrote it.
    pub boot: u32,
    /// The crash records that this boot keeps.
    pub kept: Kept,
}

/// A tile in the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The tile.
    pub tile: u32,
    /// The round that its header has.
    pub round: u32,
    /// Whether it was carried over from an older round.
    pub carried: bool,
}

impl Position {
    /// Whether a tile with this line was carried here, although nobody knew when the order was found.
    pub fn is_carried_by(&self, line: &TileLine) -> bool {
        let age = self.round.wrapping_sub(line.round);
        !self.carried && age != 0 && age < 1 << 31
    }
}

/// A console's log: where it ends, found in a few reads.
#[derive(Clone, Debug)]
pub struct Log {
    /// What the console is called.
    pub name: String,
    /// The console's bytes.
    pub medium: Medium,
    /// Its size in tiles.
    pub tiles: u64,
    /// Where its log ends.
    pub found: Found,
    /// The crash records that the newest boot keeps.
    pub kept: Kept,
    /// Runs of tiles that carry its log, the oldest first.
    runs: Vec<Run>,
    /// Carried tiles, the oldest first, with the round of their text.
    carried: Vec<(u32, u32)>,
    /// For each run: the first position of its tiles, and the carried tiles in it, sorted.
    places: Vec<(u64, Vec<u64>)>,
    reads: Cell<u64>,
}

impl Log {
    /// Finds the end of a console's log, and the order of its tiles.
    ///
    /// # Errors
    /// If the console is no longer there.
    pub fn open(console: &Console) -> Result<Self> {
        let tiles = tiles_in(console.medium.len());
        let expected = console.lost_first_header.then_some(console.header.uuid);
        let (found, search_reads) = search_counting(&console.medium, expected).map_err(|refusal| match refusal {
            Refusal::Unreadable => {
                anyhow!("{}: its first tile cannot be read: try --uuid, if you know it", console.name)
            }
            _ => anyhow!("{}: the console is gone: see `bcon list`", console.name),
        })?;
        let (name, medium) = (console.name.clone(), console.medium.clone());
        let (runs, carried, places, reads) = (vec![], vec![], vec![], Cell::new(search_reads));
        let mut log = Self { name, medium, tiles, found, kept: Kept::NONE, runs, carried, places, reads };
        log.runs = log.order();
        log.arrange();
        log.kept = log.newest_kept();
        let kept: Vec<u32> = log.kept.records().iter().flat_map(|record| [record.first, record.last]).collect();
        log.take_carried(kept.into_iter());
        Ok(log)
    }

    /// Reads of the disk that were made to find all this.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Number of tiles that hold text of this log: one more than the last position.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(Run::len).sum()
    }

    /// Whether there are none, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs of tiles, the oldest first. Carried tiles lie somewhere among them.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Carried tiles, with the round of their text.
    pub fn carried(&self) -> &[(u32, u32)] {
        &self.carried
    }

    /// The tile at a position; `None` beyond the newest one.
    pub fn position(&self, position: u64) -> Option<Position> {
        if position < self.carried.len() as u64 {
            let &(tile, _) = self.carried.get(position as usize)?;
            let round = self.runs.iter().find(|run| run.first <= u64::from(tile) && u64::from(tile) < run.end)?.round;
            return Some(Position { tile, round, carried: true });
        }
        let index = self.places.partition_point(|&(first, _)| first <= position).checked_sub(1)?;
        let ((first, holes), run) = (self.places.get(index)?, self.runs.get(index)?);
        let tile = holes.iter().fold(run.first + (position - first), |tile, &hole| tile + u64::from(hole <= tile));
        (tile < run.end).then_some(Position { tile: tile as u32, round: run.round, carried: false })
    }

    /// Finds out at which position each run begins.
    fn arrange(&mut self) {
        let mut sorted: Vec<u64> = self.carried.iter().map(|&(tile, _)| u64::from(tile)).collect();
        sorted.sort_unstable();
        let mut next = sorted.len() as u64;
        self.places = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let from = sorted.partition_point(|&tile| tile < run.first);
            let holes: Vec<u64> = sorted.iter().skip(from).copied().take_while(|&tile| tile < run.end).collect();
            let len = run.len().saturating_sub(holes.len() as u64);
            self.places.push((next, holes));
            next += len;
        }
    }

    /// Whether a line may go on from one tile to the other: whether nothing but carried tiles lies between them.
    pub fn follows(&self, before: Position, after: Position) -> bool {
        self.follows_past(before, after, &[])
    }

    /// As [`Self::follows`], where these tiles turned out to be carried as well.
    pub(crate) fn follows_past(&self, before: Position, after: Position, passed: &[u32]) -> bool {
        if before.carried || after.carried {
            let text_round = |of: u32| self.carried.iter().find(|carried| carried.0 == of).map(|carried| carried.1);
            let neighbours = before.tile.checked_add(1) == Some(after.tile);
            return before.carried == after.carried && neighbours && text_round(before.tile) == text_round(after.tile);
        }
        let (mut tile, mut round) = (before.tile, before.round);
        // One step, and one more for each carried tile on the way.
        for _ in 0..=self.carried.len() + passed.len() {
            (tile, round) = blockconsole::search::after(tile, round, self.tiles);
            if tile == after.tile {
                return round == after.round;
            }
            if !passed.contains(&tile) && !self.carried.iter().any(|carried| carried.0 == tile) {
                return false;
            }
        }
        false
    }

    /// What a tile's own lines say about it; `None` where there are none, as on disks that Linux wrote.
    pub fn tile_line(&self, tile: u32) -> Option<TileLine> {
        LINE_LOOKS.iter().find_map(|&len| {
            let mut start = vec![0; len];
            self.reads.set(self.reads.get() + 1);
            self.medium.read_at(tile_start(tile), &mut start).ok()?;
            tile_line_in(start.get(HEADER_LEN..)?, self.tiles)
        })
    }

    /// Looks at headers, halving what lies between unequal ones, until each tile belongs to a run.
    fn order(&self) -> Vec<Run> {
        let newest = u64::from(self.found.newest);
        let mut pieces = Vec::new();
        let mut open = vec![(newest + 1, self.tiles)];
        while let Some((first, end)) = open.pop() {
            if first >= end {
                continue;
            }
            let (left, right) = (self.older_round(first), self.older_round(end - 1));
            if left == right || self.reads() > MAX_LOOKS {
                pieces.push((first, end, left));
                continue;
            }
            let middle = first + (end - first) / 2;
            open.push((middle, end));
            open.push((first, middle));
        }
        let mut runs = join(&pieces);
        runs.sort_by_key(|run| std::cmp::Reverse(self.found.newest_round.wrapping_sub(run.round)));
        runs.push(Run { first: 0, end: newest + 1, round: self.found.newest_round });
        runs
    }

    /// The round of a tile that the log's older part may have; `None` for anything else.
    fn older_round(&self, tile: u64) -> Option<u32> {
        let newest = Header { uuid: self.found.uuid, round: self.found.newest_round, tile: 0 };
        self.reads.set(self.reads.get() + 1);
        match look(&self.medium, tile as u32) {
            Answer::Header(header) if header.age(&newest) == Age::Older => Some(header.round),
            _ => None,
        }
    }
}

/// Joins neighbouring pieces of one round. Tiles without a header between two such pieces are damaged ones of that
/// round; elsewhere they were never written.
fn join(pieces: &[(u64, u64, Option<u32>)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &(first, end, round) in pieces {
        let Some(round) = round else { continue };
        match runs.last_mut() {
            Some(last) if last.round == round => last.end = end,
            _ => runs.push(Run { first, end, round }),
        }
    }
    runs
}

/// Finds the tile line in the beginning of a tile's text.
pub(crate) fn tile_line_in(text: &[u8], tiles: u64) -> Option<TileLine> {
    let mut lines = text.split(|&byte| byte == b'\n').take_while(|line| line.first() != Some(&0));
    lines.find_map(|line| match Mark::parse(line, tiles)? {
        Mark::Tile { round, boot, kept, .. } => Some(TileLine { round, boot, kept }),
        _ => None,
    })
}

/// Finds the end of the log of a console, of this uuid if one is expected.
pub(crate) fn search(medium: &Medium, expected: Option<u32>) -> Result<Found, Refusal> {
    search_counting(medium, expected).map(|(found, _)| found)
}

/// As [`search`], with the number of reads that it took.
fn search_counting(medium: &Medium, expected: Option<u32>) -> Result<(Found, u64), Refusal> {
    let mut search = Search::new(tiles_in(medium.len()), expected);
    loop {
        match search.step() {
            Step::Read(tile) => search.answer(look(medium, tile)),
            Step::Done(found) => return Ok((found, search.reads())),
            Step::Refused(refusal) => return Err(refusal),
        }
    }
}

fn look(medium: &Medium, tile: u32) -> Answer {
    let mut block = [0; HEADER_LOOK];
    match medium.read_at(tile_start(tile), &mut block) {
        Ok(()) => Answer::of(&block),
        Err(_) => Answer::Unreadable,
    }
}
