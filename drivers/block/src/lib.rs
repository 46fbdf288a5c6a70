//! The contract between block drivers and those who write to their disks.
//!
//! A driver is a [`BlockDevice`]: requests go in by [`submit`](BlockDevice::submit),
//! completions come out of [`poll`](BlockDevice::poll), and neither ever waits. A
//! buffer is *moved* into a request and moved out again with its completion, so
//! that nobody can touch memory that a device may still be writing to or
//! reading from:
//!
//! ```text
//!            submit(request, buffer)                    poll()
//!   caller ────────────────────────────► driver ─────────────────► caller
//!                                          │  completion, buffer
//!                     deadline passed      │
//!                  ┌───────────────────────┘
//!                  ▼
//!             Recovering ── reset worked ──► Ready   (every request in flight completes
//!                  │                                  with `ErrorKind::Aborted` or
//!                  │                                  `TimedOut`, buffer included)
//!                  └────── reset failed ───► Dead    (requests complete without their
//!                                                     buffers: the device may still
//!                                                     use them)
//! ```
//!
//! Every request that was accepted completes exactly once, in bounded time:
//! the driver holds the deadlines, so that a caller may poll in a loop as long as
//! it has requests in flight.
//!
//! Parsers that only read (partition tables, the mount) use [`BlockReader`],
//! which a file on the host implements as well; [`blocking::Blocking`] makes one
//! of a `BlockDevice`.
//!
//! A RAM disk that fails, tears, reorders, hangs and lies is in the crate `block-fake`.
#![no_std]
#![forbid(unsafe_code)]

pub mod blocking;
mod error;
mod geometry;
mod request;

pub use error::{Error, ErrorKind};
pub use geometry::{Access, Geometry, WriteCache};
pub use request::{Completion, Refused, Request, Tag};

/// A polled block device, or one queue of it.
///
/// Block numbers count the device's own blocks ([`Geometry::block_size`]), from 0.
pub trait BlockDevice {
    /// Memory that the device can reach: what requests carry. Its length is fixed.
    type Buffer: AsRef<[u8]> + AsMut<[u8]>;

    /// Shape and limits. Constant as long as the device is not reset.
    fn geometry(&self) -> Geometry;

    /// Whether requests can go in.
    fn state(&self) -> State;

    /// Hands a request to the device. Does not wait.
    ///
    /// `tag` is the caller's, comes back with the completion, and need not be unique.
    ///
    /// # Errors
    /// [`Refused`] gives the request back with the reason: [`ErrorKind::QueueFull`] (poll first),
    /// [`ErrorKind::OutOfRange`] or [`ErrorKind::BadRequest`] for one that does not fit the geometry or
    /// its buffer, [`ErrorKind::ReadOnly`], [`ErrorKind::Unsupported`], [`ErrorKind::NotReady`] in any state but [`State::Ready`].
    fn submit(&mut self, tag: Tag, request: Request<Self::Buffer>) -> Result<(), Refused<Self::Buffer>>;

    /// Takes one completion, if there is one, and drives recovery and deadlines. Does not wait.
    ///
    /// Completions come in any order.
    fn poll(&mut self) -> Option<Completion<Self::Buffer>>;

    /// Starts a reset, from any state, also in the middle of a half-made submission. Does not wait:
    /// the state is [`State::Recovering`] until [`poll`](Self::poll) has brought it to `Ready` or `Dead`.
    ///
    /// When it is `Ready` again, nothing that was submitted before can reach the medium any more,
    /// by this handle or by another queue of the same controller.
    fn recover(&mut self);
}

/// Whether a device takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests can go in.
    Ready,
    /// A reset is under way; poll on.
    Recovering,
    /// The device did not come back, for this reason. Only [`BlockDevice::recover`] may change that.
    Dead(Error),
}

/// Something that reads whole blocks, one call at a time: what parsers of on-disk structures need.
pub trait BlockReader {
    /// Bytes a block: a power of two from 512 to 65,536.
    fn block_size(&self) -> u32;

    /// Number of blocks.
    fn block_count(&self) -> u64;

    /// Reads `buffer.len()` bytes from `first_block` on; the length must be a multiple of the block size.
    ///
    /// # Errors
    /// What the device answered; [`ErrorKind::OutOfRange`] and [`ErrorKind::BadRequest`] for a bad call. The
    /// buffer's contents are then unspecified.
    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), Error>;
}

impl<R: BlockReader + ?Sized> BlockReader for &mut R {
    fn block_size(&self) -> u32 {
        (**self).block_size()
    }

    fn block_count(&self) -> u64 {
        (**self).block_count()
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), Error> {
        (**self).read_blocks(first_block, buffer)
    }
}
