//! What disks hold, read by `bcon`'s library, and what that says about a run.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use bcon::crash::record::Record;
use bcon::crash::symbols::Symbols;
use bcon::crash::{self, Crash};
use bcon::lines::{Line, Lines};
use bcon::log::Log;
use bcon::target;
use qemu::{Disk, Outcome, Report};

/// The consoles of all disks.
pub(super) struct Findings(Vec<DiskFinding>);

/// One disk, and the consoles on it.
struct DiskFinding {
    kind: &'static str,
    path: PathBuf,
    bytes: u64,
    consoles: Vec<ConsoleFinding>,
}

/// One console.
struct ConsoleFinding {
    /// Where on the disk it is.
    place: String,
    uuid: u32,
    tiles: u64,
    tile: u32,
    round: u32,
    /// The number of the last boot; 0 before the first.
    boot: u32,
    /// Lines of the last boot.
    lines: u64,
    /// What the last boot says of the one before.
    saved: Saved,
    /// What was damaged, in words.
    problems: Vec<String>,
    /// The last crash record, of whichever boot.
    crash: Option<Crash>,
}

impl Findings {
    /// Reads all disks.
    pub(super) fn read(disks: &[Disk]) -> Result<Self> {
        disks.iter().map(DiskFinding::read).collect::<Result<_>>().map(Self)
    }

    fn count(&self) -> usize {
        self.0.iter().map(|disk| disk.consoles.len()).sum()
    }

    /// The consoles that boots have been logged on since they were as in `before`, each with the last boot that it had then.
    fn written_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a ConsoleFinding, u32)> {
        let disks = self.0.iter().flat_map(|disk| disk.consoles.iter().map(move |console| (disk, console)));
        disks.filter_map(|(disk, console)| Some((console, before.boot_before(disk, console)?)))
    }

    /// The last boot that the same console has here, if it is one before that which it has there.
    fn boot_before(&self, disk: &DiskFinding, console: &ConsoleFinding) -> Option<u32> {
        let same_disk = self.0.iter().filter(|own| own.path == disk.path);
        let mut same = same_disk.flat_map(|own| &own.consoles).filter(|own| own.uuid == console.uuid);
        same.next().map(|own| own.boot).filter(|boot| *boot < console.boot)
    }

    /// Says what each disk holds, with crash records as far as they are of a boot after `before`.
    pub(super) fn describe(&self, before: &Self, kernel: &Path) -> String {
        let mut text = String::new();
        for disk in &self.0 {
            text += &format!("{} {} ({} MiB)\n", disk.kind, disk.path.display(), disk.bytes >> 20);
            if disk.consoles.is_empty() {
                text += "  no console\n";
            }
            for console in &disk.consoles {
                text += &console.describe(before.boot_before(disk, console), kernel);
            }
        }
        text
    }
}

impl DiskFinding {
    fn read(disk: &Disk) -> Result<Self> {
        let path = disk.path.as_deref().context("a disk has no path")?;
        let target = target::open(path)?;
        let consoles =
            target.consoles.iter().map(|console| ConsoleFinding::read(path, console)).collect::<Result<_>>()?;
        Ok(Self { kind: disk.kind.name(), path: path.to_owned(), bytes: target.medium.len(), consoles })
    }
}

impl ConsoleFinding {
    fn read(path: &Path, console: &target::Console) -> Result<Self> {
        let log = Log::open(console)?;
        let mut lines = Lines::new(&log);
        let (mut boot, mut count, mut saved) = (0, 0, Saved::default());
        while let Some(line) = lines.next_line() {
            let of = line.boot.unwrap_or(0);
            if of != boot {
                (boot, count, saved) = (of, 0, Saved::default());
            }
            count += 1;
            saved.take(&line);
        }
        let problems = lines.problems().words().to_vec();
        let crash = crash::last(&log, None);
        Ok(Self {
            place: place(path, console),
            uuid: log.found.uuid,
            tiles: log.tiles,
            tile: log.found.newest,
            round: log.found.newest_round,
            boot,
            lines: count,
            saved,
            problems,
            crash,
        })
    }

    /// Its crash record, if it is of a later boot than this one.
    fn crash_after(&self, before: u32) -> Option<&Crash> {
        self.crash.as_ref().filter(|crash| crash.boot.is_some_and(|boot| boot > before))
    }

    fn describe(&self, before: Option<u32>, kernel: &Path) -> String {
        let Self { place, uuid, tiles, tile, round, boot, lines, .. } = self;
        let mut text = format!("  {place}: console {uuid:08x}, {tiles} tiles, at tile {tile} of round {round}\n");
        text += &match boot {
            0 => "  boots: none yet\n".to_owned(),
            _ => format!("  boots: {boot}; lines of the last one: {lines}\n"),
        };
        for problem in &self.problems {
            text += &format!("  damaged: {problem}\n");
        }
        let Some(before) = before else {
            text += "  nothing of this run\n";
            return text;
        };
        // Of a boot before this run it is no news.
        if self.boot > before + 1 {
            text += &self.saved.describe();
        }
        let Some(crash) = self.crash_after(before) else { return text };
        let state = if crash.is_whole() { "whole" } else { "DAMAGED" };
        text += &format!("  crash record of this run, read back from this disk: {state}\n");
        // The stack's bytes take a screen, and say little to a reader: `bcon crash` has them.
        for line in String::from_utf8_lossy(&crash.text).lines().filter(|line| !line.starts_with("stack ")) {
            text += &format!("  | {line}\n");
        }
        text + &places(crash, kernel)
    }
}

