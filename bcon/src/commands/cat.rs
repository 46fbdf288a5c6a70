//! `bcon cat`: the log, oldest line first.

use super::select::{Filter, boot_number, positions_of};
use super::targets::each;
use super::{DONE, USAGE, complain, say};
use crate::cli::{CatArgs, Color, LineFormat};
use crate::crash;
use crate::lines::{Line, Lines};
use crate::log::{Log, TILE};
use crate::output::journal::Journal;
use crate::output::json::Json;
use crate::output::terminal::Terminal;
use crate::output::{LineWriter, Plain, stdout};
use crate::pieces::{Pieces, Problems, read};
use crate::target;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::iter;
use std::ops::Range;
use std::path::Path;

/// Bytes that lines are gathered in before they are written.
const OUT_BUFFER: usize = 256 << 10;

pub(super) fn run(args: &CatArgs) -> Result<u8> {
    let mut out = stdout()?;
    let format = if args.raw { LineFormat::Raw } else { args.lines.output };
    let is_filtered = !Filter::for_cat(args, None).takes_all() || args.context > 0;
    if format == LineFormat::Raw && (is_filtered || (args.raw && args.lines.output != LineFormat::Text)) {
        say("--raw gives whole tiles, not lines: it goes together with --boot and --since-crash only");
        return Ok(USAGE);
    }
    if is_refused_on_terminal(format, out.is_terminal()) {
        return Ok(USAGE);
    }
    each(&args.targets, |path, is_named| cat(path, is_named, args, format, &mut out))
}

/// Formats for programs are not shown on a terminal, to which a disk's bytes could be commands. Says so.
pub(super) fn is_refused_on_terminal(format: LineFormat, terminal: bool) -> bool {
    let is_refused = terminal && matches!(format, LineFormat::Raw | LineFormat::Journal);
    if is_refused {
        say(
            "this output is not for a terminal, which bytes from the disk could do anything to: send it to a file with \
             `> FILE`, or through `| cat` to see it all the same",
        );
    }
    is_refused
}

fn cat(path: &Path, is_named: bool, args: &CatArgs, format: LineFormat, out: &mut File) -> Result<u8> {
    let target = target::open_as(path, args.lines.which.uuid)?;
    if target.consoles.is_empty() && !is_named {
        return Ok(DONE);
    }
    let mut log = Log::open(target.console(args.lines.which.partition)?)?;
    let boot = args.boot.map(|choice| boot_number(&mut log, choice)).transpose()?;
    if boot.is_none() {
        log.find_carried(0..log.len());
    }
    let mut positions = match boot {
        Some(boot) => positions_of(&mut log, boot),
        None => iter::once(0..log.len()).collect(),
    };
    let mut since = None;
    if args.since_crash {
        let crash = crash::last(&log, boot).with_context(|| {
            format!("{}: there is no crash record: leave --since-crash away, or name another --boot", log.name)
        })?;
        since = Some(crash.first_line().to_vec());
        positions = iter::once(crash.index..log.len()).collect();
    }
    if format == LineFormat::Raw {
        return raw(&log, &positions, out);
    }
    let filter = Filter::for_cat(args, boot);
    let is_plain = format == LineFormat::Text && args.lines.color != Color::Always && !out.is_terminal();
    // A log that names no boots is Linux's, of which some lines may be stale.
    if is_plain && filter.takes_all() && since.is_none() && log.boot_numbers().is_some() {
        return text(&log, &positions, out);
    }
    let mut writer = writer(&log, format, args.lines.color, out.is_terminal());
    let mut out = BufWriter::with_capacity(OUT_BUFFER, out);
    let mut lines = Lines::over(&log, positions);
    let mut around = Around::new(args.context, format);
    let mut stale = Stale::default();
    while let Some(line) = lines.next_line() {
        writer.note(&line);
        if let Some(first) = &since {
            if line.bytes != first {
                continue;
            }
            since = None;
        }
        stale.take(&line);
        around.show(&line, filter.takes(&line), &mut *writer, &mut out)?;
    }
    out.flush()?;
    tell(&log.name, lines.problems());
    stale.tell(&log.name);
    Ok(DONE)
}

