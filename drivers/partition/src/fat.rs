//! Files of FAT volumes: where the blocks of `BCON.LOG` are. Reads only.
//!
//! Microsoft's "FAT: General Overview of On-Disk Format", 1.03, has the layout. The walk is bounded without
//! bookkeeping: a file of more than [`MAX_EXTENTS_PER_PLACE`](crate::MAX_EXTENTS_PER_PLACE) runs of clusters is given up,
//! and within a run cluster numbers only rise, so that no chain can lead it in a circle.

mod chain;
mod folder;
mod volume;

use crate::window::Window;
use crate::{Extent, Kind, Places, Problem, Report};
use block::BlockReader;
use chain::Runs;
use volume::Volume;

/// The file's name as a folder has it: eight letters, then the three after the dot.
const FILE_NAME: &[u8; 11] = b"BCON    LOG";

/// Lists the log files of all FAT volumes: one may be on the device as a whole, and on each partition.
pub(crate) fn scan<R: BlockReader>(window: &mut Window<'_, R>, places: &mut Places, report: &mut Report) {
    // Files are added behind; they are no volumes.
    for index in 0..places.len() {
        let Some(place) = places.get(index) else { return };
        let (partition, &[extent]) = (place.partition, place.extents) else { continue };
        match find(window, extent) {
            Ok(None) => {}
            Ok(Some(runs)) => {
                places.add(Kind::FatFile, partition, runs.extents());
            }
            Err(Stop::Useless(why)) => report.add(Problem::FatFile { partition, why }),
            Err(Stop::Problem(problem)) => {
                report.add(problem);
                if problem == Problem::TooManyReads {
                    return;
                }
            }
        }
    }
}

/// Why the walk of a volume ended without a file.
enum Stop {
    /// There is a file, but it cannot be used.
    Useless(&'static str),
    /// The device could not be read.
    Problem(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

fn find<R: BlockReader>(window: &mut Window<'_, R>, place: Extent) -> Result<Option<Runs>, Stop> {
    let Some(volume) = Volume::open(window, place)? else { return Ok(None) };
    let Some(entry) = folder::find(window, &volume, FILE_NAME)? else { return Ok(None) };
    chain::runs(window, &volume, &entry).map(Some)
}
