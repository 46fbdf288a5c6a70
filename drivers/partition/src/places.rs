//! The list of places that a scan found, in memory of fixed size.

/// A run of blocks of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// First block.
    pub first_block: u64,
    /// Number of blocks, at least 1.
    pub block_count: u64,
}

impl Extent {
    /// The block after the last one, saturated.
    pub const fn end(&self) -> u64 {
        self.first_block.saturating_add(self.block_count)
    }

    /// Whether the two share a block.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.first_block < other.end() && other.first_block < self.end()
    }

    /// Whether it is a run of one block or more below `block_count`.
    pub(crate) const fn lies_below(&self, block_count: u64) -> bool {
        match self.first_block.checked_add(self.block_count) {
            Some(end) => self.block_count > 0 && end <= block_count,
            None => false,
        }
    }
}

/// What sort of place it is. The order is that of precedence: see [`Places::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The whole device.
    Device,
    /// A partition of a GUID partition table.
    Gpt,
    /// A partition of a master boot record, or a logical one of its extended partition.
    Mbr,
    /// A file on a FAT volume.
    FatFile,
    /// Extents given by the user.
    Explicit,
}

/// A place that may carry a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// What sort of place.
    pub kind: Kind,
    /// The partition's number as Linux counts: from 1, logical ones from 5. For a file, that of the partition that the
    /// file is in. 0 for none.
    pub partition: u32,
    /// Its blocks in order; one extent, except for files. No two of them overlap.
    pub extents: &'a [Extent],
}

impl Place<'_> {
    /// Its first block.
    pub fn first_block(&self) -> u64 {
        self.extents.first().map_or(0, |extent| extent.first_block)
    }

    /// Its size in blocks.
    pub fn block_count(&self) -> u64 {
        self.extents.iter().map(|extent| extent.block_count).sum()
    }

    /// Whether the two share a block.
    pub fn overlaps(&self, other: &Place<'_>) -> bool {
        self.extents.iter().any(|mine| other.extents.iter().any(|theirs| mine.overlaps(theirs)))
    }
}

/// Finds block `index` of a place that consists of `extents`: its number on the device, and how many blocks follow
/// without a gap, itself included. `None` beyond the end.
pub fn locate(extents: &[Extent], index: u64) -> Option<(u64, u64)> {
    let mut left = index;
    for extent in extents {
        if left < extent.block_count {
            return Some((extent.first_block.checked_add(left)?, extent.block_count - left));
        }
        left -= extent.block_count;
    }
    None
}

/// Places that a list holds: a GPT of the usual size, and some files.
pub const MAX_PLACES: usize = 160;
/// Extents that one place may consist of. As many as Linux's driver took.
pub const MAX_EXTENTS_PER_PLACE: usize = 16;
/// Extents of all places of a list together.
const MAX_EXTENTS: usize = MAX_PLACES + 4 * MAX_EXTENTS_PER_PLACE;

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: Kind,
    partition: u32,
    /// Index of the first extent, and their number.
    first: u16,
    count: u16,
}

/// The places that a scan found: no two with the same extents, sorted as they were found. Takes 6 KiB, so keep it in a
/// static or on a heap where the stack is small.
#[derive(Clone, Debug)]
pub struct Places {
    entries: [Entry; MAX_PLACES],
    extents: [Extent; MAX_EXTENTS],
    entry_count: usize,
    extent_count: usize,
    left_out: u32,
}

impl Default for Places {
    fn default() -> Self {
        Self::new()
    }
}

/// A moment in a list's growth, to go back to.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    entry_count: usize,
    extent_count: usize,
    left_out: u32,
}

impl Places {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            entries: [Entry { kind: Kind::Device, partition: 0, first: 0, count: 0 }; MAX_PLACES],
            extents: [Extent { first_block: 0, block_count: 0 }; MAX_EXTENTS],
            entry_count: 0,
            extent_count: 0,
            left_out: 0,
        }
    }

    /// Number of places.
    pub const fn len(&self) -> usize {
        self.entry_count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.entry_count == 0
    }

    /// Places that were found but for which there was no room.
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<Place<'_>> {
        let entry = self.entries.get(..self.entry_count)?.get(index)?;
        let first = usize::from(entry.first);
        let extents = self.extents.get(first..first + usize::from(entry.count))?;
        Some(Place { kind: entry.kind, partition: entry.partition, extents })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Place<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Adds a place, unless one with the same extents is there already. Returns whether the list now has it.
    ///
    /// A place without extents, with more than [`MAX_EXTENTS_PER_PLACE`], with empty or overlapping ones is refused; one
    /// for which there is no room is counted in [`left_out`](Self::left_out).
    pub fn add(&mut self, kind: Kind, partition: u32, extents: &[Extent]) -> bool {
        if extents.is_empty() || extents.len() > MAX_EXTENTS_PER_PLACE || !are_sound(extents) {
            return false;
        }
        if self.iter().any(|place| place.extents == extents) {
            return true;
        }
        let first = self.extent_count;
        let (Some(entry), Some(room)) =
            (self.entries.get_mut(self.entry_count), self.extents.get_mut(first..first + extents.len()))
        else {
            self.left_out = self.left_out.saturating_add(1);
            return false;
        };
        room.copy_from_slice(extents);
        *entry = Entry { kind, partition, first: first as u16, count: extents.len() as u16 };
        self.entry_count += 1;
        self.extent_count += extents.len();
        true
    }

    /// Keeps only the places that carry a console, as `is_console` says, and of those that share blocks only one.
    ///
    /// The one to stay is the one that comes first by [`Kind`], then by its place in the list: a header at the start of the whole
    /// device makes the whole device a console, so that nothing inside it can be another one.
    pub fn settle(&mut self, mut is_console: impl FnMut(Place<'_>) -> bool) {
        let mut stays = [false; MAX_PLACES];
        for kind in [Kind::Device, Kind::Gpt, Kind::Mbr, Kind::FatFile, Kind::Explicit] {
            for index in 0..self.len() {
                let Some(place) = self.get(index).filter(|place| place.kind == kind) else { continue };
                let is_free =
                    !self.iter().zip(&stays).any(|(rival, &rival_stays)| rival_stays && rival.overlaps(&place));
                if let Some(stays) = stays.get_mut(index) {
                    *stays = is_free && is_console(place);
                }
            }
        }
        let mut kept = 0;
        for (index, stays) in stays.iter().enumerate().take(self.len()) {
            if *stays && let Some(&entry) = self.entries.get(index) {
                if let Some(slot) = self.entries.get_mut(kept) {
                    *slot = entry;
                }
                kept += 1;
            }
        }
        self.entry_count = kept;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entry_count = 0;
        self.extent_count = 0;
        self.left_out = 0;
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { entry_count: self.entry_count, extent_count: self.extent_count, left_out: self.left_out }
    }

    /// Takes back everything that was added since the mark was made.
    pub(crate) fn go_back(&mut self, mark: Mark) {
        self.entry_count = mark.entry_count;
        self.extent_count = mark.extent_count;
        self.left_out = mark.left_out;
    }
}

/// Whether no extent is empty or wraps, and no two share a block.
fn are_sound(extents: &[Extent]) -> bool {
    extents.iter().enumerate().all(|(index, extent)| {
        extent.lies_below(u64::MAX) && !extents.iter().skip(index + 1).any(|later| later.overlaps(extent))
    })
}
