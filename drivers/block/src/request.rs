//! Requests and their completions.

use crate::{Access, Error, ErrorKind, Geometry};

/// The caller's own name for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// What a device is asked to do. Data are the first `blocks × block_size` bytes of the buffer.
#[derive(Debug)]
pub enum Request<B> {
    /// Read blocks into the buffer.
    Read {
        /// First block.
        first_block: u64,
        /// Number of blocks, at least 1.
        blocks: u32,
        /// Where they go.
        buffer: B,
    },
    /// Write blocks from the buffer.
    Write {
        /// First block.
        first_block: u64,
        /// Number of blocks, at least 1.
        blocks: u32,
        /// Where they come from.
        buffer: B,
        /// Complete only when they are on the medium. A driver whose device cannot do so refuses it as
        /// [`ErrorKind::Unsupported`].
        fua: bool,
    },
    /// Write zeroes without a buffer.
    WriteZeroes {
        /// First block.
        first_block: u64,
        /// Number of blocks, at least 1.
        blocks: u32,
    },
    /// Bring every write that has *completed* by now onto the medium. Refused as
    /// [`ErrorKind::Unsupported`] where the device has no flush.
    Flush,
}

impl<B: AsRef<[u8]>> Request<B> {
    /// Checks the request against a device's geometry: what every driver does first.
    ///
    /// # Errors
    /// The reason for which a driver must refuse it.
    pub fn check(&self, geometry: &Geometry) -> Result<(), Error> {
        let (first_block, blocks, limit, buffer, writes) = match self {
            Self::Read { first_block, blocks, buffer } => {
                (*first_block, *blocks, geometry.max_transfer_blocks, Some(buffer), false)
            }
            Self::Write { first_block, blocks, buffer, .. } => {
                (*first_block, *blocks, geometry.max_transfer_blocks, Some(buffer), true)
            }
            Self::WriteZeroes { .. } if geometry.max_write_zeroes_blocks == 0 => {
                return Err(ErrorKind::Unsupported.into());
            }
            Self::WriteZeroes { first_block, blocks } => {
                (*first_block, *blocks, geometry.max_write_zeroes_blocks, None, true)
            }
            Self::Flush => return Ok(()),
        };
        if writes && matches!(geometry.access, Access::ReadOnly(_)) {
            return Err(ErrorKind::ReadOnly.into());
        }
        let bytes = u64::from(blocks) * u64::from(geometry.block_size);
        let fits = buffer.is_none_or(|buffer| bytes <= buffer.as_ref().len() as u64);
        if blocks == 0 || blocks > limit || !fits {
            return Err(ErrorKind::BadRequest.into());
        }
        match first_block.checked_add(u64::from(blocks)) {
            Some(end) if end <= geometry.block_count => Ok(()),
            _ => Err(ErrorKind::OutOfRange.into()),
        }
    }
}

impl<B> Request<B> {
    /// Takes the buffer out, if the request has one.
    pub fn into_buffer(self) -> Option<B> {
        match self {
            Self::Read { buffer, .. } | Self::Write { buffer, .. } => Some(buffer),
            Self::WriteZeroes { .. } | Self::Flush => None,
        }
    }
}

/// The end of a request.
#[derive(Debug)]
pub struct Completion<B> {
    /// The tag that it was submitted with.
    pub tag: Tag,
    /// How it ended.
    pub result: Result<(), Error>,
    /// The request's buffer. `None` for requests without one, and where the device is
    /// [dead](crate::State::Dead) and may still be using it: such a buffer never comes back.
    pub buffer: Option<B>,
}

/// A request that was not accepted, given back.
#[derive(Debug)]
pub struct Refused<B> {
    /// Why.
    pub error: Error,
    /// What was to be done.
    pub request: Request<B>,
}
