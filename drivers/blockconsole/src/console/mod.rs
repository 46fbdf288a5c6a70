//! A console: the record ring's text, written to one place on one device.
//!
//! A [`Console`] is a state machine that never waits. Its owner polls the device, hands each completion to the console that the
//! tag belongs to ([`owner`], [`Console::complete`]), and calls [`Console::pump`] as often as it can:
//!
//! ```text
//! loop {
//!     while let Some(completion) = device.poll() {
//!         consoles[owner(completion.tag)].complete(completion);
//!     }
//!     for console in consoles {
//!         console.pump(device, ring, now_ns);
//!         while let Some(event) = console.event() { log::info!("{event}") }
//!     }
//! }
//! ```
//!
//! # States
//! ```text
//!             found              erased, durable
//!  Mounting ─────────► Logging ◄────────────────┐
//!     │                   │  tile full          │
//!     │ no console here   └─────────► (waits) ──┘
//!     ▼                   │ dead, or 10 failures in a row
//!   Idle ◄────────────────┘
//!     └── reattach ──► Mounting
//!
//!  after a crash:  Recovering ─► Verifying ─► Logging ─► Closing ─► Idle
//!                                    └ another header ─► Mounting ─┘
//! ```
//!
//! # What may be in flight
//! - Up to `N - 1` writes of text, of one tile only, no two of the same block.
//! - One *side request*: a read of the mount, a piece of the next tile's erasure, a carried header.
//! - One flush.
//!
//! # Orderings
//! Each is what keeps a power cut at any moment harmless, whatever un-flushed writes it drops or tears between blocks.
//! 1. *Erase before entry.* A tile's first block, its header, is written only when all its other blocks are zero and
//!    that is durable. Until then its old header stays. So no cut shows stale text as current, and none leaves
//!    tile 0 without a header. (`next_tile.rs`)
//! 2. *Headers in order.* The flush that makes the erasure durable is submitted only after the header of
//!    the current tile has completed: header `k` is durable before header `k + 1` is written.
//! 3. *One tile at a time.* A tile's first write is submitted only when all writes of the tile before it have completed. So what a failed
//!    write held can be written again, in order, without going back to another tile. (`writer.rs`)
//! 4. *Text on disk stays where it is.* A block that was padded may be written again with more text behind it, once its first write
//!    has completed; the bytes of its text are the same in both. So a torn write of it loses nothing.
//! 5. *Durable means flushed.* A flush covers the writes that had completed when it was submitted. (`flush.rs`)
//! 6. *The crash path knows.* Before a write is submitted, the [target](Target) says so: who takes over in the middle of anything
//!    finds either that the device was not touched, or that it must be reset first. ([`target`], `resume.rs`)
//!
//! # Room for a crash
//! Ordinary text leaves the last [`RESERVE`] bytes of a tile alone until the next one is ready, so that a crash record
//! always has a place at once.
//!
//! # Failures
//! A failed write is made once more. If that fails too, it counts, and the log goes back to where the failed write began: its text
//! is made again from the ring, block by block, and goes around a block that fails twice. After [`MAX_FAILURES`] counted
//! failures without a successful write of text in between, the console stops; and at once, if the headers of two tiles in a row cannot
//! be written. A flush that fails takes back all that is not durable. (`flush.rs`)

mod config;
mod event;
mod fill;
mod flush;
mod mount;
mod next_tile;
mod point;
mod pool;
mod quiet;
mod resume;
mod side;
mod source;
mod state;
mod tag;
pub mod target;
mod writer;

pub use config::{Config, Name, PAD_NS};
pub use event::{Event, Reason};
pub use resume::{Crash, Outcome, Pending};
pub use tag::owner;
pub use target::{BadTarget, Target, TargetCell};

