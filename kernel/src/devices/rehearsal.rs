//! A disk that is not there, for rehearsals of the crash path.

use block::{Access, BlockDevice, Completion, ErrorKind, Geometry, Refused, Request, State, Tag, WriteCache};
use blockconsole::format::HEADER_LEN;
use blockconsole::place::Place;
use platform::DmaBuffer;

/// Requests that it takes before it is polled.
const DEPTH: usize = 8;

/// Says yes to everything, and keeps nothing.
pub(super) struct Rehearsal {
    geometry: Geometry,
    header: [u8; HEADER_LEN],
    done: [Option<Completion<DmaBuffer>>; DEPTH],
}

impl Rehearsal {
    pub(super) fn new(place: &Place, header: [u8; HEADER_LEN]) -> Self {
        let ends = place.extents().iter().map(|extent| extent.first_block.saturating_add(extent.blocks));
        let geometry = Geometry {
            block_size: place.block_size(),
            block_count: ends.max().unwrap_or(0),
            max_transfer_blocks: u32::MAX,
            max_write_zeroes_blocks: u32::MAX,
            queue_depth: DEPTH as u16,
            write_cache: WriteCache::Volatile,
            access: Access::ReadWrite,
        };
        Self { geometry, header, done: [const { None }; DEPTH] }
    }
}

impl BlockDevice for Rehearsal {
    type Buffer = DmaBuffer;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn state(&self) -> State {
        State::Ready
    }

    fn submit(&mut self, tag: Tag, mut request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
        if let Err(error) = request.check(&self.geometry) {
            return Err(Refused { error, request });
        }
        let Some(place) = self.done.iter_mut().find(|place| place.is_none()) else {
            return Err(Refused { error: ErrorKind::QueueFull.into(), request });
        };
        if let Request::Read { buffer, .. } = &mut request
            && let Some(start) = buffer.as_mut().first_chunk_mut()
        {
            *start = self.header;
        }
        *place = Some(Completion { tag, result: Ok(()), buffer: request.into_buffer() });
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
        self.done.iter_mut().find_map(Option::take)
    }

    fn recover(&mut self) {}
}