/// What prints lines in a format.
pub(super) fn writer<'a>(log: &'a Log, format: LineFormat, color: Color, terminal: bool) -> Box<dyn LineWriter + 'a> {
    // See no-color.org.
    let no_color = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match format {
        LineFormat::Json => Box::new(Json::new(log)),
        LineFormat::Journal => Box::new(Journal::new(log)),
        LineFormat::Text | LineFormat::Raw if color == Color::Always => Box::new(Terminal { color: true }),
        LineFormat::Text | LineFormat::Raw if terminal => {
            Box::new(Terminal { color: color != Color::Never && !no_color() })
        }
        LineFormat::Text | LineFormat::Raw => Box::new(Plain),
    }
}

/// The text as it is, piece by piece: the way that costs least.
fn text(log: &Log, positions: &[Range<u64>], out: &mut File) -> Result<u8> {
    let mut pieces = Pieces::over(log, positions.iter().cloned());
    while let Some(piece) = pieces.advance() {
        if piece.breaks_line {
            out.write_all(b"\n")?;
        }
        out.write_all(pieces.text())?;
    }
    if pieces.is_in_line() {
        out.write_all(b"\n")?;
    }
    tell(&log.name, pieces.problems());
    Ok(DONE)
}

/// The bytes as they are on the disk; zeroes where they cannot be read.
fn raw(log: &Log, positions: &[Range<u64>], out: &mut File) -> Result<u8> {
    let mut buffer = vec![0; TILE];
    let mut problems = Problems::default();
    for position in positions.iter().cloned().flatten().filter_map(|index| log.position(index)) {
        read(&log.medium, position.tile, 0, &mut buffer, &mut problems);
        out.write_all(&buffer)?;
    }
    tell(&log.name, &problems);
    Ok(DONE)
}

/// Says on standard error what was damaged.
pub(super) fn tell(name: &str, problems: &Problems) {
    for words in problems.words() {
        complain(&anyhow::anyhow!("{name}: {words}"));
    }
    let untold = problems.count() - problems.words().len() as u64;
    if untold > 0 {
        complain(&anyhow::anyhow!("{name}: {untold} more; see `bcon verify`"));
    }
}

/// Lines that may be older than those before them: where they begin, for each tile.
#[derive(Default)]
pub(super) struct Stale {
    tiles: Vec<(u32, u32)>,
    more: u64,
}

impl Stale {
    /// Tiles that are named.
    const NAMED: usize = 16;

    pub(super) fn take(&mut self, line: &Line<'_>) {
        if !line.stale || self.tiles.last().is_some_and(|&(tile, _)| tile == line.tile) {
            return;
        }
        if self.tiles.len() < Self::NAMED {
            self.tiles.push((line.tile, line.offset.saturating_sub(line.bytes.len() as u32)));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn tell(&self, name: &str) {
        for (tile, offset) in &self.tiles {
            say(&format!(
                "{name}: tile {tile}: from about byte {offset} on, times go back: what follows there may be older text, \
                 which Linux does not erase"
            ));
        }
        if self.more > 0 {
            say(&format!("{name}: the same in {} more places; see `bcon verify`", self.more));
        }
    }
}

/// Prints lines that are chosen, and so many lines around each.
struct Around {
    count: usize,
    before: VecDeque<(Vec<u8>, Line<'static>)>,
    /// Lines still to be printed after the last one that was chosen.
    after: usize,
    /// Whether groups of lines have a line between them, and whether lines were left out after a group.
    has_gaps: bool,
    gap: Option<bool>,
}

impl Around {
    fn new(count: usize, format: LineFormat) -> Self {
        let has_gaps = count > 0 && format == LineFormat::Text;
        Self { count, before: VecDeque::new(), after: 0, has_gaps, gap: None }
    }

    fn show(&mut self, line: &Line<'_>, chosen: bool, writer: &mut dyn LineWriter, out: &mut dyn Write) -> Result<()> {
        if chosen {
            if self.has_gaps && self.gap == Some(true) {
                out.write_all(b"--\n")?;
            }
            self.gap = Some(false);
            for (bytes, parts) in self.before.drain(..) {
                writer.line(&Line { bytes: &bytes, ..parts }, out)?;
            }
            self.after = self.count;
            writer.line(line, out)?;
        } else if self.after > 0 {
            self.after -= 1;
            writer.line(line, out)?;
        } else if self.count > 0 {
            if self.before.len() == self.count {
                self.before.pop_front();
                self.gap = self.gap.map(|_| true);
            }
            self.before.push_back((line.bytes.to_vec(), Line { bytes: &[], ..*line }));
        }
        Ok(())
    }
}
