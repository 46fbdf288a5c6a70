//! Streams a log's text piece by piece, in constant memory.
//!
//! A piece is small enough to stay in a processor's cache between reading, cleaning and writing, and consists of whole
//! blocks of every size that the format knows, so that no pad goes across its end.

use crate::log::{Log, Position, TILE};
use crate::medium::Medium;
use crate::text::{Moves, Text, clean};
use blockconsole::format::{BLOCK_SIZES, HEADER_LEN, Header, tile_start};
use blockconsole::marks::Mark;
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes of a piece.
const PIECE: usize = 128 << 10;
const _: () = assert!(TILE.is_multiple_of(PIECE) && PIECE.is_multiple_of(*BLOCK_SIZES.end() as usize));
/// Unit in which a piece is read again when reading it as a whole failed.
const RETRY: usize = 4096;
/// Problems that are kept in words; later ones are only counted.
const MAX_PROBLEMS: usize = 64;

/// A log's text, piece by piece, from the oldest tile to the newest.
#[derive(Debug)]
pub struct Pieces<'a> {
    log: &'a Log,
    buffer: Vec<u8>,
    /// Positions that are still to come.
    ranges: VecDeque<Range<u64>>,
    /// The tile at hand, and the offset of its next piece.
    rest: Option<(Position, usize)>,
    /// The tile that the text so far ends in.
    last: Option<Position>,
    in_line: bool,
    /// Where the current piece's text lies in the buffer.
    text: Range<usize>,
    /// Where that text stood in the buffer, and the offset in the tile that the buffer begins at.
    moves: Moves,
    offset: usize,
    problems: Problems,
}

/// A piece of a log's text, in its relation to the text before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The tile that it stands in.
    pub position: Position,
    /// Whether the text before it ended in the middle of a line that this piece does not continue.
    pub breaks_line: bool,
    /// Whether there is a gap before it: its first line may lack its beginning.
    pub after_gap: bool,
}

/// What was damaged, in words.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    words: Vec<String>,
    count: u64,
}

impl Problems {
    /// The first ones.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// How many there were, also of those for which there are no words.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn add(&mut self, words: String) {
        if self.words.len() < MAX_PROBLEMS {
            self.words.push(words);
        }
        self.count += 1;
    }
}

impl<'a> Pieces<'a> {
    /// All of the log's text.
    pub fn new(log: &'a Log) -> Self {
        Self::over(log, std::iter::once(0..log.len()))
    }

    /// The log's text at some runs of positions, 0 being the oldest.
    pub fn over(log: &'a Log, ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let (ranges, problems) = (ranges.into_iter().collect(), Problems::default());
        let (rest, last, moves) = (None, None, Moves::default());
        let buffer = vec![0; PIECE];
        Self { log, buffer, ranges, rest, last, in_line: false, text: 0..0, moves, offset: 0, problems }
    }

    /// What was damaged up to now.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// The log.
    pub fn log(&self) -> &'a Log {
        self.log
    }

    /// The text of the piece that [`advance`](Self::advance) went to: no header, no pads, nothing that was never written.
    pub fn text(&self) -> &[u8] {
        self.buffer.get(self.text.clone()).unwrap_or_default()
    }

    /// The byte of the tile where a byte of the current piece's text stands on the disk.
    pub fn offset_of(&self, at: usize) -> usize {
        self.offset + self.moves.source(self.text.start + at)
    }

    /// Whether the text up to now ends in the middle of a line.
    pub fn is_in_line(&self) -> bool {
        self.in_line
    }

    /// Goes to the next piece, whose text may be empty; `None` after the newest one.
    pub fn advance(&mut self) -> Option<Piece> {
        self.text = 0..0;
        if let Some((position, offset)) = self.rest.take() {
            read(&self.log.medium, position.tile, offset, &mut self.buffer, &mut self.problems);
            self.take(position, offset, 0, self.in_line);
            return Some(Piece { position, breaks_line: false, after_gap: false });
        }
        loop {
            let Some(index) = self.ranges.front_mut()?.next() else {
                self.ranges.pop_front();
                continue;
            };
            let Some(position) = self.log.position(index) else { continue };
            read(&self.log.medium, position.tile, 0, &mut self.buffer, &mut self.problems);
            if !belongs(self.log, position, &self.buffer, &mut self.problems) {
                continue;
            }
            let follows = self.last.is_some_and(|last| self.log.follows(last, position));
            let continues = follows && !self.begins_boot();
            let breaks_line = self.in_line && !continues;
            self.take(position, 0, HEADER_LEN, self.in_line && continues);
            self.last = Some(position);
            return Some(Piece { position, breaks_line, after_gap: !follows });
        }
    }

    /// Takes the piece in the buffer, which stands at an offset of its tile.
    fn take(&mut self, position: Position, offset: usize, from: usize, in_line: bool) {
        let Text { start, end, ends_line } = clean(&mut self.buffer, from, in_line, &mut self.moves);
        self.offset = offset;
        self.in_line = !ends_line;
        self.text = start..end;
        let next = offset + PIECE;
        self.rest = (next < TILE).then_some((position, next));
    }

    /// Whether the tile in the buffer begins with the first line of a boot.
    fn begins_boot(&self) -> bool {
        let text = self.buffer.get(HEADER_LEN..).unwrap_or_default();
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        matches!(Mark::parse(line, self.log.tiles), Some(Mark::Boot { .. }))
    }
}

/// The text of the tile at a position, apart from the text around it; `None` if the tile is not part of the log.
pub fn text_at(log: &Log, index: u64) -> Option<(Position, Vec<u8>)> {
    let position = log.position(index)?;
    let mut buffer = vec![0; TILE];
    let mut problems = Problems::default();
    read(&log.medium, position.tile, 0, &mut buffer, &mut problems);
    if !belongs(log, position, &buffer, &mut problems) {
        return None;
    }
    let Text { start, end, .. } = clean(&mut buffer, HEADER_LEN, false, &mut Moves::default());
    buffer.truncate(end);
    buffer.drain(..start);
    Some((position, buffer))
}

/// Whether a tile is part of the log, as its header says.
fn belongs(log: &Log, position: Position, bytes: &[u8], problems: &mut Problems) -> bool {
    let tile = position.tile;
    match Header::decode(bytes) {
        Some(header) if header.uuid != log.found.uuid => {
            problems.add(format!("tile {tile} belongs to another console, {:08x}: left out", header.uuid));
            false
        }
        Some(header) if header.round != position.round => {
            let (has, expected) = (header.round, position.round);
            problems.add(format!("tile {tile} has round {has} where {expected} is expected: left out"));
            false
        }
        Some(_) => true,
        None => {
            problems.add(format!("tile {tile} has no header: damaged"));
            true
        }
    }
}

/// Fills a buffer with a tile's bytes from an offset on. What cannot be read becomes zeroes, and a problem.
pub(crate) fn read(medium: &Medium, tile: u32, offset: usize, buffer: &mut [u8], problems: &mut Problems) {
    let start = tile_start(tile) + offset as u64;
    if medium.read_at(start, buffer).is_ok() {
        return;
    }
    let mut lost = 0;
    let mut error = None;
    for (index, piece) in buffer.chunks_mut(RETRY).enumerate() {
        if let Err(this) = medium.read_at(start + (index * RETRY) as u64, piece) {
            piece.fill(0);
            lost += piece.len();
            error = Some(this);
        }
    }
    if let Some(error) = error {
        problems.add(format!("tile {tile}: {lost} bytes from byte {offset} on cannot be read: {error}"));
    }
}
