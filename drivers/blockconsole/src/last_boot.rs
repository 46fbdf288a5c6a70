//! What the mount must know of the boot before: its number, and whether it crashed.
//!
//! Two questions to the newest tile, for two purposes: its tile line gives the boot number that is counted on from, and
//! the crash records that are kept; the end of its text tells whether that boot left a crash record, and thus whether a
//! [series](crate::series) goes on. Like the [search](crate::search), [`LastBoot`] does no I/O of its own.
//!
//! The beginning of the tile is read first. Most boots end within it; where not, the end of the text is found by
//! halving the rest, piece by piece; and if the last line began in the piece before the last, that one is read as well, unless
//! it was the one read before. With pieces of 256 KiB that makes three reads at most; a
//! carried tile, or one without a tile line (the Linux driver writes none), costs one more each, up to
//! [`MAX_TILES_TRIED`] tiles.

use crate::crash::{BEGIN, END, MAX_RECORD};
use crate::format::{HEADER_LEN, Header, TILE_BYTES};
use crate::marks::Mark;
use crate::search::Found;
use crate::series::{KEPT_RECORDS, Kept, KeptRecord};

/// Tiles that are tried for a tile line.
pub const MAX_TILES_TRIED: u32 = 2 * KEPT_RECORDS as u32 + 2;

/// A crash record that ends this far from a tile's beginning began in the same tile.
const REACH: u32 = MAX_RECORD as u32 + 1024;

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
    /// The line that goes on behind the piece with text that was read last, and that piece's number.
    end: Option<(u32, Snippet)>,
    /// The piece that the text ends in, if the last line may have begun in the one before it.
    torn: Option<Torn>,
}

/// A piece that begins in the middle of the text's last line.
#[derive(Clone, Copy, Debug)]
struct Torn {
    piece: u32,
    begin: Snippet,
    /// What the piece before it has of that line, if it was read.
    before: Option<Snippet>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Reads the beginning of a tile, to find its tile line.
    Head {
        tile: u32,
        tried: u32,
    },
    /// Piece `low` has text, up to its end; piece `high` has none, or is beyond the tile.
    Tail {
        tile: u32,
        low: u32,
        high: u32,
    },
    /// Reads this piece, for the beginning of the last line.
    Before {
        tile: u32,
        piece: u32,
    },
    Done,
}

/// The first bytes of a line, or of a part of one: enough to tell a crash record's last line.
#[derive(Clone, Copy, Debug)]
struct Snippet {
    bytes: [u8; END.len()],
    len: u8,
}

impl Snippet {
    fn of(bytes: &[u8]) -> Self {
        let mut snippet = Self { bytes: [0; END.len()], len: bytes.len().min(END.len()) as u8 };
        snippet.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        snippet
    }

    fn bytes(&self) -> impl Iterator<Item = &u8> {
        self.bytes.iter().take(usize::from(self.len))
    }
}

impl LastBoot {
    /// Begins, on a console of so many tiles, with what the search found. `block` is the device's block size, and `piece` the most
    /// bytes that one read may have.
    pub fn new(found: &Found, tiles: u64, block: u32, piece: u32) -> Self {
        let piece = (piece.min(TILE_BYTES) / block.max(1) * block).max(block);
        let state = State::Head { tile: found.newest, tried: 0 };
        Self {
            tiles,
            uuid: found.uuid,
            block,
            piece,
            state,
            boot: None,
            kept: Kept::NONE,
            crash: None,
            end: None,
            torn: None,
        }
    }

    /// What to do next. The same until an answer was given.
    pub fn step(&self) -> Step {
        match self.state {
            State::Head { tile, .. } => Step::Read { tile, start: 0, end: self.piece },
            State::Tail { tile, low, high } => self.read(tile, low + (high - low) / 2),
            State::Before { tile, piece } => self.read(tile, piece),
            State::Done => Step::Done,
        }
    }

