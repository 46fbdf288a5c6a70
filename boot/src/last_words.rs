//! Writes the log of a loader that cannot go on to its medium's console.
//!
//! The medium is reached by firmware calls, one at a time ([`Medium`]). What is written, and where, is the console's
//! own business (`blockconsole`): it finds the end of the log by halving, enters the next tile as a boot of its own, and
//! touches nothing but that tile. A medium without a console is not written to.
//!
//! ```text
//!   loader's log ──► ring ──► Console ──► Device ──► Medium: UEFI's BlockIo, or INT 13h
//! ```

use crate::log;
use block::{BlockDevice, BlockReader, Completion, Error, ErrorKind, Geometry, Refused, Request, State, Tag};
use blockconsole::console::{Config, Console, Event, Name, Reason, TargetCell};
use blockconsole::format::Header;
use blockconsole::marks::BootFacts;
use blockconsole::place::{Extent, Place};
use blockconsole::ring::{RecordHeader, Ring, RingIdentity};
use core::fmt;
use core::sync::atomic::AtomicU64;
use partition::Places;

/// Bytes of each of the two buffers that blocks pass through: what one call of the slower firmware carries.
const BUFFER: usize = 32 * 1024;
/// Bytes of the ring: several times the most that the loader's log can be.
const RING: usize = 128 * 1024;
/// Times that the console is pumped at most: an erased tile and a full log take less than a hundred.
const MAX_TURNS: u32 = 10_000;
/// The target of the lines, as in the kernel's log.
const TARGET: &str = "boot";

/// A disk, as firmware gives access to it. Statuses are firmware's own.
pub trait Medium {
    /// Shape and limits.
    fn geometry(&self) -> Geometry;

    /// Reads whole blocks, at most as many as the geometry allows.
    ///
    /// # Errors
    /// Firmware's status.
    fn read(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), u64>;

    /// Writes whole blocks, at most as many as the geometry allows.
    ///
    /// # Errors
    /// Firmware's status.
    fn write(&mut self, first_block: u64, bytes: &[u8]) -> Result<(), u64>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Firmware's status.
    fn flush(&mut self) -> Result<(), u64>;
}

/// Memory that the writing takes.
pub struct Memory<'m> {
    ring: &'m [AtomicU64],
    buffers: [&'m mut [u8]; 2],
}

impl<'m> Memory<'m> {
    /// Bytes that it takes.
    pub const SIZE: u64 = (RING + 2 * BUFFER) as u64;

    /// Takes charge of memory.
    ///
    /// # Safety
    /// [`Self::SIZE`] initialised bytes from `start` on, which is a multiple of 4096, are nobody else's for the lifetime `'m`.
    pub unsafe fn new(start: *mut u8) -> Self {
        let [first, second] = [RING, RING + BUFFER].map(|at| start.wrapping_add(at));
        // SAFETY: three pieces of the caller's memory that do not overlap; atomic words and bytes may have any value, and the ring's piece
        // is aligned as all of it is.
        unsafe {
            Self {
                ring: core::slice::from_raw_parts(start.cast(), RING / size_of::<AtomicU64>()),
                buffers: [first, second].map(|start| core::slice::from_raw_parts_mut(start, BUFFER)),
            }
        }
    }
}

/// Why the log is not on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// There is no console on it.
    NoConsole,
    /// The console stopped.
    Stopped(Reason),
    /// It was not done in the time that it may take.
    Unfinished,
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConsole => f.write_str("it has no console"),
            Self::Stopped(reason) => reason.fmt(f),
            Self::Unfinished => f.write_str("the console did not finish"),
        }
    }
}

