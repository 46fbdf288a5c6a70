//! `bcon cat`: the log, oldest line first.

use super::select::{Filter, boot_number, positions_of};
use super::{DONE, complain};
use crate::cli::{CatArgs, Color, LineFormat};
use crate::crash;
use crate::lines::{Line, Lines};
use crate::log::{Log, TILE};
use crate::output::journal::Journal;
use crate::output::json::Json;
use crate::output::terminal::Terminal;
use crate::output::{LineWriter, Plain, stdout};
use crate::pieces::{Pieces, Problems};
use crate::target;
use anyhow::{Context, Result};
use blockconsole::format::tile_start;
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
    for path in &args.targets {
        cat(path, args, &mut out)?;
    }
    Ok(DONE)
}

fn cat(path: &Path, args: &CatArgs, out: &mut File) -> Result<()> {
    let target = target::open(path)?;
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
        let crash = crash::last(&log, boot).with_context(|| format!("{}: there is no crash record", log.name))?;
        since = Some(crash.first_line().to_vec());
        positions = iter::once(crash.index..log.len()).collect();
    }
    let format = if args.raw { LineFormat::Raw } else { args.lines.output };
    if format == LineFormat::Raw {
        return raw(&log, &positions, out);
    }
    let filter = Filter::for_cat(args, boot);
    let is_plain = format == LineFormat::Text && args.lines.color != Color::Always && !out.is_terminal();
    if is_plain && filter.takes_all() && since.is_none() {
        return text(&log, &positions, out);
    }
    let mut writer = writer(&log, format, args.lines.color, out.is_terminal());
    let mut out = BufWriter::with_capacity(OUT_BUFFER, out);
    let mut lines = Lines::over(&log, positions);
    let mut around = Around::new(args.context);
    while let Some(line) = lines.next_line() {
        if let Some(first) = &since {
            if line.bytes != first {
                continue;
            }
            since = None;
        }
        around.show(&line, filter.takes(&line), &mut *writer, &mut out)?;
    }
    out.flush()?;
    tell(&log.name, lines.problems());
    Ok(())
}

/// What prints lines in a format.
pub(super) fn writer<'a>(log: &'a Log, format: LineFormat, color: Color, terminal: bool) -> Box<dyn LineWriter + 'a> {
    match format {
        LineFormat::Json => Box::new(Json::new(log)),
        LineFormat::Journal => Box::new(Journal::new(log)),
        LineFormat::Text | LineFormat::Raw if color == Color::Always => Box::new(Terminal { color: true }),
        LineFormat::Text | LineFormat::Raw if terminal => Box::new(Terminal { color: color != Color::Never }),
        LineFormat::Text | LineFormat::Raw => Box::new(Plain),
    }
}

/// The text as it is, piece by piece: the way that costs least.
fn text(log: &Log, positions: &[Range<u64>], out: &mut File) -> Result<()> {
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
    Ok(())
}

/// The bytes as they are on the disk.
fn raw(log: &Log, positions: &[Range<u64>], out: &mut File) -> Result<()> {
    let mut buffer = vec![0; TILE];
    for position in positions.iter().cloned().flatten().filter_map(|index| log.position(index)) {
        let tile = position.tile;
        let read = log.medium.read_at(tile_start(tile), &mut buffer);
        read.with_context(|| format!("{}: tile {tile} cannot be read", log.name))?;
        out.write_all(&buffer)?;
    }
    Ok(())
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

/// Prints lines that are chosen, and so many lines around each.
struct Around {
    count: usize,
    before: VecDeque<(Vec<u8>, Line<'static>)>,
    /// Lines still to be printed after the last one that was chosen.
    after: usize,
}

impl Around {
    fn new(count: usize) -> Self {
        Self { count, before: VecDeque::new(), after: 0 }
    }

    fn show(&mut self, line: &Line<'_>, chosen: bool, writer: &mut dyn LineWriter, out: &mut dyn Write) -> Result<()> {
        if chosen {
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
            }
            self.before.push_back((line.bytes.to_vec(), Line { bytes: &[], ..*line }));
        }
        Ok(())
    }
}
