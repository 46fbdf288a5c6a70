//! Raw writes: what the drivers make of a disk.

use crate::stopwatch::Stopwatch;
use block::{BlockDevice, Error, ErrorKind, Request, State, Tag};
use blockconsole::format::TILE_BYTES;
use blockconsole::place::Place;
use kernel::arch::{clock, cpu};
use kernel::devices::disk::Disk;
use kernel::devices::platform::Machine;
use kernel::tick;
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

/// A disk, and where on it to write.
struct Target<'a> {
    disk: &'a mut Disk,
    first_block: u64,
    block_size: usize,
    /// Buffers that are not in flight.
    buffers: [Option<DmaBuffer>; DEEPEST],
}

/// Takes all raw figures of a disk. Tiles from [`FIRST_TILE`] on are overwritten.
///
/// # Errors
/// When the place is too small, memory is short, or the disk fails.
pub(crate) fn measure(name: &str, disk: &mut Disk, place: &Place) -> Result<(), Error> {
    let span_tiles = (SPAN / TILE_BYTES as usize) as u32;
    let first = place.blocks_of(FIRST_TILE, 0, TILE_BYTES).map_err(|_| ErrorKind::OutOfRange)?.first;
    let last = place.blocks_of(FIRST_TILE + span_tiles - 1, 0, TILE_BYTES).map_err(|_| ErrorKind::OutOfRange)?.first;
    let geometry = disk.geometry();
    let block_size = geometry.block_size as usize;
    let tile_blocks = (TILE_BYTES as usize / block_size) as u64;
    if last != first + u64::from(span_tiles - 1) * tile_blocks {
        return Err(ErrorKind::BadRequest.into());
    }
    let mut buffers = [const { None }; DEEPEST];
    for buffer in &mut buffers {
        *buffer = Machine.allocate_dma(LARGEST, PAGE_SIZE);
    }
    let mut target = Target { disk, first_block: first, block_size, buffers };
    let mut stopwatch = Stopwatch::new();
    for size in SIZES.into_iter().filter(|size| *size >= block_size) {
        let most = (target.disk.geometry().max_transfer_blocks as usize).saturating_mul(block_size);
        let writes = (MOST_BYTES / size).clamp(FEWEST_WRITES, MOST_WRITES);
        for depth in DEPTHS {
            target.writes(&mut stopwatch, size, most, 8, depth)?; // warm up: the host's file has its blocks from here on
            stopwatch.start();
            target.writes(&mut stopwatch, size, most, writes, depth)?;
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

impl Target<'_> {
    /// Makes `writes` writes of `size` bytes, `depth` at a time. One that is larger than the disk takes is made in pieces, and is over when
    /// its last piece is.
    fn writes(
        &mut self,
        stopwatch: &mut Stopwatch,
        size: usize,
        most: usize,
        writes: usize,
        depth: usize,
    ) -> Result<(), Error> {
        let piece = size.min(most);
        let pieces = size.div_ceil(piece);
        let mut from_ns = [0; DEEPEST];
        let mut left = [0; DEEPEST];
        let (mut submitted, mut over) = (0, 0);
        while over < writes {
            for slot in 0..depth {
                if left.get(slot) != Some(&0) || submitted == writes {
                    continue;
                }
                let offset = submitted * size % SPAN;
                if let (Some(from), Some(left)) = (from_ns.get_mut(slot), left.get_mut(slot)) {
                    (*from, *left) = (clock::now_ns(), pieces);
                }
                self.submit_write(slot, offset, piece)?;
                submitted += 1;
            }
            let slot = self.wait_for_one()?;
            let Some(left) = left.get_mut(slot) else { return Err(ErrorKind::Protocol.into()) };
            *left -= 1;
            if *left == 0 {
                over += 1;
                stopwatch.note(from_ns.get(slot).copied().unwrap_or(0));
            } else {
                // The next piece; where it lies is all the same to the disk.
                self.submit_write(slot, (pieces - *left) * piece, piece)?;
            }
        }
        Ok(())
    }

    fn submit_write(&mut self, slot: usize, offset: usize, bytes: usize) -> Result<(), Error> {
        let buffer = self.buffers.get_mut(slot).and_then(Option::take).ok_or(ErrorKind::NoSpace)?;
        let first_block = self.first_block + (offset / self.block_size) as u64;
        let blocks = (bytes / self.block_size) as u32;
        let request = Request::Write { first_block, blocks, buffer, fua: false };
        self.disk.submit(Tag(slot as u64), request).map_err(|refused| refused.error)
    }

    /// Waits for a completion, and says of which slot it was.
    fn wait_for_one(&mut self) -> Result<usize, Error> {
        tick::alive();
        loop {
            if let Some(completion) = self.disk.poll() {
                completion.result?;
                let slot = completion.tag.0 as usize;
                if let Some(place) = self.buffers.get_mut(slot) {
                    *place = completion.buffer;
                }
                return Ok(slot);
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
