//! Crash records: finding them, checking them, taking them apart.

pub mod record;
pub mod symbols;

use crate::log::{Log, tile_line_in};
use crate::pieces::text_at;
use blockconsole::crash::{BEGIN, Damage, MAX_RECORD, Verdict, find_last};

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
        let part = |range| text.get::<std::ops::Range<usize>>(range).unwrap_or_default().to_vec();
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
/// the usual case costs one large read.
pub fn last(log: &Log, boot: Option<u32>) -> Option<Crash> {
    last_from(log, 0, boot)
}

/// As [`last`], but looks no further back than to a position.
pub fn last_from(log: &Log, oldest: u64, boot: Option<u32>) -> Option<Crash> {
    // The tile after the one at hand, and the beginning of its text: a record may go on there.
    let mut after = None;
    for index in (oldest..log.len()).rev() {
        let Some((position, mut text)) = text_at(log, index) else {
            after = None;
            continue;
        };
        let own_boot = tile_line_in(&text, log.tiles).map(|line| line.boot);
        let own_len = text.len();
        if let Some((next, head)) = after.take()
            && log.follows(position, next)
        {
            text.extend::<Vec<u8>>(head);
        }
        let wanted = boot.is_none() || boot == own_boot;
        // Most tiles have no record, and this tells faster.
        let may_begin = wanted && memchr::memmem::rfind(&text, BEGIN).is_some();
        let found = may_begin.then(|| find_last(&text)).flatten();
        if let Some(found) = found.filter(|found| found.range.start < own_len) {
            let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_vec();
            let (id, verdict, tile) = (found.id, found.verdict, position.tile);
            let (text, lines) = (part(found.range), part(found.lines));
            return Some(Crash { id, boot: own_boot, tile, index, verdict, text, lines });
        }
        let is_past = boot.zip(own_boot).is_some_and(|(wanted, own)| own < wanted);
        if is_past && !position.carried {
            return None;
        }
        text.truncate(own_len.min(MAX_RECORD));
        after = Some((position, text));
    }
    None
}
