//! Raw writes: what the drivers make of a disk.

use crate::stopwatch::Stopwatch;
use block::{BlockDevice, Error, ErrorKind, Request, State, Tag};
use blockconsole::format::TILE_BYTES;
use blockconsole::place::Place;
use kernel::arch::{clock, cpu};
use kernel::devices::disk::Disk;
use kernel::devices::platform::Machine;
use kernel::{serial_log, tick};
use platform::dma::PAGE_SIZE;
use platform::{DmaBuffer, Platform};

/// As in `xtask/linux-peer/src/measure.rs`: what is compared must be the same.
const SIZES: [usize; 4] = [512, 4096, 64 * 1024, 1024 * 1024];
const MOST_BYTES: usize = 48 << 20;
const MOST_WRITES: usize = 2000;
const FEWEST_WRITES: usize = 32;
const SPAN: usize = 32 << 20;
const DEPTHS: [usize; 3] = [1, 4, 16];
const FLUSHED_WRITES: usize = 300;

/// The first tile that is written to: the log of a benchmark does not come so far.
const FIRST_TILE: u32 = 24;
const LARGEST: usize = 1 << 20;
const DEEPEST: usize = 16;
/// Pieces in flight at once of a write that is larger than the disk takes: as on Linux, which splits it and submits all of it.
const LANES: usize = 2;

/// A disk, and where on it to write.
struct Target<'a> {
    disk: &'a mut Disk,
    first_block: u64,
    block_size: usize,
    /// Bytes that one request may have.
    most: usize,
    /// Buffers that are not in flight, one for each lane of each write.
    buffers: [Option<DmaBuffer>; DEEPEST * LANES],
}

/// A write that is being made.
#[derive(Clone, Copy, Default)]
struct Writing {
    from_ns: u64,
    offset: usize,
    /// Pieces that are yet to be submitted, and to end.
    unsent: usize,
    left: usize,
}

/// Takes all raw figures of a disk. Tiles from [`FIRST_TILE`] on are overwritten.
///
/// # Errors
/// When the place is too small, memory is short, or the disk fails.
pub(crate) fn measure(name: &str, disk: &mut Disk, place: &Place) -> Result<(), Error> {
    let mut target = Target::new(disk, place)?;
    let block_size = target.block_size;
    let mut stopwatch = Stopwatch::new();
    for size in SIZES.into_iter().filter(|size| *size >= block_size) {
        let writes = (MOST_BYTES / size).clamp(FEWEST_WRITES, MOST_WRITES);
        for depth in DEPTHS {
            target.writes(&mut stopwatch, size, 8, depth)?; // warm up: the host's file has its blocks from here on
            stopwatch.start();
            target.writes(&mut stopwatch, size, writes, depth)?;
            stopwatch.print(name, "write", size, depth);
        }
    }
    let size = block_size.max(512);
    stopwatch.start();
    for index in 0..FLUSHED_WRITES {
        let from = clock::now_ns();
        target.submit_write(0, index * size % SPAN, size)?;
        target.wait_for_one()?;
        target.flush()?;
        stopwatch.note(from);
    }
    stopwatch.print(name, "write-flush", size, 1);
    Ok(())
}

/// Makes so many small writes, several at a time: more than the 16-bit indices of queues count, so that these wrap.
///
/// # Errors
/// As [`measure`].
pub(crate) fn wrap(name: &str, disk: &mut Disk, place: &Place, writes: usize) -> Result<(), Error> {
    /// No divisor of a queue's length.
    const DEPTH: usize = 13;
    let mut target = Target::new(disk, place)?;
    let size = target.block_size;
    target.writes(&mut Stopwatch::new(), size, writes, DEPTH)?;
    let again = target.disk.doorbells_rung_again();
    serial_log::say(format_args!("bench: {name}: {writes} writes are over, doorbells rung again: {again}"));
    Ok(())
}

