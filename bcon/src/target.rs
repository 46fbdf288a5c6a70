//! Devices, partitions, raw images and files, and the consoles on them.

use crate::log;
use crate::medium::{Blocks, Medium, Span};
use crate::signature;
use crate::sysfs::SysDevice;
use anyhow::{Context, Result, bail};
use block::BlockReader;
use blockconsole::format::{Header, TILE_BYTES, tiles_in};
use partition::{Kind, Places};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Block sizes that an image may be of, the usual one first.
const IMAGE_BLOCK_SIZES: [u32; 2] = [512, 4096];
/// Bytes that partition tables are read through.
const SCRATCH: usize = 64 << 10;
/// Tiles after the first one whose headers are looked for where the first one has none.
const PROBED_TILES: u64 = 8;

/// A device or file, and the consoles on it.
#[derive(Debug)]
pub struct Target {
    /// What the user called it.
    pub path: PathBuf,
    /// All of it.
    pub medium: Medium,
    /// Its block size: a device's own; an image's as its partition table suggests, 512 otherwise.
    pub block_size: u32,
    /// Its consoles, in the order of their places.
    pub consoles: Vec<Console>,
    /// What was odd about it, in words.
    pub notes: Vec<String>,
}

/// A console: a place whose tiles have headers.
#[derive(Clone, Debug)]
pub struct Console {
    /// What to call it: the path, and the partition or file in it.
    pub name: String,
    /// What sort of place.
    pub kind: Kind,
    /// Number of its partition; 0 for none.
    pub partition: u32,
    /// Its bytes.
    pub medium: Medium,
    /// Block size of its device, or 512.
    pub block_size: u32,
    /// The header of its first tile; of a later one where that has none.
    pub header: Header,
    /// Whether its first tile has no header.
    pub lost_first_header: bool,
}

/// Opens a device or file for reading, and finds the consoles on it.
///
/// `-` is standard input; what comes through a pipe is kept in a temporary file.
///
/// # Errors
/// If it cannot be opened or read, or is an image of another format than raw. That there is no console is no error.
pub fn open(path: &Path) -> Result<Target> {
    open_as(path, None)
}

/// As [`open`], but only consoles with this uuid, if one is given: they are also found where their first headers are lost, as long as a
/// single one is left.
///
/// # Errors
/// As for [`open`].
pub fn open_as(path: &Path, uuid: Option<u32>) -> Result<Target> {
    let shown = path.display();
    let (file, len) = if path == Path::new("-") { standard_input()? } else { open_file(path, false)? };
    let medium = Medium::whole(Arc::new(file), len);
    if let Some(format) = signature::image(&medium).with_context(|| format!("cannot read {shown}"))? {
        if path == Path::new("-") {
            bail!(
                "what comes is a {format} image, and bcon reads raw ones: `qemu-img convert -O raw` makes one of a file"
            );
        }
        bail!(
            "{shown} is a {format} image, and bcon reads raw ones: as root, `modprobe nbd` and `qemu-nbd -r -c /dev/nbd0 \
             {shown}`, and read /dev/nbd0 (`qemu-nbd -d /dev/nbd0` ends it); or `qemu-img convert -O raw {shown} OUT`, with -U \
             if a virtual machine runs on it"
        );
    }
    let sizes = match SysDevice::of(&medium.file().metadata()?).and_then(|device| device.logical_block_size()) {
        Some(size) => vec![size],
        None => IMAGE_BLOCK_SIZES.to_vec(),
    };
    let mut target = Target { path: path.to_owned(), medium, block_size: sizes[0], consoles: vec![], notes: vec![] };
    // Places without a header, each with its size of a block.
    let mut bare = Vec::new();
    for (index, &size) in sizes.iter().enumerate() {
        let (notes, without_header) = target.find(size)?;
        target.consoles.retain(|console| uuid.is_none_or(|uuid| console.header.uuid == uuid));
        // What looks odd in blocks of the less usual size is so only if that is its size.
        if index == 0 || !target.consoles.is_empty() {
            target.notes = notes;
            target.block_size = size;
        }
        bare.extend(without_header);
        if !target.consoles.is_empty() {
            break;
        }
    }
    if target.consoles.is_empty() || target.consoles.iter().all(|console| console.kind != Kind::Device) {
        target.take_lost(bare, uuid);
    }
    Ok(target)
}

