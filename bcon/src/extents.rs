//! Where a file's blocks are on its disk: what the kernel needs to log into a file.
//!
//! The file system's map is read by e2fsprogs' `filefrag`, which asks the kernel for it (`FIEMAP`), and works on every file
//! system that has one.

use crate::sysfs::{SysDevice, split_device_number};
use anyhow::{Context, Result, bail};
use blockconsole::format::Header;
use partition::{Extent, MAX_EXTENTS_PER_PLACE};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Bytes that `filefrag` is asked to count in.
const UNIT: u64 = 512;
/// Flags of `filefrag` that say that the bytes on the disk are not, or not for good, the file's bytes.
const UNFIT: [(&str, &str); 8] = [
    (
        "unwritten",
        "it has space that was set aside but never written: fill it with zeroes first, as `dd if=/dev/zero` does",
    ),
    ("delalloc", "it is not on the disk yet: run `sync`"),
    ("unknown_loc", "the file system does not say where it is"),
    ("encoded", "the file system compresses it"),
    ("encrypted", "the file system encrypts it"),
    ("not_aligned", "the file system packs it with other files"),
    ("inline", "the file system keeps it inside its own tables"),
    ("shared", "it shares blocks with another file"),
];

/// A file's disk and its extents there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileExtents {
    /// What this system calls the disk.
    pub disk: String,
    /// The extents in the disk's logical blocks, in the order of the file's contents.
    pub extents: Vec<Extent>,
}

/// Finds the extents of a console's file.
///
/// # Errors
/// If it holds no console, if its blocks may move or are not plain blocks of a disk, or if there are too many pieces.
pub fn extents_of(path: &Path) -> Result<FileExtents> {
    let shown = path.display();
    let mut start = [0; 512];
    let mut file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let metadata = file.metadata().with_context(|| format!("cannot look at {shown}"))?;
    if !metadata.is_file() {
        bail!("{shown} is not a regular file: only files have extents");
    }
    if file.read_exact(&mut start).is_err() || Header::decode(&start).is_none() {
        bail!("{shown} holds no console: make one with `bcon format {shown}` first");
    }
    let (major, minor) = split_device_number(metadata.dev());
    let Some(device) = SysDevice::by_number(major, minor) else {
        bail!("{shown} is on a file system that spans disks or none, such as Btrfs, overlay or tmpfs: use another");
    };
    let (disk, offset) = match (device.disk(), device.start_512()) {
        (Some(disk), Some(start)) => (disk, start * UNIT),
        _ => (device.clone(), 0),
    };
    if device.is_virtual() {
        bail!(
            "{shown} is on {}, which is not a disk of the machine itself: use a file on a plain partition",
            device.name()
        );
    }
    let block_size = u64::from(disk.logical_block_size().unwrap_or(512));
    let pieces = filefrag(path)?;
    let extents =
        to_blocks(&pieces, offset, metadata.len(), block_size).with_context(|| format!("{shown} cannot be used"))?;
    Ok(FileExtents { disk: disk.name(), extents })
}

/// A piece of a file: bytes of the file, bytes of its file system's device, length in bytes, flags.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    logical: u64,
    physical: u64,
    len: u64,
    flags: String,
}

