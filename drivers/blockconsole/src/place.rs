//! Where on a device a console lies, and the gate that each request passes.
//!
//! A [`Place`] is a whole device, a partition, or a file: up to [`MAX_EXTENTS`] runs of blocks, which joined
//! together hold the tiles. Nothing outside it may ever be written. Therefore a block number is
//! made in one function only, [`Place::blocks_of`], which refuses whatever does not lie inside.

use crate::format::{BLOCK_SIZES, TILE_BYTES, tile_start, tiles_in};
use block::{Geometry, WriteCache};

/// The most extents that a place may consist of.
pub const MAX_EXTENTS: usize = 16;

/// A run of a device's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its first block, counted from the device's beginning.
    pub first_block: u64,
    /// Number of blocks.
    pub blocks: u64,
}

impl Extent {
    const fn end(&self) -> u64 {
        self.first_block.saturating_add(self.blocks)
    }
}

/// A console's place on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    block_size: u32,
    count: u32,
    extents: [Extent; MAX_EXTENTS],
}

/// Why a place cannot hold a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceError {
    /// The block size is not a power of two from 512 to 65,536.
    BlockSize(u32),
    /// There is no extent, or there are more than [`MAX_EXTENTS`].
    ExtentCount(usize),
    /// An extent is empty, overlaps another, or ends beyond block 2^64.
    BadExtent(Extent),
    /// It does not hold a single tile.
    TooSmall(u64),
}

/// A request that was about to leave the console's place. Nothing of it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside;

/// Blocks of the device that hold a piece of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The first, counted from the device's beginning.
    pub first: u64,
    /// How many.
    pub count: u32,
}

impl Place {
    /// A place made of these extents, in this order, on a device with this block size.
    ///
    /// # Errors
    /// [`PlaceError`] says what is wrong with them.
    pub fn new(block_size: u32, extents: &[Extent]) -> Result<Self, PlaceError> {
        if !block_size.is_power_of_two() || !BLOCK_SIZES.contains(&block_size) {
            return Err(PlaceError::BlockSize(block_size));
        }
        if extents.is_empty() || extents.len() > MAX_EXTENTS {
            return Err(PlaceError::ExtentCount(extents.len()));
        }
        let mut own = [Extent::default(); MAX_EXTENTS];
        for (i, extent) in extents.iter().enumerate() {
            let overlaps = |other: &Extent| extent.first_block < other.end() && other.first_block < extent.end();
            let overflows = extent.first_block.checked_add(extent.blocks).is_none();
            if extent.blocks == 0 || overflows || extents.iter().take(i).any(overlaps) {
                return Err(PlaceError::BadExtent(*extent));
            }
            if let Some(slot) = own.get_mut(i) {
                *slot = *extent;
            }
        }
        let place = Self { block_size, count: extents.len() as u32, extents: own };
        if place.tiles() == 0 {
            return Err(PlaceError::TooSmall(place.bytes()));
        }
        Ok(place)
    }

    /// A whole device.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn whole(geometry: &Geometry) -> Result<Self, PlaceError> {
        Self::new(geometry.block_size, &[Extent { first_block: 0, blocks: geometry.block_count }])
    }

    /// Bytes a block.
    pub const fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The extents, in the order in which they hold the tiles.
    pub fn extents(&self) -> &[Extent] {
        self.extents.get(..self.count as usize).unwrap_or(&[])
    }

    /// Size in bytes, saturated.
    pub fn bytes(&self) -> u64 {
        let blocks = self.extents().iter().fold(0u64, |sum, extent| sum.saturating_add(extent.blocks));
        blocks.saturating_mul(u64::from(self.block_size))
    }

    /// Number of whole tiles, from 1 to [`MAX_TILES`](crate::format::MAX_TILES).
    pub fn tiles(&self) -> u64 {
        tiles_in(self.bytes())
    }

    /// Whether all of it lies on a device of this geometry.
    pub fn lies_on(&self, geometry: &Geometry) -> bool {
        self.block_size == geometry.block_size
            && self.extents().iter().all(|extent| {
                extent.first_block.checked_add(extent.blocks).is_some_and(|end| end <= geometry.block_count)
            })
    }

    /// Whether this place and another share a block of their device.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.extents()
            .iter()
            .any(|a| other.extents().iter().any(|b| a.first_block < b.end() && b.first_block < a.end()))
    }

    /// The device's blocks for the bytes from `start` to `end` of a tile. Every request's block number comes from here.
    ///
    /// # Errors
    /// [`Outside`] if they are not whole blocks of one tile of this place, or not one run of blocks on the
    /// device: see [`contiguous`](Self::contiguous).
    pub fn blocks_of(&self, tile: u32, start: u32, end: u32) -> Result<Blocks, Outside> {
        let whole = start.is_multiple_of(self.block_size) && end.is_multiple_of(self.block_size);
        if !whole || start >= end || end > TILE_BYTES || u64::from(tile) >= self.tiles() {
            return Err(Outside);
        }
        let count = (end - start) / self.block_size;
        let (first, run) = self.locate(tile, start).ok_or(Outside)?;
        if u64::from(count) > run {
            return Err(Outside);
        }
        Ok(Blocks { first, count })
    }

    /// How many bytes of a tile, from `start` to the tile's end at most, lie in one run of blocks; 0 outside of the place.
    pub fn contiguous(&self, tile: u32, start: u32) -> u32 {
        if start >= TILE_BYTES || u64::from(tile) >= self.tiles() {
            return 0;
        }
        let run = self.locate(tile, start).map_or(0, |(_, run)| run);
        let rest = TILE_BYTES - start;
        u32::try_from(run.saturating_mul(u64::from(self.block_size))).map_or(rest, |bytes| bytes.min(rest))
    }

    /// The device's block that holds a byte of a tile, and how many blocks follow in the same extent, itself included.
    fn locate(&self, tile: u32, offset: u32) -> Option<(u64, u64)> {
        let mut skip = (tile_start(tile) + u64::from(offset)) / u64::from(self.block_size);
        for extent in self.extents() {
            if skip < extent.blocks {
                return Some((extent.first_block.checked_add(skip)?, extent.blocks - skip));
            }
            skip -= extent.blocks;
        }
        None
    }
}

