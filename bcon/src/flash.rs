//! Writes an image to a disk, and reads it back.
//!
//! ```text
//!   Disk::look ──► Disk::verdict ──► flash: write, make durable ──► read back past the page cache, compare
//!    (sysfs)          (judge)
//! ```
//! On a disk that is larger than the image, the second copy of the partition table goes to the disk's end, where firmware looks for it.

mod judge;

pub use judge::{Disk, Identity, Refusal, Told, Verdict};

use crate::signature;
use crate::{medium::Medium, target::open_file};
use anyhow::{Context, Result, bail};
use boot_image::gpt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// `open(2)`: on a block device, fail if it is mounted or otherwise held.
const O_EXCL: i32 = 0o200;
/// `open(2)`: past the page cache.
const O_DIRECT: i32 = 0o40000;
/// Bytes that are written or read at a time.
const PIECE: usize = 4 << 20;
/// What buffers, offsets and lengths must be multiples of for [`O_DIRECT`], whatever the disk's blocks.
const ALIGNMENT: usize = 4096;
/// Bytes a sector of an image.
const SECTOR: u64 = 512;

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The image is being written.
    Writing,
    /// It is being read back.
    Verifying,
}

/// An image that can be written to a disk.
#[derive(Debug)]
pub struct Image {
    medium: Medium,
}

impl Image {
    /// Opens one.
    ///
    /// # Errors
    /// If it cannot be read, is empty, of another format than raw, or has no partition table: then nothing would boot from it.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let (file, len) = open_file(path, false)?;
        let medium = Medium::whole(Arc::new(file), len);
        if let Some(format) = signature::image(&medium).with_context(|| format!("cannot read {shown}"))? {
            bail!("{shown} is a {format} image: a disk takes the raw one");
        }
        let mut start = [0; 1024];
        let is_read = len >= start.len() as u64 && medium.read_at(0, &mut start).is_ok();
        if !is_read || start.get(512..520) != Some(b"EFI PART") || !len.is_multiple_of(512) {
            bail!("{shown} is no disk image with a GUID partition table: make one with `image`");
        }
        Ok(Self { medium })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.medium.len()
    }
}

/// What a disk holds after flashing: the image, with its partition table fitted to the disk.
struct Content<'i> {
    image: &'i Image,
    /// Bytes that differ, and where; those that come later count.
    patches: Vec<(u64, Vec<u8>)>,
}

impl<'i> Content<'i> {
    /// What belongs on a disk of so many bytes.
    fn new(image: &'i Image, disk: u64) -> Result<Self> {
        let size = image.size();
        let front_len = gpt::FRONT_SECTORS * SECTOR;
        let mut patches = Vec::new();
        // A table that makes no sense is left as it is.
        if disk > size && size > front_len + gpt::BACK_SECTORS * SECTOR {
            let mut front = vec![0; front_len as usize];
            image.medium.read_at(0, &mut front).context("cannot read the image")?;
            let sectors = disk / SECTOR;
            if let Some(fitted) = gpt::fit(&front, sectors).filter(|_| sectors > size / SECTOR) {
                // The copy at the image's end counts no more: nobody shall find it.
                let old = size - gpt::BACK_SECTORS * SECTOR;
                patches.push((old, vec![0; (size - old) as usize]));
                patches.push((0, fitted.front));
                patches.push(((sectors - gpt::BACK_SECTORS) * SECTOR, fitted.back));
            }
        }
        Ok(Self { image, patches })
    }

    /// All of it, in pieces: the image first.
    fn pieces(&self) -> impl Iterator<Item = Piece> {
        let size = self.image.size();
        let piece = move |start| Piece { start, len: (size - start).min(PIECE as u64) as usize };
        let behind = self.patches.iter().filter(move |(start, bytes)| start + bytes.len() as u64 > size);
        let behind = behind.map(|(start, bytes)| Piece { start: *start, len: bytes.len() });
        (0..size).step_by(PIECE).map(piece).chain(behind)
    }

    /// Reads a piece of it.
    fn read<'b>(&self, piece: &Piece, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
        let bytes = buffer.get_mut(..piece.len).unwrap_or_default();
        let from_image = self.image.size().saturating_sub(piece.start).min(piece.len as u64) as usize;
        let (image, rest) = bytes.split_at_mut(from_image);
        self.image.medium.read_at(piece.start, image).context("cannot read the image")?;
        rest.fill(0);
        for (start, patch) in &self.patches {
            let (from, to) =
                (piece.start.max(*start), (piece.start + piece.len as u64).min(start + patch.len() as u64));
            if from < to {
                let target = (from - piece.start) as usize..(to - piece.start) as usize;
                let source = (from - start) as usize..(to - start) as usize;
                if let (Some(target), Some(source)) = (bytes.get_mut(target), patch.get(source)) {
                    target.copy_from_slice(source);
                }
            }
        }
        Ok(bytes)
    }
}

