//! Looks for consoles on a disk: the disk itself, partitions, log files.

use crate::consoles::Settings;
use crate::devices::disk::{Disk, Name};
use crate::devices::platform::Machine;
use crate::survey;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use block::blocking::Blocking;
use block::{BlockDevice, BlockReader, Completion};
use blockconsole::format::Header;
use blockconsole::place::{Extent, MAX_EXTENTS, Place};
use core::fmt;
use log::warn;
use partition::Places;
use platform::{DmaBuffer, Platform};
use spin::Mutex;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// What disks are read through, one after the other.
static BUFFER: Mutex<Option<DmaBuffer>> = Mutex::new(None);

/// How a disk is read while it is searched: one type for all that do so, so that there is one search in the program.
pub(crate) type Reader<'a> = Blocking<'a, Disk, &'a mut dyn FnMut() -> bool, fn(Completion<DmaBuffer>)>;

/// Reads a disk through `buffer`. Nothing else may be in flight on it. `idle` is called while the disk is waited for; when it returns
/// `false`, the disk is given up.
pub(crate) fn reader<'a>(disk: &'a mut Disk, buffer: DmaBuffer, idle: &'a mut dyn FnMut() -> bool) -> Reader<'a> {
    Blocking::new(disk, buffer, idle, drop)
}

/// The places on a disk that carry a console's header, and what to call them. `idle` is called while the disk is waited for.
pub(crate) fn find_consoles(
    name: &Name,
    disk: &mut Disk,
    settings: &Settings,
    idle: &mut dyn FnMut(),
) -> Vec<(Name, Place)> {
    let block_size = disk.geometry().block_size;
    let kept = BUFFER.lock().take();
    let Some(buffer) = kept.or_else(|| Machine.allocate_dma(PIECE, platform::dma::PAGE_SIZE)) else {
        warn!("{name}: not enough memory to look for consoles");
        return Vec::new();
    };
    let mut go_on = || {
        idle();
        true
    };
    let mut reader = reader(disk, buffer, &mut go_on);
    let mut places = Box::new(Places::new());
    let mut scratch = vec![0; PIECE];
    survey::look_at(name, &mut reader, &mut scratch, &mut places);
    search(&mut reader, &mut scratch, &mut places, name, Some(settings), &mut |problem| warn!("{name}: {problem}"));
    // `None` if the disk died with it.
    *BUFFER.lock() = reader.into_buffer();
    places.iter().filter_map(|found| Some((name.partition(found.partition), place(block_size, &found)?))).collect()
}

/// Fills `places` with those that carry a console's header. What is wrong with a disk's tables is `told`. Allocates
/// nothing, and does not log.
pub(crate) fn search(
    reader: &mut Reader<'_>,
    scratch: &mut [u8],
    places: &mut Places,
    name: &Name,
    settings: Option<&Settings>,
    tell: &mut dyn FnMut(&dyn fmt::Display),
) {
    let report = partition::scan(reader, scratch, places);
    for problem in report.problems() {
        tell(&problem);
    }
    let extents = settings.and_then(|settings| settings.extents).filter(|extents| extents.disk == name.as_str());
    if let Some(extents) = extents
        && let Err(error) = extents.add_to(places, reader.block_count())
    {
        tell(&format_args!("the log file's extents: {error}"));
    }
    let uuid = settings.and_then(|settings| settings.uuid);
    places.settle(|place| has_header(reader, scratch, place.first_block(), uuid));
}

/// A place that was found, as a console takes it; `None` if it is too small for one.
pub(crate) fn place(block_size: u32, found: &partition::Place<'_>) -> Option<Place> {
    let mut extents = [Extent::default(); MAX_EXTENTS];
    for (to, from) in extents.iter_mut().zip(found.extents) {
        *to = Extent { first_block: from.first_block, blocks: from.block_count };
    }
    Place::new(block_size, extents.get(..found.extents.len())?).ok()
}

/// Whether a block begins with a console's header, and with the right one if only one will do.
fn has_header(reader: &mut Reader<'_>, scratch: &mut [u8], block: u64, uuid: Option<u32>) -> bool {
    let block_size = reader.block_size() as usize;
    let Some(scratch) = scratch.get_mut(..block_size) else { return false };
    if reader.read_blocks(block, scratch).is_err() {
        return false;
    }
    Header::decode(scratch).is_some_and(|header| uuid.is_none_or(|uuid| header.uuid == uuid))
}
