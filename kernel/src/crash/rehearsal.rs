//! The crash path, tried out at each start: everything but the machine's disks.
//!
//! A console mounts on a disk that is not there but says yes to everything; then a crash record is made of where the processor is, and
//! a console takes over from that one and writes it. So that code has run before it is needed: a fault in it shows at
//! start, and its first real use finds it in the caches (in an emulator: translated, which is most of the time that a
//! crash takes there).

use super::stations::{Post, Station};
use super::{Cause, Scene, kit, statement};
use crate::arch::trap::{self, Frame};
use crate::arch::{clock, switch};
use crate::devices::disk::{Disk, Name};
use crate::{consoles, logger, tick};
use alloc::boxed::Box;
use block::BlockDevice;
use blockconsole::console::{self, Config, Console, Crash};
use blockconsole::format::{Header, TILE_BYTES};
use blockconsole::place::{Extent, Place};
use blockconsole::ring::Ring;
use core::fmt;

/// Turns of a loop after which a console that is not done is given up. A few are enough.
const MOST_TURNS: usize = 1000;
/// The shape of the disk.
const BLOCK_SIZE: u32 = 512;
const TILES: u64 = 4;

/// What a rehearsal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rehearsed {
    /// It worked, to the end.
    Whole,
    /// This went wrong.
    Failed(&'static str),
}

/// Tries the crash path out. To be called once, by the program's own thread.
pub fn rehearse() -> Rehearsed {
    match try_out() {
        Ok(()) => Rehearsed::Whole,
        Err(why) => Rehearsed::Failed(why),
    }
}

fn try_out() -> Result<(), &'static str> {
    let ring = logger::ring().ok_or("there is no log")?;
    let kit = kit::get().ok_or("there is no memory for it")?;
    let extent = Extent { first_block: 0, blocks: TILES * u64::from(TILE_BYTES / BLOCK_SIZE) };
    let place = Place::new(BLOCK_SIZE, &[extent]).map_err(|_| "there is no place")?;
    let mut disk = Disk::rehearsal(&place, Header { uuid: 0, round: 0, tile: 0 }.encode());
    mount(kit.post, place, &mut disk, ring);
    let station: &'static Station = Box::leak(Box::new(Station::unlisted(Name::EMPTY, disk, kit.post)));
    take_over(station, ring)
}

/// Lets a console log, until it has published where.
fn mount(post: &'static Post, place: Place, disk: &mut Disk, ring: &Ring<'_>) {
    let name = console::Name::new("rehearsal");
    let config = Config { index: 0, name, place, expected: None, facts: consoles::facts(), pad_ns: 0 };
    // SAFETY: nobody else does this, and a crash that comes meanwhile starts anew in this memory: then this never goes on.
    let buffers = unsafe { post.take_buffers() };
    let mut console = Console::new(config, &post.cell, buffers);
    for _ in 0..MOST_TURNS {
        console.pump(disk, ring, clock::now_ns());
        while let Some(completion) = disk.poll() {
            // There is no other console.
            let _ = console.complete(completion);
        }
        if console.position().is_some() && console.in_flight() == 0 {
            return;
        }
    }
}

/// Lets the crash path take over.
fn take_over(station: &'static Station, ring: &Ring<'_>) -> Result<(), &'static str> {
    tick::rehearse();
    let frame = Frame { vector: u64::from(trap::PAGE_FAULT), ..switch::here() };
    let scene = Scene { fault_address: frame.rsp, ..Scene::new(Cause::Trap, &frame, clock::now_ns()) };
    // SAFETY: as in `mount`.
    let (text, rescue) = unsafe {
        let reason = statement::reason(&scene, &[]);
        statement::make([station].into_iter(), &scene, &[], reason)
    };
    if text.is_empty() {
        return Err("the crash record is not made");
    }
    let crash = Crash { facts: consoles::facts(), record: text.as_bytes(), until: ring.written() };
    for _ in 0..MOST_TURNS {
        rescue.step(crash, ring);
        if rescue.is_over() {
            break;
        }
    }
    if rescue.tally() == (1, 1) { Ok(()) } else { Err("the console that takes over does not finish") }
}

impl fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("it works"),
            Self::Failed(why) => write!(f, "it fails: {why}"),
        }
    }
}
