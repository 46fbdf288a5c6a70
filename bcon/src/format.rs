//! Makes consoles: of whole devices, partitions, and files.
//!
//! The recipe is that of the Linux driver's own tool, so that Linux takes such a disk as well: the first MiB is zeroed, then
//! its first sector becomes the header of tile 0 with a random uuid and round 0. Nothing else is touched.

use crate::medium::{Blocks, Medium, Span};
use crate::signature::{self, Contents};
use crate::sysfs::{SysDevice, user_of};
use crate::target::{open_file, with_len};
use anyhow::{Context, Result, bail};
use blockconsole::format::{HEADER_LEN, Header, TILE_BYTES, pad, tiles_in};
use partition::{Kind, Places};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// `open(2)`: on a block device, fail if it is mounted or otherwise held.
const O_EXCL: i32 = 0o200;
/// Bytes of the sector that the header is written in, whatever the device's block size.
const HEADER_SECTOR: usize = 512;

/// How to make a console.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Size in bytes of a file that is made or grown for it.
    pub size: Option<u64>,
    /// Go on although the place is not empty. What is mounted or in use is refused all the same.
    pub force: bool,
    /// The console's uuid; a random one where there is none.
    pub uuid: Option<u32>,
    /// Not the whole of an image, but this partition of it.
    pub partition: Option<u32>,
    /// Not the whole of an image or partition, but the file `BCON.LOG` of the FAT volume on it.
    pub fat_file: bool,
}

/// The console that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// Its uuid.
    pub uuid: u32,
    /// Its size in tiles.
    pub tiles: u64,
}

/// Makes a console of a device, a partition, or a file; a file that does not exist is created, sparse, with the given size.
///
/// # Errors
/// If the place is mounted, in use, read-only or smaller than a tile; if it is not empty, unless forced; if it cannot be read or written.
/// Nothing was changed then, except where writing itself failed.
pub fn format(path: &Path, options: &Options) -> Result<Formatted> {
    let shown = path.display();
    let existing = match fs::metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
    };
    let Some(metadata) = existing else { return create(path, options) };
    let is_device = metadata.file_type().is_block_device();
    let (file, len) = if is_device { open_device(path, &metadata, options)? } else { open_file(path, true)? };
    // From here on, what is opened counts: another file may have taken the name.
    let opened = file.metadata().with_context(|| format!("cannot look at {shown}"))?;
    if opened.file_type().is_block_device() != is_device || opened.rdev() != metadata.rdev() {
        bail!("{shown} became another file while it was looked at: nothing was changed; try again");
    }
    if let Some(use_) = user_of(path, &opened).with_context(|| format!("cannot see whether {shown} is in use"))? {
        bail!("{shown} is in use: {use_}; stop that first");
    }
    let size = match options.size {
        Some(size) if size < len => bail!("{shown} is larger than {size} bytes: remove the file, or leave --size away"),
        Some(size) => size,
        None => len,
    };
    let medium = choose(path, Medium::whole(Arc::new(file), size), options)?;
    check_size(path, medium.len())?;
    if !options.force {
        refuse_contents(path, &medium, len)?;
    }
    if size > len {
        medium.file().set_len(size).with_context(|| format!("cannot make {shown} larger"))?;
    }
    write_fresh(&medium, options.uuid).with_context(|| format!("cannot write to {shown}"))
}

/// Writes a fresh console's first tile, and makes it durable.
///
/// # Errors
/// What writing gave; the place may then hold no console.
pub fn write_fresh(medium: &Medium, uuid: Option<u32>) -> Result<Formatted> {
    let uuid = uuid.map_or_else(random_uuid, Ok)?;
    medium.write_at(0, &vec![0; TILE_BYTES as usize])?;
    // A header over a half-zeroed tile would make old bytes pass for log text.
    medium.file().sync_all()?;
    let mut sector = [0; HEADER_SECTOR];
    let (header, rest) = sector.split_at_mut(HEADER_LEN);
    header.copy_from_slice(&Header { uuid, round: 0, tile: 0 }.encode());
    pad(rest);
    medium.write_at(0, &sector)?;
    medium.file().sync_all()?;
    Ok(Formatted { uuid, tiles: tiles_in(medium.len()) })
}

