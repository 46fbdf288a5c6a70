//! Writes an image to a disk, and reads it back.
//!
//! ```text
//!   Disk::look ──► Disk::verdict ──► flash: write, make durable ──► read back past the page cache, compare
//!    (sysfs)          (judge)
//! ```

mod judge;

pub use judge::{Disk, Refusal, Told, Verdict};

use crate::signature;
use crate::{medium::Medium, target::open_file};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io;
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

/// Writes the image to a disk, makes it durable, and reads it back. `progress` is told how many bytes of each step are done.
///
/// `is_held` says that somebody uses the disk, which the user knows: otherwise the kernel is asked once more to refuse that.
///
/// # Errors
/// If the disk cannot be written or read, or holds something else afterwards.
pub fn flash(path: &Path, image: &Image, is_held: bool, mut progress: impl FnMut(Step, u64)) -> Result<()> {
    let shown = path.display();
    let flags = if is_held { 0 } else { O_EXCL };
    let opened = File::options().write(true).custom_flags(flags).open(path);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
        bail!("{shown} is in use: the kernel holds it; stop what uses it first");
    }
    let out = opened.with_context(|| format!("cannot open {shown} for writing"))?;
    let mut buffer = vec![0; PIECE];
    for piece in pieces(image.size()) {
        let bytes = buffer.get_mut(..piece.len).unwrap_or_default();
        image.medium.read_at(piece.start, bytes).context("cannot read the image")?;
        out.write_all_at(bytes, piece.start).with_context(|| format!("cannot write to {shown}"))?;
        progress(Step::Writing, piece.start + piece.len as u64);
    }
    // Where a stick lies about this, reading back finds it out.
    out.sync_all().with_context(|| format!("cannot make {shown} write everything out"))?;
    drop(out);
    verify(path, image, |done| progress(Step::Verifying, done))
}

/// A piece of the image.
struct Piece {
    start: u64,
    len: usize,
}

fn pieces(size: u64) -> impl Iterator<Item = Piece> {
    let piece = move |start| Piece { start, len: (size - start).min(PIECE as u64) as usize };
    (0..size).step_by(PIECE).map(piece)
}

/// Compares a disk with the image.
///
/// # Errors
/// If it cannot be read, or differs: from which byte on.
pub fn verify(path: &Path, image: &Image, mut progress: impl FnMut(u64)) -> Result<()> {
    let shown = path.display();
    // Some files, such as those in memory, know no such reading.
    let direct = File::options().read(true).custom_flags(O_DIRECT).open(path);
    let disk = direct.or_else(|_| File::open(path)).with_context(|| format!("cannot open {shown} to read it back"))?;
    let mut expected = vec![0; PIECE];
    let mut room = vec![0_u8; PIECE + ALIGNMENT];
    let offset = room.as_ptr().align_offset(ALIGNMENT);
    let found = room.get_mut(offset..offset + PIECE).context("a buffer cannot be aligned")?;
    for piece in pieces(image.size()) {
        let expected = expected.get_mut(..piece.len).unwrap_or_default();
        image.medium.read_at(piece.start, expected).context("cannot read the image")?;
        // The last piece may end within a block.
        let len = piece.len.next_multiple_of(ALIGNMENT).min(PIECE);
        let got = read_at_most(&disk, piece.start, found.get_mut(..len).unwrap_or_default());
        let got = got.with_context(|| format!("cannot read {shown} back"))?;
        let found = found.get(..got.min(piece.len)).unwrap_or_default();
        if found != expected {
            let same = found.iter().zip(&*expected).take_while(|(a, b)| a == b).count();
            bail!(
                "{shown} does not hold what was written, from byte {} on: do not use this disk",
                piece.start + same as u64
            );
        }
        progress(piece.start + piece.len as u64);
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
