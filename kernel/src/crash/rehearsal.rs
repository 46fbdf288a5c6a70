//! The crash path, tried out at each start: everything but the disks.
//!
//! A record is made of where the processor is, and a console takes over from the first real one, on a disk that is not there
//! but says yes to everything. So that code has run before it is needed: a fault in it shows at start, and its first real
//! use finds it in the caches (an emulator: translated, which is most of the time that a crash takes there).

use super::{Cause, Scene, kit, statement};
use crate::arch::trap::{self, Frame};
use crate::arch::{clock, switch};
use crate::devices::disk::Disk;
use crate::{consoles, logger};
use block::BlockDevice;
use blockconsole::console::{Crash, Outcome};
use blockconsole::format::Header;

/// Turns of the loop after which a console that is not done is given up. A few are enough.
const MOST_TURNS: usize = 1000;

/// What a rehearsal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rehearsed {
    /// A console took over, and finished.
    Whole,
    /// A record was made; there is no console to take over from.
    RecordOnly,
    /// This went wrong.
    Failed(&'static str),
}

/// Tries the crash path out. Called by the program's own thread, with no crash under way.
pub fn rehearse() -> Rehearsed {
    let Some(ring) = logger::ring() else { return Rehearsed::Failed("there is no log") };
    let frame = Frame { vector: u64::from(trap::PAGE_FAULT), ..switch::here() };
    let scene = Scene { cause: Cause::Trap, frame, fault_address: frame.rsp, time_ns: clock::now_ns() };
    // SAFETY: nobody else does this, and a crash that comes meanwhile starts anew in this memory: then this never goes on.
    let (text, rescue) = unsafe { statement::make(&scene, &[], statement::reason(&scene, &[])) };
    if text.is_empty() {
        return Rehearsed::Failed("the crash record is not made");
    }
    let Some(kit) = kit::get() else { return Rehearsed::Failed("there is no memory for it") };
    let Some((target, (uuid, round))) = rescue.first_target().zip(consoles::first_identity()) else {
        return Rehearsed::RecordOnly;
    };
    let header = Header { uuid, round, tile: 0 }.encode();
    let mut disk = Disk::rehearsal(&target.place, header);
    let crash = Crash { facts: consoles::facts(), record: text.as_bytes(), until: ring.written() };
    // SAFETY: as above.
    let Ok(console) = (unsafe { kit.resume(&target, crash) }) else {
        return Rehearsed::Failed("no console takes over");
    };
    for _ in 0..MOST_TURNS {
        console.pump(&mut disk, ring, clock::now_ns());
        while let Some(completion) = disk.poll() {
            // There is no other console.
            let _ = console.complete(completion);
        }
        match console.outcome() {
            Outcome::Working => {}
            Outcome::Done => return Rehearsed::Whole,
            Outcome::Failed(_) => return Rehearsed::Failed("the console that took over gave up"),
        }
    }
    Rehearsed::Failed("the console that took over did not finish")
}

impl core::fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Whole => f.write_str("it works, but for the disks"),
            Self::RecordOnly => f.write_str("it makes a record; there is no console to write it to"),
            Self::Failed(why) => write!(f, "it fails: {why}"),
        }
    }
}
