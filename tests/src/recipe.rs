//! Disks as the original driver's script prepares them.

use std::hash::{BuildHasher, RandomState};

/// Bytes a tile.
pub const TILE: usize = 1 << 20;

/// Does to a disk what `mkblockconsole` does: the first MiB zeroed, and a header of 512 bytes with round 0 and tile 0.
/// Everything else stays as it was.
pub fn make_console(disk: &mut [u8], uuid: u32) {
    disk[..TILE].fill(0);
    disk[..512].fill(b' ');
    let header = format!("\nLinux blockconsole version 1.1\n{uuid:08x}\n00000000\n00000000\n");
    disk[..header.len()].copy_from_slice(header.as_bytes());
    disk[511] = b'\n';
}

/// Bytes that no program writes by chance: each 8 of them are a hash of their place and `seed`.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let words = (0..length.div_ceil(8) as u64).flat_map(|place| scramble(seed ^ place.rotate_left(32)).to_le_bytes());
    words.take(length).collect()
}

/// Random numbers that can be made again (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// Numbers that are others each time. Tests that use them must print what they drew when they fail.
    pub fn new() -> Self {
        Self(RandomState::new().hash_one(()))
    }

    /// The next number, below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(STEP);
        (scramble(self.0) % limit as u64) as usize
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finisher of SplitMix64.
fn scramble(seed: u64) -> u64 {
    let mut hash = seed.wrapping_add(STEP);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
