//! The entries that fuzzers and the corpus test feed with bytes.
//!
//! Each takes any bytes, puts in their place what would be refused at once otherwise, and panics if a promise is broken.

use block::{BlockReader, Error, ErrorKind};
use partition::{Kind, MAX_READS, Places, Problem};

const BLOCK: usize = 512;

/// A disk that begins with these bytes, and is zero behind them.
struct Disk {
    bytes: Vec<u8>,
    blocks: u64,
    reads: u32,
    /// Every so many blocks, one cannot be read; none if 0.
    bad: u64,
}

impl Disk {
    fn new(data: &[u8], blocks: u64) -> Self {
        let mut bytes = data.to_vec();
        bytes.resize(data.len().next_multiple_of(BLOCK).max(BLOCK), 0);
        let bad = data.last().map_or(0, |last| u64::from(last & 0x1F) * u64::from(last >> 7));
        Self { bytes, blocks, reads: 0, bad }
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn scan(&mut self) {
        let mut found = Vec::new();
        for scratch in [1, 16] {
            let mut places = Places::new();
            self.reads = 0;
            let report = partition::scan(self, &mut vec![0; scratch * BLOCK], &mut places);
            assert!(self.reads <= MAX_READS, "{} reads", self.reads);
            for place in places.iter() {
                let is_inside = |extent: &partition::Extent| {
                    extent.first_block.checked_add(extent.block_count).is_some_and(|end| end <= self.blocks)
                };
                assert!(place.extents.iter().all(is_inside), "{place:?} is not on the device");
                assert!(place.kind == Kind::Device || place.extents.iter().all(|extent| extent.block_count > 0));
            }
            let list: Vec<_> =
                places.iter().map(|place| (place.kind, place.partition, place.extents.to_vec())).collect();
            if !report.problems().any(|problem| problem == Problem::TooManyReads) {
                found.push(list);
            }
        }
        assert!(
            found.windows(2).all(|pair| pair[0] == pair[1]),
            "the size of the buffer makes a difference: {found:?}"
        );
    }
}

impl BlockReader for Disk {
    fn block_size(&self) -> u32 {
        BLOCK as u32
    }

    fn block_count(&self) -> u64 {
        self.blocks
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.reads += 1;
        for (block, chunk) in (first_block..).zip(buffer.chunks_mut(BLOCK)) {
            assert!(block < self.blocks && chunk.len() == BLOCK, "a bad read");
            if self.bad != 0 && block % self.bad == self.bad - 1 {
                return Err(ErrorKind::Media.into());
            }
            let from = usize::try_from(block).ok().and_then(|block| self.bytes.chunks_exact(BLOCK).nth(block));
            match from {
                Some(from) => chunk.copy_from_slice(from),
                None => chunk.fill(0),
            }
        }
        Ok(())
    }
}

/// Boot records, and chains of them.
pub(crate) fn mbr(data: &[u8]) {
    let mut disk = Disk::new(data, 1 << 20);
    for record in disk.bytes.chunks_exact_mut(BLOCK) {
        record[510..].copy_from_slice(&[0x55, 0xAA]);
        (446..510).step_by(16).for_each(|entry| record[entry] &= 0x80);
    }
    disk.scan();
}

/// A header and entries, whose checksums are put right.
pub(crate) fn gpt(data: &[u8]) {
    let mut disk = Disk::new(&[&[0; BLOCK][..], data].concat(), 1 << 16);
    disk.put(450, &[0xEE]);
    disk.put(454, &[1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    disk.put(510, &[0x55, 0xAA]);
    disk.put(BLOCK, b"EFI PART\0\0\x01\0");
    let field = |disk: &Disk, at: usize| {
        disk.bytes
            .get(BLOCK + at..BLOCK + at + 4)
            .map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let (first, count, size) = (field(&disk, 72), field(&disk, 80), field(&disk, 84));
    let (start, len) = (first as usize * BLOCK, count as usize * size as usize);
    if let Some(entries) = disk.bytes.get(start..).and_then(|rest| rest.get(..len)).filter(|_| len < 65_536) {
        let crc = crc32(entries);
        disk.put(BLOCK + 88, &crc.to_le_bytes());
    }
    disk.put(BLOCK + 16, &[0; 4]);
    let size = (field(&disk, 12) as usize).min(BLOCK);
    let crc = disk.bytes.get(BLOCK..BLOCK + size).map_or(0, crc32);
    disk.put(BLOCK + 16, &crc.to_le_bytes());
    disk.scan();
}

/// A FAT volume that is the whole disk.
pub(crate) fn fat(data: &[u8]) {
    let mut disk = Disk::new(data, 1 << 17);
    disk.put(0, &[0xEB, 0x58, 0x90]);
    disk.put(510, &[0x55, 0xAA]);
    disk.scan();
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
