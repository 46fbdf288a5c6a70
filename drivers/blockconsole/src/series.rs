//! First-crash protection: which tiles a boot loop must not overwrite.
//!
//! A *series* is a run of boots of which each left a crash record. What matters most in a boot loop is how it
//! began, and a log that wraps would lose just that. The rule:
//!
//! > The crash records of the first [`KEPT_RECORDS`] boots of a series are kept until a boot ends without one.
//!
//! Their tiles (at most two a record) are *carried* when the log comes to them: they are not erased, only their header's
//! round is brought up to date, and the log goes on in the tile after. So headers stay monotone, the mount search
//! of this crate and of the Linux driver work as ever, and the text of a carried tile stays byte for byte what it was. A reader
//! knows such a tile by its tile line, which names an older round than its header does.
//!
//! The rule needs no memory but the log itself. Each tile line names what is kept (`… boot 9 kept 3,4-5`), and
//! the mount reads the newest one, and whether the log ends with a crash record.
//!
//! On a small console fewer are kept ([`Kept::limit`]), so that kept tiles never take more than half of it.

use core::fmt;

/// Crash records of a series that are kept.
pub const KEPT_RECORDS: usize = 3;

/// The tiles that hold one crash record: both numbers are the same, unless it crosses from one tile to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptRecord {
    /// Where it begins.
    pub first: u32,
    /// Where it ends.
    pub last: u32,
}

/// The crash records that are kept, the oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    records: [KeptRecord; KEPT_RECORDS],
    len: u8,
}

impl Kept {
    /// None.
    pub const NONE: Self = Self { records: [KeptRecord { first: 0, last: 0 }; KEPT_RECORDS], len: 0 };

    /// How many are kept on a console of so many tiles: one for every four tiles, at most [`KEPT_RECORDS`].
    pub const fn limit(tiles: u64) -> usize {
        let quarter = tiles / 4;
        if quarter < KEPT_RECORDS as u64 { quarter as usize } else { KEPT_RECORDS }
    }

    /// What is kept.
    pub fn records(&self) -> &[KeptRecord] {
        self.records.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Whether this tile must not be erased.
    pub fn contains(&self, tile: u32) -> bool {
        self.records().iter().any(|record| record.first == tile || record.last == tile)
    }

    /// Keeps one more on a console of so many tiles, if it lies there and there is room for it.
    pub fn push(&mut self, record: KeptRecord, tiles: u64) {
        let inside = u64::from(record.first) < tiles && u64::from(record.last) < tiles;
        let len = usize::from(self.len);
        if inside
            && len < Self::limit(tiles)
            && let Some(slot) = self.records.get_mut(len)
        {
            *slot = record;
            self.len += 1;
        }
    }

    /// Stops keeping whatever lies in this tile.
    pub fn release(&mut self, tile: u32) {
        let mut kept = Self::NONE;
        for record in self.records().iter().filter(|record| record.first != tile && record.last != tile) {
            kept.push(*record, u64::MAX);
        }
        *self = kept;
    }

    /// Reads what [`Display`](fmt::Display) wrote, as far as it makes sense on a console of so many tiles.
    pub fn parse(text: &[u8], tiles: u64) -> Self {
        let mut kept = Self::NONE;
        for part in text.split(|byte| *byte == b',').take(KEPT_RECORDS) {
            let mut ends = part.splitn(2, |byte| *byte == b'-').map(decimal);
            let Some(Some(first)) = ends.next() else { break };
            let Some(last) = ends.next().unwrap_or(Some(first)) else { break };
            kept.push(KeptRecord { first, last }, tiles);
        }
        kept
    }
}

impl fmt::Display for Kept {
    /// `3,4-5`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, record) in self.records().iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}", record.first)?;
            if record.last != record.first {
                write!(f, "-{}", record.last)?;
            }
        }
        Ok(())
    }
}

/// A decimal number that fills all of the text.
pub(crate) fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |value, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_written_is_read() {
        let mut kept = Kept::NONE;
        for (first, last) in [(3, 3), (4, 5), (u32::MAX, 0)] {
            kept.push(KeptRecord { first, last }, 1 << 32);
        }
        assert_eq!(kept.to_string(), "3,4-5,4294967295-0");
        assert_eq!(Kept::parse(kept.to_string().as_bytes(), 1 << 32), kept);
        assert!(kept.contains(5) && kept.contains(0) && !kept.contains(6));
    }

    #[test]
    fn nonsense_keeps_nothing_outside_and_never_more_than_half() {
        for text in [&b""[..], b",", b"-", b"9", b"4294967296", b"1x", b"-1", b"99999999999999999999"] {
            assert_eq!(Kept::parse(text, 8), Kept::NONE, "{text:?}");
        }
        for tiles in 1..100 {
            let kept = Kept::parse(b"0-1,2-3,4-5,6-7,8", tiles);
            assert!(2 * kept.records().len() as u64 <= tiles / 2);
        }
        assert_eq!(Kept::parse(b"1,2,3,4,5", 64).records().len(), KEPT_RECORDS);
    }

    #[test]
    fn a_released_tile_is_no_longer_kept() {
        let mut kept = Kept::parse(b"1,2-3,4", 64);
        kept.release(3);
        assert_eq!(kept.to_string(), "1,4");
    }
}
