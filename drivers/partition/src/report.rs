//! What a scan has to say besides the places it found.

use block::Error;
use core::fmt;

/// The partition table of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// None.
    None,
    /// A master boot record.
    Mbr,
    /// A GUID partition table, by its first header.
    Gpt,
    /// A GUID partition table, by its backup header: the first one is damaged.
    GptBackup,
}

/// Something that could not be read or made no sense. The scan went on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The caller's scratch buffer is smaller than a block.
    ScratchTooSmall,
    /// The device's block size is not a power of two from 512 to 65,536.
    BlockSize(u32),
    /// The device says that it has this many blocks: more than 2^63 bytes.
    DeviceSize(u64),
    /// A block could not be read.
    Read {
        /// The first block of the read.
        block: u64,
        /// What the device answered.
        error: Error,
    },
    /// The scan came to [`MAX_READS`](crate::MAX_READS).
    TooManyReads,
    /// A GPT header, or the entries that it points to, is damaged.
    GptDamaged {
        /// The header's block.
        block: u64,
        /// In what way.
        why: &'static str,
    },
    /// A partition does not lie inside the device, or inside what its table may hand out.
    PartitionOutside {
        /// Its number.
        partition: u32,
    },
    /// A chain of logical partitions is damaged, or longer than this crate follows it.
    ExtendedChain {
        /// The block at which it was left.
        block: u64,
    },
    /// A FAT volume has a `BCON.LOG` that cannot be used.
    FatFile {
        /// The volume's partition; 0 for the whole device.
        partition: u32,
        /// Why not.
        why: &'static str,
    },
    /// There was no room in the list.
    TooManyPlaces {
        /// For how many places.
        left_out: u32,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScratchTooSmall => f.write_str("the scan's buffer is smaller than a block"),
            Self::BlockSize(size) => write!(f, "block size {size} is not supported"),
            Self::DeviceSize(blocks) => write!(f, "{blocks} blocks are more than any device has"),
            Self::Read { block, error } => write!(f, "block {block} cannot be read: {error}"),
            Self::TooManyReads => write!(f, "scan given up after {} reads", crate::MAX_READS),
            Self::GptDamaged { block, why } => write!(f, "GPT header at block {block} is damaged: {why}"),
            Self::PartitionOutside { partition } => write!(f, "partition {partition} lies outside the usable blocks"),
            Self::ExtendedChain { block } => write!(f, "chain of logical partitions is damaged at block {block}"),
            Self::FatFile { partition: 0, why } => write!(f, "BCON.LOG cannot be used: {why}"),
            Self::FatFile { partition, why } => write!(f, "BCON.LOG of partition {partition} cannot be used: {why}"),
            Self::TooManyPlaces { left_out } => write!(f, "{left_out} places are more than can be looked at"),
        }
    }
}

/// Problems that a report keeps; later ones are only counted.
const MAX_PROBLEMS: usize = 8;

/// What a scan has to say besides the places it found.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The partition table that was used.
    pub table: Table,
    problems: [Option<Problem>; MAX_PROBLEMS],
    problem_count: u32,
}

impl Report {
    pub(crate) const fn new() -> Self {
        Self { table: Table::None, problems: [None; MAX_PROBLEMS], problem_count: 0 }
    }

    /// The first problems, as they were met.
    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.problems.iter().flatten().copied()
    }

    /// Number of all problems, also of those that [`problems`](Self::problems) has no room for.
    pub const fn problem_count(&self) -> u32 {
        self.problem_count
    }

    pub(crate) fn add(&mut self, problem: Problem) {
        if let Some(slot) = self.problems.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(problem);
        }
        self.problem_count = self.problem_count.saturating_add(1);
    }
}
