//! Where on a block device a console may lie: GPT, MBR, FAT files.
//!
//! [`scan`] reads a device's partition tables and the FAT volumes on it, and lists
//! *candidates*: the device as a whole, its partitions, and files named `BCON.LOG` in
//! the root folders of FAT volumes. Whether a candidate carries a console is the
//! caller's to find out, by reading its first block; [`Places::settle`] then makes one
//! console of candidates that share blocks.
//!
//! ```text
//!   block 0 ── signature 55AAh ── an entry of type EEh ──► GPT, first or backup header ──► partitions 1..
//!      │               └───────── otherwise ─────────────► MBR partitions 1..4, extended chains 5..
//!      └─ a FAT boot sector, here or at a partition's start ──► root folder ──► BCON.LOG ──► extents
//! ```
//!
//! Everything read is taken for hostile. A scan ends after at most [`MAX_READS`] reads, whatever
//! the disk says; every place that it lists lies wholly inside the device; a structure that is
//! damaged is passed over and named in the [`Report`].
//!
//! Where a table says one thing and its backup another, the rules are those of Linux, so that
//! partitions have the numbers that Linux gives them: a GPT counts only if a protective entry in the MBR
//! points to it; and where there is a protective entry, the other entries of the MBR do not count, even if
//! no GPT is whole.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod explicit;
mod fat;
mod gpt;
mod mbr;
mod places;
mod report;
mod window;

pub use explicit::{BadExtents, ExplicitExtents};
pub use places::{Extent, Kind, MAX_EXTENTS_PER_PLACE, MAX_PLACES, Place, Places, locate};
pub use report::{Problem, Report, Table};
pub use window::MAX_READS;

use block::BlockReader;
use window::Window;

/// Lists the candidates of a device, the device itself first, in `places`, which is emptied before.
///
/// `scratch` is what everything is read through: one block at least; a larger one makes for fewer reads, and
/// 64 KiB are plenty. A scan never fails as a whole: what could not be read or made no sense is in the report.
pub fn scan<R: BlockReader>(reader: &mut R, scratch: &mut [u8], places: &mut Places) -> Report {
    let mut report = Report::new();
    places.clear();
    let whole = Extent { first_block: 0, block_count: reader.block_count() };
    places.add(Kind::Device, 0, &[whole]);
    let mut window = match Window::new(reader, scratch) {
        Ok(window) => window,
        Err(problem) => {
            report.add(problem);
            return report;
        }
    };
    mbr::scan(&mut window, places, &mut report);
    fat::scan(&mut window, places, &mut report);
    if places.left_out() > 0 {
        report.add(Problem::TooManyPlaces { left_out: places.left_out() });
    }
    report
}
