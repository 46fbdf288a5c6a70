//! The flashable image: one disk for machines with BIOS and with UEFI.
//!
//! | from | to | what |
//! |---|---|---|
//! | 0 | 1 MiB | master boot record, GUID partition table |
//! | 1 MiB | 2 MiB | BIOS boot partition: the loader's second stage |
//! | 2 MiB | as large as the files need, at least 40 MiB | EFI system partition (FAT32): `\EFI\BOOT\BOOTX64.EFI`, `\blockconsole\kernel`, `\blockconsole\cmdline.txt` |
//! | behind | `console_size` | the console's partition, zeroed |
//! | behind | 1 MiB | the second copy of the partition table |
//!
//! What is written depends on nothing but the arguments.

use crate::gpt::{self, Partition, SECTOR};
use crate::{Error, bios::Stages};
use boot::disk::gpt::SYSTEM_PARTITION;
use boot::image_layout::{BIOS_BOOT_PARTITION, COMMAND_LINE, KERNEL};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// Type of a console's partition, 27d0de17-6a0c-4030-97ea-1ee6c41a7d9a, as it lies on the disk. It is for people and tools to read: a
/// console is known by its header, not by this.
pub const CONSOLE_PARTITION: [u8; 16] =
    [0x17, 0xDE, 0xD0, 0x27, 0x0C, 0x6A, 0x30, 0x40, 0x97, 0xEA, 0x1E, 0xE6, 0xC4, 0x1A, 0x7D, 0x9A];

const MIB: u64 = 1 << 20;
/// Least size of the system partition: FAT32 needs 65,525 clusters.
const MIN_SYSTEM: u64 = 40 * MIB;
/// Where removable media have the program that firmware starts.
const BOOTX64: &str = "/EFI/BOOT/BOOTX64.EFI";
/// Longest command line, as the loader takes it.
const MAX_COMMAND_LINE: usize = boot::hand_over::MAX_COMMAND_LINE;

/// What goes into an image.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// What a BIOS boots.
    pub stages: &'a Stages,
    /// What UEFI boots: the file `BOOTX64.EFI`.
    pub application: &'a [u8],
    /// The kernel, an ELF file.
    pub kernel: &'a [u8],
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Size of the console's partition in bytes, a multiple of 1 MiB; 0: no such partition.
    pub console_size: u64,
    /// What makes this image different from every other.
    pub identity: Identity,
}

/// GUIDs and serial number of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    disk: [u8; 16],
    partitions: [[u8; 16]; 3],
    volume: u32,
}

impl Identity {
    /// Bytes that [`Self::from_random`] takes.
    pub const RANDOM: usize = 4 * 16 + 4;

    /// Makes an identity of random bytes: random GUIDs (RFC 9562, section 5.4), and a random serial number.
    pub fn from_random(bytes: &[u8; Self::RANDOM]) -> Self {
        let guid = |number: usize| {
            let mut guid = [0; 16];
            guid.copy_from_slice(&bytes[number * 16..number * 16 + 16]);
            // Version and variant. The first three fields are little-endian on the disk.
            guid[7] = guid[7] & 0x0F | 0x40;
            guid[8] = guid[8] & 0x3F | 0x80;
            guid
        };
        let mut volume = [0; 4];
        volume.copy_from_slice(&bytes[64..]);
        Self { disk: guid(0), partitions: [guid(1), guid(2), guid(3)], volume: u32::from_le_bytes(volume) }
    }
}

/// Where things are in an image that was written, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of the image.
    pub size: u64,
    /// The EFI system partition.
    pub system: Range<u64>,
    /// The console's partition; empty if there is none.
    pub console: Range<u64>,
}

