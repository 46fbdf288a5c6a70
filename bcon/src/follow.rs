//! Follows a log that is being written: no line is missed, none shown twice.
//!
//! New text stands where the last look found zeroes, or a pad: a padded block may be written again with more text in the
//! pad's place. And when the next tile has the header that it must have, the log has gone on there, be it because this
//! tile is full or because the machine booted anew.
//!
//! What is being written while it is read may come out as a mixture of old and new bytes. So new text counts only when two
//! reads agree on it.

use crate::lines::{Course, Line};
use crate::log::{Log, TILE, tile_line_in};
use crate::target::Console;
use crate::text::{Moves, SECTOR, Text, clean};
use anyhow::{Context, Result, bail};
use blockconsole::format::{HEADER_LEN, Header, tile_start};
use blockconsole::marks::Mark;
use blockconsole::search::after;

/// The most bytes of a line that wait for its end.
const MAX_HELD: usize = 64 << 10;

/// Follows a log from a position on.
#[derive(Debug)]
pub struct Follow {
    console: Console,
    log: Log,
    tile: u32,
    round: u32,
    /// Bytes of the tile that were taken: up to the pad, where there is one at the end of what is written.
    taken: usize,
    buffer: Vec<u8>,
    /// The second read.
    again: Vec<u8>,
    /// The beginning of a line that has no end yet.
    held: Vec<u8>,
    /// Where the text of what is held ends, and where the text at hand stood.
    end: usize,
    moves: Moves,
    course: Course,
}

/// What a look at the disk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Something: look again at once.
    Something,
    /// Nothing new.
    Nothing,
    /// The log came round and overtook the reader: lines were missed.
    Overtaken,
}

impl Follow {
    /// Begins at a position, 0 being the oldest tile, or at the newest tile where there is no such position.
    pub fn new(console: &Console, log: Log, index: u64) -> Self {
        let position = log.position(index);
        let (tile, round) =
            position.map_or((log.found.newest, log.found.newest_round), |position| (position.tile, position.round));
        let (console, held, course, moves) = (console.clone(), vec![], Course::default(), Moves::default());
        let (buffer, again) = (vec![0; TILE], vec![0; TILE]);
        Self { console, log, tile, round, taken: 0, buffer, again, held, end: 0, moves, course }
    }

