//! Disks and their partition tables, as they come up.

use super::bytes::number;
use super::{TARGET, finding, is_on};
use crate::devices::disk::Name;
use block::BlockReader;
use core::fmt;
use log::info;
use partition::{Places, Problem, Table};
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
    let backup = if report.table == Table::Gpt { backup_problem(reader, scratch) } else { None };
    // What is wrong with the backup is said once, in the words that tell more.
    let is_said =
        |problem: &Problem| backup.is_some() && matches!(problem, Problem::GptDamaged { block, .. } if *block != 1);
    for problem in report.problems().filter(|problem| !is_said(problem)) {
        finding(format_args!("{name}: partition table: {problem}"));
    }
    if let Some(problem) = backup {
        finding(format_args!("{name}: partition table: {problem}"));
    }
    places.clear();
}

/// What is wrong with the second header of a GPT, to which firmware and tools fall back.
fn backup_problem(reader: &mut impl BlockReader, scratch: &mut [u8]) -> Option<&'static str> {
    let block = scratch.get_mut(..reader.block_size() as usize)?;
    let last = reader.block_count().checked_sub(1)?;
    let mut header = |at, block: &mut [u8]| {
        reader.read_blocks(at, block).ok()?;
        // Itself, the other one, the disk's GUID, the entries' checksum (UEFI 2.10, 5.3.2).
        let field = |offset| number(block, offset, 8);
        let fields = (field(24)?, field(32)?, field(56)?, field(64)?, number(block, 88, 4)?);
        (block.starts_with(b"EFI PART") && fields.0 == at).then_some(fields)
    };
    let (_, second, disk, disk_end, entries) = header(1, block)?;
    if second != last {
        return Some("its backup is not at the disk's end, which is larger than the table says");
    }
    match header(last, block) {
        None => Some("its backup is missing or damaged"),
        Some(backup) if backup.1 != 1 || (backup.2, backup.3, backup.4) != (disk, disk_end, entries) => {
            Some("its backup says something else")
        }
        Some(_) => None,
    }
}
