//! Reads files from a FAT12, FAT16 or FAT32 volume, long names included.
//!
//! A file's chain of clusters is followed no further than its size, a directory's for a bounded number of entries, so that a
//! damaged volume ends in an error, not in a loop.
//!
//! Source: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03.

use super::{DiskError, SECTOR, Sectors};
use crate::elf::{u16_at, u32_at};

const ENTRY: usize = 32;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_VOLUME: u8 = 0x08;
const ATTRIBUTES_LONG_NAME: u8 = 0x0F;
/// Most entries of a directory that are looked at.
const MAX_ENTRIES: u32 = 65_536;
/// Longest name: 20 entries of 13 characters.
const MAX_NAME: usize = 20 * 13;

/// How wide the entries of the file allocation table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Bits12,
    Bits16,
    Bits32,
}

/// Where a directory's entries are.
#[derive(Clone, Copy, Debug)]
enum Directory {
    /// The root of FAT12 and FAT16: first sector, and number of sectors.
    Fixed(u64, u64),
    /// A chain of clusters from this one on.
    Chain(u32),
}

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    first_cluster: u32,
    size: u32,
}

impl File {
    /// Size in bytes.
    pub fn size(&self) -> u32 {
        self.size
    }
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
struct Found {
    attributes: u8,
    file: File,
}

/// A FAT volume.
pub struct Volume<S> {
    disk: S,
    width: Width,
    table: u64,
    table_sectors: u64,
    data: u64,
    cluster_sectors: u64,
    clusters: u32,
    root: Directory,
    /// The sector of the table that was read last.
    cached: Option<u64>,
    cache: [u8; SECTOR],
}

impl<S: Sectors> Volume<S> {
    /// Finds a volume on these sectors.
    ///
    /// # Errors
    /// [`DiskError::FileSystem`] if there is none.
    pub fn open(mut disk: S) -> Result<Self, DiskError> {
        let mut sector = [0; SECTOR];
        disk.read(0, &mut sector)?;
        let byte = |at: usize| u64::from(sector[at]);
        let field16 = |at| u64::from(u16_at(&sector, at).unwrap_or(0));
        let field32 = |at| u64::from(u32_at(&sector, at).unwrap_or(0));
        let or = |small: u64, large: u64| if small != 0 { small } else { large };
        let bad = |problem| Err(DiskError::FileSystem(problem));
        if field16(510) != 0xAA55 {
            return bad("no signature in its first sector");
        }
        if field16(11) != SECTOR as u64 {
            return bad("its sectors do not have 512 bytes");
        }
        let cluster_sectors = byte(13);
        if !cluster_sectors.is_power_of_two() {
            return bad("bad cluster size");
        }
        let (table, tables, root_entries) = (field16(14), byte(16), field16(17));
        let total = or(field16(19), field32(32)).min(disk.count());
        let table_sectors = or(field16(22), field32(36));
        let root_sectors = (root_entries * ENTRY as u64).div_ceil(SECTOR as u64);
        let root = table + tables * table_sectors;
        let data = root + root_sectors;
        let Some(clusters) = total.checked_sub(data).map(|sectors| sectors / cluster_sectors) else {
            return bad("its tables are larger than the partition");
        };
        if table == 0 || tables == 0 || table_sectors == 0 || clusters == 0 || clusters > 0x0FFF_FFF4 {
            return bad("bad sizes");
        }
        let width = match clusters {
            0..4085 => Width::Bits12,
            4085..65525 => Width::Bits16,
            _ => Width::Bits32,
        };
        let root = match width {
            Width::Bits32 => Directory::Chain(field32(44) as u32),
            _ => Directory::Fixed(root, root_sectors),
        };
        let clusters = clusters as u32;
        let cache = [0; SECTOR];
        Ok(Self { disk, width, table, table_sectors, data, cluster_sectors, clusters, root, cached: None, cache })
    }

