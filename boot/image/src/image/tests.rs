//! Tests of the image, read back by the loader's own code and by the crate `fatfs`.

use super::*;
use crate::{bios, efi};
use boot::disk::fat::Volume;
use boot::disk::{DiskError, Sectors, gpt};
use boot::image_layout::MBR_STAGE2;
use std::io::Cursor;

/// An image in memory, as the loader sees it.
struct Disk<'a>(&'a [u8]);

impl Sectors for Disk<'_> {
    fn count(&self) -> u64 {
        self.0.len() as u64 / SECTOR
    }

    fn read(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let start = (first * SECTOR) as usize;
        buffer.copy_from_slice(self.0.get(start..start + buffer.len()).ok_or(DiskError::Read(4))?);
        Ok(())
    }
}

fn kernel() -> Vec<u8> {
    (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn application() -> Vec<u8> {
    efi::application(&crate::efi::tests::Program::good().bytes()).unwrap()
}

fn make(change: impl FnOnce(&mut Contents<'_>)) -> Result<(Vec<u8>, Layout), Error> {
    let (stages, application) = (bios::stages(&crate::bios::tests::program())?, application());
    let kernel = kernel();
    let mut contents = Contents {
        stages: &stages,
        application: &application,
        kernel: &kernel,
        command_line: "app=diag crash=panic",
        console_size: 8 * MIB,
        identity: Identity::from_random(&std::array::from_fn(|i| i as u8)),
    };
    change(&mut contents);
    let mut out = Cursor::new(Vec::new());
    let layout = write(&mut out, &contents)?;
    Ok((out.into_inner(), layout))
}

#[test]
fn the_loader_finds_kernel_and_command_line() {
    let (image, layout) = make(|_| ()).unwrap();
    assert_eq!(image.len() as u64, layout.size);
    let (first, count) = gpt::find_system_partition(&mut Disk(&image)).unwrap();
    assert_eq!(first * SECTOR..(first + count) * SECTOR, layout.system);
    let system = &image[layout.system.start as usize..layout.system.end as usize];
    let mut volume = Volume::open(Disk(system)).unwrap();
    let mut read = |path: &str| {
        let file = volume.find(path).unwrap();
        let mut buffer = vec![0; file.size() as usize];
        volume.read(file, &mut buffer).unwrap();
        buffer
    };
    assert_eq!(read(KERNEL), kernel());
    assert_eq!(read(COMMAND_LINE), b"app=diag crash=panic\n");
    assert_eq!(read(BOOTX64), application());
}

#[test]
fn other_readers_agree_on_the_system_partition() {
    let (image, layout) = make(|_| ()).unwrap();
    let mut bytes = image[layout.system.start as usize..layout.system.end as usize].to_vec();
    let volume = FileSystem::new(Cursor::new(&mut bytes), FsOptions::new()).unwrap();
    assert_eq!(volume.fat_type(), FatType::Fat32);
    assert_eq!(volume.volume_label(), "BLOCKCONSOL");
    assert_eq!(volume.volume_id(), u32::from_le_bytes([64, 65, 66, 67]));
    let mut file = volume.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").unwrap();
    let mut application = Vec::new();
    file.read_to_end(&mut application).unwrap();
    assert!(application.starts_with(b"MZ"));
}

#[test]
fn the_boot_record_is_protective_and_leads_to_the_second_stage() {
    let (image, layout) = make(|_| ()).unwrap();
    assert_eq!(image[MBR_STAGE2..MBR_STAGE2 + 8], 2048_u64.to_le_bytes());
    assert_eq!(image[440..446], [0; 6]);
    assert_eq!(image[450], 0xEE);
    assert_eq!(image[454..458], 1_u32.to_le_bytes());
    assert_eq!(image[458..462], (layout.size as u32 / 512 - 1).to_le_bytes());
    assert_eq!(image[462..510], [0; 48]);
    assert_eq!(image[510..512], [0x55, 0xAA]);
    assert_eq!(image[MIB as usize..MIB as usize + 4], *b"\x7FELF");
}

#[test]
fn both_tables_name_the_same_partitions() {
    let (image, layout) = make(|_| ()).unwrap();
    let end = image.len();
    assert_eq!(image[1024..1024 + 16_384], image[end - 33 * 512..end - 512]);
    assert_eq!(image[end - 512..end - 504], *b"EFI PART");
    let entries: Vec<_> = image[1024..1024 + 16_384].chunks(128).filter(|entry| entry[..16] != [0; 16]).collect();
    let kinds: Vec<_> = entries.iter().map(|entry| entry[..16].to_vec()).collect();
    assert_eq!(kinds, [BIOS_BOOT_PARTITION, SYSTEM_PARTITION, CONSOLE_PARTITION]);
    let console = entries[2];
    let word = |at: usize| u64::from_le_bytes(console[at..at + 8].try_into().unwrap());
    assert_eq!(word(32) * SECTOR..(word(40) + 1) * SECTOR, layout.console);
    assert_eq!(console[56..80], *b"b\0l\0o\0c\0k\0c\0o\0n\0s\0o\0l\0e\0");
    assert!(image[layout.console.start as usize..layout.console.end as usize].iter().all(|byte| *byte == 0));
    let mut damaged = image;
    damaged[512] = 0;
    assert_eq!(
        gpt::find_system_partition(&mut Disk(&damaged)).map(|(first, _)| first * SECTOR),
        Ok(layout.system.start)
    );
}

#[test]
fn guids_are_random_ones_and_all_different() {
    let identity = Identity::from_random(&[0xFF; Identity::RANDOM]);
    assert_eq!((identity.disk[7], identity.disk[8]), (0x4F, 0xBF));
    let (image, _) = make(|_| ()).unwrap();
    let guids = [&image[512 + 56..512 + 72], &image[1024 + 16..1024 + 32], &image[1152 + 16..1152 + 32]];
    assert!(guids[0] != guids[1] && guids[1] != guids[2] && guids[0] != guids[2]);
}

#[test]
fn the_same_contents_make_the_same_image() {
    assert_eq!(make(|_| ()).unwrap(), make(|_| ()).unwrap());
    let other = make(|contents| contents.identity = Identity::from_random(&[1; Identity::RANDOM])).unwrap();
    assert_ne!(make(|_| ()).unwrap().0, other.0);
}

#[test]
fn an_image_need_not_have_a_console() {
    let (image, layout) = make(|contents| contents.console_size = 0).unwrap();
    assert!(layout.console.is_empty());
    assert_eq!(image[1024 + 256..1024 + 272], [0; 16]);
}

#[test]
fn the_system_partition_grows_with_the_kernel() {
    let large: &'static [u8] = vec![0; 48 << 20].leak();
    let (image, layout) = make(|contents| contents.kernel = large).unwrap();
    assert!(layout.system.end - layout.system.start >= 48 * MIB);
    let mut volume = Volume::open(Disk(&image[layout.system.start as usize..layout.system.end as usize])).unwrap();
    assert_eq!(volume.find(KERNEL).unwrap().size(), 48 << 20);
}

#[test]
fn bad_wishes_are_refused() {
    let reason = |change: fn(&mut Contents<'_>)| make(change).unwrap_err().to_string();
    assert!(reason(|contents| contents.console_size = 1000).contains("whole MiB"));
    const LONG: [u8; MAX_COMMAND_LINE + 1] = [b'x'; MAX_COMMAND_LINE + 1];
    assert!(reason(|contents| contents.command_line = str::from_utf8(&LONG).unwrap()).contains("command line"));
}
