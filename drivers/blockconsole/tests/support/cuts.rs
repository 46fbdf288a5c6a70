//! What a cut at any moment can leave on the disk, and what must hold of it.
//!
//! # What must hold
//! At every cut, with every subset of the pending writes, each whole, torn or missing:
//! 1. the mount finds the newest tile whose header is there, and nothing but what comes after it will be overwritten;
//! 2. every byte of every line that was reported durable is where it was;
//! 3. in the newest tile stands nothing but what was written since it was entered, and zeroes.
//!
//! # How it is checked quickly
//! The durable image is kept as one array of [`Cell`]s, each of which knows in which *entry* (the n-th entering of a tile) it was
//! written. A cut's image is that array and an overlay of the blocks that its subset changes; only those are looked
//! at. One cut in [`FULL_EVERY`] is checked in full besides: the image is made, mounted by the crate, and read line by line by a
//! reader of its own; and some of them are booted from and logged to. Images are told apart by a hash of all their blocks: a cut that leaves an
//! image that was checked before, with the same promises, is counted but not checked again.

use super::reader::header;
use super::{Log, Rig};
use block_fake::history::{Event, History};
use block_fake::{Disk, Medium, Random, Settings};
use blockconsole::format::Header;
use blockconsole::search::{Answer, Search, Step};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// One cut in so many is checked in full.
pub const FULL_EVERY: u64 = 1601;

/// A line that was reported durable: when, and where it ends.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Events that had happened.
    pub at: usize,
    /// The line's message.
    pub message: String,
    /// The tile that it ends in, and the offset of its end.
    pub end: (u64, usize),
}

/// A history, and what was promised in the course of it.
pub struct Story {
    pub name: String,
    pub settings: Settings,
    /// Writes failed, so that lines may be there twice.
    pub may_repeat: bool,
    pub history: History,
    pub acks: Vec<Ack>,
}

#[derive(Clone)]
struct Cell {
    /// In which entry it was written; 0: before the story, or zero.
    entry: u32,
    is_zero: bool,
    data: Arc<[u8]>,
    /// How many of its first bytes were promised.
    acked: usize,
    /// Of what it holds.
    hash: u64,
}

struct Write {
    id: u64,
    first: u64,
    cells: Vec<Cell>,
    completed: Option<usize>,
}

/// An entering of a tile.
#[derive(Clone, Copy, Debug)]
struct Entry {
    tile: u64,
    round: u32,
    /// Only its header was brought up to date; its text is older.
    is_carried: bool,
}

/// Checks cuts of one story.
pub struct Checker<'s> {
    story: &'s Story,
    tiles: u64,
    blocks_per_tile: u64,
    durable: Vec<Cell>,
    pending: Vec<Write>,
    /// The first one is tile 0 as it was formatted.
    entries: Vec<Entry>,
    /// For each tile and entry: blocks of the durable image, but the tile's first, that are not zero and belong to it.
    counts: Vec<HashMap<u32, u32>>,
    next_ack: usize,
    /// The promises that hold: those of tiles that were not erased since.
    promised: Vec<&'s Ack>,
    at: usize,
    /// Tiles that were erased, counted.
    erasures: u64,
    /// The last one was not entered yet.
    is_erasing: bool,
    /// A hash of the durable image.
    image: u64,
    /// Hashes of all images that a cut may leave.
    images: HashSet<u64>,
    /// The same, with what had been promised by then.
    checked: HashSet<(u64, usize, usize, u64)>,
    pub cuts: u64,
    pub full_checks: u64,
    random: Random,
}

/// What a cut leaves of the pending writes: pairs of a write and a block of it.
type Overlay = Vec<(u64, Cell)>;

impl<'s> Checker<'s> {
    pub fn new(story: &'s Story, seed: u64) -> Self {
        let tiles = story.settings.geometry.bytes() >> 20;
        let blocks_per_tile = (1 << 20) / u64::from(story.settings.geometry.block_size);
        let start = story.history.image_after(0, |_, _| false);
        let cell = |block| Cell::new(start.block(block).clone(), 0);
        let durable: Vec<Cell> = (0..tiles * blocks_per_tile).map(cell).collect();
        let mut checker = Self {
            story,
            tiles,
            blocks_per_tile,
            durable,
            pending: Vec::new(),
            entries: Vec::new(),
            counts: vec![HashMap::new(); tiles as usize],
            next_ack: 0,
            promised: Vec::new(),
            at: 0,
            erasures: 0,
            is_erasing: false,
            image: 0,
            images: HashSet::new(),
            checked: HashSet::new(),
            cuts: 0,
            full_checks: 0,
            random: Random::new(seed),
        };
        checker.find_entries();
        checker
    }

