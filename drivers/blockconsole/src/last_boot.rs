//! What the mount must know of the boot before: its number, and whether it crashed.
//!
//! Two questions to the newest tile, for two purposes: its tile line gives the boot number that is counted on from, and
//! the crash records that are kept; the end of its text tells whether that boot left a crash record, and thus whether a
//! [series](crate::series) goes on. Like the [search](crate::search), [`LastBoot`] does no I/O of its own.
//!
//! The beginning of the tile is read first, as far as a crash record that crosses into it may reach, because the tile line stands behind that. Most boots
//! end within it; where not, the end of the text is found by halving the rest, piece by piece; and if the last lines began in a block
//! that was not read, that one is read as well. With pieces of 256 KiB that makes three reads at most; a
//! carried tile, or one without a tile line (the Linux driver writes none), costs one more each, up to
//! [`MAX_TILES_TRIED`] tiles. An answer may be shorter than what was asked for, where extents meet: the rest is asked for next.
//!
//! # What cannot be read
//! Then single blocks are read, and those that cannot be are passed over. Whether the boot before crashed is uncertain in that case, unless its record is in sight; so what was
//! kept before is kept on.

use crate::crash::{BEGIN, END, MAX_RECORD};
use crate::format::{HEADER_LEN, Header, TILE_BYTES};
use crate::marks::Mark;
use crate::search::Found;
use crate::series::{KEPT_RECORDS, Kept, KeptRecord};

/// Tiles that are tried for a tile line.
pub const MAX_TILES_TRIED: u32 = 2 * KEPT_RECORDS as u32 + 2;

/// Bytes of a tile that are read to its tile line: a crash record may stand before it.
const REACH: u32 = MAX_RECORD as u32 + 1024;
/// A crash record whose last line is this far from a tile's beginning began in the same tile.
const BEGINS_HERE: u32 = REACH - 512;

/// What to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes of a tile: whole blocks. Answer with [`LastBoot::answer`].
    Read {
        /// The tile.
        tile: u32,
        /// First byte.
        start: u32,
        /// After the last byte.
        end: u32,
    },
    /// That is all: see [`LastBoot::boot`], [`LastBoot::kept`].
    Done,
}

/// The question under way, and then its answer.
#[derive(Clone, Debug)]
pub struct LastBoot {
    tiles: u64,
    uuid: u32,
    block: u32,
    piece: u32,
    state: State,
    boot: Option<u32>,
    kept: Kept,
    crash: Option<KeptRecord>,
    /// Something could not be read.
    is_unsure: bool,
    lines: Lines,
    ending: Ending,
    /// The reason of the last crash record that begins in the text that was seen.
    reason: Text,
}

/// A line, of which the end may be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Text {
    bytes: [u8; 160],
    len: u8,
}

impl Text {
    const NONE: Self = Self { bytes: [0; 160], len: 0 };

    fn of(line: &[u8]) -> Self {
        let mut text = Self { bytes: [0; 160], len: line.len().min(160) as u8 };
        text.bytes.iter_mut().zip(line).for_each(|(to, from)| *to = *from);
        text
    }
}

/// How a boot ended, as far as its text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The boot's number.
    pub boot: u32,
    /// Whether it ends with a crash record.
    pub is_crash: bool,
    text: Text,
}

impl End {
    /// The crash's reason, if it was seen; or the last line, if there was no crash. What is long is cut off.
    pub fn text(&self) -> &str {
        let bytes = self.text.bytes.get(..usize::from(self.text.len)).unwrap_or_default();
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                bytes.get(..error.valid_up_to()).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Reads the beginning of a tile from here on, to find its tile line.
    Head {
        tile: Candidate,
        at: u32,
    },
    /// There is text up to `low`, and none from `high` on.
    Tail {
        tile: u32,
        low: u32,
        high: u32,
    },
    /// Reads the block before the text's [ending](Ending), for the beginning of the last lines.
    Before {
        tile: u32,
    },
    Done,
}

/// A tile that may be the newest one that was entered.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    tile: u32,
    /// The round that its header must have; any, behind a wrap.
    round: Option<u32>,
    /// Tiles that were tried before.
    tried: u32,
}