impl Target {
    /// The console in a partition (0: the one that is the whole device), or the only one there is.
    ///
    /// # Errors
    /// Says what there is instead, and how to name it.
    pub fn console(&self, partition: Option<u32>) -> Result<&Console> {
        let path = self.path.display();
        let found: Vec<_> =
            self.consoles.iter().filter(|console| partition.is_none_or(|wanted| console.partition == wanted)).collect();
        match (found.as_slice(), partition) {
            (&[only], _) => Ok(only),
            ([], Some(number)) => bail!("{path} has no console in partition {number}: see `bcon list {path}`"),
            ([], None) => bail!(
                "{path} has no console: make one with `bcon format`; if it had one, --uuid looks for its tiles{}",
                self.first_note()
            ),
            (several, _) => {
                let numbers: Vec<_> = several.iter().map(|console| console.partition.to_string()).collect();
                bail!("{path} has several consoles: choose one with --partition {}", numbers.join("|"))
            }
        }
    }

    fn first_note(&self) -> String {
        self.notes.first().map_or_else(String::new, |note| format!(" ({note})"))
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        self.medium.file().metadata().is_ok_and(|metadata| metadata.file_type().is_block_device())
    }

    /// One of its consoles, read past this machine's page cache. `None` if it is in a file, for which there is no need, or
    /// if that cannot be.
    pub fn direct(&self, console: &Console) -> Option<Console> {
        if !self.is_device() || self.path == Path::new("-") {
            return None;
        }
        let medium = console.medium.direct(&self.path, self.block_size).ok()?;
        Some(Console { medium, ..console.clone() })
    }

    /// Looks for consoles at all places that the tables name, for one block size. Returns what was odd, and the places that have
    /// room for a console, but no header.
    fn find(&mut self, block_size: u32) -> Result<(Vec<String>, Vec<Console>)> {
        let mut blocks = Blocks::new(self.medium.clone(), block_size);
        let mut places = Places::new();
        let report = partition::scan(&mut blocks, &mut vec![0; SCRATCH], &mut places);
        let count = blocks.block_count();
        let (mut consoles, mut bare) = (Vec::new(), Vec::new());
        places.settle(|place| {
            let console = self.probe(&place, block_size, count);
            let is_console = !console.lost_first_header;
            if is_console {
                consoles.push(console)
            } else {
                bare.push(console)
            }
            is_console
        });
        consoles.sort_by_key(|console| (console.partition, console.kind));
        self.consoles = consoles;
        Ok((report.problems().map(|problem| problem.to_string()).collect(), bare))
    }

    /// Reads the first block of a place.
    fn probe(&self, place: &partition::Place<'_>, block_size: u32, block_count: u64) -> Console {
        let unit = u64::from(block_size);
        let is_whole = place.kind == Kind::Device && place.block_count() == block_count;
        let medium = if is_whole {
            self.medium.clone()
        } else {
            let spans = place.extents.iter().map(|e| Span { start: e.first_block * unit, len: e.block_count * unit });
            self.medium.part(spans.collect())
        };
        let header = header_at(&medium, 0);
        let name = match (place.kind, place.partition) {
            (Kind::FatFile, 0) => format!("{} file BCON.LOG", self.path.display()),
            (Kind::FatFile, number) => format!("{} partition {number} file BCON.LOG", self.path.display()),
            (_, 0) => self.path.display().to_string(),
            (_, number) => format!("{} partition {number}", self.path.display()),
        };
        let (kind, partition, lost_first_header) = (place.kind, place.partition, header.is_none());
        let header = header.unwrap_or(Header { uuid: 0, round: 0, tile: 0 });
        Console { name, kind, partition, medium, block_size, header, lost_first_header }
    }