    /// What was entered before the story began, in order.
    fn find_entries(&mut self) {
        let mut found: Vec<(u32, u64)> = (0..self.tiles)
            .filter_map(|tile| {
                header(&self.durable[(tile * self.blocks_per_tile) as usize].data).map(|header| (header.1, tile))
            })
            .collect();
        found.sort_unstable();
        for (i, (round, tile)) in found.into_iter().enumerate() {
            self.entries.push(Entry { tile, round, is_carried: false });
            let first = (tile * self.blocks_per_tile) as usize;
            for cell in &mut self.durable[first..first + self.blocks_per_tile as usize] {
                cell.entry = i as u32 + 1;
            }
        }
        for block in 0..self.durable.len() {
            let cell = self.durable[block].clone();
            self.count(block as u64, &cell, true);
        }
    }

    /// Checks every cut, `variants` of each where there are more.
    pub fn run(&mut self, variants: u64) {
        loop {
            self.cut_here(variants);
            if !self.step() {
                return;
            }
        }
    }

    /// How many different images were checked.
    pub fn distinct(&self) -> u64 {
        self.images.len() as u64
    }

    fn step(&mut self) -> bool {
        let Some(event) = self.story.history.events().get(self.at) else { return false };
        match event {
            Event::Submitted(write) => self.submitted(write.id, write.first_block, &write.blocks),
            Event::Completed(id) => self.completed(*id, usize::MAX),
            Event::Void { id, blocks } => self.completed(*id, *blocks),
            Event::Flushed(by) => self.settle(*by),
            Event::Forgotten => self.pending.retain(|write| write.completed.is_none()),
        }
        self.at += 1;
        let story = self.story;
        while let Some(ack) = story.acks.get(self.next_ack).filter(|ack| ack.at <= self.at) {
            self.next_ack += 1;
            // A console of one tile erases it as soon as it is full, and is told only then that all of it was durable; and of a
            // line that crosses from it to itself, the beginning is erased.
            if self.tiles > 1 || !(self.is_erasing || ack.touches_border()) {
                self.promise(ack);
                self.promised.push(ack);
            }
        }
        true
    }

    fn submitted(&mut self, id: u64, first: u64, blocks: &[Arc<[u8]>]) {
        let tile = first / self.blocks_per_tile;
        let is_first = first.is_multiple_of(self.blocks_per_tile);
        if is_first && let Some((_, round, _)) = blocks.first().and_then(|block| header(block)) {
            let is_new =
                self.entries.iter().rev().find(|entry| entry.tile == tile).is_none_or(|entry| entry.round != round);
            if is_new {
                let is_carried =
                    blocks.len() == 1 && blocks[0][59..] == self.latest(first)[59..] && blocks[0][59..] != [b' '; 452];
                self.entries.push(Entry { tile, round, is_carried });
                self.is_erasing = false;
            }
        }
        let is_zero = !is_first && blocks.iter().all(|block| block.iter().all(|byte| *byte == 0));
        // Zeroes in the newest tile are what covers the rest after a crash, or a tile that is entered once more: no
        // promised byte may change by that. A console of one tile erases from its second block on.
        let is_erasure = is_zero
            && if self.tiles == 1 { first == 1 } else { self.entries.last().is_none_or(|newest| newest.tile != tile) };
        if is_erasure {
            self.assert_oldest(tile);
        }
        let entry = self.entries.iter().rposition(|entry| entry.tile == tile).map_or(0, |i| i as u32 + 1);
        let cells = blocks.iter().map(|block| Cell::new(block.clone(), entry)).collect();
        self.pending.push(Write { id, first, cells, completed: None });
        if is_erasure {
            self.retire(tile);
        }
    }

    /// The oldest tile is the only one that may be erased: what was carried is not old. Where writes fail, tiles may have
    /// been passed over, the one before it included.
    fn assert_oldest(&self, tile: u64) {
        let entered = |tile: u64| self.entries.iter().rposition(|entry| entry.tile == tile);
        let before = (tile + self.tiles - 1) % self.tiles;
        let was_passed_over = |other: u64| {
            let round = entered(other).map(|i| self.entries[i].round);
            let later = self.entries.iter().skip(entered(other).map_or(0, |i| i + 1));
            other == before || later.clone().any(|entry| entry.tile > other && Some(entry.round) != round)
        };
        let may_pass_over = self.story.may_repeat;
        let others = (0..self.tiles).filter(|other| *other != tile && !(may_pass_over && was_passed_over(*other)));
        let is_oldest = others.map(|other| (entered(other), other)).all(|other| (entered(tile), tile) < other);
        assert!(is_oldest, "{}: tile {tile} is erased, and is not the oldest: {:?}", self.story.name, self.entries);
    }