/// Writes the loader's log to every console on a medium, and logs how that went.
///
/// `ticks_per_us` is how fast the time stamp counter runs; 0 if that is not known: all lines have time 0 then.
pub fn write(medium: &mut impl Medium, memory: Memory<'_>, build_id: &[u8], ticks_per_us: u64) {
    let fill = |ring: &Ring<'_>| fill(ring, ticks_per_us);
    write_records(medium, memory, build_id, fill, |partition, result| match result {
        Ok((uuid, boot)) => log::info(format_args!("this log is on the disk: boot {boot} of console {uuid:08x}")),
        Err(NotWritten::NoConsole) => log::warn(format_args!("this log is not on the disk: {}", NotWritten::NoConsole)),
        Err(why) => log::warn(format_args!("this log is not in partition {partition}: {why}")),
    });
}

/// Writes what `fill` puts into a ring to every console on a medium. `told` gets each one's partition, and its uuid and the number of
/// this boot there.
fn write_records(
    medium: &mut impl Medium,
    memory: Memory<'_>,
    build_id: &[u8],
    fill: impl FnOnce(&Ring<'_>) -> u64,
    mut told: impl FnMut(u32, Result<(u32, u32), NotWritten>),
) {
    let Memory { ring, mut buffers } = memory;
    let identity = RingIdentity { boot_id: 0, build_id: [0; 20], boot_seconds: 0 };
    // The memory is large enough: it is of our own measure.
    let Ok(ring) = Ring::create(ring, identity) else { return };
    let now_ns = fill(&ring);
    let mut places = Places::new();
    find(medium, &mut buffers, &mut places);
    if places.is_empty() {
        told(0, Err(NotWritten::NoConsole));
    }
    for (index, place) in (0..).zip(places.iter()) {
        let [a, b] = &mut buffers;
        let facts = BootFacts { version: env!("CARGO_PKG_VERSION"), build_id, started: None };
        told(place.partition, write_to(medium, &place, [&mut **a, &mut **b], index, &ring, now_ns, facts));
    }
}

/// Puts the loader's log into the ring; returns the time of the last line.
fn fill(ring: &Ring<'_>, ticks_per_us: u64) -> u64 {
    let (mut start, mut now_ns) = (None, 0);
    log::for_each_record(|time, level, text| {
        let ticks = time.saturating_sub(*start.get_or_insert(time));
        now_ns = ticks.checked_div(ticks_per_us).unwrap_or(0).saturating_mul(1000);
        let level = match level {
            log::Level::Info => blockconsole::Level::Info,
            log::Level::Warn => blockconsole::Level::Warn,
            log::Level::Error => blockconsole::Level::Error,
        };
        ring.write(RecordHeader { time_ns: now_ns, cpu: 0, level }, TARGET, format_args!("{text}"));
    });
    now_ns
}

/// Lists the consoles on a medium.
fn find<M: Medium>(medium: &mut M, buffers: &mut [&mut [u8]; 2], places: &mut Places) {
    let [scratch, block] = buffers;
    let mut reader = Reader { medium };
    partition::scan(&mut reader, scratch, places);
    let size = reader.block_size() as usize;
    places.settle(|place| {
        let Some(block) = block.get_mut(..size) else { return false };
        reader.read_blocks(place.first_block(), block).is_ok() && Header::decode(block).is_some()
    });
}

/// Writes the ring's records to one console; returns its uuid, and the number of this boot there.
fn write_to<M: Medium>(
    medium: &mut M,
    place: &partition::Place<'_>,
    buffers: [&mut [u8]; 2],
    index: u8,
    ring: &Ring<'_>,
    now_ns: u64,
    facts: BootFacts<'_>,
) -> Result<(u32, u32), NotWritten> {
    let mut extents = [Extent::default(); partition::MAX_EXTENTS_PER_PLACE];
    for (to, from) in extents.iter_mut().zip(place.extents) {
        *to = Extent { first_block: from.first_block, blocks: from.block_count };
    }
    let extents = extents.get(..place.extents.len()).unwrap_or_default();
    let mut device = Device { medium, done: [const { None }; DEPTH] };
    let geometry = device.geometry();
    let place = Place::new(geometry.block_size, extents).map_err(|_| NotWritten::Stopped(Reason::NotOnDevice))?;
    let name = Name::new("the boot disk");
    // No text waits for more to come: there is none.
    let config = Config { index, name, place, expected: None, facts, pad_ns: 0 };
    let cell = TargetCell::new();
    let mut console = Console::new(config, &cell, buffers);
    console.finish(ring.written());
    for _ in 0..MAX_TURNS {
        while let Some(completion) = device.poll() {
            // Every request is this console's.
            let _ = console.complete(completion);
        }
        console.pump(&mut device, ring, now_ns);
        while let Some(event) = console.event() {
            if let Event::NoLongerLogging { reason, .. } = event {
                return Err(NotWritten::Stopped(reason));
            }
        }
        if console.durable() >= ring.written() && device.done.iter().all(Option::is_none) {
            return console.identity().ok_or(NotWritten::Unfinished);
        }
    }
    Err(NotWritten::Unfinished)
}

/// Requests that may wait to be fetched.
const DEPTH: usize = 4;

/// A medium as the console takes it: each request is done at once, and its completion kept.
struct Device<'m, M, B> {
    medium: &'m mut M,
    done: [Option<Completion<B>>; DEPTH],
}