/// Whether a completed write must be followed by a flush before it counts as durable.
pub(crate) fn needs_flush(geometry: &Geometry) -> bool {
    match geometry.write_cache {
        WriteCache::Volatile => true,
        // With no flush to be had, durability is the host's business: completion is all there is.
        WriteCache::WriteThrough | WriteCache::Unknown => false,
    }
}

impl core::fmt::Display for PlaceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BlockSize(size) => write!(f, "block size {size} is not a power of two from 512 to 65536"),
            Self::ExtentCount(count) => write!(f, "{count} extents, not 1 to {MAX_EXTENTS}"),
            Self::BadExtent(extent) => {
                write!(f, "extent {}+{} is empty, overlaps another or overflows", extent.first_block, extent.blocks)
            }
            Self::TooSmall(bytes) => write!(f, "{bytes} bytes hold no tile of {TILE_BYTES}"),
        }
    }
}

impl core::error::Error for PlaceError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(first_block: u64, blocks: u64) -> Extent {
        Extent { first_block, blocks }
    }

    #[test]
    fn what_cannot_hold_a_console_is_refused() {
        let mib = extent(0, 2048);
        assert!(Place::new(512, &[mib]).is_ok());
        for size in [0, 1, 256, 513, 768, 131_072] {
            assert_eq!(Place::new(size, &[mib]), Err(PlaceError::BlockSize(size)));
        }
        assert_eq!(Place::new(512, &[]), Err(PlaceError::ExtentCount(0)));
        let many: [Extent; 17] = core::array::from_fn(|i| extent(i as u64 * 5000, 2048));
        assert_eq!(Place::new(512, &many), Err(PlaceError::ExtentCount(17)));
        assert_eq!(Place::new(512, &many[..16]).map(|place| place.tiles()), Ok(16));
        assert_eq!(Place::new(512, &[extent(0, 2047)]), Err(PlaceError::TooSmall(2047 * 512)));
        for bad in [extent(5, 0), extent(u64::MAX, 2), extent(2047, 9)] {
            assert_eq!(Place::new(512, &[mib, bad]), Err(PlaceError::BadExtent(bad)));
        }
    }

    #[test]
    fn tiles_run_on_across_extents() {
        let place = Place::new(4096, &[extent(1000, 300), extent(10, 212)]).unwrap();
        assert_eq!(place.tiles(), 2);
        assert_eq!(place.blocks_of(0, 0, 4096), Ok(Blocks { first: 1000, count: 1 }));
        assert_eq!(place.contiguous(1, 0), 44 * 4096);
        assert_eq!(place.blocks_of(1, 0, 44 * 4096), Ok(Blocks { first: 1256, count: 44 }));
        assert_eq!(place.blocks_of(1, 0, 45 * 4096), Err(Outside));
        assert_eq!(place.blocks_of(1, 44 * 4096, TILE_BYTES), Ok(Blocks { first: 10, count: 212 }));
    }

    #[test]
    fn nothing_outside_has_a_block_number() {
        let place = Place::new(512, &[extent(100, 4096 + 7)]).unwrap();
        assert_eq!(place.tiles(), 2);
        for (tile, start, end) in [
            (2, 0, 512),
            (u32::MAX, 0, 512),
            (0, 1, 513),
            (0, 0, 100),
            (0, 512, 512),
            (0, 1024, 512),
            (0, 0, TILE_BYTES + 512),
        ] {
            assert_eq!(place.blocks_of(tile, start, end), Err(Outside));
        }
        assert_eq!(place.blocks_of(1, TILE_BYTES - 512, TILE_BYTES), Ok(Blocks { first: 100 + 4095, count: 1 }));
    }

    #[test]
    fn the_largest_console_has_two_to_the_32nd_tiles() {
        let place = Place::new(512, &[extent(7, u64::MAX - 7)]).unwrap();
        assert_eq!(place.tiles(), 1 << 32);
        assert_eq!(
            place.blocks_of(u32::MAX, TILE_BYTES - 512, TILE_BYTES),
            Ok(Blocks { first: 7 + (1 << 43) - 1, count: 1 })
        );
    }

    #[test]
    fn overlaps_are_seen() {
        let place = |first| Place::new(512, &[extent(first, 2048)]).unwrap();
        assert!(place(0).overlaps(&place(2047)));
        assert!(!place(0).overlaps(&place(2048)));
    }
}