/// A piece of what a disk holds.
struct Piece {
    start: u64,
    len: usize,
}

/// Writes the image to a disk, makes it durable, and reads it back. `progress` is told how many bytes of each step are done.
///
/// The disk must be the one that was `judged`, where that is given: another one may have its name by now. `is_held` says that somebody uses
/// it, which the user knows: otherwise the kernel is asked once more to refuse that.
///
/// # Errors
/// If the disk cannot be written or read, or holds something else afterwards.
pub fn flash(
    path: &Path,
    image: &Image,
    judged: Option<Identity>,
    is_held: bool,
    mut progress: impl FnMut(Step, u64),
) -> Result<()> {
    let shown = path.display();
    let flags = if is_held { 0 } else { O_EXCL };
    let opened = File::options().read(true).write(true).custom_flags(flags).open(path);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
        bail!("{shown} is in use: the kernel holds it; stop what uses it first");
    }
    let mut out = opened.with_context(|| format!("cannot open {shown} for writing"))?;
    let identity = Identity::of(&out.metadata().with_context(|| format!("cannot look at {shown}"))?);
    if judged.is_some_and(|judged| judged != identity) {
        bail!("{shown} is another disk than a moment ago: nothing was written");
    }
    let size = out.seek(SeekFrom::End(0)).with_context(|| format!("cannot see how large {shown} is"))?;
    let content = Content::new(image, size)?;
    let mut buffer = vec![0; PIECE];
    for piece in content.pieces() {
        let bytes = content.read(&piece, &mut buffer)?;
        out.write_all_at(bytes, piece.start).with_context(|| format!("cannot write to {shown}"))?;
        progress(Step::Writing, (piece.start + piece.len as u64).min(image.size()));
    }
    // Where a stick lies about this, reading back finds it out.
    out.sync_all().with_context(|| format!("cannot make {shown} write everything out"))?;
    drop(out);
    verify(path, image, Some(identity), |done| progress(Step::Verifying, done))
}

/// Compares a disk with the image.
///
/// # Errors
/// If it cannot be read, is not the one with this identity, or differs: from which byte on.
pub fn verify(path: &Path, image: &Image, identity: Option<Identity>, mut progress: impl FnMut(u64)) -> Result<()> {
    let shown = path.display();
    // Some files, such as those in memory, know no such reading.
    let direct = File::options().read(true).custom_flags(O_DIRECT).open(path);
    let mut disk =
        direct.or_else(|_| File::open(path)).with_context(|| format!("cannot open {shown} to read it back"))?;
    let found = Identity::of(&disk.metadata().with_context(|| format!("cannot look at {shown}"))?);
    if identity.is_some_and(|identity| identity != found) {
        bail!("{shown} is another disk than the one that was written");
    }
    let size = disk.seek(SeekFrom::End(0)).with_context(|| format!("cannot see how large {shown} is"))?;
    let content = Content::new(image, size)?;
    let mut expected = vec![0; PIECE];
    let mut room = vec![0_u8; PIECE + 2 * ALIGNMENT];
    let offset = room.as_ptr().align_offset(ALIGNMENT);
    let found = room.get_mut(offset..offset + PIECE + ALIGNMENT).context("a buffer cannot be aligned")?;
    for piece in content.pieces() {
        let expected = content.read(&piece, &mut expected)?;
        // A piece may start and end within a block.
        let before = piece.start as usize % ALIGNMENT;
        let len = (before + piece.len).next_multiple_of(ALIGNMENT).min(found.len());
        let got = read_at_most(&disk, piece.start - before as u64, found.get_mut(..len).unwrap_or_default());
        let got = got.with_context(|| format!("cannot read {shown} back"))?;
        let found = found.get(before..got.min(before + piece.len)).unwrap_or_default();
        if found != expected {
            let same = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
            bail!(
                "{shown} does not hold what was written, from byte {} on: do not use this disk",
                piece.start + same as u64
            );
        }
        progress((piece.start + piece.len as u64).min(image.size()));
    }
    Ok(())
}

/// Reads until the buffer is full, or the disk ends.
fn read_at_most(disk: &File, start: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match disk.read_at(rest, start + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !done.is_multiple_of(ALIGNMENT) {
            break;
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