fn failure(status: u64) -> Error {
    Error::with_status(ErrorKind::Media, status as u32)
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Device<'_, M, B> {
    fn execute(&mut self, request: &mut Request<B>) -> Result<(), Error> {
        let size = self.geometry().block_size as usize;
        match request {
            Request::Read { first_block, blocks, buffer } => {
                let bytes = buffer.as_mut().get_mut(..*blocks as usize * size).ok_or(ErrorKind::BadRequest)?;
                self.medium.read(*first_block, bytes).map_err(failure)
            }
            Request::Write { first_block, blocks, buffer, .. } => {
                let bytes = buffer.as_ref().get(..*blocks as usize * size).ok_or(ErrorKind::BadRequest)?;
                self.medium.write(*first_block, bytes).map_err(failure)
            }
            Request::WriteZeroes { .. } => Err(ErrorKind::Unsupported.into()),
            Request::Flush => self.medium.flush().map_err(failure),
        }
    }
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> BlockDevice for Device<'_, M, B> {
    type Buffer = B;

    fn geometry(&self) -> Geometry {
        Geometry { queue_depth: DEPTH as u16, max_write_zeroes_blocks: 0, ..self.medium.geometry() }
    }

    fn state(&self) -> State {
        State::Ready
    }

    fn submit(&mut self, tag: Tag, mut request: Request<B>) -> Result<(), Refused<B>> {
        if let Err(error) = request.check(&self.geometry()) {
            return Err(Refused { error, request });
        }
        let Some(slot) = self.done.iter().position(Option::is_none) else {
            return Err(Refused { error: ErrorKind::QueueFull.into(), request });
        };
        let result = self.execute(&mut request);
        if let Some(slot) = self.done.get_mut(slot) {
            *slot = Some(Completion { tag, result, buffer: request.into_buffer() });
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion<B>> {
        self.done.iter_mut().find_map(Option::take)
    }

    /// Firmware resets its disks itself: nothing is ever in flight here.
    fn recover(&mut self) {}
}

/// A medium as the partition tables' parser takes it.
struct Reader<'m, M> {
    medium: &'m mut M,
}

impl<M: Medium> BlockReader for Reader<'_, M> {
    fn block_size(&self) -> u32 {
        self.medium.geometry().block_size
    }

    fn block_count(&self) -> u64 {
        self.medium.geometry().block_count
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let Geometry { block_size, block_count, max_transfer_blocks, .. } = self.medium.geometry();
        if !buffer.len().is_multiple_of(block_size as usize) {
            return Err(ErrorKind::BadRequest.into());
        }
        let mut first = first_block;
        for piece in buffer.chunks_mut((max_transfer_blocks * block_size) as usize) {
            let end = first.checked_add(piece.len() as u64 / u64::from(block_size));
            let end = end.filter(|end| *end <= block_count).ok_or(ErrorKind::OutOfRange)?;
            self.medium.read(first, piece).map_err(failure)?;
            first = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
