//! A reader of consoles that shares no code with the writer.

use super::MIB;
use block_fake::Medium;

/// A tile with a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    pub tile: u64,
    pub uuid: u32,
    pub round: u32,
    pub number: u32,
    /// Its text: no header, no zeroes, no pads.
    pub text: String,
    /// Whether the text goes on in the next tile: it does if the tile is full.
    pub goes_on: bool,
}

/// A whole log, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub tiles: Vec<Tile>,
}

impl Log {
    /// Reads a disk of so many tiles. Panics at text that is not UTF-8.
    pub fn read(medium: &Medium, tiles: u64) -> Self {
        let mut found: Vec<Tile> = (0..tiles).filter_map(|tile| read_tile(medium, tile)).collect();
        let uuid = read_tile(medium, 0).map(|tile| tile.uuid);
        found.retain(|tile| Some(tile.uuid) == uuid);
        // A tile that was carried belongs where its own line says.
        let own_round = |tile: &Tile| tile_line(&tile.text).map_or(tile.round, |(_, round, _)| round);
        found.sort_by_key(|tile| (own_round(tile), tile.tile));
        Self { tiles: found }
    }

    /// All text in order.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for tile in &self.tiles {
            text.push_str(&tile.text);
            if !tile.goes_on && !text.ends_with('\n') {
                text.push('\n');
            }
        }
        text
    }

    /// All lines in order.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// The messages of the lines that were logged to this target.
    pub fn messages(&self, target: &str) -> Vec<String> {
        let needle = format!(" {target}: ");
        self.lines().iter().filter_map(|line| line.split_once(&needle).map(|(_, message)| message.to_owned())).collect()
    }

    /// The text of one boot.
    pub fn boot(&self, boot: u32) -> String {
        let text = self.text();
        let start = text.find(&format!("blockconsole: boot {boot} of ")).expect("the boot's line");
        let start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end =
            text[start..].find(&format!("blockconsole: boot {} of ", boot + 1)).map_or(text.len(), |at| start + at);
        text[start..end].to_owned()
    }
}

/// Tile, round and boot of a tile line.
pub fn tile_line(text: &str) -> Option<(u32, u32, u32)> {
    let line = text.lines().find_map(|line| line.split_once("INFO  blockconsole: tile "))?.1;
    let mut words = line.split(' ');
    let tile = words.next()?.parse().ok()?;
    let round = (words.next()? == "round").then(|| words.next()?.parse().ok()).flatten()?;
    let boot = (words.next()? == "boot").then(|| words.next()?.parse().ok()).flatten()?;
    Some((tile, round, boot))
}

/// The header's fields; `None` if there is none.
pub fn header(bytes: &[u8]) -> Option<(u32, u32, u32)> {
    let text = std::str::from_utf8(bytes.get(..59)?).ok()?;
    let rest = text.strip_prefix("\nLinux blockconsole version 1.1\n")?;
    let fields: Vec<u32> = rest
        .split_inclusive('\n')
        .filter_map(|field| field.strip_suffix('\n').filter(|digits| digits.len() == 8))
        .filter_map(|digits| u32::from_str_radix(digits, 16).ok())
        .collect();
    match fields[..] {
        [uuid, round, tile] => Some((uuid, round, tile)),
        _ => None,
    }
}

fn read_tile(medium: &Medium, tile: u64) -> Option<Tile> {
    let bytes = medium.read(tile * MIB, MIB as usize);
    let (uuid, round, number) = header(&bytes)?;
    let goes_on = bytes.last() != Some(&0);
    Some(Tile { tile, uuid, round, number, text: text(&bytes, medium.block_size() as usize), goes_on })
}

/// Takes header, zeroes and pads out of a tile.
pub fn text(tile: &[u8], block: usize) -> String {
    let mut text = Vec::new();
    for (i, bytes) in tile.chunks(block).enumerate() {
        let bytes = if i == 0 { &bytes[59..] } else { bytes };
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let bytes = &bytes[..end];
        // A pad is spaces and a line feed at the end of a block, after a line feed.
        match bytes.strip_suffix(b"\n").map(|rest| rest.trim_ascii_end().len()) {
            Some(len) if end < block || bytes.len() - len > 1 => {
                text.extend_from_slice(&bytes[..len]);
                if len > 0 || text.last().is_some_and(|byte| *byte != b'\n') {
                    text.push(b'\n');
                }
            }
            _ => text.extend_from_slice(bytes),
        }
    }
    String::from_utf8(text).expect("text")
}