/// Where on its disk a console is: what its name says besides the path.
fn place(path: &Path, console: &target::Console) -> String {
    let rest = console.name.strip_prefix(&path.display().to_string()).unwrap_or(&console.name).trim();
    if rest.is_empty() { "whole disk".to_owned() } else { rest.to_owned() }
}

/// The functions and source lines of a crash record's backtrace.
fn places(crash: &Crash, kernel: &Path) -> String {
    let record = Record::parse(&crash.lines);
    let symbols = match Symbols::open(kernel).and_then(|symbols| symbols.check(&record).map(|()| symbols)) {
        Ok(symbols) => symbols,
        Err(error) => return format!("  no functions and lines: {error:#}\n"),
    };
    let mut text = "  that is:\n".to_owned();
    for (index, address) in record.frames.iter().enumerate() {
        // Where a trap or an interrupt struck is the address of an instruction; all others are those that calls return to.
        let is_return = index > 0 || record.register("rip") != Some(*address);
        let frames = symbols.frames(*address, is_return);
        if frames.is_empty() {
            text += &format!("  | {index}: {address:#018x}\n");
        }
        for frame in frames {
            text += &format!("  | {index}: {frame}\n");
        }
    }
    text
}

/// What a boot says of the one before it, whose end it found in memory.
#[derive(Default)]
struct Saved {
    /// Whether nothing of it is lost.
    is_all: bool,
    /// Whether lines of it follow.
    is_open: bool,
    /// The last lines that were saved, between those that say so.
    lines: VecDeque<String>,
}

/// Saved lines that are shown.
const SAVED_SHOWN: usize = 12;

impl Saved {
    /// Takes in the next line of the boot. The words are those of `kernel/src/previous.rs` and `kernel/src/start.rs`.
    fn take(&mut self, line: &Line<'_>) {
        let Some(record) = line.record() else { return };
        let of_kernel = record.target == b"kernel";
        let text = String::from_utf8_lossy(record.text);
        let begins = of_kernel && text.starts_with("recovered: what the boot ");
        let ends = of_kernel && text.starts_with("recovered: ") && text.ends_with("; this boot follows");
        self.is_all |= ends && text.contains(" lines, 0 were lost");
        self.is_all |= record.target == b"kernel::start" && text.contains("; all that it logged is on the disks");
        if self.is_open || begins {
            self.lines.push_back(String::from_utf8_lossy(line.bytes).into_owned());
            if self.lines.len() > SAVED_SHOWN {
                self.lines.pop_front();
            }
        }
        self.is_open = (self.is_open || begins) && !ends;
    }

    fn describe(&self) -> String {
        let state = match (self.lines.is_empty(), self.is_all) {
            (_, false) => "the boot before it ended without its last words\n",
            (true, true) => "the boot before it had written everything when it ended\n",
            (false, true) => "what the boot before it could not write was saved, and read back from this disk:\n",
        };
        let lines = self.lines.iter().map(|line| format!("  | {line}\n"));
        format!("  {state}{}", lines.collect::<String>())
    }
}

/// What a run comes to.
pub(super) struct Verdict {
    outcome: Outcome,
    /// Whether the machine was reset in between.
    was_reset: bool,
    /// Consoles there were, and how many of them have this run's crash record whole, or its last words before a reset.
    consoles: usize,
    whole: usize,
    /// Whether these are records of one and the same crash.
    same: bool,
}

impl Verdict {
    /// Judges by what the disks held before and after.
    pub(super) fn new(report: &Report, before: &Findings, after: &Findings) -> Self {
        // A console that is gone counts as one that lacks the record.
        let consoles = before.count().max(after.count());
        let (mut whole, mut ids) = (0, Vec::new());
        for (console, boot) in after.written_since(before) {
            let id = console.crash_after(boot).filter(|crash| crash.is_whole()).map(|crash| crash.id);
            let is_saved = report.outcome == Outcome::Finished && console.saved.is_all && console.boot > boot + 1;
            whole += usize::from(id.is_some() || is_saved);
            ids.extend(id);
        }
        let same = ids.windows(2).all(|pair| pair[0] == pair[1]);
        Self { outcome: report.outcome, was_reset: report.was_reset, consoles, whole, same }
    }

    const fn status(&self) -> u8 {
        let everywhere = self.consoles > 0 && self.whole == self.consoles && self.same;
        match self.outcome {
            Outcome::Finished if !self.was_reset => 0,
            Outcome::Finished | Outcome::Crashed { durable_everywhere: true } if everywhere => 10,
            Outcome::Finished | Outcome::Crashed { .. } => 20,
            Outcome::TimedOut => 30,
            Outcome::LoaderFailed | Outcome::Killed(_) | Outcome::Unexpected(_) => 1,
        }
    }

    /// The exit status for it.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcome, was_reset, consoles, whole, same } = self;
        match outcome {
            Outcome::Finished if *was_reset => {
                write!(f, "the machine was reset; its last words before that are on {whole} of {consoles} consoles")?;
            }
            Outcome::Crashed { .. } => write!(f, "{outcome}; its record is whole on {whole} of {consoles} consoles")?,
            _ => write!(f, "{outcome}")?,
        }
        if !same {
            f.write_str(", but not the same on all")?;
        }
        write!(f, " (status {})", self.status())
    }
}

#[cfg(test)]
mod tests;