/// Writes an image. `out` must be empty, or full of zeroes: what is zero is not written.
///
/// # Errors
/// If the contents do not fit, or the image cannot be written.
pub fn write<W: Read + Write + Seek>(out: &mut W, contents: &Contents<'_>) -> Result<Layout, Error> {
    let Contents { stages, application, .. } = *contents;
    if !contents.console_size.is_multiple_of(MIB) {
        return Err(Error::Image(format!("the console's size, {} bytes, is not in whole MiB", contents.console_size)));
    }
    if contents.command_line.len() > MAX_COMMAND_LINE {
        return Err(Error::Image(format!("the command line has more than {MAX_COMMAND_LINE} bytes")));
    }
    // A quarter more than the files, for the tables, and so that somebody can put a larger kernel there.
    let files = (application.len() + contents.kernel.len()) as u64;
    let system = 2 * MIB..2 * MIB + (files + files / 4).next_multiple_of(MIB).max(MIN_SYSTEM);
    let console = system.end..system.end + contents.console_size;
    let layout = Layout { size: console.end + MIB, system, console };

    let stage2 = MIB..2 * MIB;
    let ranges = [
        (BIOS_BOOT_PARTITION, stage2.clone(), "BIOS boot"),
        (SYSTEM_PARTITION, layout.system.clone(), "EFI system"),
        (CONSOLE_PARTITION, layout.console.clone(), "blockconsole"),
    ];
    let partitions: Vec<_> = ranges
        .into_iter()
        .zip(contents.identity.partitions)
        .filter(|((_, bytes, _), _)| !bytes.is_empty())
        .map(|((kind, bytes, name), guid)| Partition {
            kind,
            guid,
            sectors: bytes.start / SECTOR..bytes.end / SECTOR,
            name,
        })
        .collect();
    let mbr = stages.mbr(stage2.start / SECTOR);
    gpt::write(out, layout.size / SECTOR, contents.identity.disk, &mbr, &partitions)?;
    out.seek(SeekFrom::Start(stage2.start))?;
    out.write_all(stages.stage2())?;
    let mut volume = Window::new(out, layout.system.clone());
    write_system(&mut volume, contents)?;
    out.flush()?;
    Ok(layout)
}

/// Makes the EFI system partition.
fn write_system<W: Read + Write + Seek>(volume: &mut Window<'_, W>, contents: &Contents<'_>) -> Result<(), Error> {
    let sectors = u32::try_from((volume.range.end - volume.range.start) / SECTOR)
        .map_err(|_| Error::Image("the kernel is too large".into()))?;
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512)
        .total_sectors(sectors)
        .volume_id(contents.identity.volume)
        .volume_label(*b"BLOCKCONSOL");
    fatfs::format_volume(&mut *volume, options)?;
    let file_system = FileSystem::new(volume, FsOptions::new().update_accessed_date(false))?;
    let command_line = format!("{}\n", contents.command_line.trim_end());
    let files = [(BOOTX64, contents.application), (KERNEL, contents.kernel), (COMMAND_LINE, command_line.as_bytes())];
    for (path, bytes) in files {
        let mut directory = file_system.root_dir();
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            if names.peek().is_some() {
                directory = directory.create_dir(name)?;
            } else {
                let mut file = directory.create_file(name)?;
                file.write_all(bytes)?;
                file.flush()?;
            }
        }
    }
    file_system.unmount()?;
    Ok(())
}

/// A part of a file, as a file of its own.
struct Window<'a, W> {
    file: &'a mut W,
    range: Range<u64>,
    at: u64,
}

impl<'a, W> Window<'a, W> {
    fn new(file: &'a mut W, range: Range<u64>) -> Self {
        Self { file, range, at: 0 }
    }

    /// How many of `len` bytes lie inside.
    fn room(&self, len: usize) -> usize {
        let left = (self.range.end - self.range.start).saturating_sub(self.at);
        len.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl<W: Read + Seek> Read for Window<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.room(buffer.len());
        self.file.seek(SeekFrom::Start(self.range.start + self.at))?;
        let read = self.file.read(&mut buffer[..len])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<W: Write + Seek> Write for Window<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let len = self.room(buffer.len());
        self.file.seek(SeekFrom::Start(self.range.start + self.at))?;
        let written = self.file.write(&buffer[..len])?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<W> Seek for Window<'_, W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let size = self.range.end - self.range.start;
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests;
