//! Disks and their partition tables, as they come up.

use super::{TARGET, finding, is_on};
use crate::devices::disk::Name;
use block::BlockReader;
use log::info;
use partition::Places;

/// Logs a disk's partition table and what is wrong with it, if there is a survey.
pub fn look_at(name: &Name, reader: &mut impl BlockReader, scratch: &mut [u8], places: &mut Places) {
    if !is_on() {
        return;
    }
    let report = partition::scan(reader, scratch, places);
    info!(
        target: TARGET,
        "disk: {name} blocks={} block_size={} table={:?}",
        reader.block_count(),
        reader.block_size(),
        report.table
    );
    for place in places.iter().filter(|place| place.partition != 0) {
        info!(
            target: TARGET,
            "partition: {name} number={} kind={:?} first_block={} blocks={}",
            place.partition,
            place.kind,
            place.first_block(),
            place.block_count()
        );
    }
    for problem in report.problems() {
        finding(format_args!("{name}: partition table: {problem}"));
    }
    places.clear();
}