    /// Takes those places for consoles whose first headers are lost, but not later ones. Partitions come first: the tiles of a console
    /// in one of them would seem to be the whole disk's, a few tiles further on.
    fn take_lost(&mut self, mut bare: Vec<Console>, uuid: Option<u32>) {
        bare.sort_by_key(|console| (console.kind == Kind::Device, console.block_size));
        for console in bare {
            let is_free = match console.kind {
                Kind::Device => self.consoles.is_empty(),
                _ => !self.consoles.iter().any(|taken| taken.medium.spans() == console.medium.spans()),
            };
            let header = if !is_free {
                None
            } else if uuid.is_some() {
                salvage(&console.medium, uuid)
            } else {
                later_header(&console.medium)
            };
            if let Some(header) = header {
                self.consoles.push(Console { header, ..console });
            }
        }
        self.consoles.sort_by_key(|console| (console.partition, console.kind));
    }
}

/// The header of one of the first tiles but the first. Tiles of something else may lie there, such as a partition's: most of what is
/// there must have the number of its place, or the one before, as Linux writes it.
fn later_header(medium: &Medium) -> Option<Header> {
    let tiles = tiles_in(medium.len()).min(PROBED_TILES + 1);
    let headers: Vec<_> = (1..tiles).filter_map(|tile| Some((tile, header_at(medium, tile)?))).collect();
    let (_, first) = *headers.first()?;
    let fits = headers.iter().filter(|(tile, header)| matches!(tile.wrapping_sub(header.tile.into()), 0 | 1)).count();
    let is_one = headers.iter().all(|(_, header)| header.uuid == first.uuid);
    (is_one && 2 * fits > headers.len()).then_some(first)
}

/// Looks through all tiles for those of a console.
fn salvage(medium: &Medium, uuid: Option<u32>) -> Option<Header> {
    let found = log::search(medium, uuid).ok()?;
    Some(Header { uuid: found.uuid, round: found.newest_round, tile: 0 })
}

/// The header of a tile, if it can be read and has one.
fn header_at(medium: &Medium, tile: u64) -> Option<Header> {
    let start = tile.checked_mul(u64::from(TILE_BYTES))?;
    if tile >= tiles_in(medium.len()) {
        return None;
    }
    let mut block = [0; 512];
    medium.read_at(start, &mut block).ok()?;
    Header::decode(&block)
}

/// Opens a device or regular file, and finds its size.
pub(crate) fn open_file(path: &Path, write: bool) -> Result<(File, u64)> {
    let shown = path.display();
    let is_fit = |metadata: &fs::Metadata| metadata.is_file() || metadata.file_type().is_block_device();
    if fs::metadata(path).is_ok_and(|metadata| !is_fit(&metadata)) {
        bail!("{shown} is neither a block device nor a regular file: name a disk, a partition, or a raw image");
    }
    with_len(path, fs::OpenOptions::new().read(true).write(write).open(path))
}

/// Whether standard input is a file or device, rather than a pipe or a terminal.
pub fn standard_input_is_disk() -> bool {
    let metadata = io::stdin().as_fd().try_clone_to_owned().and_then(|input| File::from(input).metadata());
    metadata.is_ok_and(|metadata| metadata.is_file() || metadata.file_type().is_block_device())
}

/// Standard input, if it is a file or device; otherwise a file, already deleted, with all that comes from it.
fn standard_input() -> Result<(File, u64)> {
    let shown = Path::new("standard input");
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned().context("cannot read standard input")?);
    let kind = input.metadata().context("cannot look at standard input")?.file_type();
    if kind.is_file() || kind.is_block_device() {
        return with_len(shown, Ok(input));
    }
    let path = std::env::temp_dir().join(format!("bcon-{}", std::process::id()));
    let mut file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    // Whether or not it was made: nothing of it is to stay.
    if file.is_ok() {
        fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))?;
    }
    if let Ok(file) = &mut file {
        io::copy(&mut input, file).context("cannot keep what comes from standard input in a temporary file")?;
    }
    with_len(&path, file)
}

/// A file or device that was opened, and its size.
pub(crate) fn with_len(path: &Path, opened: io::Result<File>) -> Result<(File, u64)> {
    let shown = path.display();
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied if is_device(path) => {
            anyhow::anyhow!("cannot open {shown}: permission denied; devices need root: run it with sudo")
        }
        _ => anyhow::Error::new(error).context(format!("cannot open {shown}")),
    })?;
    let len = file.seek(SeekFrom::End(0)).with_context(|| format!("cannot find the size of {shown}"))?;
    Ok((file, len))
}

fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}
