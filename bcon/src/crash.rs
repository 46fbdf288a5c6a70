//! Crash records: finding them, checking them, taking them apart.

pub mod record;
pub mod symbols;

use crate::log::{Log, Position, tile_line_in};
use crate::pieces::text_at;
use blockconsole::crash::{BEGIN, Damage, MAX_RECORD, Verdict, find_last};
use std::ops::Range;

/// A crash record on a disk.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Tells this crash from others; the same on all disks. `None` if its first line is damaged.
    pub id: Option<u64>,
    /// Number of the boot that crashed, as this console counts; `None` where no line says so.
    pub boot: Option<u32>,
    /// The tile that it begins in.
    pub tile: u32,
    /// That tile's position in the order of reading.
    pub index: u64,
    /// Whether it is what was written.
    pub verdict: Verdict,
    /// All of it, its first and last line included.
    pub text: Vec<u8>,
    /// Its lines between those.
    pub lines: Vec<u8>,
}

impl Crash {
    /// The first crash record of a text that was not read from a console; `None` if there is none.
    pub fn alone(text: Vec<u8>) -> Option<Self> {
        let found = blockconsole::crash::find(&text, 0)?;
        let part = |range| text.get::<Range<usize>>(range).unwrap_or_default().to_vec();
        let (lines, verdict, id) = (part(found.lines), found.verdict, found.id);
        Some(Self { id, boot: None, tile: 0, index: 0, verdict, text: part(found.range), lines })
    }

    /// Whether it is whole.
    pub fn is_whole(&self) -> bool {
        self.verdict == Verdict::Whole
    }

    /// Its first line, without the newline.
    pub fn first_line(&self) -> &[u8] {
        self.text.split(|&byte| byte == b'\n').next().unwrap_or_default()
    }

    /// What is wrong with it, in words; `None` if it is whole.
    pub fn damage(&self) -> Option<String> {
        (!self.is_whole()).then(|| damage_in_words(self.verdict))
    }
}

/// What is wrong with a crash record.
pub(crate) fn damage_in_words(verdict: Verdict) -> String {
    match verdict {
        Verdict::Whole => "nothing".to_owned(),
        Verdict::Damaged(Damage::BadBegin) => "its first line cannot be read".to_owned(),
        Verdict::Damaged(Damage::NoEnd) => "it has no last line: the machine died while it was written".to_owned(),
        Verdict::Damaged(Damage::BadEnd) => "its last line cannot be read".to_owned(),
        Verdict::Damaged(Damage::LineCount(lines)) => {
            format!("it has {lines} lines, not as many as its last line says")
        }
        Verdict::Damaged(Damage::Checksum(crc)) => format!("its checksum is {crc:08x}, not that of its last line"),
    }
}

/// Finds the last crash record of a log, or the last one of a given boot. Goes backward from the end, tile by tile:
/// the usual case costs one large read. Carried tiles are older than all others, and come last.
pub fn last(log: &Log, boot: Option<u32>) -> Option<Crash> {
    let carried = log.carried().len() as u64;
    // A boot that the tile lines do not lead to may be there all the same, if some of them are damaged.
    let positions = boot.and_then(|boot| log.boot(boot)).map_or(carried..log.len(), |boot| boot.positions);
    let mut walk = Walk { log, boot, aside: vec![] };
    walk.search(positions).or_else(|| walk.search_carried())
}

/// As [`last`], but looks at no other positions, and at no carried tiles.
pub fn last_among(log: &Log, positions: Range<u64>, boot: Option<u32>) -> Option<Crash> {
    Walk { log, boot, aside: vec![] }.search(positions)
}

/// The way back through a log.
struct Walk<'a> {
    log: &'a Log,
    boot: Option<u32>,
    /// Tiles that turned out to be carried, and their positions.
    aside: Vec<(u32, u64)>,
}

impl Walk<'_> {
    fn search(&mut self, positions: Range<u64>) -> Option<Crash> {
        // The tile after the one at hand, and the beginning of its text: a record may go on there.
        let mut after = None;
        for index in positions.rev() {
            let Some((position, text)) = text_at(self.log, index) else {
                after = None;
                continue;
            };
            let line = tile_line_in(&text, self.log.tiles);
            if line.is_some_and(|line| position.is_carried_by(&line)) {
                self.aside.push((position.tile, index));
                continue;
            }
            let passed: Vec<u32> = self.aside.iter().map(|&(tile, _)| tile).collect();
            let goes_on = after.take().filter(|(next, _)| self.log.follows_past(position, *next, &passed));
            let text = Text { position, own_boot: line.map(|line| line.boot), own_len: text.len(), bytes: text };
            match self.look(text, goes_on.map(|(_, head)| head)) {
                Ok(found) => return Some(Crash { index, ..found }),
                Err(head) => after = Some((position, head)),
            }
        }
        None
    }

    /// Carried tiles: those that the log knows, and those that were set aside.
    fn search_carried(&mut self) -> Option<Crash> {
        let mut log = self.log.clone();
        log.take_carried(self.aside.iter().map(|&(tile, _)| tile));
        let found = Walk { log: &log, boot: self.boot, aside: vec![] }.search(0..log.carried().len() as u64)?;
        let set_aside = self.aside.iter().find(|&&(tile, _)| tile == found.tile).map(|&(_, index)| index);
        let known = || self.log.carried().iter().position(|&(tile, _)| tile == found.tile).map(|index| index as u64);
        let index = set_aside.or_else(known).unwrap_or(found.index);
        Some(Crash { index, ..found })
    }

    /// Looks for a record that begins in a tile. Otherwise gives the beginning of the tile's text.
    fn look(&self, tile: Text, goes_on: Option<Vec<u8>>) -> Result<Crash, Vec<u8>> {
        let Text { position, own_boot, own_len, mut bytes } = tile;
        bytes.extend(goes_on.unwrap_or_default());
        let wanted = self.boot.is_none() || self.boot == own_boot;
        // Most tiles have no record, and this tells faster.
        let may_begin = wanted && memchr::memmem::rfind(&bytes, BEGIN).is_some();
        let found = may_begin.then(|| find_last(&bytes)).flatten();
        let Some(found) = found.filter(|found| found.range.start < own_len) else {
            bytes.truncate(own_len.min(MAX_RECORD));
            return Err(bytes);
        };
        let part = |range: Range<usize>| bytes.get(range).unwrap_or_default().to_vec();
        let (id, verdict, tile) = (found.id, found.verdict, position.tile);
        let (text, lines) = (part(found.range), part(found.lines));
        Ok(Crash { id, boot: own_boot, tile, index: 0, verdict, text, lines })
    }
}

/// A tile's text.
struct Text {
    position: Position,
    own_boot: Option<u32>,
    own_len: usize,
    bytes: Vec<u8>,
}
