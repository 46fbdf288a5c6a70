//! From a request to the command that carries it out (nvm 3.2).
//!
//! Data are described by PRPs, or, where the device takes it and PRPs would need a list, by a scatter gather
//! list. Our buffers are contiguous, so that such a list is one descriptor, in the command itself: less to write
//! for us, and less to fetch and to put together again for the device.

use block::Request;
use platform::DmaBuffer;

use crate::prp;
use crate::spec::{Command, io, sgl};

/// Room for a PRP list.
pub(crate) struct List<'a> {
    /// Where lists are.
    pub(crate) memory: &'a mut DmaBuffer,
    /// Where this one begins.
    pub(crate) offset: usize,
    /// Its size.
    pub(crate) room: usize,
}

/// Completes a command that has its id and namespace; `None` if its data cannot be described.
pub(crate) fn build(
    base: Command,
    request: &Request<DmaBuffer>,
    block_size: u32,
    segments: bool,
    list: List<'_>,
) -> Option<Command> {
    let (opcode, first_block, blocks, buffer, fua) = match request {
        Request::Read { first_block, blocks, buffer } => (io::READ, *first_block, *blocks, Some(buffer), false),
        Request::Write { first_block, blocks, buffer, fua } => (io::WRITE, *first_block, *blocks, Some(buffer), *fua),
        Request::WriteZeroes { first_block, blocks } => (io::WRITE_ZEROES, *first_block, *blocks, None, false),
        Request::Flush => return Some(Command { opcode: io::FLUSH, ..base }),
    };
    let (flags, prp1, prp2) = match buffer {
        None => (0, 0, 0),
        Some(buffer) => {
            let len = (blocks as usize).checked_mul(block_size as usize)?;
            describe(buffer.bus_address(), len, segments, list)?
        }
    };
    Some(Command {
        opcode,
        flags,
        prp1,
        prp2,
        cdw10: first_block as u32,
        cdw11: (first_block >> 32) as u32,
        cdw12: blocks.checked_sub(1)? | if fua { io::FORCE_UNIT_ACCESS } else { 0 },
        ..base
    })
}

/// Flags and the two words of the data pointer.
fn describe(start: u64, len: usize, segments: bool, list: List<'_>) -> Option<(u8, u64, u64)> {
    if segments && prp::needs_list(start, len) {
        let len = u32::try_from(len).ok()?;
        return Some((sgl::DATA_POINTER, start, sgl::data_block(len)));
    }
    let (prp1, prp2) = prp::describe(start, len, list.memory, list.offset, list.room)?;
    Some((0, prp1, prp2))
}
