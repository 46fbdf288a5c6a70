//! Shape and limits of a device.

/// Shape and limits of a device, as its driver found them. A driver vouches for
/// these to be sane: no zero sizes, a block size that is a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes a block: a power of two from 512 to 65,536.
    pub block_size: u32,
    /// Number of blocks.
    pub block_count: u64,
    /// Blocks that one read or write may carry, at least 1.
    pub max_transfer_blocks: u32,
    /// Blocks that one [`WriteZeroes`](crate::Request::WriteZeroes) may cover; 0 where the device has no such operation.
    pub max_write_zeroes_blocks: u32,
    /// Requests that may be in flight at a time, at least 1.
    pub queue_depth: u16,
    /// What a completed write means.
    pub write_cache: WriteCache,
    /// Whether the device takes writes.
    pub access: Access,
}

impl Geometry {
    /// The device's size in bytes, saturated.
    pub const fn bytes(&self) -> u64 {
        self.block_count.saturating_mul(self.block_size as u64)
    }
}

/// What a completed write means for durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCache {
    /// A completed write is on the medium.
    WriteThrough,
    /// A completed write is on the medium after a flush, or if it was made with `fua`.
    Volatile,
    /// The device has no flush to offer: durability is the host's business.
    Unknown,
}

/// Whether a device takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does.
    ReadWrite,
    /// It does not, for this reason.
    ReadOnly(&'static str),
}
