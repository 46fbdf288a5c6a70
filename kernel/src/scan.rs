//! Looks for consoles on a disk: the disk itself, partitions, log files.

use crate::consoles::Settings;
use crate::devices::disk::{Disk, Name};
use crate::devices::platform::Machine;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use block::blocking::Blocking;
use block::{BlockDevice, BlockReader, Completion};
use blockconsole::format::Header;
use blockconsole::place::{Extent, Place};
use log::warn;
use partition::Places;
use platform::{DmaBuffer, Platform};

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// The places on a disk that carry a console's header, and what to call them. `idle` is called while the disk is waited for.
pub(crate) fn find_consoles(
    name: &Name,
    disk: &mut Disk,
    settings: &Settings,
    idle: impl FnMut(),
) -> Vec<(Name, Place)> {
    let block_size = disk.geometry().block_size;
    let Some(buffer) = Machine.allocate_dma(PIECE, platform::dma::PAGE_SIZE) else {
        warn!("{name}: not enough memory to look for consoles");
        return Vec::new();
    };
    // Nothing else is in flight on this disk: it has no console yet.
    let stray = |_: Completion<DmaBuffer>| ();
    let mut reader = Blocking::new(disk, buffer, idle, stray);
    let mut scratch = vec![0; PIECE];
    let mut places = Box::new(Places::new());
    let report = partition::scan(&mut reader, &mut scratch, &mut places);
    for problem in report.problems() {
        warn!("{name}: {problem}");
    }
    if let Some(extents) = settings.extents.filter(|extents| extents.disk == name.as_str())
        && let Err(error) = extents.add_to(&mut places, reader.block_count())
    {
        warn!("{name}: the log file's extents: {error}");
    }
    places.settle(|place| has_header(&mut reader, &mut scratch, place.first_block(), settings.uuid));
    let found = places.iter().filter_map(|place| {
        let name = name.partition(place.partition);
        let extents: Vec<_> =
            place.extents.iter().map(|it| Extent { first_block: it.first_block, blocks: it.block_count }).collect();
        match Place::new(block_size, &extents) {
            Ok(place) => Some((name, place)),
            Err(error) => {
                warn!("{name}: {error:?}");
                None
            }
        }
    });
    found.collect()
}

/// Whether a block begins with a console's header, and with the right one if only one will do.
fn has_header<R: BlockReader>(reader: &mut R, scratch: &mut [u8], block: u64, uuid: Option<u32>) -> bool {
    let block_size = reader.block_size() as usize;
    let Some(scratch) = scratch.get_mut(..block_size) else { return false };
    if reader.read_blocks(block, scratch).is_err() {
        return false;
    }
    Header::decode(scratch).is_some_and(|header| uuid.is_none_or(|uuid| header.uuid == uuid))
}