impl LastBoot {
    /// Begins, on a console of so many tiles, with what the search found. `block` is the device's block size, and `piece` the most
    /// bytes that one read may have.
    pub fn new(found: &Found, tiles: u64, block: u32, piece: u32) -> Self {
        let piece = (piece.min(TILE_BYTES) / block.max(1) * block).max(block);
        let tile = Candidate { tile: found.newest, round: Some(found.newest_round), tried: 0 };
        Self {
            tiles,
            uuid: found.uuid,
            block,
            piece,
            state: State::Head { tile, at: 0 },
            boot: None,
            kept: Kept::NONE,
            crash: None,
            is_unsure: false,
            lines: Lines::NONE,
            ending: Ending::NONE,
            reason: Text::NONE,
        }
    }

    /// What to do next. The same until an answer was given.
    pub fn step(&self) -> Step {
        match self.state {
            State::Head { tile: Candidate { tile, .. }, at } => self.read(tile, at),
            State::Tail { tile, low, high } => self.read(tile, self.middle(low, high)),
            State::Before { tile } => {
                let end = self.ending.start;
                Step::Read { tile, start: end.saturating_sub(self.block), end }
            }
            State::Done => Step::Done,
        }
    }

    /// Takes the bytes that [`step`](Self::step) asked for, or as many of the first of them as could be read: none, for an error.
    pub fn answer(&mut self, bytes: &[u8]) {
        if bytes.is_empty() && !matches!(self.state, State::Done) {
            self.is_unsure = true;
            if self.piece > self.block {
                // Perhaps it is one block of many.
                self.piece = self.block;
                return;
            }
        }
        self.state = match self.state {
            State::Head { tile, at } => self.take_head(tile, at, bytes),
            State::Tail { tile, low, high } => self.take_tail(tile, low, high, bytes),
            State::Before { tile } => {
                self.ending.precede(bytes);
                self.finish(tile)
            }
            State::Done => State::Done,
        };
    }

    /// The number of the newest boot; `None` where no tile line was found.
    pub fn boot(&self) -> Option<u32> {
        self.boot
    }

    /// The crash record at the end of the newest boot, if there is one.
    pub fn crash(&self) -> Option<KeptRecord> {
        self.crash
    }

    /// How the newest boot ended; `None` where its number is not known, or not all of its end.
    pub fn end(&self) -> Option<End> {
        let boot = self.boot.filter(|_| !self.is_unsure)?;
        let text = match self.crash {
            Some(_) => self.reason,
            None => Text::of(last_line(self.ending.bytes())?.1),
        };
        Some(End { boot, is_crash: self.crash.is_some(), text })
    }

    /// The crash records that the *next* boot must keep.
    pub fn kept(&self) -> Kept {
        let mut kept = self.kept;
        match self.crash {
            Some(crash) => kept.push(crash, self.tiles),
            None if self.is_unsure => {}
            None => kept = Kept::NONE,
        }
        kept
    }

    /// The read from this byte to the end of its piece.
    fn read(&self, tile: u32, start: u32) -> Step {
        let end = (start / self.piece).saturating_add(1).saturating_mul(self.piece).min(TILE_BYTES);
        Step::Read { tile, start, end }
    }

    /// Where to look for the end of the text: at the beginning of a piece, if one begins in between.
    fn middle(&self, low: u32, high: u32) -> u32 {
        let (first, end) = (low / self.piece, high.div_ceil(self.piece));
        (first + (end - first) / 2).saturating_mul(self.piece).max(low)
    }

    fn take_head(&mut self, tile: Candidate, at: u32, bytes: &[u8]) -> State {
        let mut text = written(bytes, self.block);
        if at == 0 {
            (self.lines, self.ending) = (Lines::NONE, Ending::NONE);
            let is_own =
                |header: &Header| header.uuid == self.uuid && tile.round.is_none_or(|round| round == header.round);
            let Some(header) = Header::decode(bytes).filter(is_own) else { return self.try_before(tile, None) };
            self.lines.round = header.round;
            self.reason = Text::NONE;
            self.see(0, text);
            text = text.get(HEADER_LEN..).unwrap_or_default();
        } else {
            self.see(at, text);
        }
        self.lines.take(text, self.tiles);
        let ends_here = !bytes.is_empty() && is_blank(bytes.last_chunk::<512>().map_or(bytes, |last| last));
        let end = at.saturating_add((bytes.len() as u32).max(if bytes.is_empty() { self.block } else { 0 }));
        if !ends_here && end < REACH {
            return State::Head { tile, at: end };
        }
        let round = self.lines.round;
        match self.lines.mark() {
            Some(Mark::Tile { round: own, boot, kept, .. }) if own == round => {
                (self.boot, self.kept) = (Some(boot), kept);
            }
            Some(Mark::Boot { boot, .. }) => (self.boot, self.kept) = (Some(boot), Kept::NONE),
            // A carried tile, or none of ours.
            _ => return self.try_before(tile, Some(round)),
        }
        self.narrow(tile.tile, end, if ends_here { end } else { TILE_BYTES })
    }

