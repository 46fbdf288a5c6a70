//! `bcon tail`: the end of the log, and what is added to it.

use super::cat::{tell, writer};
use super::select::Filter;
use super::{DONE, complain};
use crate::cli::{LineFormat, TailArgs};
use crate::follow::{Follow, Look};
use crate::lines::Lines;
use crate::log::Log;
use crate::output::stdout;
use crate::target::{self, Console};
use anyhow::{Result, bail};
use std::io::{BufWriter, IsTerminal, Write};
use std::thread::sleep;
use std::time::Duration;

/// Time between two looks at a disk on which nothing is new.
const PAUSE: Duration = Duration::from_millis(100);
/// Tiles that a follower goes back for the lines that it prints at first.
const FOLLOWED_TILES: u64 = 16;

pub(super) fn run(args: &TailArgs) -> Result<u8> {
    if args.lines.output == LineFormat::Raw {
        bail!("tail prints lines: use `cat --raw` for the bytes");
    }
    let target = target::open(&args.target)?;
    let console = target.console(args.lines.which.partition)?;
    let mut log = Log::open(console)?;
    let filter = Filter::new(&args.lines);
    let start = find_start(&mut log, &filter, args.count, args.follow);
    if args.follow { follow(console, log, start, args, &filter) } else { print(&log, start, args, &filter) }
}

/// A position, and how many chosen lines after it come before those that are to be printed.
#[derive(Clone, Copy)]
struct Start {
    index: u64,
    skip: usize,
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
        while let Some(line) = lines.next_line() {
            chosen += usize::from(filter.takes(&line));
        }
        // One more than asked for: the first line of a tile may be the end of one that began before.
        if chosen > count || index == oldest {
            return Start { index, skip: chosen.saturating_sub(count) };
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
    while let Some(line) = lines.next_line() {
        if !filter.takes(&line) {
            continue;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        writer.line(&line, &mut out)?;
    }
    out.flush()?;
    tell(&log.name, lines.problems());
    Ok(DONE)
}

fn follow(console: &Console, log: Log, start: Start, args: &TailArgs, filter: &Filter) -> Result<u8> {
    let out = stdout()?;
    let shown = Log::open(console)?;
    let mut writer = writer(&shown, args.lines.output, args.lines.color, out.is_terminal());
    let mut out = BufWriter::new(out);
    let mut follow = Follow::new(console, log, start.index);
    let mut skip = start.skip;
    loop {
        let look = follow.look(|line| {
            if filter.takes(line) {
                match skip {
                    0 => writer.line(line, &mut out)?,
                    _ => skip -= 1,
                }
            }
            Ok(())
        })?;
        if look == Look::Overtaken {
            complain(&anyhow::anyhow!("{}: the log overtook its reader: lines were missed", console.name));
        }
        if look == Look::Nothing {
            out.flush()?;
            sleep(PAUSE);
        }
    }
}
