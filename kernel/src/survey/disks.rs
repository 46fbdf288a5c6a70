//! Disks and their partition tables, as they come up.

use super::{TARGET, finding, is_on};
use crate::devices::disk::Name;
use block::BlockReader;
use core::fmt;
use log::info;
use partition::Places;
use virtio_blk::Session;
use virtio_blk::spec::Features;

/// Logs which features were agreed on with a virtio disk, if there is a survey.
pub fn describe_virtio(name: &Name, session: Option<&Session>) {
    if let Some(session) = session.filter(|_| is_on()) {
        struct Names(Features);
        impl fmt::Display for Names {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter_names().enumerate().try_for_each(|(index, (name, _))| {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    f.write_str(name)
                })
            }
        }
        let features = session.features();
        info!(
            target: TARGET,
            "virtio: {name} bits={:#x} features={} spare_queue={}",
            features.bits(),
            Names(features),
            session.has_spare_queue()
        );
    }
}

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