    /// Finds a file by its path: names in any case, separated by slashes.
    ///
    /// # Errors
    /// [`DiskError::NoSuchFile`], or what keeps directories from being read.
    pub fn find(&mut self, path: &str) -> Result<File, DiskError> {
        let mut directory = self.root;
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let found = self.find_in(directory, name)?.ok_or(DiskError::NoSuchFile)?;
            let is_directory = found.attributes & ATTRIBUTE_DIRECTORY != 0;
            match names.peek() {
                None if !is_directory => return Ok(found.file),
                Some(_) if is_directory => directory = Directory::Chain(found.file.first_cluster),
                _ => break,
            }
        }
        Err(DiskError::NoSuchFile)
    }

    /// Reads a file's first bytes: as many as `buffer` and the file have. Returns their number.
    ///
    /// # Errors
    /// If the disk cannot be read, or the chain of clusters is shorter than the file, or leads nowhere.
    pub fn read(&mut self, file: File, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let len = buffer.len().min(file.size as usize);
        let mut buffer = &mut buffer[..len];
        let mut cluster = file.first_cluster;
        while !buffer.is_empty() {
            // As many clusters as lie side by side, in one go.
            let (first, mut count) = (cluster, 1);
            let cluster_size = self.cluster_sectors as usize * SECTOR;
            let mut next = self.next(cluster)?;
            while next == Some(cluster + 1) && (count as usize) < buffer.len().div_ceil(cluster_size) {
                cluster += 1;
                count += 1;
                next = self.next(cluster)?;
            }
            let piece = buffer.len().min(count as usize * cluster_size);
            let (now, later) = buffer.split_at_mut(piece);
            self.read_bytes(self.sector_of(first)?, now)?;
            buffer = later;
            match next {
                Some(next) => cluster = next,
                None if buffer.is_empty() => {}
                None => return Err(DiskError::FileSystem("a file's chain of clusters is too short")),
            }
        }
        Ok(len)
    }

    /// Reads bytes from the start of a sector on; the last sector may be read in part.
    fn read_bytes(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let whole = buffer.len() / SECTOR * SECTOR;
        let (sectors, rest) = buffer.split_at_mut(whole);
        if !sectors.is_empty() {
            self.disk.read(first, sectors)?;
        }
        if !rest.is_empty() {
            let mut sector = [0; SECTOR];
            self.disk.read(first + (whole / SECTOR) as u64, &mut sector)?;
            rest.copy_from_slice(&sector[..rest.len()]);
        }
        Ok(())
    }

    fn sector_of(&self, cluster: u32) -> Result<u64, DiskError> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.clusters);
        let index = index.ok_or(DiskError::FileSystem("a chain leads to a cluster that is not there"))?;
        Ok(self.data + u64::from(index) * self.cluster_sectors)
    }

    /// The cluster after this one; `None` at a chain's end.
    fn next(&mut self, cluster: u32) -> Result<Option<u32>, DiskError> {
        self.sector_of(cluster)?;
        let cluster = u64::from(cluster);
        let (value, end) = match self.width {
            Width::Bits12 => {
                let at = cluster + cluster / 2;
                let pair = u32::from(self.table_byte(at)?) | u32::from(self.table_byte(at + 1)?) << 8;
                (if cluster % 2 == 0 { pair & 0xFFF } else { pair >> 4 }, 0xFF8)
            }
            Width::Bits16 => {
                let at = cluster * 2;
                (u32::from(self.table_byte(at)?) | u32::from(self.table_byte(at + 1)?) << 8, 0xFFF8)
            }
            Width::Bits32 => {
                let mut bytes = [0; 4];
                for (byte, at) in bytes.iter_mut().zip(cluster * 4..) {
                    *byte = self.table_byte(at)?;
                }
                (u32::from_le_bytes(bytes) & 0x0FFF_FFFF, 0x0FFF_FFF8)
            }
        };
        Ok((value < end).then_some(value))
    }

    fn table_byte(&mut self, at: u64) -> Result<u8, DiskError> {
        let sector = at / SECTOR as u64;
        if sector >= self.table_sectors {
            return Err(DiskError::FileSystem("its allocation table is too short"));
        }
        if self.cached != Some(sector) {
            self.cached = None;
            self.disk.read(self.table + sector, &mut self.cache)?;
            self.cached = Some(sector);
        }
        Ok(self.cache[at as usize % SECTOR])
    }

    fn find_in(&mut self, directory: Directory, wanted: &str) -> Result<Option<Found>, DiskError> {
        let mut name = Name::new();
        let mut left = MAX_ENTRIES;
        let (mut sector, mut count, mut cluster) = match directory {
            Directory::Fixed(first, count) => (first, count, None),
            Directory::Chain(first) => (self.sector_of(first)?, self.cluster_sectors, Some(first)),
        };
        let mut bytes = [0; SECTOR];
        loop {
            for at in sector..sector + count {
                self.disk.read(at, &mut bytes)?;
                for entry in bytes.chunks_exact(ENTRY) {
                    if entry[0] == 0 {
                        return Ok(None);
                    }
                    left = left.checked_sub(1).ok_or(DiskError::FileSystem("a directory has no end"))?;
                    if let Some(mut found) = name.take(entry, wanted) {
                        if self.width != Width::Bits32 {
                            found.file.first_cluster &= 0xFFFF;
                        }
                        return Ok(Some(found));
                    }
                }
            }
            let Some(next) = (match cluster {
                Some(cluster) => self.next(cluster)?,
                None => None,
            }) else {
                return Ok(None);
            };
            (sector, count, cluster) = (self.sector_of(next)?, self.cluster_sectors, Some(next));
        }
    }
}