    fn try_before(&self, tile: Candidate, round: Option<u32>) -> State {
        let Candidate { tile, tried, .. } = tile;
        let before_the_first = tile == 0 && round.is_none_or(|round| round == 0);
        if tried + 1 >= MAX_TILES_TRIED || u64::from(tried) + 1 >= self.tiles || before_the_first {
            return State::Done;
        }
        let round = if tile == 0 { None } else { round };
        State::Head { tile: Candidate { tile: before(tile, self.tiles), round, tried: tried + 1 }, at: 0 }
    }

    /// Takes text that begins at this byte of the tile.
    fn see(&mut self, at: u32, text: &[u8]) {
        self.ending.follow(at, text);
        if let Some(reason) = last_reason(text) {
            self.reason = Text::of(reason);
        }
    }

    fn take_tail(&mut self, tile: u32, low: u32, high: u32, bytes: &[u8]) -> State {
        let start = self.middle(low, high);
        if bytes.is_empty() {
            self.ending = Ending::NONE;
            return self.narrow(tile, start.saturating_add(self.block), high);
        }
        if is_blank(bytes.get(..self.block as usize).unwrap_or(bytes)) {
            return self.narrow(tile, low, start);
        }
        let text = written(bytes, self.block);
        self.see(start, text);
        let end = start.saturating_add(bytes.len() as u32);
        self.narrow(tile, end, if text.len() < bytes.len() { end } else { high })
    }

    fn narrow(&mut self, tile: u32, low: u32, high: u32) -> State {
        if low < high {
            State::Tail { tile, low, high }
        } else if self.ending.is_cut() {
            State::Before { tile }
        } else {
            self.finish(tile)
        }
    }

    /// Looks whether the text ends with a crash record. A tile line may stand behind it, where the record crossed into the tile.
    fn finish(&mut self, tile: u32) -> State {
        let line = last_line(self.ending.bytes()).and_then(|(above, line)| {
            let is_tile_line = matches!(Mark::parse(line, self.tiles), Some(Mark::Tile { .. }));
            if is_tile_line { last_line(above) } else { Some((above, line)) }
        });
        if let Some((above, line)) = line
            && line.get(line.iter().position(|byte| *byte != 0).unwrap_or(0)..).unwrap_or_default().starts_with(END)
        {
            let at = self.ending.start.saturating_add(above.len() as u32);
            self.crash = Some(self.record(tile, at >= BEGINS_HERE || self.lines.has_begin));
        }
        State::Done
    }

    /// A record that ends in this tile, and begins there or in the one before.
    fn record(&self, tile: u32, begins_here: bool) -> KeptRecord {
        let mut first = tile;
        if !begins_here {
            for _ in 0..MAX_TILES_TRIED {
                first = before(first, self.tiles);
                if !self.kept.contains(first) {
                    break;
                }
            }
        }
        KeptRecord { first, last: tile }
    }
}

/// The lines at a tile's beginning, of which a piece may hold a part only.
#[derive(Clone, Copy, Debug)]
struct Lines {
    /// The round of the tile's header.
    round: u32,
    /// The line under way, as far as there is room for it: enough for any mark.
    line: [u8; 224],
    len: usize,
    tile: Option<Mark>,
    boot: Option<Mark>,
    /// Whether a crash record begins in what was seen.
    has_begin: bool,
}

impl Lines {
    const NONE: Self = Self { round: 0, line: [0; 224], len: 0, tile: None, boot: None, has_begin: false };

