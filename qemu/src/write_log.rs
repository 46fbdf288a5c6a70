//! What a disk was told to do, and what a power cut leaves of it.
//!
//! QEMU's `blklogwrites` keeps a log in the format of Linux's dm-log-writes, version 1 (`drivers/md/dm-log-writes.c`).
//! A sector of the log is a block of the disk. All numbers are little-endian:
//!
//! | where | what |
//! |---|---|
//! | sector 0 | magic u64, version u64 = 1, number of entries u64, sector size u32 |
//! | from sector 1 on, each entry | first sector u64, number of sectors u64, flags u64, 8 bytes unused; zeroes up to the next sector; the data, unless the entry is a discard |
//!
//! A [`PowerCut`] follows the log. At each place it knows two images, that of the writes that a flush has made durable,
//! and those that came after it and may be there, missing, or torn.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, Result, bail};

use crate::{Serial, last_acknowledged};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// A log, read whole into memory.
pub struct WriteLog {
    bytes: Vec<u8>,
    sector_size: u64,
    entries: Vec<Entry>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes on the disk, in bytes.
    pub offset: u64,
    /// What it does.
    pub operation: Operation,
    /// Where it ends in the log: a log of that length holds it.
    pub log_end: u64,
}

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes the log's bytes in this range.
    Write {
        /// Where the data are in the log.
        data: Range<usize>,
        /// Whether they are durable at once.
        fua: bool,
    },
    /// Makes what was written durable.
    Flush,
    /// Gives up that many bytes.
    Discard(u64),
}

/// What a guest acknowledged: that so many records are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The records.
    pub records: usize,
    /// How long the disks' logs were by then, which hold what was acknowledged, and perhaps more.
    pub log_lengths: Vec<u64>,
}

/// Follows a running guest to the end of its output, and notes how long its disks' logs are at each acknowledgement.
pub fn acknowledgements(serial: &Serial, logs: &[PathBuf]) -> Vec<Acknowledged> {
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    serial.wait_until(None, |bytes| {
        let records = last_acknowledged(bytes);
        if acknowledged.last().map_or(0, |last| last.records) < records {
            let length = |log: &PathBuf| fs::metadata(log).map_or(0, |data| data.len());
            acknowledged.push(Acknowledged { records, log_lengths: logs.iter().map(length).collect() });
        }
        false
    });
    acknowledged
}

impl WriteLog {
    /// Reads a log.
    ///
    /// # Errors
    /// When it cannot be read, or is no log, or is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(bytes).with_context(|| format!("{} is no sound write log", path.display()))
    }

    fn parse(bytes: Vec<u8>) -> Result<Self> {
        let header = (number(&bytes, 0)?, number(&bytes, 8)?);
        if header != (MAGIC, 1) {
            bail!("magic and version are {header:x?}");
        }
        let count = number(&bytes, 16)?;
        let sector_size = number(&bytes, 24)? & u64::from(u32::MAX);
        if !sector_size.is_power_of_two() || !(512..=65536).contains(&sector_size) {
            bail!("sectors of {sector_size} bytes");
        }
        let mut entries = Vec::new();
        let mut place = sector_size;
        for index in 0..count {
            let entry = parse_entry(&bytes, place, sector_size).with_context(|| format!("entry {index} of {count}"))?;
            place = entry.log_end;
            entries.push(entry);
        }
        Ok(Self { bytes, sector_size, entries })
    }

    /// The requests, in the order in which QEMU completed them.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The data of a write; empty for other requests.
    pub fn data(&self, entry: &Entry) -> &[u8] {
        match &entry.operation {
            Operation::Write { data, .. } => &self.bytes[data.clone()],
            Operation::Flush | Operation::Discard(_) => &[],
        }
    }

    /// Bytes that a disk writes whole or not at all.
    pub fn sector_size(&self) -> usize {
        self.sector_size as usize
    }

    /// How many entries a log of `length` bytes holds.
    pub fn entries_in(&self, length: u64) -> usize {
        self.entries.partition_point(|entry| entry.log_end <= length)
    }
}

impl fmt::Debug for WriteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteLog").field("entries", &self.entries).finish_non_exhaustive()
    }
}