/// A long name as it is gathered from the entries in front of the one it belongs to.
struct Name {
    characters: [u16; MAX_NAME],
    /// Parts that are still to come, counted down; `None`: the parts so far make no name.
    parts: Option<u8>,
    checksum: u8,
}

impl Name {
    fn new() -> Self {
        Self { characters: [0xFFFF; MAX_NAME], parts: None, checksum: 0 }
    }

    /// Takes the next entry of a directory; returns it if it has the name that is wanted.
    fn take(&mut self, entry: &[u8], wanted: &str) -> Option<Found> {
        let attributes = entry[11];
        if entry[0] == 0xE5 {
            self.parts = None;
            return None;
        }
        if attributes & 0x3F == ATTRIBUTES_LONG_NAME {
            self.take_part(entry);
            return None;
        }
        let long = self.parts == Some(0) && self.checksum == checksum(entry);
        self.parts = None;
        if attributes & ATTRIBUTE_VOLUME != 0 {
            return None;
        }
        let named = (long && self.is(wanted)) || is_short(entry, wanted);
        let high = u32::from(u16_at(entry, 20)?);
        let file = File { first_cluster: high << 16 | u32::from(u16_at(entry, 26)?), size: u32_at(entry, 28)? };
        named.then_some(Found { attributes, file })
    }

    fn take_part(&mut self, entry: &[u8]) {
        let number = entry[0] & 0x3F;
        if entry[0] & 0x40 != 0 {
            *self = Self { parts: Some(number), checksum: entry[13], ..Self::new() };
        }
        let start = usize::from(number).wrapping_sub(1).wrapping_mul(13);
        let expected = self.parts == Some(number) && entry[13] == self.checksum;
        let Some(part) = self.characters.get_mut(start..).and_then(|rest| rest.get_mut(..13)).filter(|_| expected)
        else {
            self.parts = None;
            return;
        };
        let offsets = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        for (character, at) in part.iter_mut().zip(offsets) {
            *character = u16_at(entry, at).unwrap_or(0xFFFF);
        }
        self.parts = Some(number - 1);
    }

    /// Whether this is the name, letters of ASCII in any case.
    fn is(&self, wanted: &str) -> bool {
        let end = self.characters.iter().position(|c| *c == 0 || *c == 0xFFFF).unwrap_or(MAX_NAME);
        let lower = |c: u16| u8::try_from(c).map_or(c, |c| c.to_ascii_lowercase().into());
        self.characters[..end].iter().map(|c| lower(*c)).eq(wanted.encode_utf16().map(lower))
    }
}

/// Whether an entry's short name is this one.
fn is_short(entry: &[u8], wanted: &str) -> bool {
    let (stem, extension) = wanted.split_once('.').unwrap_or((wanted, ""));
    let is = |field: &[u8], part: &str| {
        let len = field.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        field[..len].eq_ignore_ascii_case(part.as_bytes())
    };
    is(&entry[..8], stem) && is(&entry[8..11], extension)
}

/// The checksum by which long names know their short one.
fn checksum(entry: &[u8]) -> u8 {
    entry[..11].iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests;
