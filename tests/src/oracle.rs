//! A reader of the format that shares no code with the writer.
//!
//! It is strict where the real reader is lenient: what it takes is what the format's description says that a correct
//! writer leaves behind.
//!
//! A place is cut into tiles of 1 MiB; what is left over at the end is no part of it. The tiles of the current round come
//! first, and those behind them are of the round before, or were never written. The text of a tile begins after 59 bytes of
//! header. Blocks that are not written yet are zero. A block that was written early ends in spaces and a line feed.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};

use crate::recipe::TILE;

const MAGIC: &[u8; 32] = b"\nLinux blockconsole version 1.1\n";

/// Bytes of a header.
pub const HEADER: usize = 59;

/// The largest block of a disk here.
const BLOCKS_AT_MOST: usize = 4096;

/// What a tile's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The device's identity.
    pub uuid: u32,
    /// How often the log had wrapped when the tile was entered.
    pub round: u32,
    /// The tile's number.
    pub tile: u32,
}

/// A console, taken apart.
pub struct Oracle<'a> {
    place: &'a [u8],
    /// The device's identity.
    pub uuid: u32,
    /// The newest round.
    pub round: u32,
    /// How many tiles are of the newest round. The newest tile is the last of them.
    pub current: usize,
    /// Whether the tiles behind them are of the round before.
    pub wrapped: bool,
}

impl<'a> Oracle<'a> {
    /// Checks every header of a place, and the order of the rounds.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn new(place: &'a [u8]) -> Result<Self> {
        let headers: Vec<Option<Header>> =
            place.chunks_exact(TILE).enumerate().map(|(tile, bytes)| header(tile, bytes)).collect::<Result<_>>()?;
        let first = headers.first().copied().flatten().context("tile 0 has no header")?;
        let same = |header: &&Option<Header>| header.is_some_and(|header| header.round == first.round);
        let current = headers.iter().take_while(same).count();
        for (tile, header) in headers.iter().enumerate() {
            match header {
                Some(header) => {
                    ensure!(header.uuid == first.uuid, "tile {tile} has uuid {:08x}", header.uuid);
                    let round = if tile < current { Some(first.round) } else { first.round.checked_sub(1) };
                    ensure!(Some(header.round) == round, "tile {tile} has round {}, not {round:?}", header.round);
                }
                // In round 0 the tiles fill up; later ones have all been written once.
                None => ensure!(first.round == 0 && tile >= current, "tile {tile} has no header"),
            }
        }
        Ok(Self { place, uuid: first.uuid, round: first.round, current, wrapped: first.round > 0 })
    }

    /// The text of tiles, oldest first, as it was written: without headers, blocks that were never written, and padding.
    pub fn text(&self) -> Vec<u8> {
        let tiles: Vec<&[u8]> = self.place.chunks_exact(TILE).collect();
        let (mut newer, mut older) = tiles.split_at(self.current);
        if !self.wrapped {
            older = &[];
        }
        // The tile that comes next, which is the oldest one, may be erased already: all but its first block.
        let oldest = if older.is_empty() && self.current == tiles.len() { &mut newer } else { &mut older };
        if let [first, rest @ ..] = *oldest
            && first[BLOCKS_AT_MOST..].iter().all(|byte| *byte == 0)
        {
            *oldest = rest;
        }
        let mut text = Vec::with_capacity(self.place.len());
        for tile in older.iter().chain(newer) {
            for piece in tile[HEADER..].chunks(512) {
                match piece.contains(&0) {
                    false => text.extend_from_slice(piece),
                    true => text.extend(piece.iter().filter(|byte| **byte != 0)),
                }
            }
            // A line does not go on behind what was left unwritten: its disk was given up in the middle of it.
            if tile.ends_with(&[0]) && text.last().is_some_and(|byte| *byte != b'\n') {
                text.push(b'\n');
            }
        }
        text
    }

    /// The lines, oldest first. After a wrap the first is the end of one whose beginning was overwritten.
    ///
    /// # Errors
    /// When the text is not UTF-8 or has control characters.
    pub fn lines(&self) -> Result<Vec<String>> {
        let mut text = self.text();
        if self.wrapped {
            // A character may have been cut, too.
            let cut = text.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
            text.drain(..cut);
        }
        let text = String::from_utf8(text)?;
        if let Some(odd) = text.bytes().find(|byte| byte.is_ascii_control() && *byte != b'\n') {
            bail!("the text has the control character {odd:#x}");
        }
        // A block's padding follows the end of a line, so that it becomes a line of spaces.
        Ok(text.split('\n').filter(|line| !line.trim_start_matches(' ').is_empty()).map(str::to_owned).collect())
    }

    /// Checks that blocks of a tile which were not written are at its end, as a whole: nothing stale, no holes.
    ///
    /// # Errors
    /// The first tile where text stands behind a block of zeroes.
    pub fn check_no_holes(&self, block_size: usize) -> Result<()> {
        let zero = |byte: &u8| *byte == 0;
        // The script that makes a console writes one sector of tile 0, whatever the size of a block.
        let first = usize::from(self.round == 0);
        for (tile, bytes) in self.place.chunks_exact(TILE).enumerate().take(self.current).skip(first) {
            let mut blocks = bytes.chunks_exact(block_size).skip_while(|block| !block.iter().any(zero));
            ensure!(blocks.all(|block| block.iter().all(zero)), "tile {tile} has zeroes that are not its end");
        }
        Ok(())
    }
}

