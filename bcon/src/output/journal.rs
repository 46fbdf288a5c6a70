//! Lines in systemd's journal export format.
//!
//! The format is described at systemd.io/JOURNAL_EXPORT_FORMATS: fields as `NAME=value`, or as name, newline,
//! length and value where the value has control characters; an empty line ends an entry. `systemd-journal-remote` takes
//! it in, and insists on a realtime stamp, a monotonic stamp, and a boot id.

use super::LineWriter;
use crate::boots::FirstLine;
use crate::lines::{Line, Lines};
use crate::log::Log;
use blockconsole::Level;
use blockconsole::marks::Mark;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Seconds that boots of unknown time are put apart, so that they sort by their numbers.
const DAY: u64 = 86_400;
/// The middle of our boot ids, `blockcon` in ASCII; before it stands the console's uuid, behind it the boot's number.
const BOOT_ID_MIDDLE: u64 = u64::from_be_bytes(*b"blockcon");

/// Stamps are less than this, in microseconds: systemd takes no others.
const STAMP_END: u64 = 1 << 55;
/// Boots of which the beginning is remembered.
const MAX_STARTS: usize = 64;
/// Lines of a tile among which a boot's first line is looked for.
const FIRST_LINES: usize = 8;

/// Prints each line as an entry with these fields: `__CURSOR`, `__REALTIME_TIMESTAMP`, `__MONOTONIC_TIMESTAMP`, `_BOOT_ID`,
/// `PRIORITY`, `SYSLOG_IDENTIFIER` (the target), `MESSAGE`, `BLOCKCONSOLE_UUID`, `BLOCKCONSOLE_BOOT`, `BLOCKCONSOLE_LEVEL`.
///
/// The realtime stamp is the boot's start, from its first line, and the time since then. A boot that does not know when it
/// began is dated so many days after 1970 as its number says. The cursor names the line's place, and is the same
/// whenever and however the line is read.
#[derive(Debug)]
pub struct Journal<'a> {
    log: &'a Log,
    /// The boot at hand, and the time of its latest line.
    boot: u32,
    time_us: u64,
    /// When boots began, in seconds since 1970.
    starts: BTreeMap<u32, u64>,
}

impl<'a> Journal<'a> {
    /// For the lines of a log.
    pub fn new(log: &'a Log) -> Self {
        Self { log, boot: 0, time_us: 0, starts: BTreeMap::new() }
    }

    /// When a boot began. The log was opened earlier, and may not know a boot that [`LineWriter::note`] saw beginning.
    fn started(&mut self, boot: u32) -> u64 {
        if let Some(&started) = self.starts.get(&boot) {
            return started;
        }
        let first_line = self.log.boot(boot).and_then(|boot| boot.first_line).or_else(|| self.carried_first_line(boot));
        self.start(boot, first_line.and_then(|line| line.started_seconds()))
    }

    fn start(&mut self, boot: u32, known: Option<u64>) -> u64 {
        if self.starts.len() >= MAX_STARTS {
            self.starts.pop_first();
        }
        let started = known.unwrap_or_else(|| DAY.saturating_mul(u64::from(boot) + 1));
        self.starts.insert(boot, started);
        started
    }

    /// The first line of a boot of which only carried tiles are left.
    fn carried_first_line(&self, boot: u32) -> Option<FirstLine> {
        self.log.carried_positions_of(boot).into_iter().find_map(|range| {
            let mut lines = Lines::over(self.log, std::iter::once(range));
            for _ in 0..FIRST_LINES {
                let line = lines.next_line()?;
                if matches!(line.mark, Some(Mark::Boot { .. })) {
                    return FirstLine::parse(line.bytes);
                }
            }
            None
        })
    }
}

impl LineWriter for Journal<'_> {
    fn note(&mut self, line: &Line<'_>) {
        if let Some(Mark::Boot { boot, .. }) = line.mark {
            self.start(boot, FirstLine::parse(line.bytes).and_then(|line| line.started_seconds()));
        }
    }

    fn line(&mut self, line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
        let boot = line.boot.unwrap_or(0);
        if boot != self.boot {
            (self.boot, self.time_us) = (boot, 0);
        }
        let record = line.record().filter(|_| !line.in_crash);
        // A crash record's lines have no time of their own: that of the line before them.
        self.time_us = record.as_ref().map_or(self.time_us, |record| record.time_us);
        let uuid = self.log.found.uuid;
        let monotonic = self.time_us.min(STAMP_END - 1);
        let realtime = self.started(boot).saturating_mul(1_000_000).saturating_add(monotonic).min(STAMP_END - 1);
        let boot_id = format!("{uuid:08x}{BOOT_ID_MIDDLE:016x}{boot:08x}");
        writeln!(out, "__CURSOR=b={boot_id};t={:x};o={:x};m={monotonic:x}", line.tile, line.offset)?;
        writeln!(out, "__REALTIME_TIMESTAMP={realtime}\n__MONOTONIC_TIMESTAMP={monotonic}\n_BOOT_ID={boot_id}")?;
        writeln!(out, "PRIORITY={}", priority(line))?;
        field("SYSLOG_IDENTIFIER", record.map_or(b"kernel", |record| non_empty(record.target)), out)?;
        field("MESSAGE", record.map_or(line.bytes, |record| record.text), out)?;
        writeln!(out, "BLOCKCONSOLE_UUID={uuid:08x}\nBLOCKCONSOLE_BOOT={boot}")?;
        if let Some(level) = line.level() {
            writeln!(out, "BLOCKCONSOLE_LEVEL={level}")?;
        }
        out.write_all(b"\n")
    }
}

fn non_empty(target: &[u8]) -> &[u8] {
    if target.is_empty() { b"kernel" } else { target }
}

/// As syslog counts. A crash record is critical; the journal has one level for what is `debug` and `trace` here.
fn priority(line: &Line<'_>) -> u8 {
    match line.level() {
        _ if line.in_crash => 2,
        Some(Level::Error) => 3,
        Some(Level::Warn) => 4,
        Some(Level::Info) | None => 6,
        Some(Level::Debug | Level::Trace) => 7,
    }
}

fn field(name: &str, value: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let is_plain = str::from_utf8(value).is_ok_and(|text| !text.chars().any(|c| c.is_control() && c != '\t'));
    out.write_all(name.as_bytes())?;
    if is_plain {
        out.write_all(b"=")?;
    } else {
        out.write_all(b"\n")?;
        out.write_all(&(value.len() as u64).to_le_bytes())?;
    }
    out.write_all(value)?;
    out.write_all(b"\n")
}
