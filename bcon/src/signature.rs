//! What a disk holds already, told by the signatures of its formats.

use crate::medium::Medium;
use std::io;

/// What stands on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Zeroes wherever data would be expected.
    Empty,
    /// A console.
    Console,
    /// Something known: `an ext4 file system`.
    Known(&'static str),
    /// A disk image of another format, which has to be opened by other means: its name for `qemu-img`.
    Image(&'static str),
    /// Bytes that nothing here recognises.
    Unknown,
}

struct Signature {
    what: &'static str,
    /// Bytes from the start, or from the end where negative.
    offset: i64,
    magic: &'static [u8],
}

const fn at(offset: i64, magic: &'static [u8], what: &'static str) -> Signature {
    Signature { what, offset, magic }
}

/// Disk images that are not raw. The names are those that `qemu-img` has for them.
const IMAGES: &[Signature] = &[
    at(0, b"QFI\xFB", "qcow2"),
    at(0, b"KDMV", "vmdk"),
    at(0, b"COWD", "vmdk"),
    at(0, b"# Disk DescriptorFile", "vmdk"),
    at(64, b"\x7F\x10\xDA\xBE", "vdi"),
    at(0, b"vhdxfile", "vhdx"),
    at(0, b"conectix", "vpc"),
    at(-512, b"conectix", "vpc"),
    at(0, b"QED\0", "qed"),
    at(0, b"WithoutFreeSpace", "parallels"),
    at(0, b"WithouFreSpacExt", "parallels"),
    at(-512, b"koly", "dmg"),
];

/// What may lose data if it is written over. Tables and containers stand before what they may contain.
const KNOWN: &[Signature] = &[
    at(0, b"LUKS\xBA\xBE", "a LUKS encrypted volume"),
    at(0x4000, b"SKUL\xBA\xBE", "a LUKS encrypted volume"),
    at(3, b"-FVE-FS-", "a BitLocker encrypted volume"),
    at(0, b"LABELONE", "an LVM physical volume"),
    at(512, b"LABELONE", "an LVM physical volume"),
    at(1024, b"LABELONE", "an LVM physical volume"),
    at(1536, b"LABELONE", "an LVM physical volume"),
    at(0, b"\xFC\x4E\x2B\xA9", "a member of a Linux RAID array"),
    at(4096, b"\xFC\x4E\x2B\xA9", "a member of a Linux RAID array"),
    at(-512, b"Intel Raid ISM Cfg Sig. ", "a member of a firmware RAID array"),
    at(-1024, b"Intel Raid ISM Cfg Sig. ", "a member of a firmware RAID array"),
    at(-512, b"\xDE\x11\xDE\x11", "a member of a firmware RAID array"),
    at(0x1018, b"\xC6\x85\x73\xF6\x4E\x1A\x45\xCA\x82\x65\xF5\x7F\x48\xBA\x6D\x81", "a bcache or bcachefs volume"),
    at(0x1018, b"\xC6\x85\x73\xF6\x66\xCE\x90\xA9\xD9\x6A\x60\xCF\x80\x3D\xF7\xEF", "a bcachefs file system"),
    at(4, b"!Stra0tis\x86\xFF\x02^\x41rh", "a Stratis volume"),
    at(0, b"dmvdo001", "a VDO volume"),
    at(0, b"integrt\0", "a dm-integrity volume"),
    at(0, b"verity\0\0", "a dm-verity hash volume"),
    at(4086, b"SWAPSPACE2", "swap space"),
    at(4086, b"SWAP-SPACE", "swap space"),
    at(4086, b"S1SUSPEND", "a suspended system's memory"),
    at(65526, b"SWAPSPACE2", "swap space"),
    at(0x438, b"\x53\xEF", "an ext2, ext3 or ext4 file system"),
    at(0, b"XFSB", "an XFS file system"),
    at(0x10040, b"_BHRfS_M", "a Btrfs file system"),
    at(3, b"EXFAT   ", "an exFAT file system"),
    at(3, b"NTFS    ", "an NTFS file system"),
    at(82, b"FAT32   ", "a FAT file system"),
    at(54, b"FAT12   ", "a FAT file system"),
    at(54, b"FAT16   ", "a FAT file system"),
    at(54, b"FAT     ", "a FAT file system"),
    at(0x400, b"\x10\x20\xF5\xF2", "an F2FS file system"),
    at(0x400, b"\xE2\xE1\xF5\xE0", "an EROFS file system"),
    at(0, b"hsqs", "a SquashFS file system"),
    at(0x8001, b"CD001", "an ISO 9660 file system"),
    at(0x8001, b"BEA01", "a UDF file system"),
    at(0x8000, b"JFS1", "a JFS file system"),
    at(0x10034, b"ReIsEr", "a ReiserFS file system"),
    at(0x406, b"\x34\x34", "a NILFS2 file system"),
    at(0x20000, b"\x0C\xB1\xBA\0\0\0\0\0", "a ZFS pool"),
    at(0x20400, b"\x0C\xB1\xBA\0\0\0\0\0", "a ZFS pool"),
    at(32, b"NXSB", "an APFS container"),
    at(0x400, b"H+\0\x04", "an HFS+ file system"),
    at(0x400, b"HX\0\x05", "an HFS+ file system"),
    at(0x55C, b"\x19\x01\x54\x19", "a UFS file system"),
    at(512, b"EFI PART", "a GUID partition table"),
    at(4096, b"EFI PART", "a GUID partition table"),
    at(-512, b"EFI PART", "the backup of a GUID partition table"),
    at(-4096, b"EFI PART", "the backup of a GUID partition table"),
    at(0, b"\x1F\x8B\x08", "a gzip file"),
    at(0, b"\xFD7zXZ\0", "an xz file"),
    at(0, b"\x28\xB5\x2F\xFD", "a zstd file"),
    at(0, b"PK\x03\x04", "a zip archive"),
    at(0, b"\x7FELF", "an ELF program"),
];

/// Software RAID of versions 0.90 and 1.0 stands near the end, at a place that depends on the size.
const RAID_MAGIC: [u8; 4] = [0xFC, 0x4E, 0x2B, 0xA9];

/// Bytes at the start that are looked through for data of an unknown kind: what formatting would overwrite.
const LOOKED_THROUGH: u64 = 1 << 20;

/// Finds out what a disk holds.
///
/// # Errors
/// What reading it gave.
pub fn contents(medium: &Medium) -> io::Result<Contents> {
    let mut start = vec![0; medium.len().min(LOOKED_THROUGH) as usize];
    medium.read_at(0, &mut start)?;
    if blockconsole::format::Header::decode(&start).is_some() {
        return Ok(Contents::Console);
    }
    if let Some(name) = image(medium)? {
        return Ok(Contents::Image(name));
    }
    for signature in KNOWN {
        if has(medium, signature)? {
            return Ok(Contents::Known(signature.what));
        }
    }
    if has_raid_at_end(medium)? {
        return Ok(Contents::Known("a member of a Linux RAID array"));
    }
    if start.get(510..512) == Some(&[0x55, 0xAA]) {
        return Ok(Contents::Known("a boot sector or partition table"));
    }
    Ok(if start.iter().all(|&byte| byte == 0) { Contents::Empty } else { Contents::Unknown })
}

/// The format of a disk image that is not raw, by the name that `qemu-img` has for it. `None` for a console, whatever stands
/// in its text.
///
/// # Errors
/// What reading it gave.
pub fn image(medium: &Medium) -> io::Result<Option<&'static str>> {
    let mut start = [0; blockconsole::format::HEADER_LEN];
    if medium.len() >= start.len() as u64 {
        medium.read_at(0, &mut start)?;
        if blockconsole::format::Header::decode(&start).is_some() {
            return Ok(None);
        }
    }
    for signature in IMAGES {
        if has(medium, signature)? {
            return Ok(Some(signature.what));
        }
    }
    Ok(None)
}

fn has(medium: &Medium, signature: &Signature) -> io::Result<bool> {
    let start = match signature.offset {
        offset @ 0.. => Some(offset.unsigned_abs()),
        offset => medium.len().checked_sub(offset.unsigned_abs()),
    };
    start.map_or(Ok(false), |start| has_bytes(medium, start, signature.magic))
}

fn has_raid_at_end(medium: &Medium) -> io::Result<bool> {
    // Version 0.90: in the last whole 64 KiB. Version 1.0: 8 KiB before the end, rounded down to 4 KiB.
    let old = (medium.len() & !0xFFFF).checked_sub(0x1_0000);
    let new = medium.len().checked_sub(0x2000).map(|start| start & !0xFFF);
    for start in [old, new].into_iter().flatten() {
        if has_bytes(medium, start, &RAID_MAGIC)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_bytes(medium: &Medium, start: u64, magic: &[u8]) -> io::Result<bool> {
    if start.checked_add(magic.len() as u64).is_none_or(|end| end > medium.len()) {
        return Ok(false);
    }
    let mut bytes = vec![0; magic.len()];
    medium.read_at(start, &mut bytes)?;
    Ok(bytes == magic)
}