    /// What a block holds if all that was submitted is there.
    fn latest(&self, block: u64) -> Arc<[u8]> {
        let in_write =
            |write: &Write| Some(write.cells.get(usize::try_from(block.checked_sub(write.first)?).ok()?)?.data.clone());
        self.pending.iter().rev().find_map(in_write).unwrap_or_else(|| self.durable[block as usize].data.clone())
    }

    /// What was promised of this tile's old text is due no longer.
    fn retire(&mut self, tile: u64) {
        self.erasures += 1;
        self.is_erasing = true;
        let first = (tile * self.blocks_per_tile) as usize;
        for cell in &mut self.durable[first..first + self.blocks_per_tile as usize] {
            cell.acked = 0;
        }
        let tiles = self.tiles;
        self.promised.retain(|ack| !ack.touches(tile, tiles));
    }

    fn completed(&mut self, id: u64, blocks: usize) {
        for write in self.pending.iter_mut().filter(|write| write.id == id) {
            write.completed = Some(self.at);
            write.cells.truncate(blocks);
        }
        if self.story.history.is_write_through() {
            self.settle(usize::MAX);
        }
    }

    fn settle(&mut self, by: usize) {
        let (durable, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|write| write.completed.is_some_and(|at| at < by));
        self.pending = pending;
        let durable: Vec<Write> = durable;
        for write in durable {
            for (block, cell) in (write.first..).zip(write.cells) {
                let old = self.durable[block as usize].clone();
                assert!(
                    cell.keeps(&old, block.is_multiple_of(self.blocks_per_tile)),
                    "{}: block {block}: promised bytes change",
                    self.story.name
                );
                self.count(block, &old, false);
                self.count(block, &cell, true);
                self.image ^= old.hash_at(block) ^ cell.hash_at(block);
                self.durable[block as usize] = Cell { acked: old.acked, ..cell };
            }
        }
    }

    fn count(&mut self, block: u64, cell: &Cell, up: bool) {
        if block.is_multiple_of(self.blocks_per_tile) || cell.is_zero {
            return;
        }
        let count = self.counts[(block / self.blocks_per_tile) as usize].entry(cell.entry).or_default();
        *count = if up { *count + 1 } else { *count - 1 };
    }

    /// Notes that everything up to the end of a line was promised: it must be durable.
    fn promise(&mut self, ack: &Ack) {
        let (tile, end) = ack.end;
        let block_size = self.story.settings.geometry.block_size as usize;
        let first = (tile * self.blocks_per_tile) as usize;
        let blocks = end.div_ceil(block_size);
        for block in 0..blocks {
            let cell = &mut self.durable[first + block];
            let len = (end - block * block_size).min(block_size);
            cell.acked = cell.acked.max(len);
        }
        let tail = &ack.message[ack.message.len().saturating_sub(16)..];
        // Not the tile's header, if the line goes on behind it.
        let from = end.saturating_sub(17).max(59);
        let last = &self.durable[first + blocks - 1].data;
        let start = from.max((blocks - 1) * block_size);
        let text = &last[start - (blocks - 1) * block_size..end - (blocks - 1) * block_size];
        let expected = format!("{tail}\n");
        assert!(
            expected.as_bytes().ends_with(text),
            "{}: {tail:?} was reported durable and is not: {:?} before byte {end} of tile {tile}, after {} events",
            self.story.name,
            String::from_utf8_lossy(text),
            self.at,
        );
        let is_there =
            self.entries.iter().rev().find(|entry| entry.tile == tile).is_some_and(|entry| {
                header(&self.durable[first].data).is_some_and(|(_, round, _)| round == entry.round)
            });
        assert!(is_there, "{}: a line in tile {tile} was reported durable, but not its header", self.story.name);
    }