use crate::format::TILE_BYTES;
use crate::last_boot::End;
use crate::marks::BootFacts;
use crate::ring::Ring;
use crate::series::Kept;
use block::{Access, BlockDevice, Completion, Error, ErrorKind, Geometry, State};
use event::Events;
use fill::Fill;
use flush::Flushes;
use next_tile::NextTile;
use point::Point;
use pool::Pool;
use side::Side;
use source::{Feed, Source};
use state::{Current, Identity, Phase, Tiles};
use tag::Kind;
use target::FixedWords;
use writer::Write;

/// Failures without a success in between after which a console stops.
pub const MAX_FAILURES: u32 = 10;
/// Bytes at a tile's end that ordinary text may fill only when the next tile is ready.
pub const RESERVE: u32 = 128 * 1024;
/// Bytes of a tile after which the next one is made ready.
const ERASE_AT: u32 = TILE_BYTES / 2;

/// One console on one place of one device. See the [module](self).
///
/// `N` buffers, at least 2, all that it ever uses: each at least a block, best as large as one transfer of the device.
pub struct Console<'a, B, const N: usize> {
    config: Config<'a>,
    cell: &'a TargetCell,
    fixed_words: FixedWords,
    geometry: Option<Geometry>,
    phase: Phase,
    pool: Pool<B, N>,
    source: Source,
    fill: Option<Fill<B>>,
    writes: [Option<Write<B>>; N],
    side: Option<Side<B>>,
    flushes: Flushes,
    tiles: Tiles,
    /// A failed write that the log goes back to, once nothing is in flight.
    going_back: Option<writer::Failed>,
    /// A flush failed: the log goes back to where it is durable, once no write is in flight.
    is_undone: bool,
    /// The first tile, and its round, that was done anything to behind the current one.
    plan: (u32, u32),
    /// Up to where in the tile single blocks are written, because a write failed there.
    careful_until: u32,
    failures: u32,
    last_error: Error,
    /// The tile before the one that is next, or current, was passed over.
    has_passed_over: bool,
    /// Write-zeroes failed: what failed once, or hung, is not asked for again.
    has_failed_to_zero: bool,
    serial: u32,
    /// When it was pumped last.
    now_ns: u64,
    /// Everything before this record is wanted on the disk at once.
    finish: u64,
    events: Events,
    crash: Option<resume::Dying<'a>>,
    /// How the boot before ended, until somebody asks.
    before: Option<End>,
    /// Once a tile is entered after a mount, that is to be said; with it, whether headers were damaged.
    announce: Option<bool>,
    /// Whether the target is no longer what it was when it was last published.
    is_changed: bool,
    /// The last pump did nothing.
    rest: Option<quiet::Rest>,
}

impl<'a, B: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Console<'a, B, N> {
    /// Makes a console that mounts as soon as it is pumped, and then logs the ring from its oldest record on.
    ///
    /// `cell` is where the crash path finds what it needs: one for each console.
    pub fn new(config: Config<'a>, cell: &'a TargetCell, buffers: [B; N]) -> Self {
        let mut console = Self::idle(config, cell, buffers);
        console.start_mount(Point::START);
        console.is_changed = true;
        console.publish();
        console
    }

    fn idle(config: Config<'a>, cell: &'a TargetCell, buffers: [B; N]) -> Self {
        const { assert!(N >= 2, "one buffer is with the device while another is filled") };
        Self {
            config,
            cell,
            fixed_words: FixedWords::new(&config.name, &config.place),
            geometry: None,
            phase: Phase::Idle,
            pool: Pool::new(buffers),
            source: Source::new(Point::START),
            fill: None,
            writes: [const { None }; N],
            side: None,
            flushes: Flushes::default(),
            tiles: Tiles { identity: None, current: None, next: NextTile::default(), kept: Kept::NONE },
            going_back: None,
            is_undone: false,
            plan: (0, 0),
            careful_until: 0,
            failures: 0,
            last_error: Error::new(ErrorKind::NotReady),
            has_passed_over: false,
            has_failed_to_zero: false,
            serial: 0,
            now_ns: 0,
            finish: 0,
            events: Events::default(),
            crash: None,
            before: None,
            announce: None,
            is_changed: false,
            rest: None,
        }
    }

