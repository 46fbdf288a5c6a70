//! From a device's configuration to limits that can be relied on.

use block::{Access, ErrorKind, Geometry, WriteCache};
use virtio_drivers::Result as VirtioResult;
use virtio_drivers::transport::Transport;

use crate::controller::Failure;
use crate::spec::{Features, SECTOR_SIZE, config};

/// Longest read or write: more than anybody sends, and short enough for 32 bits.
const MAX_TRANSFER: u32 = 16 << 20;
/// Longest write of zeroes or discard: one that is longer might outlast its deadline on a slow host.
const MAX_RANGE: u32 = 64 << 20;

/// Device configuration, as read; fields whose feature is not there are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawConfig {
    capacity: u64,
    size_max: u32,
    block_size: u32,
    writeback: u8,
    queues: u16,
    max_discard: u32,
    max_discard_segments: u32,
    max_write_zeroes: u32,
    max_write_zeroes_segments: u32,
}

/// What requests must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) geometry: Geometry,
    /// Blocks that a discard may cover; 0 where there is none.
    pub(crate) max_discard_blocks: u32,
}

impl Limits {
    /// Before a device was asked: nothing fits.
    pub(crate) const UNKNOWN: Self = Self {
        geometry: Geometry {
            block_size: SECTOR_SIZE,
            block_count: 0,
            max_transfer_blocks: 1,
            max_write_zeroes_blocks: 0,
            queue_depth: 1,
            write_cache: WriteCache::Unknown,
            access: Access::ReadOnly("the device was not initialised yet"),
        },
        max_discard_blocks: 0,
    };

    /// Sectors of a block.
    pub(crate) const fn sectors_per_block(&self) -> u32 {
        self.geometry.block_size / SECTOR_SIZE
    }
}

impl RawConfig {
    /// Reads the configuration, twice; `None` if it changed meanwhile.
    ///
    /// A generation counter alone would do on devices that have one, but legacy devices have none.
    pub(crate) fn read<T: Transport>(transport: &T, features: Features) -> Result<Option<Self>, Failure> {
        let short = |_| Failure::new(ErrorKind::Protocol, "its configuration lacks fields");
        let before = transport.read_config_generation();
        let first = Self::read_once(transport, features).map_err(short)?;
        let second = Self::read_once(transport, features).map_err(short)?;
        let after = transport.read_config_generation();
        Ok((before == after && first == second).then_some(first))
    }

    fn read_once<T: Transport>(transport: &T, features: Features) -> VirtioResult<Self> {
        let word = |wanted: Features, offset: usize| match features.contains(wanted) {
            true => transport.read_config_space::<u32>(offset),
            false => Ok(0),
        };
        let low: u32 = transport.read_config_space(config::CAPACITY_LOW)?;
        let high: u32 = transport.read_config_space(config::CAPACITY_HIGH)?;
        let writeback = features.contains(Features::CONFIG_WCE);
        let queues = features.contains(Features::MULTI_QUEUE);
        Ok(Self {
            capacity: u64::from(high) << 32 | u64::from(low),
            size_max: word(Features::SIZE_MAX, config::SIZE_MAX)?,
            block_size: word(Features::BLOCK_SIZE, config::BLOCK_SIZE)?,
            writeback: if writeback { transport.read_config_space(config::WRITEBACK)? } else { 0 },
            queues: if queues { transport.read_config_space(config::NUM_QUEUES)? } else { 0 },
            max_discard: word(Features::DISCARD, config::MAX_DISCARD_SECTORS)?,
            max_discard_segments: word(Features::DISCARD, config::MAX_DISCARD_SEG)?,
            max_write_zeroes: word(Features::WRITE_ZEROES, config::MAX_WRITE_ZEROES_SECTORS)?,
            max_write_zeroes_segments: word(Features::WRITE_ZEROES, config::MAX_WRITE_ZEROES_SEG)?,
        })
    }

    /// How many request queues there are.
    pub(crate) fn queues(&self, features: Features) -> u16 {
        if features.contains(Features::MULTI_QUEUE) { self.queues } else { 1 }
    }

    /// Checks what the device says.
    pub(crate) fn limits(&self, features: Features) -> Result<Limits, Failure> {
        let block_size = if features.contains(Features::BLOCK_SIZE) { self.block_size } else { SECTOR_SIZE };
        if !block_size.is_power_of_two() || !(SECTOR_SIZE..=65536).contains(&block_size) {
            return Err(Failure::new(ErrorKind::Unsupported, "its block size is no power of two from 512 to 65536"));
        }
        let sectors = block_size / SECTOR_SIZE;
        let block_count = self.capacity / u64::from(sectors);
        if block_count == 0 {
            return Err(Failure::new(ErrorKind::Unsupported, "it has no blocks"));
        }
        let segment = if features.contains(Features::SIZE_MAX) { self.size_max } else { MAX_TRANSFER };
        let max_transfer_blocks = segment.min(MAX_TRANSFER) / block_size;
        if max_transfer_blocks == 0 {
            return Err(Failure::new(ErrorKind::Unsupported, "its longest segment is shorter than a block"));
        }
        let range = |sectors_max: u32, segments: u32| match segments {
            0 => 0,
            _ => (sectors_max / sectors).min(MAX_RANGE / block_size),
        };
        let geometry = Geometry {
            block_size,
            block_count,
            max_transfer_blocks,
            max_write_zeroes_blocks: range(self.max_write_zeroes, self.max_write_zeroes_segments),
            queue_depth: 1,
            write_cache: self.write_cache(features),
            access: match features.contains(Features::READ_ONLY) {
                true => Access::ReadOnly("the host gave it as a read-only disk"),
                false => Access::ReadWrite,
            },
        };
        Ok(Limits { geometry, max_discard_blocks: range(self.max_discard, self.max_discard_segments) })
    }

    /// What a completed write means (5.2.5, 5.2.6.2). Without a flush, nobody but the host knows.
    fn write_cache(&self, features: Features) -> WriteCache {
        if !features.contains(Features::FLUSH) {
            WriteCache::Unknown
        } else if features.contains(Features::CONFIG_WCE) && self.writeback == 0 {
            WriteCache::WriteThrough
        } else {
            WriteCache::Volatile
        }
    }
}
