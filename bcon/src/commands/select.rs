//! Which parts of a log, and which of its lines, a command is about.

use crate::cli::{BootChoice, CatArgs, LineArgs};
use crate::lines::Line;
use crate::log::Log;
use anyhow::{Result, anyhow};
use blockconsole::Level;
use regex::bytes::Regex;
use std::ops::Range;

/// The number of the boot that is meant. Where the log seems not to have it, carried tiles that nobody keeps are looked for.
///
/// # Errors
/// If there is no such boot in the log.
pub(super) fn boot_number(log: &mut Log, choice: BootChoice) -> Result<u32> {
    let name = log.name.clone();
    let (oldest, newest) =
        log.boot_numbers().ok_or_else(|| anyhow!("{name}: its log names no boots, as if Linux had written it"))?;
    let number = match choice {
        BootChoice::Number(number) => Some(number),
        BootChoice::FromLast(before) => newest.checked_sub(before),
    };
    let missing = || anyhow!("{name}: there is no such boot in the log, which has boots {oldest} to {newest}");
    let number = number.ok_or_else(missing)?;
    let has = |log: &Log| log.boot(number).is_some() || !log.carried_positions_of(number).is_empty();
    if !has(log) {
        log.find_carried(0..log.len());
    }
    if has(log) { Ok(number) } else { Err(missing()) }
}

/// The positions of a boot's tiles, those carried over included. Carried tiles among them that were unknown are known afterwards.
pub(super) fn positions_of(log: &mut Log, boot: u32) -> Vec<Range<u64>> {
    if let Some(boot) = log.boot(boot) {
        log.find_carried(boot.positions);
    }
    let mut positions = log.carried_positions_of(boot);
    positions.extend(log.boot(boot).map(|boot| boot.positions));
    positions
}

/// Which lines are printed.
#[derive(Debug, Default)]
pub(super) struct Filter {
    boot: Option<u32>,
    level: Option<Level>,
    names: Vec<Vec<u8>>,
    since: Option<u64>,
    until: Option<u64>,
    grep: Option<Regex>,
}

impl Filter {
    pub(super) fn new(args: &LineArgs) -> Self {
        let names = args.names.iter().map(|name| name.clone().into_bytes()).collect();
        Self { level: args.level, names, grep: args.grep.clone(), ..Self::default() }
    }

    pub(super) fn for_cat(args: &CatArgs, boot: Option<u32>) -> Self {
        Self { boot, since: args.since, until: args.until, ..Self::new(&args.lines) }
    }

    /// Whether every line is printed, so that no line has to be looked at.
    pub(super) fn takes_all(&self) -> bool {
        self.boot.is_none()
            && self.level.is_none()
            && self.names.is_empty()
            && self.since.is_none()
            && self.until.is_none()
            && self.grep.is_none()
    }

    pub(super) fn takes(&self, line: &Line<'_>) -> bool {
        if self.boot.is_some() && line.boot != self.boot {
            return false;
        }
        if let Some(grep) = &self.grep
            && !grep.is_match(line.bytes)
        {
            return false;
        }
        // A line without a level is taken for one of those that are always of interest.
        let level = self.level.is_none_or(|level| line.level().is_none_or(|own| own <= level));
        level && self.takes_parts(line)
    }

    fn takes_parts(&self, line: &Line<'_>) -> bool {
        if self.names.is_empty() && self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Some(record) = line.record() else { return false };
        let is_below = |name: &Vec<u8>| {
            record.target.strip_prefix(name.as_slice()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"::"))
        };
        (self.names.is_empty() || self.names.iter().any(is_below))
            && self.since.is_none_or(|since| record.time_us >= since)
            && self.until.is_none_or(|until| record.time_us <= until)
    }
}