    /// Checks cuts at this moment.
    fn cut_here(&mut self, variants: u64) {
        let writes = self.pending.len();
        if writes == 0 {
            return self.check(&|_, _| false);
        }
        // Every subset of whole writes, if there are not too many.
        let subsets = 1u64.checked_shl(writes as u32).unwrap_or(u64::MAX);
        if subsets <= variants {
            for subset in 0..subsets {
                self.check(&|write, _| subset >> write & 1 == 1);
            }
        }
        let mut left = variants.saturating_sub(if subsets <= variants { subsets } else { 0 });
        // One write torn at every place, the others there or not.
        for torn in 0..writes {
            let blocks = self.pending[torn].cells.len();
            for cut in (1..blocks).take((left / writes as u64) as usize) {
                let others = self.random.bits();
                let from_the_end = self.random.one_in(2);
                left -= 1;
                self.check(&|write, block| {
                    if write == torn { (block < cut) != from_the_end } else { others >> write & 1 == 1 }
                });
            }
        }
        // And anything at all.
        for _ in 0..left.min(variants / 2) {
            let seeds: Vec<(u64, u64)> = (0..writes).map(|_| (self.random.bits(), self.random.below(4))).collect();
            self.check(&|write, block| match seeds[write] {
                (_, 0) => false,
                (_, 1) => true,
                (seed, 2) => seed >> (block % 64) & 1 == 1,
                (seed, _) => !(seed ^ (block as u64).wrapping_mul(0x9e37_79b9)).is_multiple_of(16),
            });
        }
    }

    fn check(&mut self, choose: &dyn Fn(usize, usize) -> bool) {
        self.cuts += 1;
        let mut overlay: Overlay = Vec::new();
        for (i, write) in self.pending.iter().enumerate() {
            for (j, cell) in write.cells.iter().enumerate().filter(|(j, _)| choose(i, *j)) {
                overlay.push((write.first + j as u64, cell.clone()));
            }
        }
        // Later writes win.
        overlay.reverse();
        overlay.sort_by_key(|(block, _)| *block);
        overlay.dedup_by_key(|(block, _)| *block);
        let image = overlay.iter().fold(self.image, |image, (block, cell)| {
            image ^ self.durable[*block as usize].hash_at(*block) ^ cell.hash_at(*block)
        });
        self.images.insert(image);
        if !self.checked.insert((image, self.next_ack, self.entries.len(), self.erasures)) {
            return;
        }
        let problem = self.problem(&overlay);
        if let Some(problem) = problem {
            panic!("{}: cut after {} events of {}: {problem}", self.story.name, self.at, self.story.history.len());
        }
        if self.checked.len() as u64 % FULL_EVERY == 1 {
            self.full_checks += 1;
            let boots = self.full_checks % 4 == 1;
            self.check_in_full(choose, boots);
        }
    }

    fn cell<'c>(&'c self, overlay: &'c Overlay, block: u64) -> &'c Cell {
        match overlay.binary_search_by_key(&block, |(block, _)| *block) {
            Ok(i) => &overlay[i].1,
            Err(_) => &self.durable[block as usize],
        }
    }

    fn problem(&self, overlay: &Overlay) -> Option<String> {
        // 2. What was promised stays.
        for (block, cell) in overlay {
            if !cell.keeps(&self.durable[*block as usize], block.is_multiple_of(self.blocks_per_tile)) {
                return Some(format!("promised bytes of block {block} change"));
            }
        }
        // 1. The newest tile is found.
        let newest = (0..self.entries.len()).rev().find(|i| {
            let cell = self.cell(overlay, self.entries[*i].tile * self.blocks_per_tile);
            cell.entry == *i as u32 + 1 && !cell.is_zero
        });
        let Some(newest) = newest else { return Some("no header is left".into()) };
        let entry = self.entries[newest];
        let mut search = Search::new(self.tiles, None);
        let found = loop {
            match search.step() {
                Step::Read(tile) => {
                    let cell = self.cell(overlay, u64::from(tile) * self.blocks_per_tile);
                    search.answer(Header::decode(&cell.data).map_or(Answer::NoHeader, Answer::Header));
                }
                Step::Done(found) => break found,
                Step::Refused(refusal) => return Some(format!("the device is lost: {refusal:?}")),
            }
        };
        if (u64::from(found.newest), found.newest_round) != (entry.tile, entry.round) {
            return Some(format!("the newest tile is {entry:?}, but {found:?}"));
        }
        if let Some(problem) = self.unordered(overlay, entry) {
            return Some(problem);
        }
        // 3. Nothing stale is in it.
        let mut counts = self.counts[entry.tile as usize].clone();
        let tile = entry.tile * self.blocks_per_tile + 1..(entry.tile + 1) * self.blocks_per_tile;
        for (block, cell) in overlay.iter().filter(|(block, _)| tile.contains(block)) {
            let old = &self.durable[*block as usize];
            if !old.is_zero {
                *counts.entry(old.entry).or_default() -= 1;
            }
            if !cell.is_zero {
                *counts.entry(cell.entry).or_default() += 1;
            }
        }
        // Tile 0 of a fresh disk was never entered: nothing but its header counts there.
        // And what a carried tile holds is older than its header. In a console of one tile, newer text may come before its header.
        let stale: u32 = counts.iter().filter(|(of, _)| **of < newest as u32 + 1).map(|(_, count)| count).sum();
        (stale > 0 && !entry.is_carried).then(|| format!("{stale} stale blocks are in {entry:?}: {counts:?}"))
    }

