//! Disks with a GUID partition table (UEFI 2.10, section 5.3).

use crate::recipe::noise;

/// Bytes a block.
pub const BLOCK: usize = 512;

/// Blocks that the table takes at each end: header and 128 entries, and in front the protective MBR.
const TABLE: usize = 33;

/// The type "Linux filesystem data", as it stands on disk.
const LINUX_DATA: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// A disk of `blocks` blocks with these partitions (first block, number of blocks); noise everywhere else.
pub fn disk(blocks: usize, partitions: &[(u64, u64)]) -> Vec<u8> {
    let mut disk = noise(blocks * BLOCK, 0x6770_7400);
    let mut entries = vec![0; 128 * 128];
    for (index, (entry, (first, count))) in entries.chunks_mut(128).zip(partitions).enumerate() {
        entry[..16].copy_from_slice(&LINUX_DATA);
        entry[16..32].copy_from_slice(&noise(16, index as u64));
        put(entry, 32, *first);
        put(entry, 40, first + count - 1);
    }
    let last = blocks as u64 - 1;
    let front = header(&entries, 1, last, 2);
    let back = header(&entries, last, 1, last - 32);
    let end = disk.len();
    disk[..BLOCK].copy_from_slice(&protective_mbr(last));
    disk[BLOCK..2 * BLOCK].copy_from_slice(&front);
    disk[2 * BLOCK..(1 + TABLE) * BLOCK].copy_from_slice(&entries);
    disk[end - TABLE * BLOCK..end - BLOCK].copy_from_slice(&entries);
    disk[end - BLOCK..].copy_from_slice(&back);
    disk
}

fn header(entries: &[u8], own: u64, other: u64, table: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    header[..8].copy_from_slice(b"EFI PART");
    // Revision 1.0, and the length of the header.
    header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
    put(&mut header, 24, own);
    put(&mut header, 32, other);
    put(&mut header, 40, 1 + TABLE as u64);
    put(&mut header, 48, own.max(other) - TABLE as u64);
    header[56..72].copy_from_slice(&noise(16, 0x6469_736b));
    put(&mut header, 72, table);
    header[80..84].copy_from_slice(&128_u32.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
    let sum = crc32(&header[..92]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

fn protective_mbr(last: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    block[458..462].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    block[510..].copy_from_slice(&[0x55, 0xaa]);
    block
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// The CRC-32 of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
