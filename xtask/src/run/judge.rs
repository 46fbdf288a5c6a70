//! What disks hold, read by `bcon`'s library, and what that says about a run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use bcon::crash::record::Record;
use bcon::crash::symbols::Symbols;
use bcon::crash::{self, Crash};
use bcon::lines::Lines;
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
    /// What was damaged, in words.
    problems: Vec<String>,
    /// The last boot's crash record.
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

    /// The consoles that a boot has been logged on since they were as in `before`.
    fn written_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a ConsoleFinding> {
        let disks = self.0.iter().flat_map(|disk| disk.consoles.iter().map(move |console| (disk, console)));
        disks.filter(|(disk, console)| before.lacks_boot(disk, console)).map(|(_, console)| console)
    }

    /// Whether the same console is here, without the last boot that it has there.
    fn lacks_boot(&self, disk: &DiskFinding, console: &ConsoleFinding) -> bool {
        let same_disk = self.0.iter().filter(|own| own.path == disk.path);
        let mut same = same_disk.flat_map(|own| &own.consoles).filter(|own| own.uuid == console.uuid);
        same.next().is_some_and(|own| own.boot < console.boot)
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
                text += &console.describe(before.lacks_boot(disk, console), kernel);
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
        let (mut boot, mut count) = (0, 0);
        while let Some(line) = lines.next_line() {
            let of = line.boot.unwrap_or(0);
            count = if of == boot { count + 1 } else { 1 };
            boot = of;
        }
        let problems = lines.problems().words().to_vec();
        let crash = crash::last(&log, Some(boot));
        Ok(Self {
            place: place(path, console),
            uuid: log.found.uuid,
            tiles: log.tiles,
            tile: log.found.newest,
            round: log.found.newest_round,
            boot,
            lines: count,
            problems,
            crash,
        })
    }

    fn describe(&self, is_new: bool, kernel: &Path) -> String {
        let Self { place, uuid, tiles, tile, round, boot, lines, .. } = self;
        let mut text = format!("  {place}: console {uuid:08x}, {tiles} tiles, at tile {tile} of round {round}\n");
        text += &match boot {
            0 => "  boots: none yet\n".to_owned(),
            _ => format!("  boots: {boot}; lines of the last one: {lines}\n"),
        };
        for problem in &self.problems {
            text += &format!("  damaged: {problem}\n");
        }
        if !is_new {
            text += "  nothing of this run\n";
            return text;
        }
        let Some(crash) = &self.crash else { return text };
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
        // A trap's own address is that of the instruction; all others are those that calls return to.
        let is_return = index > 0 || record.trap.is_none();
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

/// What a run comes to.
pub(super) struct Verdict {
    outcome: Outcome,
    /// Consoles there were, and how many of them have this run's crash record whole.
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
        let crashes = after.written_since(before).filter_map(|console| console.crash.as_ref());
        let ids: Vec<_> = crashes.filter(|crash| crash.is_whole()).map(|crash| crash.id).collect();
        let same = ids.windows(2).all(|pair| pair[0] == pair[1]);
        Self { outcome: report.outcome, consoles, whole: ids.len(), same }
    }

    const fn status(&self) -> u8 {
        match self.outcome {
            Outcome::Finished => 0,
            Outcome::Crashed { durable_everywhere } => {
                let everywhere = self.consoles > 0 && self.whole == self.consoles && self.same;
                if durable_everywhere && everywhere { 10 } else { 20 }
            }
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
        write!(f, "{}", self.outcome)?;
        if let Outcome::Crashed { .. } = self.outcome {
            write!(f, "; its record is whole on {} of {} consoles", self.whole, self.consoles)?;
            if !self.same {
                f.write_str(", but not the same on all")?;
            }
        }
        write!(f, " (status {})", self.status())
    }
}

#[cfg(test)]
mod tests;
