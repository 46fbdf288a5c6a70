//! Making consoles, and refusing to.
#![forbid(unsafe_code)]

mod common;

use common::{Folder, TILE, bcon, bcon_ok};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn format(path: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = bcon([OsStr::new("format"), path.as_os_str()].into_iter().chain(more.iter().map(OsStr::new)));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The recipe of the original's own tool.
fn expected(uuid: &str) -> Vec<u8> {
    let mut sector = format!("\nLinux blockconsole version 1.1\n{uuid}\n00000000\n00000000\n").into_bytes();
    sector.resize(511, b' ');
    sector.push(b'\n');
    sector
}

#[test]
fn the_recipe_is_that_of_the_original() {
    let folder = Folder::new("recipe");
    let mut before = common::noise(3 * TILE + 1000);
    before[510] = 0; // no boot sector, at any rate
    let path = folder.write("disk.img", &before);
    assert_eq!(format(&path, &["--force", "--uuid=00c0ffee"]).0, Some(0));
    let after = fs::read(&path).unwrap();
    assert_eq!(after[..512], expected("00c0ffee"));
    assert!(after[512..TILE].iter().all(|&byte| byte == 0));
    assert!(after[TILE..] == before[TILE..], "what lies behind is none of its business");
}

#[test]
fn a_new_image_is_sparse_and_has_an_uuid_of_its_own() {
    let folder = Folder::new("new");
    let mut uuids = Vec::new();
    for name in ["a", "b"] {
        let path = folder.file(name);
        assert_eq!(format(&path, &["--size=1G"]).0, Some(0));
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 1 << 30);
        assert!(metadata.blocks() * 512 <= 4 << 20, "{} blocks", metadata.blocks());
        uuids.push(fs::read(&path).unwrap()[32..40].to_vec());
    }
    assert_ne!(uuids[0], uuids[1]);
    let path = folder.file("c");
    let (status, errors) = format(&path, &[]);
    assert!(status == Some(3) && errors.contains("--size 64M"), "{errors}");
    assert!(!path.exists());
    assert_eq!(format(&path, &["--size=1023K"]).0, Some(3));
    assert!(!path.exists());
}

#[test]
fn what_is_not_empty_is_refused_and_named() {
    let folder = Folder::new("refuse");
    let signatures: [(usize, &[u8], &str); 22] = [
        (0x438, b"\x53\xEF", "ext4"),
        (0, b"XFSB", "XFS"),
        (0x10040, b"_BHRfS_M", "Btrfs"),
        (54, b"FAT16   ", "FAT"),
        (82, b"FAT32   ", "FAT"),
        (3, b"NTFS    ", "NTFS"),
        (3, b"EXFAT   ", "exFAT"),
        (4086, b"SWAPSPACE2", "swap"),
        (0, b"LUKS\xBA\xBE", "LUKS"),
        (512, b"LABELONE", "LVM"),
        (4096, b"\xFC\x4E\x2B\xA9", "RAID"),
        (4 * TILE - 0x2000, b"\xFC\x4E\x2B\xA9", "RAID"),
        (4 * TILE - 0x1_0000, b"\xFC\x4E\x2B\xA9", "RAID"),
        (512, b"EFI PART", "GUID partition table"),
        (4096, b"EFI PART", "GUID partition table"),
        (4 * TILE - 512, b"EFI PART", "GUID partition table"),
        (510, b"\x55\xAA", "boot sector or partition table"),
        (0x8001, b"CD001", "ISO 9660"),
        (0x20000, b"\x0C\xB1\xBA\0\0\0\0\0", "ZFS"),
        (0, b"QFI\xFB", "qcow2"),
        (0, b"\nLinux blockconsole version 1.1\n01234567\n00000000\n00000000\n", "console with its log"),
        (TILE - 1, b"x", "unknown kind"),
    ];
    for (offset, magic, name) in signatures {
        let mut disk = vec![0; 4 * TILE];
        disk[offset..offset + magic.len()].copy_from_slice(magic);
        let path = folder.write("disk.img", &disk);
        let (status, errors) = format(&path, &[]);
        assert!(status == Some(3) && errors.contains(name) && errors.contains("--force"), "{name}: {errors}");
        assert!(fs::read(&path).unwrap() == disk, "{name}: it was touched");
        assert_eq!(format(&path, &["--force"]).0, Some(0), "{name}");
    }
    // Zeroes are nothing.
    let path = folder.write("disk.img", &vec![0; 2 * TILE]);
    assert_eq!(format(&path, &[]).0, Some(0));
}

#[test]
fn what_is_in_use_is_refused_even_with_force() {
    let folder = Folder::new("locked");
    let path = folder.write("disk.img", &vec![0; 2 * TILE]);
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    file.lock().unwrap();
    let (status, errors) = format(&path, &["--force"]);
    assert!(status == Some(3) && errors.contains("in use"), "{errors}");
    assert!(errors.contains(&format!("process {}", std::process::id())), "{errors}");
    drop(file);
    assert_eq!(format(&path, &[]).0, Some(0));
}