    /// Takes the text that follows.
    fn take(&mut self, text: &[u8], tiles: u64) {
        // What was not written is zero, and not there.
        for byte in text.iter().filter(|byte| **byte != 0) {
            if *byte == b'\n' {
                self.end_line(tiles);
            } else if let Some(place) = self.line.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    fn end_line(&mut self, tiles: u64) {
        let line = self.line.get(..core::mem::take(&mut self.len)).unwrap_or_default();
        match Mark::parse(line, tiles) {
            Some(mark @ Mark::Tile { .. }) => self.tile = self.tile.or(Some(mark)),
            Some(mark @ Mark::Boot { .. }) => self.boot = self.boot.or(Some(mark)),
            _ => self.has_begin |= line.starts_with(BEGIN),
        }
    }

    /// The first tile line; a boot line only if there is no tile line.
    fn mark(&self) -> Option<Mark> {
        self.tile.or(self.boot)
    }
}

/// The last bytes of the text that was seen: more than the last two lines that matter have.
#[derive(Clone, Copy, Debug)]
struct Ending {
    bytes: [u8; 768],
    len: usize,
    /// Where in the tile they begin.
    start: u32,
    /// Where the text goes on: behind a pad, if there is one.
    end: u32,
}

impl Ending {
    const NONE: Self = Self { bytes: [0; 768], len: 0, start: 0, end: 0 };

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Takes text that begins at this byte of the tile.
    fn follow(&mut self, at: u32, text: &[u8]) {
        let whole = text.len() as u32;
        let text = without_pad(text);
        if text.is_empty() {
            return;
        }
        if self.end != at || self.start.saturating_add(self.len as u32) != at {
            self.len = 0;
        }
        self.end = at.saturating_add(whole);
        let new = text.get(text.len().saturating_sub(self.bytes.len())..).unwrap_or_default();
        let old = self.len.min(self.bytes.len() - new.len());
        self.bytes.copy_within(self.len - old..self.len, 0);
        if let Some(place) = self.bytes.get_mut(old..old + new.len()) {
            place.copy_from_slice(new);
        }
        self.len = old + new.len();
        self.start = at.saturating_add((text.len() - new.len()) as u32).saturating_sub(old as u32);
    }

    /// Takes the block before.
    fn precede(&mut self, block: &[u8]) {
        let text = without_pad(block);
        let len = text.len().min(self.bytes.len() - self.len);
        self.bytes.copy_within(..self.len, len);
        if let (Some(place), Some(text)) = (self.bytes.get_mut(..len), text.get(text.len() - len..)) {
            place.copy_from_slice(text);
        }
        self.len += len;
        let from = (block.len() - text.len() + len) as u32;
        self.start = self.start.saturating_sub(from);
    }

    /// Whether the last two lines may have begun before it.
    fn is_cut(&self) -> bool {
        let lines = last_line(self.bytes()).and_then(|(above, _)| last_line(above));
        self.start > 0 && self.len <= self.bytes.len() / 2 && lines.is_none_or(|(above, _)| above.is_empty())
    }
}

/// The reason of the crash record that these bytes end with, if they have its beginning.
fn last_reason(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = without_pad(bytes);
    let last = |len: usize| bytes.get(bytes.len().saturating_sub(len)..).unwrap_or_default();
    // Most boots do not end so, and there is much text to search.
    last(512).windows(END.len()).rposition(|window| window == END)?;
    let text = last(REACH as usize);
    let at = text.windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
    text.get(at..)?.split(|byte| *byte == b'\n').nth(1)?.strip_prefix(b"reason: ")
}

/// The bytes up to the last block that is not blank.
fn written(bytes: &[u8], block: u32) -> &[u8] {
    let blocks = bytes.chunks(block.max(1) as usize);
    let blank = blocks.rev().take_while(|block| is_blank(block)).map(<[u8]>::len).sum::<usize>();
    bytes.get(..bytes.len() - blank).unwrap_or_default()
}

fn is_text(byte: &u8) -> bool {
    !matches!(*byte, 0 | b' ' | b'\n')
}

/// The bytes without zeroes and a pad at their end, but with the line feed before that.
fn without_pad(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let bytes = bytes.get(..end).unwrap_or_default();
    if !bytes.ends_with(b"\n") {
        return bytes;
    }
    let end = bytes.iter().rposition(is_text).map_or(0, |at| at + 1);
    bytes.get(..end + usize::from(bytes.get(end) == Some(&b'\n'))).unwrap_or_default()
}

/// The last line that is not blank, and what is above it.
fn last_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = bytes.get(..=bytes.iter().rposition(is_text)?)?;
    text.split_at_checked(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1))
}

/// The tile that the log came from.
fn before(tile: u32, tiles: u64) -> u32 {
    tile.checked_sub(1).unwrap_or(tiles.saturating_sub(1) as u32)
}

fn is_blank(bytes: &[u8]) -> bool {
    // A new console's last tile is all blank: one byte at a time was a third of the instructions of a start.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}
