//! The boot sector of a FAT volume, and its allocation table.

use crate::window::{Window, le16, le32};
use crate::{Extent, Problem};
use block::BlockReader;

/// Boot sector fields (section "Boot Sector and BPB").
const BYTES_PER_SECTOR: usize = 11;
const SECTORS_PER_CLUSTER: usize = 13;
const RESERVED_SECTORS: usize = 14;
const FAT_COUNT: usize = 16;
const ROOT_ENTRIES: usize = 17;
const SECTORS_16: usize = 19;
const MEDIA: usize = 21;
const FAT_SIZE_16: usize = 22;
const SECTORS_32: usize = 32;
const FAT_SIZE_32: usize = 36;
const EXTENDED_FLAGS: usize = 40;
const ROOT_CLUSTER: usize = 44;

/// Bytes of a folder's entry.
pub(super) const FOLDER_ENTRY_SIZE: u64 = 32;
/// Number of the first cluster.
const FIRST_CLUSTER: u32 = 2;

/// How an allocation table is written. Microsoft's document lets the number of clusters alone decide. Linux takes every volume without a 16-bit size of its
/// tables for FAT32, and so does this: small EFI partitions are often such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

impl Width {
    const fn of(clusters: u64, is_32: bool) -> Option<Self> {
        match clusters {
            1..=0x0FFF_FFF4 if is_32 => Some(Self::Fat32),
            1..4085 => Some(Self::Fat12),
            4085..65525 => Some(Self::Fat16),
            _ => None,
        }
    }

    const fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }
}

/// Where the root folder is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Root {
    /// At a fixed byte offset of the device, with this many entries.
    Fixed { offset: u64, entries: u32 },
    /// In a chain of clusters.
    Chain { first: u32 },
}

/// What follows a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This cluster; it is one of the volume's.
    Cluster(u32),
    /// Nothing: it was the last one.
    End,
    /// The table makes no sense here: free, bad, reserved, or beyond the volume.
    Damaged,
}

/// A FAT volume. All offsets are bytes of the device.
#[derive(Debug)]
pub(super) struct Volume {
    width: Width,
    /// The allocation table that counts.
    table: u64,
    /// Where cluster 2 starts.
    data: u64,
    pub(super) cluster_bytes: u64,
    clusters: u32,
    pub(super) root: Root,
}

impl Volume {
    /// Reads the boot sector at the start of a place; `None` if that is not a FAT volume's.
    pub(super) fn open<R: BlockReader>(window: &mut Window<'_, R>, place: Extent) -> Result<Option<Self>, Problem> {
        let sector: [u8; 512] = window.block_start(place.first_block)?;
        let start = place.first_block.saturating_mul(window.block_size());
        let size = place.block_count.saturating_mul(window.block_size());
        Ok(Self::parse(&sector, start, size))
    }

    fn parse(sector: &[u8; 512], start: u64, size: u64) -> Option<Self> {
        let jumps = matches!(sector, [0xEB, _, 0x90, ..] | [0xE9, ..]);
        if !jumps || !sector.ends_with(&[0x55, 0xAA]) {
            return None;
        }
        let bytes_per_sector = u64::from(le16(sector, BYTES_PER_SECTOR));
        let sectors_per_cluster = u64::from(sector[SECTORS_PER_CLUSTER]);
        let reserved = u64::from(le16(sector, RESERVED_SECTORS));
        let fats = u64::from(sector[FAT_COUNT]);
        let sane = matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096)
            && sectors_per_cluster.is_power_of_two()
            && reserved != 0
            && (1..=2).contains(&fats)
            && (sector[MEDIA] == 0xF0 || sector[MEDIA] >= 0xF8);
        if !sane {
            return None;
        }
        let nonzero_or = |short: u64, long: u64| if short != 0 { short } else { long };
        let fat_sectors = nonzero_or(u64::from(le16(sector, FAT_SIZE_16)), u64::from(le32(sector, FAT_SIZE_32)));
        let sectors = nonzero_or(u64::from(le16(sector, SECTORS_16)), u64::from(le32(sector, SECTORS_32)));
        let root_entries = u64::from(le16(sector, ROOT_ENTRIES));
        let root_sectors = (root_entries * FOLDER_ENTRY_SIZE).div_ceil(bytes_per_sector);
        let data_sectors = sectors.checked_sub(reserved + fats * fat_sectors + root_sectors)?;
        let clusters = data_sectors / sectors_per_cluster;
        let width = Width::of(clusters, le16(sector, FAT_SIZE_16) == 0)?;
        let table_bytes = (clusters + u64::from(FIRST_CLUSTER)) * width.bits();
        if sectors * bytes_per_sector > size || fat_sectors * bytes_per_sector * 8 < table_bytes {
            return None;
        }
        // Everything below is less than `start + size`, which is within the device.
        let table = start + (reserved + active_table(sector, width, fats)? * fat_sectors) * bytes_per_sector;
        let root_offset = start + (reserved + fats * fat_sectors) * bytes_per_sector;
        let root = match width {
            Width::Fat12 | Width::Fat16 => Root::Fixed { offset: root_offset, entries: root_entries as u32 },
            Width::Fat32 => Root::Chain { first: le32(sector, ROOT_CLUSTER) },
        };
        Some(Self {
            width,
            table,
            data: root_offset + root_sectors * bytes_per_sector,
            cluster_bytes: sectors_per_cluster * bytes_per_sector,
            clusters: clusters as u32,
            root,
        })
    }

    /// Whether the volume has a cluster of this number.
    pub(super) fn has(&self, cluster: u32) -> bool {
        cluster.checked_sub(FIRST_CLUSTER).is_some_and(|index| index < self.clusters)
    }

    /// Where a cluster that the volume [has](Self::has) starts.
    pub(super) fn offset_of(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster.saturating_sub(FIRST_CLUSTER)) * self.cluster_bytes
    }

    /// Looks up what follows a cluster that the volume [has](Self::has).
    pub(super) fn next<R: BlockReader>(&self, window: &mut Window<'_, R>, cluster: u32) -> Result<Next, Problem> {
        let index = u64::from(cluster);
        let (value, end) = match self.width {
            Width::Fat12 => {
                let pair = u16::from_le_bytes(window.bytes(self.table + index * 3 / 2)?);
                (u32::from(if cluster.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 }), 0xFF8)
            }
            Width::Fat16 => (u32::from(u16::from_le_bytes(window.bytes(self.table + index * 2)?)), 0xFFF8),
            // The upper four bits are reserved.
            Width::Fat32 => (u32::from_le_bytes(window.bytes(self.table + index * 4)?) & 0x0FFF_FFFF, 0x0FFF_FFF8),
        };
        Ok(match value {
            value if value >= end => Next::End,
            value if self.has(value) => Next::Cluster(value),
            _ => Next::Damaged,
        })
    }
}

/// Index of the allocation table that counts: on FAT32, mirroring may be switched off.
fn active_table(sector: &[u8; 512], width: Width, fats: u64) -> Option<u64> {
    let flags = le16(sector, EXTENDED_FLAGS);
    if width != Width::Fat32 || flags & 0x80 == 0 {
        return Some(0);
    }
    Some(u64::from(flags & 0x0F)).filter(|&active| active < fats)
}