impl<'a> Target<'a> {
    fn new(disk: &'a mut Disk, place: &Place) -> Result<Self, Error> {
        let span_tiles = (SPAN / TILE_BYTES as usize) as u32;
        let first = place.blocks_of(FIRST_TILE, 0, TILE_BYTES).map_err(|_| ErrorKind::OutOfRange)?.first;
        let last =
            place.blocks_of(FIRST_TILE + span_tiles - 1, 0, TILE_BYTES).map_err(|_| ErrorKind::OutOfRange)?.first;
        let geometry = disk.geometry();
        let block_size = geometry.block_size as usize;
        let tile_blocks = (TILE_BYTES as usize / block_size) as u64;
        if last != first + u64::from(span_tiles - 1) * tile_blocks {
            return Err(ErrorKind::BadRequest.into());
        }
        let most = (geometry.max_transfer_blocks as usize).saturating_mul(block_size).min(LARGEST);
        let lanes = if most < LARGEST { LANES } else { 1 };
        let mut buffers = [const { None }; DEEPEST * LANES];
        for (_, buffer) in buffers.iter_mut().enumerate().filter(|(index, _)| index % LANES < lanes) {
            *buffer = Machine.allocate_dma(most, PAGE_SIZE);
        }
        Ok(Self { disk, first_block: first, block_size, most, buffers })
    }

    /// Makes `writes` writes of `size` bytes, `depth` at a time. One that is larger than the disk takes is made in pieces, and is over when
    /// its last piece is.
    fn writes(&mut self, stopwatch: &mut Stopwatch, size: usize, writes: usize, depth: usize) -> Result<(), Error> {
        let piece = size.min(self.most);
        let pieces = size.div_ceil(piece);
        let mut writings = [Writing::default(); DEEPEST];
        let (mut submitted, mut over) = (0, 0);
        while over < writes {
            for (slot, writing) in writings.iter_mut().take(depth).enumerate() {
                if writing.left > 0 || submitted == writes {
                    continue;
                }
                let offset = submitted * size % SPAN;
                *writing = Writing { from_ns: clock::now_ns(), offset, unsent: pieces, left: pieces };
                for lane in 0..LANES.min(pieces) {
                    self.submit_piece(slot * LANES + lane, writing, pieces, piece)?;
                }
                submitted += 1;
            }
            let lane = self.wait_for_one()?;
            let Some(writing) = writings.get_mut(lane / LANES) else { return Err(ErrorKind::Protocol.into()) };
            writing.left = writing.left.checked_sub(1).ok_or(ErrorKind::Protocol)?;
            if writing.left == 0 {
                over += 1;
                stopwatch.note(writing.from_ns);
            } else if writing.unsent > 0 {
                self.submit_piece(lane, writing, pieces, piece)?;
            }
        }
        Ok(())
    }

    fn submit_piece(&mut self, lane: usize, writing: &mut Writing, pieces: usize, piece: usize) -> Result<(), Error> {
        let offset = writing.offset + (pieces - writing.unsent) * piece;
        writing.unsent -= 1;
        self.submit_write(lane, offset, piece)
    }

    fn submit_write(&mut self, lane: usize, offset: usize, bytes: usize) -> Result<(), Error> {
        let buffer = self.buffers.get_mut(lane).and_then(Option::take).ok_or(ErrorKind::NoSpace)?;
        let first_block = self.first_block + (offset / self.block_size) as u64;
        let blocks = (bytes / self.block_size) as u32;
        let request = Request::Write { first_block, blocks, buffer, fua: false };
        self.disk.submit(Tag(lane as u64), request).map_err(|refused| refused.error)
    }

    /// Waits for a completion, and says of which lane it was.
    fn wait_for_one(&mut self) -> Result<usize, Error> {
        tick::alive();
        loop {
            if let Some(completion) = self.disk.poll() {
                completion.result?;
                let lane = completion.tag.0 as usize;
                if let Some(place) = self.buffers.get_mut(lane) {
                    *place = completion.buffer;
                }
                return Ok(lane);
            }
            if let State::Dead(error) = self.disk.state() {
                return Err(error);
            }
            cpu::relax();
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        match self.disk.submit(Tag(u64::MAX), Request::Flush) {
            Err(refused) if refused.error.kind == ErrorKind::Unsupported => Ok(()),
            Err(refused) => Err(refused.error),
            Ok(()) => self.wait_for_one().map(|_| ()),
        }
    }
}
