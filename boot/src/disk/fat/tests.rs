//! Tests of the reader, on volumes made by `fatfs` and on damaged ones.

use super::*;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::string::String;
use std::vec::Vec;

impl Sectors for &[u8] {
    fn count(&self) -> u64 {
        (self.len() / SECTOR) as u64
    }

    fn read(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let start = usize::try_from(first).ok().and_then(|first| first.checked_mul(SECTOR));
        let range = start.and_then(|start| self.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(range.ok_or(DiskError::Read(4))?);
        Ok(())
    }
}

fn contents(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect()
}

/// A volume of this type with `files`, given by path and length, written a piece each in turn, so that they are fragmented.
fn volume(kind: FatType, files: &[(&str, usize)]) -> Vec<u8> {
    let (size, cluster) = match kind {
        FatType::Fat12 => (1 << 20, 512),
        FatType::Fat16 => (8 << 20, 512),
        FatType::Fat32 => (36 << 20, 512),
    };
    let mut disk = Cursor::new(std::vec![0; size]);
    fatfs::format_volume(&mut disk, FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(cluster)).unwrap();
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
        for (path, _) in files {
            let mut directory = volume.root_dir();
            let (directories, _) = path.rsplit_once('/').unwrap();
            for name in directories.split('/').filter(|name| !name.is_empty()) {
                directory = directory.create_dir(name).unwrap();
            }
        }
        let mut open: Vec<_> = files
            .iter()
            .map(|(path, len)| (volume.root_dir().create_file(path.trim_start_matches('/')).unwrap(), contents(*len)))
            .collect();
        for piece in 0.. {
            let mut wrote = false;
            for (file, contents) in &mut open {
                if let Some(bytes) = contents.chunks(1500).nth(piece) {
                    file.write_all(bytes).unwrap();
                    wrote = true;
                }
            }
            if !wrote {
                break;
            }
        }
    }
    disk.into_inner()
}

fn read(volume: &[u8], path: &str) -> Result<Vec<u8>, DiskError> {
    let mut volume = Volume::open(volume)?;
    let file = volume.find(path)?;
    let mut buffer = std::vec![0xEE; file.size() as usize + 10];
    let len = volume.read(file, &mut buffer)?;
    assert!(buffer[len..].iter().all(|byte| *byte == 0xEE));
    buffer.truncate(len);
    Ok(buffer)
}

#[test]
fn files_of_every_type_of_volume_are_read() {
    let files = [
        ("/blockconsole/kernel", 300_001),
        ("/blockconsole/cmdline.txt", 11),
        ("/EFI/BOOT/BOOTX64.EFI", 51_200),
        ("/blockconsole/a file with a rather long name, longer than two entries.text", 513),
        ("/blockconsole/empty", 0),
        ("/SHORT.TXT", 1),
    ];
    for kind in [FatType::Fat12, FatType::Fat16, FatType::Fat32] {
        let volume = volume(kind, &files);
        for (path, len) in files {
            assert_eq!(read(&volume, path), Ok(contents(len)), "{path}, {kind:?}");
            assert_eq!(read(&volume, &path.to_uppercase()), Ok(contents(len)), "{path}, {kind:?}");
        }
        for path in [
            "/kernel",
            "/blockconsole",
            "/blockconsole/kernel/x",
            "/blockconsole/kerne",
            "/blockconsol/kernel",
            "",
            "/",
        ] {
            assert_eq!(read(&volume, path), Err(DiskError::NoSuchFile), "{path}, {kind:?}");
        }
    }
}

#[test]
fn a_directory_of_many_clusters_is_searched() {
    let names: Vec<String> = (0..200).map(|i| format!("/directory/file number {i} of many")).collect();
    let files: Vec<_> = names.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    for kind in [FatType::Fat16, FatType::Fat32] {
        let volume = volume(kind, &files);
        for (path, len) in &files {
            assert_eq!(read(&volume, path), Ok(contents(*len)));
        }
    }
}

#[test]
fn only_as_much_is_read_as_there_is_room() {
    let volume = volume(FatType::Fat16, &[("/file", 5000)]);
    let mut volume = Volume::open(&volume[..]).unwrap();
    let file = volume.find("file").unwrap();
    for len in [0, 1, 512, 1000, 4999] {
        let mut buffer = std::vec![0; len];
        assert_eq!(volume.read(file, &mut buffer), Ok(len));
        assert_eq!(buffer, contents(5000)[..len]);
    }
}

#[test]
fn what_is_no_volume_is_refused_with_the_reason() {
    let good = volume(FatType::Fat16, &[]);
    let refused = |at: usize, bytes: &[u8]| {
        let mut volume = good.clone();
        volume[at..at + bytes.len()].copy_from_slice(bytes);
        Volume::open(&volume[..]).map(|_| ()).unwrap_err()
    };
    for (at, bytes, word) in [
        (510, &[0, 0][..], "signature"),
        (11, &[0, 16], "512 bytes"),
        (13, &[3], "cluster size"),
        (13, &[0], "cluster size"),
        (14, &[0, 0], "bad sizes"),
        (16, &[0], "bad sizes"),
        (22, &[0xFF, 0xFF], "larger than"),
        (19, &[1, 0], "larger than"),
    ] {
        match refused(at, bytes) {
            DiskError::FileSystem(problem) => assert!(problem.contains(word), "{at}: {problem}"),
            other => panic!("{at}: {other:?}"),
        }
    }
}

#[test]
fn chains_without_an_end_are_left() {
    // More entries than one cluster has, so that the directory's chain is followed.
    let names: Vec<String> = (0..20).map(|i| format!("/directory/file{i}")).collect();
    let mut files: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    files[0].1 = 5000;
    let mut volume = volume(FatType::Fat16, &files);
    // Every cluster leads to itself.
    let (table, table_sectors) = (u16_at(&volume, 14).unwrap() as usize, u16_at(&volume, 22).unwrap() as usize);
    for cluster in 2..table_sectors * 256 {
        let at = table * SECTOR + cluster * 2;
        volume[at..at + 2].copy_from_slice(&(cluster as u16).to_le_bytes());
    }
    let endless = DiskError::FileSystem("a directory has no end");
    assert_eq!(read(&volume, "/directory/no such file"), Err(endless));
    assert_eq!(read(&volume, "/directory/file0").map(|bytes| bytes.len()), Ok(5000));
}

#[test]
fn chains_that_lead_nowhere_are_refused() {
    for (value, problem) in [
        (0_u16, "a chain leads to a cluster that is not there"),
        (0xFFF0, "a chain leads to a cluster that is not there"),
        (0xFFFF, "a file's chain of clusters is too short"),
    ] {
        let mut volume = volume(FatType::Fat16, &[("/file", 5000)]);
        let table = u16_at(&volume, 14).unwrap() as usize * SECTOR;
        volume[table + 6..table + 8].copy_from_slice(&value.to_le_bytes());
        assert_eq!(read(&volume, "/file"), Err(DiskError::FileSystem(problem)), "{value:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_volumes_never_panic(
        damage in proptest::collection::vec((0_usize..40_000, any::<u8>()), 0..30),
        header in proptest::collection::vec((0_usize..64, any::<u8>()), 0..3),
    ) {
        let mut volume = volume(FatType::Fat12, &[("/blockconsole/a longer name", 20_000), ("/blockconsole/kernel", 9000)]);
        for (at, byte) in damage.into_iter().chain(header) {
            volume[at] = byte;
        }
        let _ = read(&volume, "/blockconsole/kernel");
        let _ = read(&volume, "/blockconsole/a longer name");
    }
}
