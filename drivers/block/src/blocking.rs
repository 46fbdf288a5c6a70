//! One request at a time on a polled device: what the scan at start uses.

use crate::{BlockDevice, BlockReader, Completion, Error, ErrorKind, Request, State, Tag};

/// Reads a [`BlockDevice`] block by block, and calls `idle` while it waits, so that
/// whoever waits here holds up nobody else. When that returns `false`, the wait is given up, and the buffer with it.
///
/// The device must have nothing in flight that belongs to somebody else: a completion that
/// is not ours is given to `stray`.
pub struct Blocking<'a, D: BlockDevice, I, S> {
    device: &'a mut D,
    buffer: Option<D::Buffer>,
    idle: I,
    stray: S,
}

/// The tag of this module's requests.
const TAG: Tag = Tag(u64::MAX);

impl<'a, D, I, S> Blocking<'a, D, I, S>
where
    D: BlockDevice,
    I: FnMut() -> bool,
    S: FnMut(Completion<D::Buffer>),
{
    /// Borrows a device, and a buffer of at least one block through which everything is read.
    pub fn new(device: &'a mut D, buffer: D::Buffer, idle: I, stray: S) -> Self {
        Self { device, buffer: Some(buffer), idle, stray }
    }

    /// Gives the buffer back; `None` if the device died with it, or may still have it.
    pub fn into_buffer(self) -> Option<D::Buffer> {
        self.buffer
    }

    fn read_piece(&mut self, first_block: u64, out: &mut [u8]) -> Result<(), Error> {
        let block_size = self.device.geometry().block_size as usize;
        let buffer = self.buffer.take().ok_or(ErrorKind::NotReady)?;
        let blocks = u32::try_from(out.len() / block_size).map_err(|_| ErrorKind::BadRequest)?;
        let request = Request::Read { first_block, blocks, buffer };
        if let Err(refused) = self.device.submit(TAG, request) {
            self.buffer = refused.request.into_buffer();
            return Err(refused.error);
        }
        loop {
            match self.device.poll() {
                Some(completion) if completion.tag == TAG => {
                    self.buffer = completion.buffer;
                    completion.result?;
                    let buffer = self.buffer.as_ref().ok_or(ErrorKind::NotReady)?;
                    out.copy_from_slice(&buffer.as_ref()[..out.len()]);
                    return Ok(());
                }
                Some(completion) => (self.stray)(completion),
                // The driver owns the deadlines: an accepted request completes, even if by the device's death.
                None => match self.device.state() {
                    State::Dead(error) => return Err(error),
                    State::Ready | State::Recovering if (self.idle)() => {}
                    State::Ready | State::Recovering => return Err(ErrorKind::TimedOut.into()),
                },
            }
        }
    }
}

impl<D, I, S> BlockReader for Blocking<'_, D, I, S>
where
    D: BlockDevice,
    I: FnMut() -> bool,
    S: FnMut(Completion<D::Buffer>),
{
    fn block_size(&self) -> u32 {
        self.device.geometry().block_size
    }

    fn block_count(&self) -> u64 {
        self.device.geometry().block_count
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let geometry = self.device.geometry();
        let block_size = geometry.block_size as usize;
        if !buffer.len().is_multiple_of(block_size) {
            return Err(ErrorKind::BadRequest.into());
        }
        let room = self.buffer.as_ref().ok_or(ErrorKind::NotReady)?.as_ref().len() / block_size;
        let piece = room.min(geometry.max_transfer_blocks as usize) * block_size;
        if piece == 0 {
            return Err(ErrorKind::BadRequest.into());
        }
        let mut block = first_block;
        for out in buffer.chunks_mut(piece) {
            self.read_piece(block, out)?;
            block = block.checked_add((out.len() / block_size) as u64).ok_or(ErrorKind::OutOfRange)?;
        }
        Ok(())
    }
}