#[test]
fn sizes_of_files() {
    let folder = Folder::new("sizes");
    let path = folder.write("small", &vec![0; TILE - 1]);
    assert!(format(&path, &[]).1.contains("too small"));
    assert_eq!(format(&path, &["--size=3M"]).0, Some(0), "it may grow");
    assert_eq!(fs::metadata(&path).unwrap().len(), 3 << 20);
    let (status, errors) = format(&path, &["--size=2M", "--force"]);
    assert!(status == Some(3) && errors.contains("larger"), "it never shrinks: {errors}");
}

#[test]
fn a_partition_of_an_image() {
    let folder = Folder::new("partition");
    let mut disk = common::noise(6 * TILE);
    disk[..512].fill(0);
    disk[TILE..4 * TILE].fill(0);
    disk[446 + 4] = 0x83;
    disk[446 + 8..446 + 16].copy_from_slice(&[0, 8, 0, 0, 0, 24, 0, 0]); // 2048 + 6144
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    let path = folder.write("disk.img", &disk);
    let (status, errors) = format(&path, &["--partition=2"]);
    assert!(status == Some(3) && errors.contains("partition 2"), "{errors}");
    assert_eq!(format(&path, &["--partition=1", "--uuid=00000001"]).0, Some(0));
    let after = fs::read(&path).unwrap();
    assert_eq!(after[TILE..TILE + 512], expected("00000001"));
    assert!(after[..TILE] == disk[..TILE] && after[2 * TILE..] == disk[2 * TILE..]);
    assert!(bcon_ok(0, [OsStr::new("list"), path.as_os_str()]).contains("partition 1"));
}

#[test]
fn odd_targets_are_refused_in_one_line() {
    let folder = Folder::new("odd");
    for (path, words) in [
        (folder.path(), "neither a block device nor a regular file"),
        (Path::new("/dev/null"), "neither a block device nor a regular file"),
        (Path::new("/dev/no-such-disk"), "does not exist"),
        (&folder.file("no/such/folder"), "cannot create"),
    ] {
        let (status, errors) = format(path, &["--size=4M", "--force"]);
        assert!(status == Some(3) && errors.contains(words), "{errors}");
        assert!(errors.starts_with("bcon: ") && errors.trim_end().lines().count() == 1, "{errors}");
    }
}

#[test]
fn images_of_other_formats_come_with_a_hint() {
    let folder = Folder::new("images");
    for (offset, magic, name) in [
        (0, &b"QFI\xFB"[..], "qcow2"),
        (0, b"KDMV", "vmdk"),
        (64, b"\x7F\x10\xDA\xBE", "vdi"),
        (0, b"vhdxfile", "vhdx"),
    ] {
        let mut disk = vec![0; 2 * TILE];
        disk[offset..offset + magic.len()].copy_from_slice(magic);
        let path = folder.write("disk.img", &disk);
        let output = bcon([OsStr::new("cat"), path.as_os_str()]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3));
        assert!(errors.contains(name) && errors.contains("qemu-nbd"), "{errors}");
    }
}

#[test]
fn wrong_use_is_told_from_failure() {
    for args in [
        &["no-such-command"][..],
        &["format"],
        &["cat"],
        &["format", "x", "--size=64Q"],
        &["cat", "x", "--boot=first"],
        &[],
    ] {
        assert_eq!(bcon(args).status.code(), Some(64), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["cat", "--help"], &["completions", "bash"], &["man"]] {
        let output = bcon(args);
        assert!(output.status.success() && output.stdout.len() > 10, "{args:?}");
    }
}

/// A FAT12 volume with a file BCON.LOG of 2 MiB, in one piece from cluster 2 on.
fn fat_with_log() -> Vec<u8> {
    const CLUSTERS: usize = 512;
    let mut disk = vec![0; 4 * TILE];
    disk[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
    disk[11..24].copy_from_slice(&[0, 2, 8, 1, 0, 1, 16, 0, 0, 32, 0xF8, 4, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    for cluster in 2..2 + CLUSTERS {
        let next = if cluster == 1 + CLUSTERS { 0xFFF } else { cluster as u16 + 1 };
        let at = 512 + cluster * 3 / 2;
        let shifted = if cluster.is_multiple_of(2) { next } else { next << 4 };
        disk[at] |= shifted as u8;
        disk[at + 1] |= (shifted >> 8) as u8;
    }
    let entry = 5 * 512;
    disk[entry..entry + 11].copy_from_slice(b"BCON    LOG");
    disk[entry + 26] = 2;
    disk[entry + 28..entry + 32].copy_from_slice(&(2 * TILE as u32).to_le_bytes());
    disk
}

#[test]
fn a_file_on_a_fat_volume() {
    let folder = Folder::new("fat");
    let before = fat_with_log();
    let path = folder.write("disk.img", &before);
    assert_eq!(format(&path, &[]).0, Some(3), "the volume itself is not empty");
    assert_eq!(format(&path, &["--log-file", "--uuid=0000f11e"]).0, Some(0));
    let (data, after) = (6 * 512, fs::read(&path).unwrap());
    assert_eq!(after[data..data + 512], expected("0000f11e"));
    assert!(after[..data] == before[..data] && after[data + TILE..] == before[data + TILE..]);
    let list = bcon_ok(0, [OsStr::new("list"), path.as_os_str()]);
    assert!(list.contains("file BCON.LOG  0000f11e") && list.contains("/2 MiB"), "{list}");
}