    /// Whether a tile before the newest has an older header. Where writes fail, single ones may.
    fn unordered(&self, overlay: &Overlay, newest: Entry) -> Option<String> {
        let is_old = |tile: u64| {
            let entry = self.cell(overlay, tile * self.blocks_per_tile).entry;
            (entry as usize).checked_sub(1).is_none_or(|i| self.entries[i].round != newest.round)
        };
        let is_bad = |tile: &u64| is_old(*tile) && (!self.story.may_repeat || is_old(*tile + 1));
        (0..newest.tile).find(is_bad).map(|tile| format!("tile {tile} has an older header than {newest:?}"))
    }

    /// Makes the image, and reads it as a user would.
    fn check_in_full(&self, choose: &dyn Fn(usize, usize) -> bool, boots: bool) {
        let image = self.story.history.image_after(self.at, choose);
        assert_in_order(self.story, &Log::read(&image, self.tiles), &self.promised);
        if boots {
            self.boot_from(image);
        }
    }

    fn boot_from(&self, image: Medium) {
        let disk = Disk::with_medium(Settings { latency: 0, ..self.story.settings }, image);
        let mut rig = Rig::boot(&disk);
        rig.log("after the cut");
        rig.finish();
        let log = rig.log_text();
        let last = log.lines().last().and_then(|line| line.split_once("test: ")).map(|(_, text)| text.to_owned());
        assert_eq!(last.as_deref(), Some("after the cut"));
        let entered = rig.console.position().map_or(0, |(tile, _, _)| u64::from(tile));
        let promised: Vec<&Ack> =
            self.promised.iter().copied().filter(|ack| !ack.touches(entered, self.tiles)).collect();
        assert_in_order(self.story, &log, &promised);
        assert!(disk.violations().is_empty(), "{:?}", disk.violations());
    }
}

/// These lines are there, whole, in this order, and once.
fn assert_in_order(story: &Story, log: &Log, promised: &[&Ack]) {
    let text = log.text();
    let name = &story.name;
    let mut from = 0;
    for ack in promised {
        let needle = format!(" test: {}\n", ack.message);
        let Some(at) = text[from..].find(&needle) else { panic!("{name}: {:?} is gone", ack.message) };
        from += at + needle.len();
        assert!(story.may_repeat || !text[from..].contains(&needle), "{name}: {:?} is there twice", ack.message);
    }
}

impl Ack {
    /// Whether the line goes when this tile is erased: it ends there, or may have begun there.
    fn touches(&self, tile: u64, tiles: u64) -> bool {
        let (of, _) = self.end;
        of == tile || (self.touches_border() && (tile + 1) % tiles == of)
    }

    /// Whether it may have begun in the tile before.
    fn touches_border(&self) -> bool {
        self.end.1 <= 59 + self.message.len() + 40
    }
}

impl Cell {
    fn new(data: Arc<[u8]>, entry: u32) -> Self {
        let is_zero = data.iter().all(|byte| *byte == 0);
        let mut hasher = DefaultHasher::new();
        if !is_zero {
            data.hash(&mut hasher);
        }
        Self { entry, is_zero, data, acked: 0, hash: hasher.finish() }
    }

    /// Of what it holds, there.
    fn hash_at(&self, block: u64) -> u64 {
        Random::new(self.hash ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15)).bits()
    }

    /// Whether the bytes that were promised of the old contents are the same in this. A header may change: whether it is right is
    /// another question.
    fn keeps(&self, old: &Self, is_first: bool) -> bool {
        let from = if is_first { 59 } else { 0 };
        old.acked <= from
            || Arc::ptr_eq(&self.data, &old.data)
            || self.data[from..old.acked] == old.data[from..old.acked]
    }
}