    /// Takes the bytes that [`step`](Self::step) asked for, or as many of the first of them as could be read: none, for an error.
    pub fn answer(&mut self, bytes: &[u8]) {
        self.state = match self.state {
            State::Head { tile, tried } => self.take_head(tile, tried, bytes),
            State::Tail { tile, low, high } => {
                let middle = low + (high - low) / 2;
                if is_blank(bytes.get(..self.block as usize).unwrap_or(bytes)) {
                    self.narrow(tile, low, middle)
                } else {
                    self.take_tail(tile, middle, high, bytes)
                }
            }
            State::Before { tile, piece } => {
                if let Some(torn) = &mut self.torn {
                    torn.before = Some(Snippet::of(unfinished_line(bytes)));
                }
                self.narrow(tile, piece + 1, piece + 2)
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

    /// The crash records that the *next* boot must keep.
    pub fn kept(&self) -> Kept {
        let mut kept = Kept::NONE;
        if let Some(crash) = self.crash {
            kept = self.kept;
            kept.push(crash, self.tiles);
        }
        kept
    }

    fn read(&self, tile: u32, piece: u32) -> Step {
        let start = piece.saturating_mul(self.piece).min(TILE_BYTES);
        Step::Read { tile, start, end: start.saturating_add(self.piece).min(TILE_BYTES) }
    }

    fn take_head(&mut self, tile: u32, tried: u32, bytes: &[u8]) -> State {
        let header = Header::decode(bytes).filter(|header| header.uuid == self.uuid);
        let mark = header.and_then(|header| Some((header, self.find_mark(bytes.get(HEADER_LEN..)?)?)));
        let own = match mark {
            Some((header, Mark::Tile { round, boot, kept, .. })) if round == header.round => Some((boot, kept)),
            Some((_, Mark::Boot { boot, .. })) => Some((boot, Kept::NONE)),
            // A carried tile, or none of ours.
            _ => None,
        };
        if let Some((boot, kept)) = own {
            self.boot = Some(boot);
            self.kept = kept;
            return self.take_tail(tile, 0, TILE_BYTES.div_ceil(self.piece), bytes);
        }
        let before_the_first = tile == 0 && header.is_none_or(|header| header.round == 0);
        if tried + 1 >= MAX_TILES_TRIED || u64::from(tried) + 1 >= self.tiles || before_the_first {
            return State::Done;
        }
        State::Head { tile: before(tile, self.tiles), tried: tried + 1 }
    }

    /// The first tile line; a boot line only if no tile line follows it.
    fn find_mark(&self, text: &[u8]) -> Option<Mark> {
        let mut boot = None;
        for line in text.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(&[0])) {
            match Mark::parse(line, self.tiles) {
                Some(mark @ Mark::Tile { .. }) => return Some(mark),
                Some(mark @ Mark::Boot { .. }) => boot = boot.or(Some(mark)),
                _ => {}
            }
        }
        boot
    }

    /// Looks at a piece that has text, and at what there may be after it.
    fn take_tail(&mut self, tile: u32, piece: u32, high: u32, bytes: &[u8]) -> State {
        self.crash = self.crash_at_end(tile, piece.saturating_mul(self.piece), bytes);
        let is_torn = piece > 0 && last_line(bytes).is_some_and(|(above, _)| above.is_empty());
        let before = self.end.filter(|(of, _)| of + 1 == piece).map(|(_, end)| end);
        self.torn = is_torn.then(|| Torn { piece, begin: Snippet::of(bytes), before });
        self.end = Some((piece, Snippet::of(unfinished_line(bytes))));
        let last_block = bytes.len().saturating_sub(self.block as usize);
        let ends_here = is_blank(bytes.get(last_block..).unwrap_or_default());
        self.narrow(tile, piece, if ends_here { piece + 1 } else { high })
    }

    fn narrow(&mut self, tile: u32, low: u32, high: u32) -> State {
        if high - low > 1 {
            return State::Tail { tile, low, high };
        }
        let Some(Torn { piece, begin, before }) = self.torn else { return State::Done };
        let Some(before) = before else { return State::Before { tile, piece: piece - 1 } };
        if before.bytes().chain(begin.bytes()).take(END.len()).eq(END) {
            let begins_here = piece.saturating_mul(self.piece) >= REACH;
            self.crash = Some(self.record(tile, begins_here));
        }
        State::Done
    }

    /// The crash record that these bytes of a tile end with. A tile line may stand behind it, where the record
    /// crossed into the tile.
    fn crash_at_end(&self, tile: u32, start: u32, bytes: &[u8]) -> Option<KeptRecord> {
        let (above, line) = last_line(bytes)?;
        let is_tile_line = matches!(Mark::parse(line, self.tiles), Some(Mark::Tile { .. }));
        let (above, line) = if is_tile_line { last_line(above)? } else { (above, line) };
        if !line.starts_with(END) {
            return None;
        }
        let begins_here = start + above.len() as u32 >= REACH
            || above.split(|byte| *byte == b'\n').any(|line| line.starts_with(BEGIN));
        Some(self.record(tile, begins_here))
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

/// What stands behind the last line feed.
fn unfinished_line(bytes: &[u8]) -> &[u8] {
    bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// The last line that is not blank, and what is above it.
fn last_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_text = |byte: &u8| !matches!(*byte, 0 | b' ' | b'\n');
    let text = bytes.get(..=bytes.iter().rposition(is_text)?)?;
    text.split_at_checked(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1))
}

/// The tile that the log came from.
fn before(tile: u32, tiles: u64) -> u32 {
    tile.checked_sub(1).unwrap_or(tiles.saturating_sub(1) as u32)
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
