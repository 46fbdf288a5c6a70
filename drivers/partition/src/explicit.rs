//! Extents that the user gives: `<disk>:<lba>+<count>,…`.

use crate::{Extent, Kind, MAX_EXTENTS_PER_PLACE, Places};
use core::fmt;

/// A place given by its extents, as `bcon extents` prints it and the kernel's `bcon.extents=` takes it:
/// `<disk>:<lba>+<count>,<lba>+<count>,…` in the disk's own blocks, decimal, in the order of the file's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplicitExtents<'a> {
    /// The disk's name: what stands before the last colon.
    pub disk: &'a str,
    extents: [Extent; MAX_EXTENTS_PER_PLACE],
    count: usize,
}

/// Why a text does not give extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadExtents {
    /// There is no `<disk>:` before them.
    NoDisk,
    /// One of them is not `<lba>+<count>` in decimal digits, with a count above zero; the first is number 1.
    Syntax(usize),
    /// There are more than [`MAX_EXTENTS_PER_PLACE`].
    TooMany,
    /// Two of them share a block.
    Overlap,
    /// They reach beyond the disk's end.
    OutOfRange,
}

impl fmt::Display for BadExtents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDisk => f.write_str("no disk: expected <disk>:<lba>+<count>,…"),
            Self::Syntax(number) => write!(f, "extent {number} is not <lba>+<count>"),
            Self::TooMany => write!(f, "more than {MAX_EXTENTS_PER_PLACE} extents"),
            Self::Overlap => f.write_str("two extents overlap"),
            Self::OutOfRange => f.write_str("an extent reaches beyond the disk's end"),
        }
    }
}

impl core::error::Error for BadExtents {}

impl<'a> ExplicitExtents<'a> {
    /// Reads such a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'a str) -> Result<Self, BadExtents> {
        let (disk, list) = text.rsplit_once(':').filter(|(disk, _)| !disk.is_empty()).ok_or(BadExtents::NoDisk)?;
        let mut parsed = Self { disk, extents: [Extent::default(); MAX_EXTENTS_PER_PLACE], count: 0 };
        for (number, item) in (1..).zip(list.split(',')) {
            let extent = parse_extent(item).ok_or(BadExtents::Syntax(number))?;
            if parsed.extents().iter().any(|earlier| earlier.overlaps(&extent)) {
                return Err(BadExtents::Overlap);
            }
            *parsed.extents.get_mut(parsed.count).ok_or(BadExtents::TooMany)? = extent;
            parsed.count += 1;
        }
        Ok(parsed)
    }

    /// The extents in order.
    pub fn extents(&self) -> &[Extent] {
        self.extents.get(..self.count).unwrap_or_default()
    }

    /// Adds them to the places of the disk that they belong to.
    ///
    /// # Errors
    /// [`BadExtents::OutOfRange`] if they do not fit a disk of `block_count` blocks; [`BadExtents::TooMany`] if the list is full.
    pub fn add_to(&self, places: &mut Places, block_count: u64) -> Result<(), BadExtents> {
        if !self.extents().iter().all(|extent| extent.lies_below(block_count)) {
            return Err(BadExtents::OutOfRange);
        }
        if places.add(Kind::Explicit, 0, self.extents()) { Ok(()) } else { Err(BadExtents::TooMany) }
    }
}

fn parse_extent(item: &str) -> Option<Extent> {
    let (first, count) = item.split_once('+')?;
    // `parse` alone would take a sign as well.
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let extent = Extent { first_block: number(first)?, block_count: number(count)? };
    extent.lies_below(u64::MAX).then_some(extent)
}