    /// The log, as it was when it was opened.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Looks for new text once, and gives each new line to `take`.
    ///
    /// # Errors
    /// If the disk cannot be read, is another console's by now, or if `take` fails.
    pub fn look(&mut self, mut take: impl FnMut(&Line<'_>) -> Result<()>) -> Result<Look> {
        // In this order: what stands in this tile when the next one has been entered is all that it will ever have.
        let next = self.next_tile()?;
        let overwritten = self.is_overwritten()?;
        let found = if overwritten { None } else { self.take_new(next.is_some(), &mut take)? };
        let Some(found) = found else {
            // Where the log had gone on from this tile, it may be there still.
            if let Some((tile, round)) = next {
                self.enter(tile, round);
            } else {
                self.log = Log::open(&self.console)?;
                self.enter(self.log.found.newest, self.log.found.newest_round);
            }
            self.held.clear();
            return Ok(Look::Overtaken);
        };
        if let Some((tile, round)) = next {
            self.enter(tile, round);
        }
        Ok(if found || next.is_some() { Look::Something } else { Look::Nothing })
    }

    fn enter(&mut self, tile: u32, round: u32) {
        (self.tile, self.round, self.taken) = (tile, round, 0);
        if self.log.tile_line(tile).is_some_and(|line| line.round != round) {
            // Carried over from an older round: the log goes on behind it.
            self.taken = TILE;
        }
    }

    /// The tile and round after the current ones, if the log has entered them.
    fn next_tile(&self) -> Result<Option<(u32, u32)>> {
        let (tile, round) = after(self.tile, self.round, self.log.tiles);
        Ok(self.header(tile)?.filter(|header| header.round == round).map(|_| (tile, round)))
    }

    /// A tile's header; `None` if there is none of this console.
    fn header(&self, tile: u32) -> Result<Option<Header>> {
        let mut block = [0; SECTOR];
        self.read(tile, 0, &mut block)?;
        let header = Header::decode(&block);
        match header {
            Some(header) if header.uuid != self.log.found.uuid && tile == self.tile => {
                bail!("{} was formatted anew: it is console {:08x} now", self.log.name, header.uuid)
            }
            other => Ok(other.filter(|header| header.uuid == self.log.found.uuid)),
        }
    }

    fn read(&self, tile: u32, offset: usize, buffer: &mut [u8]) -> Result<()> {
        let read = self.log.medium.read_at(tile_start(tile) + offset as u64, buffer);
        read.with_context(|| format!("{}: tile {tile} cannot be read", self.log.name))
    }

    /// Takes what was written to the tile since the last look; returns whether there was anything, or `None` if the log came
    /// round and overwrote it meanwhile. `final_` says that nothing will be written to it any more in this round.
    fn take_new(&mut self, final_: bool, take: &mut impl FnMut(&Line<'_>) -> Result<()>) -> Result<Option<bool>> {
        if self.taken >= TILE {
            return Ok(Some(false));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let taken = self.read_new(final_, &mut buffer).and_then(|end| {
            if end <= self.taken {
                return Ok(Some(end));
            }
            // Only a header that is seen after the text vouches for it.
            if self.is_overwritten()? {
                return Ok(None);
            }
            self.take_text(&mut buffer[..end], take)?;
            Ok(Some(end))
        });
        self.buffer = buffer;
        let Some(end) = taken? else { return Ok(None) };
        let found = end > self.taken;
        self.taken = end.max(self.taken);
        Ok(Some(found))
    }

    fn is_overwritten(&self) -> Result<bool> {
        Ok(self.header(self.tile)?.is_some_and(|header| header.round != self.round))
    }

    /// Reads what is new, and returns where it ends.
    fn read_new(&mut self, final_: bool, buffer: &mut [u8]) -> Result<usize> {
        let first = self.taken / SECTOR * SECTOR;
        if final_ {
            self.read(self.tile, first, &mut buffer[first..])?;
            return Ok(TILE);
        }
        // Most looks find nothing, and cost no more than this.
        let mut sectors = [0; 2 * SECTOR];
        let probe = (TILE - first).min(sectors.len());
        self.read(self.tile, first, &mut sectors[..probe])?;
        buffer[first..first + probe].copy_from_slice(&sectors[..probe]);
        if text_end(&buffer[..first + probe], self.taken) <= self.taken {
            return Ok(self.taken);
        }
        self.read(self.tile, first, &mut buffer[first..])?;
        let end = text_end(buffer, self.taken);
        let mut again = std::mem::take(&mut self.again);
        let read = self.read(self.tile, first, &mut again[first..end]);
        let agree = buffer[first..end] == again[first..end];
        self.again = again;
        read?;
        Ok(if agree { end } else { self.taken })
    }

    fn take_text(&mut self, tile: &mut [u8], take: &mut impl FnMut(&Line<'_>) -> Result<()>) -> Result<()> {
        let from = self.taken.max(HEADER_LEN).min(tile.len());
        let tiles = self.log.tiles;
        if self.taken == 0 {
            let first = tile[from..].split(|&byte| byte == b'\n').next().unwrap_or_default();
            if matches!(Mark::parse(first, tiles), Some(Mark::Boot { .. })) && !self.held.is_empty() {
                let before = self.tile.checked_sub(1).unwrap_or(tiles.saturating_sub(1) as u32);
                take(&self.course.line(&self.held, (before, self.end), tiles))?;
                self.held.clear();
            }
            if self.course.boot.is_none() {
                self.course.boot = tile_line_in(&tile[from..], tiles).map(|line| line.boot);
            }
        }
        let Text { start, end, .. } = clean(tile, from, !self.held.is_empty(), &mut self.moves);
        let text = &tile[start..end];
        let mut at = 0;
        while let Some(len) = memchr::memchr(b'\n', &text[at..]) {
            let line = &text[at..at + len];
            let place = (self.tile, self.moves.source(start + at + len));
            at += len + 1;
            if self.held.is_empty() {
                take(&self.course.line(line, place, tiles))?;
            } else {
                self.held.extend_from_slice(line);
                take(&self.course.line(&self.held, place, tiles))?;
                self.held.clear();
            }
        }
        if at < text.len() {
            self.held.extend_from_slice(&text[at..]);
            self.end = self.moves.source(end);
        }
        if self.held.len() > MAX_HELD {
            take(&self.course.line(&self.held, (self.tile, self.end), tiles))?;
            self.held.clear();
        }
        Ok(())
    }
}

/// The end of the text that was written behind `taken`: before the pad that it ends with, if there is one.
fn text_end(tile: &[u8], taken: usize) -> usize {
    let mut end = taken / SECTOR * SECTOR;
    while tile.get(end + SECTOR - 1).is_some_and(|&last| last != 0) {
        end += SECTOR;
    }
    let text = tile.get(taken..end).unwrap_or_default();
    let spaces_from = |text: &[u8]| text.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
    let Some(before) = text.strip_suffix(b"\n") else {
        // Without its newline it may be the beginning of a pad.
        return taken + spaces_from(text);
    };
    let padded = spaces_from(before);
    let is_pad = padded < before.len() || padded == 0 || before.ends_with(b"\n");
    if is_pad { taken + padded } else { end.max(taken) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_before_its_pad() {
        let sector = |text: &str| {
            let mut sector = format!("{text:511}\n").into_bytes();
            assert_eq!(sector.len(), SECTOR);
            sector.resize(2 * SECTOR, 0);
            sector
        };
        assert_eq!(text_end(&sector("one\ntwo\n"), 0), 8);
        assert_eq!(text_end(&sector("one\ntwo\n"), 4), 8);
        assert_eq!(text_end(&sector("one\ntwo\n"), 8), 8, "nothing new");
        let full = "x".repeat(511);
        assert_eq!(text_end(&sector(&full), 0), 512, "a line that ends with the sector");
        let pad_of_one = format!("{}\n", "x".repeat(510));
        assert_eq!(text_end(&sector(&pad_of_one), 0), 511);
        assert_eq!(text_end(&sector(&pad_of_one), 511), 511, "nothing new");
        assert_eq!(text_end(&[0; 1024], 0), 0);
        // Two sectors of a larger block: the pad is whole only with its newline.
        let mut block = format!("{:512}", "one\n").into_bytes();
        block.resize(2 * SECTOR, 0);
        assert_eq!(text_end(&block, 0), 4);
        block[SECTOR..].copy_from_slice(format!("{:511}\n", "").as_bytes());
        assert_eq!(text_end(&block, 0), 4);
        assert_eq!(text_end(&block, 4), 4);
    }
}
