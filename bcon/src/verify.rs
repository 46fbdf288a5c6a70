//! Looks for damage: what is wrong with a console, where, and what is lost by it.

use crate::lines::{DISORDER, Lines, Record};
use crate::log::{Log, Position, TILE, tile_line_in};
use crate::pieces::{Problems, read};
use crate::target::Console;
use anyhow::Result;
use blockconsole::crash::{END, Verdict};
use blockconsole::format::{HEADER_LEN, Header, tile_start};
use blockconsole::marks::Mark;

/// Findings that are kept in words; later ones are only counted.
const MAX_KEPT: usize = 1000;
/// Bytes of a crash record that are kept while its end is awaited.
const MAX_RECORD: usize = 64 << 10;

/// The latest time, in microseconds, of a boot's first line on a disk: a kernel's log may have lost its beginning.
const BOOT_BEGINS: u64 = 60_000_000;

/// Something about a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether something is damaged or lost; otherwise it is merely worth knowing.
    pub is_damage: bool,
    /// The byte of the console where it is, if it is at one place.
    pub byte: Option<u64>,
    /// What it is.
    pub what: String,
}

/// What a look at all of a console found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    damages: u64,
    notes: u64,
}

impl Findings {
    /// The first ones, in the order in which they were met.
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// How much is damaged or lost.
    pub fn damages(&self) -> u64 {
        self.damages
    }

    /// How much is merely worth knowing.
    pub fn notes(&self) -> u64 {
        self.notes
    }

    fn damage(&mut self, byte: Option<u64>, what: String) {
        self.damages += 1;
        self.push(Finding { is_damage: true, byte, what });
    }

    fn note(&mut self, byte: Option<u64>, what: String) {
        self.notes += 1;
        self.push(Finding { is_damage: false, byte, what });
    }

    fn push(&mut self, finding: Finding) {
        if self.list.len() < MAX_KEPT {
            self.list.push(finding);
        }
    }
}

/// Reads all of a console, and says what is damaged.
///
/// # Errors
/// If the console is no longer there.
pub fn verify(console: &Console) -> Result<Findings> {
    let mut log = Log::open(console)?;
    log.find_all_carried();
    let mut findings = Findings::default();
    if console.lost_first_header {
        findings.damage(Some(0), "tile 0 has no header: the kernel does not recognise the console".to_owned());
    }
    let next = next_tile(&log);
    let mut tiles = Tiles { log: &log, findings: &mut findings, next, linux_numbers: 0, buffer: vec![0; TILE] };
    for position in (0..log.len()).filter_map(|index| log.position(index)) {
        tiles.check(position);
    }
    let linux_numbers = tiles.linux_numbers;
    if linux_numbers > 0 {
        findings.note(None, format!("{linux_numbers} tiles have the number before their own, as Linux writes them"));
    }
    check_lines(&log, &mut findings);
    Ok(findings)
}

/// The tile that the log comes to next, which is erased ahead of time, a part after the other.
fn next_tile(log: &Log) -> Option<u32> {
    let newest = u64::from(log.found.newest);
    let behind = (1..log.tiles).filter_map(|distance| u32::try_from((newest + distance) % log.tiles).ok());
    behind.into_iter().find(|tile| log.carried().iter().all(|(carried, _)| carried != tile))
}

/// The check of each tile for itself.
struct Tiles<'a> {
    log: &'a Log,
    findings: &'a mut Findings,
    next: Option<u32>,
    linux_numbers: u64,
    buffer: Vec<u8>,
}

