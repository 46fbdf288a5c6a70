//! `bcon tail`: the end of the log, and what is added to it.

use super::cat::{Stale, is_refused_on_terminal, tell, writer};
use super::select::Filter;
use super::{DONE, USAGE, say};
use crate::cli::{LineFormat, TailArgs};
use crate::follow::{Follow, Look};
use crate::lines::Lines;
use crate::log::Log;
use crate::output::stdout;
use crate::target::{self, Console, Target};
use anyhow::{Result, bail};
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Time between two looks at a disk on which nothing is new.
const PAUSE: Duration = Duration::from_millis(100);
/// Tiles that a follower goes back for the lines that it prints at first.
const FOLLOWED_TILES: u64 = 16;

pub(super) fn run(args: &TailArgs) -> Result<u8> {
    if args.lines.output == LineFormat::Raw {
        say("tail prints lines: use `cat --raw` for the bytes");
        return Ok(USAGE);
    }
    if is_refused_on_terminal(args.lines.output, stdout()?.is_terminal()) {
        return Ok(USAGE);
    }
    let is_pipe = args.target == Path::new("-") && !target::standard_input_is_disk();
    if args.follow && is_pipe {
        bail!("standard input is a pipe, which ends: to follow a log, name its disk or image");
    }
    let target = target::open_as(&args.target, args.lines.which.uuid)?;
    let console = target.console(args.lines.which.partition)?;
    let console = if args.follow { followed(&target, console) } else { console.clone() };
    let mut log = Log::open(&console)?;
    let filter = Filter::new(&args.lines);
    let start = find_start(&mut log, &filter, args.count, args.follow);
    if !args.follow {
        return print(&log, start, args, &filter);
    }
    follow(&console, log, start, args, &filter)
}

/// A console that is followed: past this machine's page cache if it is on a device, which another machine may write to.
fn followed(target: &Target, console: &Console) -> Console {
    let direct = target.direct(console);
    let is_cached = direct.is_none() && target.is_device();
    if is_cached {
        say(&format!(
            "{}: it cannot be read past this machine's page cache: what another machine writes to it may not be seen",
            console.name
        ));
    }
    direct.unwrap_or_else(|| console.clone())
}

/// A position, and how many chosen lines after it come before those that are to be printed.
#[derive(Clone, Copy)]
struct Start {
    index: u64,
    skip: usize,
    /// The tile and byte where the last line ends behind which all may be stale.
    stop: Option<(u32, u32)>,
}

/// Finds where the last `count` chosen lines begin, by looking at twice as many tiles each time.
fn find_start(log: &mut Log, filter: &Filter, count: usize, contiguous: bool) -> Start {
    if contiguous {
        log.find_carried(log.len().saturating_sub(FOLLOWED_TILES)..log.len());
    }
    let oldest = if contiguous { contiguous_from(log) } else { 0 };
    let mut tiles = 1;
    loop {
        // Tiles that were carried are out of order here.
        log.find_carried(log.len().saturating_sub(tiles)..log.len());
        let index = log.len().saturating_sub(tiles).max(oldest);
        let mut lines = Lines::over(log, std::iter::once(index..log.len()));
        let mut chosen = 0;
        // The last line with a time that fits: where it ends, and how many were chosen up to it.
        let mut fresh = None;
        let mut is_stale = false;
        while let Some(line) = lines.next_line() {
            chosen += usize::from(filter.takes(&line));
            is_stale = line.stale;
            if !line.stale && line.boot.is_none() && line.record().is_some() {
                fresh = Some(((line.tile, line.offset), chosen));
            }
        }
        let stop = fresh.filter(|_| is_stale && !contiguous);
        let chosen = stop.map_or(chosen, |(_, chosen)| chosen);
        // One more than asked for: the first line of a tile may be the end of one that began before.
        if chosen > count || index == oldest {
            return Start { index, skip: chosen.saturating_sub(count), stop: stop.map(|(place, _)| place) };
        }
        tiles *= 2;
    }
}

/// The oldest position, of the last few, from which each tile is followed by the next.
fn contiguous_from(log: &Log) -> u64 {
    let follows = |index: u64| {
        let before = index.checked_sub(1).and_then(|before| log.position(before));
        before.zip(log.position(index)).is_some_and(|(before, this)| !before.carried && log.follows(before, this))
    };
    let limit = log.len().saturating_sub(FOLLOWED_TILES);
    (limit..log.len()).rev().find(|&index| !follows(index)).unwrap_or(limit)
}

fn print(log: &Log, start: Start, args: &TailArgs, filter: &Filter) -> Result<u8> {
    let out = stdout()?;
    let mut writer = writer(log, args.lines.output, args.lines.color, out.is_terminal());
    let mut out = BufWriter::new(out);
    let mut lines = Lines::over(log, std::iter::once(start.index..log.len()));
    let mut skip = start.skip;
    let mut stale = Stale::default();
    while let Some(line) = lines.next_line() {
        writer.note(&line);
        if filter.takes(&line) && skip > 0 {
            skip -= 1;
        } else if filter.takes(&line) {
            stale.take(&line);
            writer.line(&line, &mut out)?;
        }
        if start.stop == Some((line.tile, line.offset)) {
            break;
        }
    }
    out.flush()?;
    tell(&log.name, lines.problems());
    stale.tell(&log.name);
    if let Some((tile, offset)) = start.stop {
        say(&format!(
            "{}: what stands behind byte {offset} of tile {tile} is left out: its times go back, so it is probably older \
             text, which Linux does not erase; `bcon cat` shows it",
            log.name
        ));
    }
    Ok(DONE)
}

fn follow(console: &Console, log: Log, start: Start, args: &TailArgs, filter: &Filter) -> Result<u8> {
    let out = stdout()?;
    let shown = log.clone();
    let mut writer = writer(&shown, args.lines.output, args.lines.color, out.is_terminal());
    let mut out = BufWriter::new(out);
    let mut follow = Follow::new(console, log, start.index);
    let mut skip = start.skip;
    loop {
        let look = follow.look(|line| {
            writer.note(line);
            if filter.takes(line) {
                match skip {
                    0 => writer.line(line, &mut out)?,
                    _ => skip -= 1,
                }
            }
            Ok(())
        })?;
        if look == Look::Overtaken {
            say(&format!("{}: the log overtook its reader: lines were missed", console.name));
        }
        if look == Look::Nothing {
            out.flush()?;
            sleep(PAUSE);
        }
    }
}
