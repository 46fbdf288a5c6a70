//! What a console holds, in short: found in O(log n) reads.

use crate::crash::{self, Crash, record::Record};
use crate::lines::Lines;
use crate::log::Log;
use crate::target::Console;
use anyhow::Result;

/// How a boot ended, as its log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its program finished, and said so in its last line.
    Clean,
    /// It left a crash record.
    Crash,
    /// Neither: it is running still, it hung, or its power went off.
    Cut,
}

/// The last line of a program that finished: who logs it, and what it says.
const FINISHED: (&[u8], &[u8]) = (b"kernel", b"finished");

/// What a console holds, in short.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What the console is called.
    pub name: String,
    /// Its uuid.
    pub uuid: u32,
    /// How often its log has wrapped.
    pub round: u32,
    /// Tiles that hold text of the log.
    pub used: u64,
    /// All its tiles.
    pub tiles: u64,
    /// Numbers of the oldest and the newest boot in the log.
    pub boots: Option<(u32, u32)>,
    /// When the oldest boot began of which the first line is there.
    pub first_started: Option<String>,
    /// When the newest boot began.
    pub last_started: Option<String>,
    /// Time of the newest line, in microseconds since its boot.
    pub last_time_us: Option<u64>,
    /// How the newest boot ended; `None` if the log does not tell.
    pub end: Option<End>,
    /// The newest boot's crash record.
    pub crash: Option<Crash>,
    /// Tiles of crash records that are kept although the log came round to them, and the boots that left them.
    pub kept: Vec<(u32, u32)>,
    /// What is odd.
    pub notes: Vec<String>,
}

impl Summary {
    /// Sums a console up.
    ///
    /// # Errors
    /// If the console is no longer there.
    pub fn of(console: &Console) -> Result<Self> {
        let log = Log::open(console)?;
        let boots = log.boot_numbers();
        let started = |number| log.boot(number).and_then(|boot| boot.first_line).and_then(|line| line.started);
        let first_started = boots
            .and_then(|(oldest, newest)| started(oldest).or_else(|| started(newest.min(oldest.saturating_add(1)))));
        let mut notes = Vec::new();
        if console.lost_first_header {
            notes.push("its first tile has no header: the kernel does not recognise it".to_owned());
        }
        if log.found.damaged {
            notes.push("a header is damaged: see `bcon verify`".to_owned());
        }
        let (last_time_us, is_finished) = last_line(&log);
        let crash = last_crash(&log, boots);
        let end = match (&crash, is_finished, boots) {
            (Some(_), ..) => Some(End::Crash),
            (None, true, _) => Some(End::Clean),
            (None, false, Some(_)) => Some(End::Cut),
            (None, false, None) => None,
        };
        Ok(Self {
            name: console.name.clone(),
            uuid: log.found.uuid,
            round: log.found.newest_round,
            used: log.len(),
            tiles: log.tiles,
            boots,
            first_started,
            last_started: boots.and_then(|(_, newest)| started(newest)),
            last_time_us,
            end,
            crash,
            kept: kept(&log),
            notes,
        })
    }

    /// How the newest boot ended, in words.
    pub fn end(&self) -> String {
        match &self.crash {
            None if self.end == Some(End::Clean) => "no crash, it finished".to_owned(),
            None if self.end == Some(End::Cut) => "no crash, cut off or still running".to_owned(),
            None => "no crash".to_owned(),
            Some(crash) if crash.is_whole() => Record::parse(&crash.lines).reason,
            Some(crash) => format!("{} (damaged record)", Record::parse(&crash.lines).reason),
        }
    }
}

/// The crash record of the newest boot. On a disk that names no boots, whatever the newest tiles have.
fn last_crash(log: &Log, boots: Option<(u32, u32)>) -> Option<Crash> {
    match boots {
        Some((_, newest)) => {
            let first = log.boot(newest)?.positions.start;
            crash::last_among(log, first.max(log.len().saturating_sub(2))..log.len(), Some(newest))
        }
        None => crash::last_among(log, log.len().saturating_sub(2)..log.len(), None),
    }
}

fn kept(log: &Log) -> Vec<(u32, u32)> {
    log.carried().iter().filter_map(|&(tile, _)| Some((tile, log.tile_line(tile)?.boot))).collect()
}

/// The time of the last line that has one, among those of the newest tile, and whether the last one says that all is over.
fn last_line(log: &Log) -> (Option<u64>, bool) {
    let Some(newest) = log.len().checked_sub(1) else { return (None, false) };
    let mut lines = Lines::over(log, std::iter::once(newest..newest + 1));
    let (mut time, mut is_finished) = (None, false);
    while let Some(line) = lines.next_line() {
        // What may be stale says nothing of the end.
        let record = line.record().filter(|_| !line.stale);
        time = record.map(|record| record.time_us).or(time);
        is_finished = record.is_some_and(|record| (record.target, record.text) == FINISHED);
    }
    (time, is_finished)
}
