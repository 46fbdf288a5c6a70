//! The clusters of a file, as extents of the device.

use super::Stop;
use super::folder::File;
use super::volume::{Next, Volume};
use crate::window::Window;
use crate::{Extent, MAX_EXTENTS_PER_PLACE};
use block::BlockReader;

/// The extents of one file, in order.
pub(super) struct Runs {
    extents: [Extent; MAX_EXTENTS_PER_PLACE],
    count: usize,
}

impl Runs {
    pub(super) fn extents(&self) -> &[Extent] {
        self.extents.get(..self.count).unwrap_or_default()
    }

    /// Appends blocks: to the last extent, where they follow it.
    fn push(&mut self, blocks: Extent) -> Result<(), Stop> {
        if self.extents().iter().any(|earlier| earlier.overlaps(&blocks)) {
            return Err(Stop::Useless("its chain of clusters is a circle"));
        }
        let last = self.count.checked_sub(1).and_then(|last| self.extents.get_mut(last));
        if let Some(last) = last.filter(|last| last.end() == blocks.first_block) {
            last.block_count += blocks.block_count;
            return Ok(());
        }
        let slot = self.extents.get_mut(self.count).ok_or(Stop::Useless("it is in too many pieces"))?;
        *slot = blocks;
        self.count += 1;
        Ok(())
    }
}

/// Follows a file's chain. Only whole blocks within the file's size are given out.
pub(super) fn runs<R: BlockReader>(window: &mut Window<'_, R>, volume: &Volume, file: &File) -> Result<Runs, Stop> {
    let block_size = window.block_size();
    if !volume.cluster_bytes.is_multiple_of(block_size) || !volume.offset_of(2).is_multiple_of(block_size) {
        return Err(Stop::Useless("its clusters are not aligned to the device's blocks"));
    }
    let blocks_per_cluster = volume.cluster_bytes / block_size;
    let mut left = u64::from(file.size) / block_size;
    if left == 0 {
        return Err(Stop::Useless("it is smaller than a block"));
    }
    let mut runs = Runs { extents: [Extent::default(); MAX_EXTENTS_PER_PLACE], count: 0 };
    let mut next = if volume.has(file.first_cluster) { Next::Cluster(file.first_cluster) } else { Next::Damaged };
    while left > 0 {
        let Next::Cluster(cluster) = next else {
            return Err(Stop::Useless("its chain of clusters is shorter than its size"));
        };
        let block_count = blocks_per_cluster.min(left);
        runs.push(Extent { first_block: volume.offset_of(cluster) / block_size, block_count })?;
        left -= block_count;
        if left > 0 {
            next = volume.next(window, cluster)?;
        }
    }
    Ok(runs)
}
