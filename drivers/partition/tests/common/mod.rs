//! Disks in memory, and tables and volumes written by the specifications' words.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of this")]

use block::{BlockReader, Error, ErrorKind};
use partition::{Kind, MAX_READS, Places, Report};

/// A disk in memory that counts reads, fails at chosen blocks, and panics on a read that a scan must not make.
pub struct Disk {
    pub bytes: Vec<u8>,
    pub block_size: usize,
    pub reads: u32,
    pub bad_blocks: Vec<u64>,
}

impl Disk {
    pub fn new(block_size: usize, blocks: usize) -> Self {
        Self { bytes: vec![0; block_size * blocks], block_size, reads: 0, bad_blocks: Vec::new() }
    }

    pub fn blocks(&self) -> u64 {
        (self.bytes.len() / self.block_size) as u64
    }

    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub fn put_at_block(&mut self, block: u64, offset: usize, bytes: &[u8]) {
        self.put(block as usize * self.block_size + offset, bytes);
    }

    /// Scans with a buffer of so many blocks.
    pub fn scan_with(&mut self, scratch_blocks: usize) -> (Found, Report) {
        let mut places = Places::new();
        let mut scratch = vec![0; scratch_blocks * self.block_size];
        self.reads = 0;
        let report = partition::scan(self, &mut scratch, &mut places);
        assert!(self.reads <= MAX_READS, "{} reads", self.reads);
        let blocks = self.blocks();
        for place in places.iter() {
            assert!(!place.extents.is_empty());
            assert!(place.extents.iter().all(|extent| extent.block_count > 0 || place.kind == Kind::Device));
            assert!(
                place
                    .extents
                    .iter()
                    .all(|extent| extent.first_block.checked_add(extent.block_count).unwrap() <= blocks)
            );
        }
        let found = places
            .iter()
            .map(|place| {
                let extents = place.extents.iter().map(|extent| (extent.first_block, extent.block_count)).collect();
                (place.kind, place.partition, extents)
            })
            .collect();
        (found, report)
    }

    /// Scans with a large buffer and with one of a single block, which must find the same.
    pub fn scan(&mut self) -> (Found, Report) {
        let (small, _) = self.scan_with(1);
        let (large, report) = self.scan_with(128);
        assert_eq!(small, large);
        (large, report)
    }
}

/// Kind, partition number, and extents as pairs of first block and number of blocks.
pub type Found = Vec<(Kind, u32, Vec<(u64, u64)>)>;

impl BlockReader for Disk {
    fn block_size(&self) -> u32 {
        self.block_size as u32
    }

    fn block_count(&self) -> u64 {
        self.blocks()
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.reads += 1;
        assert!(!buffer.is_empty() && buffer.len().is_multiple_of(self.block_size), "a bad read");
        let count = (buffer.len() / self.block_size) as u64;
        assert!(first_block + count <= self.blocks(), "a read beyond the end");
        if self.bad_blocks.iter().any(|bad| (first_block..first_block + count).contains(bad)) {
            buffer.fill(0xE5);
            return Err(Error::new(ErrorKind::Media));
        }
        let start = first_block as usize * self.block_size;
        buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
        Ok(())
    }
}

/// CRC-32 bit by bit, as UEFI specification section 5.3.1 names it.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Writes a boot record: entries of (status, type, first block, number of blocks).
pub fn put_mbr(disk: &mut Disk, block: u64, entries: &[(u8, u8, u32, u32)]) {
    for (index, &(status, system, first, count)) in entries.iter().enumerate() {
        let mut entry = [0; 16];
        entry[0] = status;
        entry[4] = system;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&count.to_le_bytes());
        disk.put_at_block(block, 446 + 16 * index, &entry);
    }
    disk.put_at_block(block, 510, &[0x55, 0xAA]);
}

pub const PROTECTIVE: (u8, u8, u32, u32) = (0, 0xEE, 1, u32::MAX);

/// What a GPT is made of.
#[derive(Clone)]
pub struct Gpt {
    /// Index of the entry, first and last block.
    pub partitions: Vec<(usize, u64, u64)>,
    pub entry_count: u32,
    pub entry_size: u32,
}

impl Gpt {
    pub fn new(partitions: &[(usize, u64, u64)]) -> Self {
        Self { partitions: partitions.to_vec(), entry_count: 128, entry_size: 128 }
    }