fn create(path: &Path, options: &Options) -> Result<Formatted> {
    let shown = path.display();
    let Some(size) = options.size else {
        bail!("{shown} does not exist: give a size to make an image, such as --size 64M");
    };
    if path.starts_with("/dev") {
        bail!("{shown} does not exist, and an image is not made in /dev: check the device's name");
    }
    if options.partition.is_some() || options.fat_file {
        bail!("{shown} does not exist: a partition or a file of it cannot be chosen");
    }
    check_size(path, size)?;
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let file = file.with_context(|| format!("cannot create {shown}"))?;
    let written = file.set_len(size).map_err(anyhow::Error::from).and_then(|()| {
        let medium = Medium::whole(Arc::new(file), size);
        write_fresh(&medium, options.uuid)
    });
    written.with_context(|| format!("cannot write to {shown}")).inspect_err(|_| {
        // Best effort: the error that led here is the one to report.
        let _ = fs::remove_file(path);
    })
}

fn open_device(path: &Path, metadata: &fs::Metadata, options: &Options) -> Result<(File, u64)> {
    let shown = path.display();
    if options.size.is_some() {
        bail!("{shown} is a device, which has its size: leave --size away");
    }
    if options.partition.is_some() {
        bail!("{shown} is a device: name the partition's own device");
    }
    // Said before opening it, so that a disk in use is named with its use, and not only refused by the kernel.
    if let Some(use_) = user_of(path, metadata).with_context(|| format!("cannot see whether {shown} is in use"))? {
        bail!("{shown} is in use: {use_}; stop that first");
    }
    if SysDevice::of(metadata).is_some_and(|device| device.is_read_only()) {
        bail!(
            "{shown} is read-only: take away its write protection (`blockdev --setrw {shown}`), or name another disk"
        );
    }
    let opened = File::options().read(true).write(true).custom_flags(O_EXCL).open(path);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
        bail!("{shown} is in use: the kernel holds it; stop what uses it first");
    }
    with_len(path, opened)
}

/// The part of an image that is meant.
fn choose(path: &Path, whole: Medium, options: &Options) -> Result<Medium> {
    if options.partition.is_none() && !options.fat_file {
        return Ok(whole);
    }
    let number = options.partition.unwrap_or(0);
    for block_size in [512_u32, 4096] {
        let mut places = Places::new();
        let mut blocks = Blocks::new(whole.clone(), block_size);
        partition::scan(&mut blocks, &mut vec![0; 64 << 10], &mut places);
        let place =
            places.iter().find(|place| place.partition == number && (place.kind == Kind::FatFile) == options.fat_file);
        if let Some(place) = place {
            let unit = u64::from(block_size);
            let spans = place.extents.iter().map(|e| Span { start: e.first_block * unit, len: e.block_count * unit });
            return Ok(whole.part(spans.collect()));
        }
    }
    let what = if options.fat_file { "usable file BCON.LOG" } else { "place" };
    bail!("{} has no {what} in partition {number}", path.display())
}

fn check_size(path: &Path, len: u64) -> Result<()> {
    if tiles_in(len) == 0 {
        bail!("{} is too small: a console needs at least 1 MiB, and 64 MiB are sensible", path.display());
    }
    Ok(())
}

fn refuse_contents(path: &Path, medium: &Medium, len: u64) -> Result<()> {
    let shown = path.display();
    // A file that is about to grow holds nothing beyond its old end.
    let held =
        if medium.len() > len { Medium::whole(Arc::new(medium.file().try_clone()?), len) } else { medium.clone() };
    let what = match signature::contents(&held).with_context(|| format!("cannot read {shown}"))? {
        Contents::Empty => return Ok(()),
        Contents::Console => "a console with its log".to_owned(),
        Contents::Known(what) => what.to_owned(),
        Contents::Image(format) => format!("a {format} disk image"),
        Contents::Unknown => "data of an unknown kind".to_owned(),
    };
    bail!("{shown} holds {what}: nothing was changed; --force overwrites it")
}

fn random_uuid() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
