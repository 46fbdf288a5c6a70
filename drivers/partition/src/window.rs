//! Bounded reading: every byte that a scan looks at comes through here.

use crate::{Extent, Problem};
use block::BlockReader;

/// Read calls that one scan makes at most, of at most the scratch buffer's size each. The tables of any device
/// take fewer than 200; the rest is for the allocation tables of FAT volumes.
pub const MAX_READS: u32 = 8192;

/// The largest device that is believed.
const MAX_BYTES: u64 = 1 << 63;

/// A movable window onto a device, in the caller's scratch buffer.
pub(crate) struct Window<'a, R> {
    reader: &'a mut R,
    scratch: &'a mut [u8],
    block_size: usize,
    /// Block at the window's start, and bytes that are valid there.
    first_block: u64,
    valid: usize,
    reads_left: u32,
}

impl<'a, R: BlockReader> Window<'a, R> {
    pub(crate) fn new(reader: &'a mut R, scratch: &'a mut [u8]) -> Result<Self, Problem> {
        let block_size = reader.block_size();
        if !block_size.is_power_of_two() || !(512..=65536).contains(&block_size) {
            return Err(Problem::BlockSize(block_size));
        }
        // So that every offset in bytes, and what little is added to one, fits 64 bits.
        let block_count = reader.block_count();
        if block_count.checked_mul(u64::from(block_size)).is_none_or(|bytes| bytes > MAX_BYTES) {
            return Err(Problem::DeviceSize(block_count));
        }
        let block_size = block_size as usize;
        if scratch.len() < block_size {
            return Err(Problem::ScratchTooSmall);
        }
        Ok(Self { reader, scratch, block_size, first_block: 0, valid: 0, reads_left: MAX_READS })
    }

    pub(crate) fn block_size(&self) -> u64 {
        self.block_size as u64
    }

    pub(crate) fn block_count(&self) -> u64 {
        self.reader.block_count()
    }

    /// The first `N` bytes of a block; reads no more than that block. `N` must be at most 512.
    pub(crate) fn block_start<const N: usize>(&mut self, block: u64) -> Result<[u8; N], Problem> {
        let held = block.checked_sub(self.first_block).is_some_and(|index| self.holds(index));
        if !held {
            self.load(block, 1)?;
        }
        self.bytes(block.saturating_mul(self.block_size()))
    }

    /// `N` bytes at a byte offset of the device; reads ahead as far as the scratch buffer goes.
    pub(crate) fn bytes<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], Problem> {
        let mut out = [0; N];
        let mut offset = offset;
        let mut filled = 0;
        while filled < N {
            let piece = self.piece(offset)?;
            let len = piece.len().min(N - filled);
            let (Some(to), Some(from)) = (out.get_mut(filled..filled + len), piece.get(..len)) else { break };
            to.copy_from_slice(from);
            filled += len;
            offset = offset.saturating_add(len as u64);
        }
        Ok(out)
    }

    /// The bytes from an offset to the window's end, at least one; moves the window there if it does not hold it.
    pub(crate) fn piece(&mut self, offset: u64) -> Result<&[u8], Problem> {
        let block = offset / self.block_size();
        let held = block.checked_sub(self.first_block).is_some_and(|index| self.holds(index));
        if !held {
            self.load(block, self.scratch.len() / self.block_size)?;
        }
        let start = (offset - self.first_block.saturating_mul(self.block_size())) as usize;
        let error = Problem::Read { block, error: block::ErrorKind::OutOfRange.into() };
        self.scratch.get(start..self.valid).filter(|piece| !piece.is_empty()).ok_or(error)
    }

    fn holds(&self, index: u64) -> bool {
        index < (self.valid / self.block_size) as u64
    }

    /// Moves the window to `block`, and reads as many blocks as are wanted and there: one only, if they cannot be read together.
    fn load(&mut self, block: u64, blocks: usize) -> Result<(), Problem> {
        match self.load_at_once(block, blocks) {
            Err(Problem::Read { .. }) if blocks > 1 => self.load_at_once(block, 1),
            result => result,
        }
    }

    fn load_at_once(&mut self, block: u64, blocks: usize) -> Result<(), Problem> {
        self.valid = 0;
        let wanted = Extent { first_block: block, block_count: 1 };
        if !wanted.lies_below(self.reader.block_count()) {
            return Err(Problem::Read { block, error: block::ErrorKind::OutOfRange.into() });
        }
        self.reads_left = self.reads_left.checked_sub(1).ok_or(Problem::TooManyReads)?;
        let blocks = (blocks as u64).min(self.reader.block_count() - block) as usize;
        let len = blocks * self.block_size;
        let Some(buffer) = self.scratch.get_mut(..len) else { return Err(Problem::ScratchTooSmall) };
        self.reader.read_blocks(block, buffer).map_err(|error| Problem::Read { block, error })?;
        self.first_block = block;
        self.valid = len;
        Ok(())
    }
}

/// A little-endian 16-bit field of an on-disk structure.
pub(crate) fn le16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(field(bytes, offset))
}

/// A little-endian 32-bit field of an on-disk structure.
pub(crate) fn le32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(field(bytes, offset))
}

/// A little-endian 64-bit field of an on-disk structure.
pub(crate) fn le64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(field(bytes, offset))
}

/// The field's bytes; zeroes where the structure is too short to have it.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
