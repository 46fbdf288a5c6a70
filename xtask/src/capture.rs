//! What crashed guests left on their disks and said on their serial ports.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bcon::crash::{self, record::Record};
use bcon::lines::Lines;
use bcon::log::Log;
use bcon::target;
use qemu::{Programs, TemporaryDirectory};

/// What the last boot left on one console.
pub(crate) struct Captured {
    /// Tells its crash from others; `None` if there is no whole record of the last boot.
    pub(crate) id: Option<u64>,
    /// The same of the last record of any boot.
    pub(crate) last_id: Option<u64>,
    /// What is wrong with the record, or that there is none.
    pub(crate) problem: Option<String>,
    /// The whole record, taken apart.
    pub(crate) record: Option<Record>,
    /// How often the mark was logged, by any boot.
    pub(crate) marks: usize,
    /// What was damaged in the log, in words.
    pub(crate) damages: Vec<String>,
}

/// What the serial port says of one console after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Microseconds from the crash until the record was durable, by the guest's clock.
    pub(crate) micros: u64,
    /// Commands to the device that it took. `None` if that is not told.
    pub(crate) commands: Option<Commands>,
}

/// Commands to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commands {
    pub(crate) reads: u32,
    /// Writes, of zeroes too.
    pub(crate) writes: u32,
    pub(crate) flushes: u32,
}

impl Commands {
    pub(crate) const fn all(self) -> u32 {
        self.reads + self.writes + self.flushes
    }

    fn parse(words: &str) -> Self {
        let mut commands = Self::default();
        for (name, count) in words.split(' ').filter_map(|word| word.split_once('=')) {
            let count = count.parse::<u32>().unwrap_or(0);
            match name {
                "reads" => commands.reads += count,
                "writes" | "zeroes" => commands.writes += count,
                "flushes" => commands.flushes += count,
                _ => {}
            }
        }
        commands
    }
}

/// Copies of the programs, so that whoever builds meanwhile does not change what runs.
///
/// # Errors
/// When they cannot be copied.
pub(crate) fn keep(programs: &Programs, directory: &TemporaryDirectory) -> Result<Programs> {
    let copy = |path: &Path, name: &str| -> Result<PathBuf> {
        let to = directory.file(name);
        fs::copy(path, &to).with_context(|| format!("cannot copy {}", path.display()))?;
        Ok(to)
    };
    Ok(Programs { loader: copy(&programs.loader, "loader")?, kernel: copy(&programs.kernel, "kernel")? })
}

/// A word that stands nowhere by chance.
pub(crate) fn random_word() -> String {
    format!("mark{:016x}", RandomState::new().hash_one(()))
}

/// Reads every console of a disk. `word` was given to the guest as `mark=`.
///
/// # Errors
/// When the disk cannot be read.
pub(crate) fn read(path: &Path, word: &str) -> Result<Vec<Captured>> {
    let target = target::open(path)?;
    target.consoles.iter().map(|console| read_console(console, word)).collect()
}

fn read_console(console: &target::Console, word: &str) -> Result<Captured> {
    let log = Log::open(console)?;
    let mut lines = Lines::new(&log);
    let mark = format!("mark {word}");
    let (mut marks, mut boot) = (0, 0);
    while let Some(line) = lines.next_line() {
        boot = line.boot.unwrap_or(boot);
        // The command line, which has the word as well, is not logged with this before it.
        let is_mark = line.record().is_some_and(|record| record.text == mark.as_bytes());
        marks += usize::from(is_mark);
    }
    let damages = lines.problems().words().to_vec();
    let last = crash::last(&log, None);
    let last_id = last.as_ref().filter(|crash| crash.is_whole()).and_then(|crash| crash.id);
    let crash = last.filter(|crash| crash.boot == Some(boot));
    let whole = crash.as_ref().filter(|crash| crash.is_whole());
    Ok(Captured {
        last_id,
        id: whole.and_then(|crash| crash.id),
        problem: match &crash {
            None => Some("no crash record".to_owned()),
            Some(crash) => crash.damage(),
        },
        record: whole.map(|crash| Record::parse(&crash.lines)),
        marks,
        damages,
    })
}

/// Takes apart what the crash path says in the end: `crash: vda: durable after 1234 us, reads=1 writes=1 …`.
pub(crate) fn said(serial: &str) -> Vec<Said> {
    let after = |line: &str| -> Option<Said> {
        let (_, rest) = line.strip_prefix("crash: ")?.split_once(": durable after ")?;
        let (micros, rest) = rest.split_once(" us")?;
        Some(Said { micros: micros.parse().ok()?, commands: rest.strip_prefix(", ").map(Commands::parse) })
    };
    serial.lines().filter_map(after).collect()
}

/// The only console of a disk that has one.
///
/// # Errors
/// When it cannot be read, or has another number of consoles.
pub(crate) fn read_one(path: &Path, word: &str) -> Result<Captured> {
    let mut captured = read(path, word)?;
    let first = captured.pop().with_context(|| format!("{}: no console", path.display()))?;
    anyhow::ensure!(captured.is_empty(), "{}: several consoles", path.display());
    Ok(first)
}

/// Smallest, middle and largest.
pub(crate) fn spread(mut values: Vec<u64>) -> Option<[u64; 3]> {
    values.sort_unstable();
    Some([*values.first()?, *values.get((values.len() - 1) / 2)?, *values.last()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_says_is_understood() {
        let serial = "x\ncrash: vda: durable after 1234 us, reads=1 writes=2 zeroes=3 flushes=1 resets=7\n\
            crash: nvme0n1: failed: it is dead, reads=1 writes=0 zeroes=0 flushes=0 resets=0\n\
            crash: vdb: durable after 99 us\n";
        let commands = Commands { reads: 1, writes: 5, flushes: 1 };
        assert_eq!(commands.all(), 7);
        let expected = [Said { micros: 1234, commands: Some(commands) }, Said { micros: 99, commands: None }];
        assert_eq!(said(serial), expected);
    }

    #[test]
    fn the_middle_is_found() {
        assert_eq!(spread(vec![]), None);
        assert_eq!(spread(vec![3]), Some([3, 3, 3]));
        assert_eq!(spread(vec![4, 1, 9, 2]), Some([1, 2, 9]));
    }
}