    fn entries(&self) -> Vec<u8> {
        let mut bytes = vec![0; (self.entry_count * self.entry_size) as usize];
        for &(index, first, last) in &self.partitions {
            let entry = &mut bytes[index * self.entry_size as usize..][..128];
            entry[..16].fill(0xA5);
            entry[16..32].fill(index.to_le_bytes()[0].wrapping_add(1));
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        bytes
    }

    /// Writes a protective MBR, both headers, and both copies of the entries.
    pub fn put(&self, disk: &mut Disk) {
        put_mbr(disk, 0, &[PROTECTIVE]);
        let entries = self.entries();
        let entry_blocks = entries.len().div_ceil(disk.block_size) as u64;
        let last = disk.blocks() - 1;
        for (my_block, other_block, entries_block) in [(1, last, 2), (last, 1, last - entry_blocks)] {
            let mut header = [0; 92];
            header[..8].copy_from_slice(b"EFI PART");
            header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
            header[12..16].copy_from_slice(&92_u32.to_le_bytes());
            header[24..32].copy_from_slice(&my_block.to_le_bytes());
            header[32..40].copy_from_slice(&other_block.to_le_bytes());
            header[40..48].copy_from_slice(&(2 + entry_blocks).to_le_bytes());
            header[48..56].copy_from_slice(&(last - entry_blocks - 1).to_le_bytes());
            header[72..80].copy_from_slice(&entries_block.to_le_bytes());
            header[80..84].copy_from_slice(&self.entry_count.to_le_bytes());
            header[84..88].copy_from_slice(&self.entry_size.to_le_bytes());
            header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
            seal_header(&mut header);
            disk.put_at_block(my_block, 0, &header);
            disk.put_at_block(entries_block, 0, &entries);
        }
    }
}

/// Puts the right checksum into a header.
pub fn seal_header(header: &mut [u8]) {
    header[16..20].fill(0);
    let crc = crc32(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// Changes bytes of the GPT header in a block and gives it its checksum again.
pub fn patch_header(disk: &mut Disk, block: u64, offset: usize, bytes: &[u8]) {
    disk.put_at_block(block, offset, bytes);
    let start = block as usize * disk.block_size;
    seal_header(&mut disk.bytes[start..start + 92]);
}

/// A FAT volume to be.
#[derive(Clone)]
pub struct Fat {
    pub bits: u32,
    pub bytes_per_sector: usize,
    pub sectors_per_cluster: usize,
    pub sectors: usize,
    pub fat_sectors: usize,
    pub reserved: usize,
    pub fats: usize,
    pub root_entries: usize,
}

impl Fat {
    /// A volume whose number of clusters makes it the FAT of so many bits.
    pub fn new(bits: u32) -> Self {
        let (sectors, fat_sectors, root_entries, reserved) = match bits {
            12 => (4000, 12, 224, 1),
            16 => (20000, 80, 512, 4),
            _ => (70000, 560, 0, 32),
        };
        Self {
            bits,
            bytes_per_sector: 512,
            sectors_per_cluster: 1,
            sectors,
            fat_sectors,
            reserved,
            fats: 2,
            root_entries,
        }
    }

    pub fn data_sector(&self) -> usize {
        let root_sectors = (self.root_entries * 32).div_ceil(self.bytes_per_sector);
        self.reserved + self.fats * self.fat_sectors + root_sectors
    }

    pub fn cluster_offset(&self, cluster: usize) -> usize {
        self.data_sector() * self.bytes_per_sector + (cluster - 2) * self.sectors_per_cluster * self.bytes_per_sector
    }

    /// Formats the volume at a byte offset. FAT32's root folder is cluster 2.
    pub fn put(&self, disk: &mut Disk, start: usize) {
        let mut boot = [0; 512];
        boot[..3].copy_from_slice(&[0xEB, 0x58, 0x90]);
        boot[11..13].copy_from_slice(&(self.bytes_per_sector as u16).to_le_bytes());
        boot[13] = self.sectors_per_cluster as u8;
        boot[14..16].copy_from_slice(&(self.reserved as u16).to_le_bytes());
        boot[16] = self.fats as u8;
        boot[17..19].copy_from_slice(&(self.root_entries as u16).to_le_bytes());
        boot[21] = 0xF8;
        boot[32..36].copy_from_slice(&(self.sectors as u32).to_le_bytes());
        if self.bits == 32 {
            boot[36..40].copy_from_slice(&(self.fat_sectors as u32).to_le_bytes());
            boot[44..48].copy_from_slice(&2_u32.to_le_bytes());
        } else {
            boot[22..24].copy_from_slice(&(self.fat_sectors as u16).to_le_bytes());
        }
        boot[510..].copy_from_slice(&[0x55, 0xAA]);
        disk.put(start, &boot);
        if self.bits == 32 {
            self.link(disk, start, 2, 0x0FFF_FFFF);
        }
    }

    /// Sets what follows a cluster, in all tables.
    pub fn link(&self, disk: &mut Disk, start: usize, cluster: usize, next: u32) {
        for fat in 0..self.fats {
            let table = start + (self.reserved + fat * self.fat_sectors) * self.bytes_per_sector;
            match self.bits {
                12 => {
                    let at = table + cluster * 3 / 2;
                    let old = u16::from_le_bytes([disk.bytes[at], disk.bytes[at + 1]]);
                    let next = next as u16 & 0xFFF;
                    let new = if cluster.is_multiple_of(2) { old & 0xF000 | next } else { old & 0x000F | next << 4 };
                    disk.put(at, &new.to_le_bytes());
                }
                16 => disk.put(table + cluster * 2, &(next as u16).to_le_bytes()),
                // The upper four bits belong to nobody: set, to see whether they are masked.
                _ => disk.put(table + cluster * 4, &(next | 0xA000_0000).to_le_bytes()),
            }
        }
    }

    /// Links clusters into a chain and ends it.
    pub fn chain(&self, disk: &mut Disk, start: usize, clusters: &[usize]) {
        for pair in clusters.windows(2) {
            self.link(disk, start, pair[0], pair[1] as u32);
        }
        self.link(disk, start, *clusters.last().unwrap(), 0x0FFF_FFFF);
    }

    /// Writes an entry of the root folder (for FAT32, of the folder in cluster 2).
    pub fn entry(&self, disk: &mut Disk, start: usize, index: usize, file: Entry<'_>) {
        let fixed_root = (self.reserved + self.fats * self.fat_sectors) * self.bytes_per_sector;
        let root = if self.bits == 32 { self.cluster_offset(2) } else { fixed_root };
        self.entry_at(disk, start + root + 32 * index, file);
    }

    pub fn entry_at(&self, disk: &mut Disk, offset: usize, (name, attributes, first, size): Entry<'_>) {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
        entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
        entry[28..].copy_from_slice(&(size as u32).to_le_bytes());
        disk.put(offset, &entry);
    }
}

/// An entry of a folder: name, attributes, first cluster, size in bytes.
pub type Entry<'a> = (&'a [u8; 11], u8, usize, usize);

pub const LOG_NAME: &[u8; 11] = b"BCON    LOG";
pub const ARCHIVE: u8 = 0x20;