fn filefrag(path: &Path) -> Result<Vec<Piece>> {
    let run = Command::new("filefrag").env("LC_ALL", "C").args(["-e", "-v", "-s", "-b512"]).arg(path).output();
    let output = match run {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("filefrag is not installed, which reads a file's map: apt-get install e2fsprogs")
        }
        Err(error) => return Err(error).context("cannot run filefrag"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("filefrag failed on {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(text.lines().filter_map(parse_piece).collect())
}

/// A line of `filefrag -e -v`: `   0:        0..    2047:      34816..     36863:   2048:             last,eof`.
fn parse_piece(line: &str) -> Option<Piece> {
    let fields: Vec<&str> = line.split(':').map(str::trim).collect();
    let [number, logical, physical, len, rest @ ..] = fields.as_slice() else { return None };
    number.parse::<u64>().ok()?;
    let first = |range: &str| range.split("..").next()?.trim().parse::<u64>().ok()?.checked_mul(UNIT);
    let flags = rest.last().map_or(String::new(), |flags| (*flags).to_owned());
    Some(Piece {
        logical: first(logical)?,
        physical: first(physical)?,
        len: len.parse::<u64>().ok()?.checked_mul(UNIT)?,
        flags,
    })
}

fn to_blocks(pieces: &[Piece], offset: u64, size: u64, block_size: u64) -> Result<Vec<Extent>> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut end = 0;
    for piece in pieces {
        let flags: Vec<&str> = piece.flags.split(',').map(str::trim).collect();
        if let Some((_, why)) = UNFIT.iter().find(|(flag, _)| flags.contains(flag)) {
            bail!("{why}");
        }
        if piece.logical != end {
            bail!("it has a hole at byte {end}: fill it with zeroes first, as `dd if=/dev/zero` does");
        }
        // Space beyond the file's end is the file system's.
        let len = piece.len.min(size.saturating_sub(end));
        end += piece.len;
        let start = piece.physical.checked_add(offset).context("its map makes no sense")?;
        if !start.is_multiple_of(block_size) {
            bail!("its pieces do not begin at the disk's blocks of {block_size} bytes");
        }
        let extent = Extent { first_block: start / block_size, block_count: len / block_size };
        match extents.last_mut() {
            Some(last) if last.end() == extent.first_block => last.block_count += extent.block_count,
            _ if extent.block_count > 0 => extents.push(extent),
            _ => {}
        }
    }
    if end < size {
        bail!("it has a hole at byte {end}: fill it with zeroes first, as `dd if=/dev/zero` does");
    }
    if extents.len() > MAX_EXTENTS_PER_PLACE {
        bail!(
            "it is in {} pieces, and {MAX_EXTENTS_PER_PLACE} is the most: make it anew on an emptier disk",
            extents.len()
        );
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
Filesystem type is: ef53
File size of x is 3145728 (6144 blocks of 512 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..    2047:      34816..     36863:   2048:            
   1:     2048..    4095:      36864..     38911:   2048:             merged
   2:     4096..    6151:      90000..     92055:   2056:      38912: last,eof
x: 2 extents found
";

    fn pieces() -> Vec<Piece> {
        SAMPLE.lines().filter_map(parse_piece).collect()
    }

    #[test]
    fn a_map_becomes_blocks_of_the_disk() {
        let pieces = pieces();
        assert_eq!(pieces.len(), 3);
        let extent = |first_block, block_count| Extent { first_block, block_count };
        let size = 6144 * 512;
        assert_eq!(to_blocks(&pieces, 0, size, 512).unwrap(), [extent(34816, 4096), extent(90000, 2048)]);
        assert_eq!(to_blocks(&pieces, 2048 * 512, size, 4096).unwrap(), [extent(4608, 512), extent(11506, 256)]);
        assert!(to_blocks(&pieces, 512, size, 4096).is_err());
    }

    #[test]
    fn maps_that_may_not_stay_are_refused() {
        let size = 6144 * 512;
        for (flag, _) in UNFIT {
            let mut pieces = pieces();
            pieces[1].flags = format!("merged,{flag}");
            assert!(to_blocks(&pieces, 0, size, 512).is_err(), "{flag}");
        }
        let mut holed = pieces();
        holed.remove(1);
        assert!(to_blocks(&holed, 0, size, 512).unwrap_err().to_string().contains("hole at byte 1048576"));
        assert!(to_blocks(&pieces()[..2], 0, size, 512).is_err());
        let many: Vec<_> =
            (0..17).map(|n| Piece { logical: n * 512, physical: n * 8192, len: 512, flags: String::new() }).collect();
        assert!(to_blocks(&many, 0, 17 * 512, 512).is_err());
    }
}