    /// Does what can be done at once, and submits what is due. Never waits. `now_ns` is in the clock of the records.
    pub fn pump<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D, ring: &Ring<'_>, now_ns: u64) {
        self.now_ns = now_ns;
        self.rest = None;
        let (before, written) = (self.progress(), ring.written());
        if matches!(self.phase, Phase::Idle) || !self.is_usable(device) {
            self.publish();
            return;
        }
        match self.phase {
            Phase::Idle => {}
            Phase::Mounting(_) => self.mount_step(device),
            Phase::Logging => self.log_step(device, ring, now_ns),
            Phase::Recovering { .. } | Phase::Verifying => self.verify_step(device, ring),
            Phase::Closing => self.close_step(device),
        }
        self.flush_step(device, now_ns);
        self.rest = self.rest_from(&before, written, now_ns);
        self.publish();
    }

    /// Takes a completion of this device. One of another console's is not touched, and given back.
    ///
    /// # Errors
    /// The completion, if its tag does not belong to this console.
    pub fn complete(&mut self, completion: Completion<B>) -> Result<(), Completion<B>> {
        if owner(completion.tag) != self.config.index {
            return Err(completion);
        }
        self.rest = None;
        let Completion { tag, result, buffer } = completion;
        let buffer = match tag::decode(tag) {
            Some((Kind::Text { slot }, serial)) => self.complete_text(slot, serial, result, buffer),
            Some((Kind::Side, serial)) => self.complete_side(serial, result, buffer),
            Some((Kind::Flush, serial)) => {
                self.complete_flush(serial, result);
                buffer
            }
            None => buffer,
        };
        if let Some(buffer) = buffer {
            self.pool.put(buffer);
        }
        self.is_changed = true;
        self.publish();
        Ok(())
    }

    /// Every record before this sequence number is durable here: written, and flushed where the device needs that.
    /// Records that were lost before they could be written count as dealt with, once the line that says so is durable.
    pub fn durable(&self) -> u64 {
        self.flushes.durable()
    }

    /// Asks for everything before this record to be written and flushed at once, without waiting for a block to fill up.
    /// [`durable`](Self::durable) tells when it is done.
    pub fn finish(&mut self, sequence: u64) {
        if sequence > self.finish {
            self.finish = sequence;
            self.rest = None;
        }
    }

    /// What happened, since this was last asked.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Whether it is logging, or about to: not once it has stopped.
    pub fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// Uuid and boot number, once mounted.
    pub fn identity(&self) -> Option<(u32, u32)> {
        self.tiles.identity.map(|identity| (identity.uuid, identity.boot))
    }

    /// The crash records of boots before this one that are kept. None are if the boot before left none: see [`series`](crate::series).
    pub fn kept_crashes(&self) -> usize {
        self.tiles.kept.records().len()
    }

    /// The tile that is being written, its round, and how many of its bytes are filled.
    pub fn position(&self) -> Option<(u32, u32, u32)> {
        let current = self.tiles.current?;
        let filled = self.fill.as_ref().map_or(current.base, |fill| fill.base + fill.len as u32);
        Some((current.tile, current.round, filled))
    }

    /// Requests that are with the device.
    pub fn in_flight(&self) -> usize {
        let writes = self.writes.iter().flatten().filter(|write| write.is_in_flight()).count();
        writes
            + usize::from(self.side.as_ref().is_some_and(Side::is_in_flight))
            + usize::from(self.flushes.is_in_flight())
    }

    /// How the boot before this one ended, once it is known. It is told once.
    pub fn take_last_boot(&mut self) -> Option<End> {
        self.before.take()
    }

    /// Failures that were counted since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The name of the device.
    pub fn name(&self) -> Name {
        self.config.name
    }

    /// Where it lies.
    pub fn place(&self) -> &crate::place::Place {
        &self.config.place
    }

    /// Takes up a device again that was given up, and now answers: mounts it, and goes on after the last
    /// record that was durable. Does nothing to a console that is active.
    pub fn reattach(&mut self) {
        if self.is_active() {
            return;
        }
        // What is said first has the time of what follows: records that were logged while the device was gone.
        let flush::Covers { records, time_ns, is_boot_due, .. } = self.flushes.durable_until();
        let mut point = Point { sequence: records, complete: records, time_ns, ..Point::START };
        // If it is the same console, it is still the same boot.
        point.due.boot = is_boot_due || self.tiles.identity.is_none();
        self.start_mount(point);
        self.is_changed = true;
        self.publish();
    }

    /// Gives the console a buffer for one that was lost with a dead device.
    pub fn add_buffer(&mut self, buffer: B) {
        self.rest = None;
        self.pool.put(buffer);
    }

    /// Checks what must hold before anything is asked of the device.
    fn is_usable<D: BlockDevice<Buffer = B>>(&mut self, device: &mut D) -> bool {
        match device.state() {
            State::Ready => {}
            // Requests that are in flight will complete, and none goes in.
            State::Recovering => return false,
            State::Dead(_) if matches!(self.phase, Phase::Recovering { asked: false }) => {}
            State::Dead(error) => {
                self.stop(Reason::Dead(error));
                return false;
            }
        }
        let geometry = device.geometry();
        let reason = match geometry.access {
            Access::ReadOnly(why) => Some(Reason::ReadOnly(why)),
            Access::ReadWrite if !self.config.place.lies_on(&geometry) => Some(Reason::NotOnDevice),
            Access::ReadWrite if self.pool.size() < geometry.block_size as usize => Some(Reason::Buffers),
            Access::ReadWrite => None,
        };
        self.geometry = Some(geometry);
        match reason {
            Some(reason) => {
                self.stop(reason);
                false
            }
            None => true,
        }
    }

    fn stop(&mut self, reason: Reason) {
        self.phase = Phase::Idle;
        self.drop_text();
        self.drop_side();
        self.tiles.current = None;
        self.tiles.next = NextTile::default();
        if let Some(crash) = &mut self.crash {
            crash.fail(reason);
        }
        self.events.push(Event::NoLongerLogging { name: self.config.name, reason });
        self.is_changed = true;
    }

    /// Notes that a request failed for the second time; `false` if that was one too many.
    fn count_failure(&mut self, error: Error) -> bool {
        self.failures += 1;
        self.last_error = error;
        if self.failures >= MAX_FAILURES {
            self.stop(Reason::Failing(error));
            return false;
        }
        true
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    fn block_size(&self) -> u32 {
        self.config.place.block_size()
    }

    /// Bytes that one request may carry: whole blocks, at least one.
    fn transfer_bytes(&self) -> u32 {
        let block = self.block_size();
        let limit = self.geometry.map_or(1, |geometry| geometry.max_transfer_blocks.max(1));
        let blocks = (self.pool.size() / block as usize).min(limit as usize).max(1);
        (blocks as u32).saturating_mul(block).min(TILE_BYTES)
    }

    fn tile_count(&self) -> u64 {
        self.config.place.tiles()
    }

    /// What the source makes lines from.
    fn feed<'f>(&self, ring: &'f Ring<'f>, now_ns: u64) -> Feed<'f>
    where
        'a: 'f,
    {
        let identity = self.tiles.identity.unwrap_or(Identity { uuid: 0, boot: 0 });
        let (tile, round) = self.tiles.current.map_or((0, 0), |current| (current.tile, current.round));
        let facts: BootFacts<'f> = self.config.facts;
        let (until, trailer) = self.crash.as_ref().map_or((None, &[][..]), |crash| (Some(crash.until), crash.trailer));
        Feed {
            ring,
            now_ns,
            facts,
            uuid: identity.uuid,
            boot: identity.boot,
            tile,
            round,
            kept: self.tiles.kept,
            until,
            trailer,
        }
    }
}