fn parse_entry(bytes: &[u8], place: u64, sector_size: u64) -> Result<Entry> {
    let at = usize::try_from(place)?;
    let (sector, sectors, flags) = (number(bytes, at)?, number(bytes, at + 8)?, number(bytes, at + 16)?);
    if flags & !(FLUSH | FUA | DISCARD | MARK) != 0 {
        bail!("unknown flags {flags:#x}");
    }
    let offset = sector.checked_mul(sector_size).context("sector number")?;
    let length = sectors.checked_mul(sector_size).context("number of sectors")?;
    let data_start = place + sector_size;
    if flags & DISCARD != 0 {
        return Ok(Entry { offset, operation: Operation::Discard(length), log_end: data_start });
    }
    let log_end = data_start.checked_add(length).context("length")?;
    if log_end > bytes.len() as u64 {
        bail!("ends beyond the log");
    }
    let operation = if length == 0 && flags & FLUSH != 0 {
        Operation::Flush
    } else if flags & (FLUSH | MARK) != 0 {
        bail!("flags {flags:#x}, which QEMU does not write");
    } else {
        Operation::Write { data: usize::try_from(data_start)?..usize::try_from(log_end)?, fua: flags & FUA != 0 }
    };
    Ok(Entry { offset, operation, log_end })
}

fn number(bytes: &[u8], at: usize) -> Result<u64> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).context("cut short")?;
    Ok(u64::from_le_bytes(*field))
}

/// What becomes of a write that was not yet durable when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on the medium.
    Whole,
    /// It is not.
    Lost,
    /// Only its first so many sectors are.
    Torn(usize),
}

/// Follows a log, and makes the images that a power cut leaves at each place.
#[derive(Debug)]
pub struct PowerCut<'a> {
    log: &'a WriteLog,
    durable: Vec<u8>,
    pending: Vec<&'a Entry>,
    next: usize,
}

impl<'a> PowerCut<'a> {
    /// Starts before the first entry, with the image as it was then.
    pub fn new(log: &'a WriteLog, image: Vec<u8>) -> Self {
        Self { log, durable: image, pending: Vec::new(), next: 0 }
    }

    /// How many entries have passed.
    pub fn position(&self) -> usize {
        self.next
    }

    /// How many writes are not durable.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Lets one more entry pass; `None` at the end of the log.
    ///
    /// # Errors
    /// When the entry does not fit into the image.
    pub fn step(&mut self) -> Result<Option<&'a Entry>> {
        let Some(entry) = self.log.entries.get(self.next) else { return Ok(None) };
        self.next += 1;
        match entry.operation {
            Operation::Write { fua: true, .. } => apply(&mut self.durable, self.log, entry, Fate::Whole)?,
            Operation::Write { fua: false, .. } => self.pending.push(entry),
            Operation::Flush => {
                for write in std::mem::take(&mut self.pending) {
                    apply(&mut self.durable, self.log, write, Fate::Whole)?;
                }
            }
            // A discarded block may read as anything: as what it held, too.
            Operation::Discard(_) => {}
        }
        Ok(Some(entry))
    }

    /// The image if the power goes now, and the writes that are not durable meet the fates that `fate` gives them, in
    /// order; `fate` gets each write's number of sectors.
    ///
    /// # Errors
    /// When a write does not fit into the image.
    pub fn image(&self, mut fate: impl FnMut(usize) -> Fate) -> Result<Vec<u8>> {
        let mut image = self.durable.clone();
        for write in &self.pending {
            let sectors = self.log.data(write).len() / self.log.sector_size();
            apply(&mut image, self.log, write, fate(sectors))?;
        }
        Ok(image)
    }
}

fn apply(image: &mut [u8], log: &WriteLog, entry: &Entry, fate: Fate) -> Result<()> {
    let data = log.data(entry);
    let length = match fate {
        Fate::Whole => data.len(),
        Fate::Lost => 0,
        Fate::Torn(sectors) => data.len().min(sectors.saturating_mul(log.sector_size())),
    };
    let start = usize::try_from(entry.offset)?;
    let place = start.checked_add(data.len()).and_then(|end| image.get_mut(start..end));
    let place = place.with_context(|| format!("a write of {} bytes at {start} is beyond the image", data.len()))?;
    place[..length].copy_from_slice(&data[..length]);
    Ok(())
}

#[cfg(test)]
mod tests;
