//! The bytes of a place, wherever they lie on a device or in a file.

use block::{BlockReader, Error, ErrorKind};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// A run of bytes of a file or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Number of bytes.
    pub len: u64,
}

/// A place's bytes, addressed from 0: the whole of a file or device, or some runs of it put one after the other.
///
/// Reading never moves a file position, so that a medium may be shared and cloned freely.
#[derive(Clone, Debug)]
pub struct Medium {
    file: Arc<File>,
    spans: Vec<Span>,
    len: u64,
    /// If the file is read past the page cache: the unit that this takes.
    direct: Option<usize>,
}

/// `open(2)`: read past the page cache.
const O_DIRECT: i32 = if cfg!(any(target_arch = "aarch64", target_arch = "arm")) { 0o20_0000 } else { 0o4_0000 };
/// Where memory for such reads begins: what every device takes.
const DIRECT_ALIGN: usize = 4096;

impl Medium {
    /// The given runs of a file, in order.
    pub fn new(file: Arc<File>, spans: Vec<Span>) -> Self {
        let len = spans.iter().fold(0, |len: u64, span| len.saturating_add(span.len));
        Self { file, spans, len, direct: None }
    }

    /// All of a file or device of `len` bytes.
    pub fn whole(file: Arc<File>, len: u64) -> Self {
        Self::new(file, vec![Span { start: 0, len }])
    }

    /// Some runs of this medium's file, as a medium of their own.
    pub fn part(&self, spans: Vec<Span>) -> Self {
        Self::new(Arc::clone(&self.file), spans)
    }

    /// The same bytes, read past this machine's page cache, which does not see what another machine writes to a shared disk.
    /// `path` is the device's, `block_size` its own.
    ///
    /// # Errors
    /// If it cannot be opened that way.
    pub fn direct(&self, path: &Path, block_size: u32) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(O_DIRECT).open(path)?;
        let medium = Self { file: Arc::new(file), direct: Some(block_size as usize), ..self.clone() };
        let mut first = [0; 512];
        medium.read_at(0, &mut first)?;
        Ok(medium)
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file or device that it is in.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its runs.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Fills `buffer` from byte `offset` on.
    ///
    /// # Errors
    /// What reading gave; [`io::ErrorKind::UnexpectedEof`] beyond the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.pieces(offset, buffer.len(), |position, range| match buffer.get_mut(range) {
            Some(piece) => self.read_file(piece, position),
            None => Ok(()),
        })
    }

    fn read_file(&self, piece: &mut [u8], position: u64) -> io::Result<()> {
        let Some(unit) = self.direct else { return self.file.read_exact_at(piece, position) };
        let before = (position % unit as u64) as usize;
        let len = (before + piece.len()).next_multiple_of(unit);
        let mut bytes = vec![0; len + DIRECT_ALIGN];
        let aligned = bytes.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
        let bytes = bytes.get_mut(aligned..aligned + len).unwrap_or_default();
        self.file.read_exact_at(bytes, position - before as u64)?;
        piece.copy_from_slice(bytes.get(before..before + piece.len()).unwrap_or_default());
        Ok(())
    }

    /// Writes `bytes` from byte `offset` on.
    ///
    /// # Errors
    /// What writing gave; [`io::ErrorKind::UnexpectedEof`] beyond the end, after writing what lies before it.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.pieces(offset, bytes.len(), |position, range| match bytes.get(range) {
            Some(piece) => self.file.write_all_at(piece, position),
            None => Ok(()),
        })
    }

    /// Cuts `len` bytes at `offset` into what is contiguous, and calls `piece` for each: its position in the file, and which of
    /// the bytes it is.
    fn pieces(
        &self,
        offset: u64,
        len: usize,
        mut piece: impl FnMut(u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut skip = offset;
        let mut done = 0;
        for span in &self.spans {
            if done == len {
                break;
            }
            if skip >= span.len {
                skip -= span.len;
                continue;
            }
            let part = (span.len - skip).min((len - done) as u64) as usize;
            piece(span.start + skip, done..done + part)?;
            done += part;
            skip = 0;
        }
        if done == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// A medium as the drivers' parsers read it.
#[derive(Clone, Debug)]
pub struct Blocks {
    medium: Medium,
    block_size: u32,
    reads: u64,
}

impl Blocks {
    /// The medium in blocks of so many bytes: a power of two from 512 to 65,536.
    pub fn new(medium: Medium, block_size: u32) -> Self {
        Self { medium, block_size, reads: 0 }
    }

    /// Reads made so far.
    pub fn reads(&self) -> u64 {
        self.reads
    }
}

impl BlockReader for Blocks {
    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn block_count(&self) -> u64 {
        self.medium.len() / u64::from(self.block_size)
    }

    fn read_blocks(&mut self, first_block: u64, buffer: &mut [u8]) -> Result<(), Error> {
        if !buffer.len().is_multiple_of(self.block_size as usize) {
            return Err(ErrorKind::BadRequest.into());
        }
        let offset = first_block.checked_mul(u64::from(self.block_size)).ok_or(ErrorKind::OutOfRange)?;
        self.reads += 1;
        self.medium.read_at(offset, buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ErrorKind::OutOfRange.into(),
            _ => Error::with_status(ErrorKind::Host, error.raw_os_error().unwrap_or(0).unsigned_abs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_can_be_read_past_the_page_cache() {
        let path = std::env::temp_dir().join(format!("bcon-direct-{}", std::process::id()));
        let bytes: Vec<u8> = (0..64 << 10).map(|at: u32| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let medium = Medium::whole(Arc::new(File::open(&path).unwrap()), bytes.len() as u64);
        let direct = medium.direct(&path, 512);
        std::fs::remove_file(&path).unwrap();
        let direct = match direct {
            Ok(direct) => direct,
            Err(error) => return eprintln!("skipped: no direct reads of files in {}: {error}", path.display()),
        };
        for (offset, len) in [(0, 1), (1, 511), (511, 2), (700, 5000), (4096, 4096), (65_535, 1), (0, 65_536)] {
            let mut read = vec![0; len];
            direct.read_at(offset as u64, &mut read).unwrap();
            assert!(read == bytes[offset..offset + len], "{len} bytes at {offset}");
        }
        assert!(direct.read_at(65_530, &mut [0; 7]).is_err());
    }
}