impl fmt::Debug for Oracle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uuid {:08x} round {} tiles {} wrapped {}", self.uuid, self.round, self.current, self.wrapped)
    }
}

/// Reads the header of a tile; `None` if nothing like one stands there.
fn header(tile: usize, bytes: &[u8]) -> Result<Option<Header>> {
    if bytes[..32] != MAGIC[..] {
        return Ok(None);
    }
    let field = |at: usize| -> Result<u32> {
        let digits = std::str::from_utf8(&bytes[at..at + 8])?;
        let plain = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        ensure!(plain && bytes[at + 8] == b'\n', "tile {tile} has {:?} at {at}", &bytes[at..at + 9]);
        Ok(u32::from_str_radix(digits, 16)?)
    };
    let header = Header { uuid: field(32)?, round: field(41)?, tile: field(50)? };
    ensure!(header.tile as usize == tile, "tile {tile} says that it is {}", header.tile);
    Ok(Some(header))
}

/// The parts of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Microseconds since the kernel's start.
    pub time: u64,
    /// The level's name.
    pub level: &'a str,
    /// Where it comes from.
    pub target: &'a str,
    /// What it says.
    pub message: &'a str,
}

/// Takes a log line apart: `[    1.234567] LEVEL target: message`.
pub fn line(text: &str) -> Option<Line<'_>> {
    let (time, rest) = text.strip_prefix('[')?.split_once("] ")?;
    let (seconds, micros) = time.trim_start().split_once('.')?;
    if micros.len() != 6 || time.len() < 12 {
        return None;
    }
    let time = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?;
    let level = rest.get(..5)?.trim_end();
    let known = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level);
    let (target, message) = rest.get(5..)?.strip_prefix(' ')?.split_once(": ")?;
    known.then_some(Line { time, level, target, message })
}

/// How often a guest that was given `mark=WORD` has logged the word.
pub fn marks(lines: &[String], word: &str) -> usize {
    let message = format!("mark {word}");
    lines.iter().filter(|text| line(text).is_some_and(|line| line.message == message)).count()
}

/// The lines of the only crash record, marks included, if its end mark proves them whole; `None` if there is none.
///
/// # Errors
/// When a record is damaged, or there are several.
pub fn crash_record(lines: &[String]) -> Result<Option<&[String]>> {
    let records = crash_records(lines)?;
    ensure!(records.len() <= 1, "there are {} crash records", records.len());
    Ok(records.first().copied())
}

/// The lines of each crash record, oldest first.
///
/// # Errors
/// When a record is damaged.
pub fn crash_records(lines: &[String]) -> Result<Vec<&[String]>> {
    let mut records = Vec::new();
    let mut rest = lines;
    while let Some(begin) = rest.iter().position(|line| line.starts_with("---[ ")) {
        let length = rest[begin..].iter().position(|line| line.starts_with("---[ end crash "));
        let length = length.with_context(|| format!("no end of {:?}", rest[begin]))? + 1;
        let record = &rest[begin..begin + length];
        check_crash_record(record).with_context(|| format!("crash record:\n{}", record.join("\n")))?;
        records.push(record);
        rest = &rest[begin + length..];
    }
    Ok(records)
}

fn check_crash_record(record: &[String]) -> Result<()> {
    let [first, inner @ .., last] = record else { bail!("it has no lines") };
    let id = first.strip_prefix("---[ crash ").and_then(|rest| rest.strip_suffix(" ]---")).context("begin mark")?;
    let text: String = inner.iter().map(|line| format!("{line}\n")).collect();
    let end = format!("---[ end crash {id} lines={} crc32c={:08x} ]---", inner.len(), crc32c(text.as_bytes()));
    ensure!(id.len() == 16 && *last == end, "it ends with {last:?}, not {end:?}");
    Ok(())
}

/// The CRC-32C of RFC 3720, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests;