impl Tiles<'_> {
    fn check(&mut self, position: Position) {
        let start = tile_start(position.tile);
        let mut problems = Problems::default();
        read(&self.log.medium, position.tile, 0, &mut self.buffer, &mut problems);
        for problem in problems.words() {
            self.findings.damage(Some(start), problem.clone());
        }
        if self.check_header(position) {
            self.check_text(position);
        }
    }

    /// Checks a tile's header. Returns whether the tile's text belongs to the log.
    fn check_header(&mut self, position: Position) -> bool {
        let (tile, start) = (position.tile, Some(tile_start(position.tile)));
        let Some(header) = Header::decode(&self.buffer) else {
            self.findings.damage(start, format!("tile {tile} has no header: its first 59 bytes are lost"));
            return true;
        };
        if header.uuid != self.log.found.uuid {
            let what = format!("tile {tile} belongs to another console, {:08x}: its text is left out", header.uuid);
            self.findings.damage(start, what);
            return false;
        }
        if header.round != position.round {
            let (has, expected) = (header.round, position.round);
            let what = format!("tile {tile} has round {has} where {expected} is expected: its text is left out");
            self.findings.damage(start, what);
            return false;
        }
        if header.encode() != self.buffer[..HEADER_LEN] {
            self.findings.note(start, format!("tile {tile}: its header has capital letters"));
        }
        match tile.wrapping_sub(header.tile) {
            0 => {}
            1 => self.linux_numbers += 1,
            _ => self.findings.damage(start, format!("tile {tile}: its header says tile {}", header.tile)),
        }
        true
    }

    /// Looks for text behind what was never written, and for bytes that no text has.
    fn check_text(&mut self, position: Position) {
        let (tile, start) = (position.tile, tile_start(position.tile));
        let text = &self.buffer[HEADER_LEN..];
        let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if let Some(hole) = memchr::memchr(0, &text[..end]) {
            let behind = text[hole..end].iter().position(|&byte| byte != 0).unwrap_or(0);
            let at = Some(start + (HEADER_LEN + hole) as u64);
            if self.next == Some(tile) && position.round != self.log.found.newest_round {
                self.findings.note(at, format!("tile {tile} is about to be overwritten, and erased in part"));
            } else {
                let what = format!("tile {tile}: {behind} bytes were never written, but there is text behind them");
                self.findings.damage(at, what);
            }
        }
        let is_odd = |byte: &u8| matches!(byte, 1..=9 | 11..=31 | 127);
        if let Some(odd) = text.iter().position(is_odd) {
            let what = format!("tile {tile}: its text has control characters, which no console writes");
            self.findings.damage(Some(start + (HEADER_LEN + odd) as u64), what);
        }
        if let Some(line) = tile_line_in(text, self.log.tiles)
            && line.round != position.round
        {
            let what =
                format!("tile {tile} holds a crash record of boot {}, kept since round {}", line.boot, line.round);
            self.findings.note(Some(start), what);
        }
    }
}

fn is_about_saved(record: &Record<'_>) -> bool {
    record.target == b"kernel" && record.text.starts_with(b"recovered: ")
}

/// The check of what lines say, in their order.
fn check_lines(log: &Log, findings: &mut Findings) {
    let mut lines = Lines::new(log);
    let mut time = None;
    let (mut boot, mut tile) = (None, None);
    let mut lost = 0;
    // Since the beginning of a crash record.
    let mut record: Vec<u8> = Vec::new();
    while let Some(line) = lines.next_line() {
        if line.in_crash {
            if line.bytes.starts_with(blockconsole::crash::BEGIN) {
                check_record(&mut record, findings);
            }
            if record.len() < MAX_RECORD {
                record.extend_from_slice(line.bytes);
                record.push(b'\n');
            }
            if line.bytes.starts_with(END) {
                check_record(&mut record, findings);
            }
            continue;
        }
        check_record(&mut record, findings);
        match line.mark {
            Some(Mark::Lost(count)) => lost = u64::saturating_add(lost, count),
            Some(Mark::Unfinished(sequence)) => findings.note(None, format!("record {sequence} was never finished")),
            Some(Mark::Boot { .. } | Mark::Tile { .. }) => time = None,
            // The kernel's lines around what it has saved of the boot before, whose times are that boot's.
            None if line.record().is_some_and(|record| is_about_saved(&record)) => time = None,
            None => {}
        }
        let this = line.record().map(|record| record.time_us);
        if let Some((before, now)) = time.zip(this)
            && now.saturating_add(DISORDER) < before
            && boot == line.boot
        {
            let (seconds, start) = (now / 1_000_000, Some(tile_start(line.tile)));
            // The Linux driver names no boots, but each begins a tile, with the kernel's log from its beginning on.
            if boot.is_none() && tile != Some(line.tile) && now < BOOT_BEGINS {
                findings.note(start, format!("tile {}: time begins again: the machine was started anew", line.tile));
            } else {
                let what = format!("tile {}: time goes back to {seconds} s: what follows may be stale", line.tile);
                findings.damage(start, what);
            }
        }
        tile = this.map(|_| line.tile).or(tile);
        time = this.or(time);
        boot = line.boot;
    }
    check_record(&mut record, findings);
    if lost > 0 {
        findings.note(None, format!("{lost} lines were lost because the disk was too slow; the log says where"));
    }
}

/// Checks a crash record, and empties it.
fn check_record(record: &mut Vec<u8>, findings: &mut Findings) {
    if let Some(found) = blockconsole::crash::find(record, 0)
        && found.verdict != Verdict::Whole
    {
        let name = found.id.map_or_else(|| "with an unreadable id".to_owned(), |id| format!("{id:016x}"));
        findings
            .damage(None, format!("crash record {name} is damaged: {}", crate::crash::damage_in_words(found.verdict)));
    }
    record.clear();
}
