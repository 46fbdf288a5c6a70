//! Partitions and FAT files, for loaders whose firmware has no file system.
//!
//! All of it reads hostile data, and is bounded by the size that firmware gives for the disk.

pub mod fat;
pub mod gpt;

use core::fmt;

/// Bytes a sector: all that BIOS and this image know.
pub const SECTOR: usize = 512;

/// Why something on a disk cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// Firmware could not read sectors; its status.
    Read(u64),
    /// Its sectors have so many bytes, not [`SECTOR`].
    SectorSize(u16),
    /// There is no usable partition table.
    NoPartitionTable,
    /// There is no EFI system partition.
    NoSystemPartition,
    /// The partition has no file system that can be read, for this reason.
    FileSystem(&'static str),
    /// There is no such file.
    NoSuchFile,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(status) => write!(f, "the disk cannot be read: firmware says {status:#x}"),
            Self::SectorSize(size) => {
                write!(f, "the disk has sectors of {size} bytes: from BIOS, only disks with {SECTOR} are read")
            }
            Self::NoPartitionTable => f.write_str("the disk has no valid GPT, neither at its start nor at its end"),
            Self::NoSystemPartition => f.write_str("the disk has no EFI system partition"),
            Self::FileSystem(problem) => write!(f, "the EFI system partition is no FAT volume: {problem}"),
            Self::NoSuchFile => f.write_str("there is no such file"),
        }
    }
}

/// A disk, or a part of one.
pub trait Sectors {
    /// Number of sectors.
    fn count(&self) -> u64;

    /// Reads whole sectors; `buffer` is a multiple of [`SECTOR`] long.
    ///
    /// # Errors
    /// [`DiskError::Read`], also for sectors beyond the end.
    fn read(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), DiskError>;
}

/// A partition: sectors of a disk, counted from 0.
pub struct Partition<'a, S> {
    disk: &'a mut S,
    first: u64,
    count: u64,
}

impl<'a, S: Sectors> Partition<'a, S> {
    /// A range of sectors; as much of it as the disk has.
    pub fn new(disk: &'a mut S, first: u64, count: u64) -> Self {
        let count = count.min(disk.count().saturating_sub(first));
        Self { disk, first, count }
    }
}

impl<S: Sectors> Sectors for Partition<'_, S> {
    fn count(&self) -> u64 {
        self.count
    }

    fn read(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let sectors = (buffer.len() / SECTOR) as u64;
        // As INT 13h says "sector not found": there is none.
        let end = first.checked_add(sectors).filter(|end| *end <= self.count).ok_or(DiskError::Read(4))?;
        self.disk.read(self.first + end - sectors, buffer)
    }
}
