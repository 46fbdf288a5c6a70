//! The root folder of a FAT volume.

use super::volume::{FOLDER_ENTRY_SIZE, Next, Root, Volume};
use crate::Problem;
use crate::window::{Window, le16, le32};
use block::BlockReader;

/// Fields of a folder's entry (section "FAT Directory Structure").
const ATTRIBUTES: usize = 11;
const CLUSTER_HIGH: usize = 20;
const CLUSTER_LOW: usize = 26;
const SIZE: usize = 28;

/// Attributes of what is no file: a volume's label (which a piece of a long name has as well), a folder.
const NO_FILE: u8 = 0x08 | 0x10;
/// First byte of the entry after the last one.
const END: u8 = 0x00;
/// Entries of a folder that are looked at: as many as a FAT folder may have.
const MAX_ENTRIES: u32 = 65536;

/// A file.
pub(super) struct File {
    pub(super) first_cluster: u32,
    /// In bytes.
    pub(super) size: u32,
}

/// Finds a file in the root folder.
pub(super) fn find<R: BlockReader>(
    window: &mut Window<'_, R>,
    volume: &Volume,
    name: &[u8; 11],
) -> Result<Option<File>, Problem> {
    match volume.root {
        Root::Fixed { offset, entries } => match look(window, name, offset, entries)? {
            Look::File(file) => Ok(Some(file)),
            Look::End | Look::More => Ok(None),
        },
        Root::Chain { first } => {
            let per_cluster = (volume.cluster_bytes / FOLDER_ENTRY_SIZE) as u32;
            let mut left = MAX_ENTRIES;
            let mut cluster = first;
            while volume.has(cluster) && left > 0 {
                match look(window, name, volume.offset_of(cluster), per_cluster.min(left))? {
                    Look::File(file) => return Ok(Some(file)),
                    Look::End => return Ok(None),
                    Look::More => left = left.saturating_sub(per_cluster),
                }
                let Next::Cluster(next) = volume.next(window, cluster)? else { return Ok(None) };
                cluster = next;
            }
            Ok(None)
        }
    }
}

/// What a run of entries has.
enum Look {
    File(File),
    /// The folder ends here.
    End,
    More,
}

fn look<R: BlockReader>(window: &mut Window<'_, R>, name: &[u8], offset: u64, entries: u32) -> Result<Look, Problem> {
    for index in 0..u64::from(entries) {
        let entry: [u8; FOLDER_ENTRY_SIZE as usize] = window.bytes(offset + index * FOLDER_ENTRY_SIZE)?;
        if entry[0] == END {
            return Ok(Look::End);
        }
        if entry.starts_with(name) && entry[ATTRIBUTES] & NO_FILE == 0 {
            let first_cluster = u32::from(le16(&entry, CLUSTER_HIGH)) << 16 | u32::from(le16(&entry, CLUSTER_LOW));
            return Ok(Look::File(File { first_cluster, size: le32(&entry, SIZE) }));
        }
    }
    Ok(Look::More)
}
