//! A directory that goes away with its owner.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process};

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;

/// A new, empty directory, removed with all it holds on drop.
#[derive(Debug)]
pub struct TemporaryDirectory {
    path: PathBuf,
}

impl TemporaryDirectory {
    /// Makes one in memory, if there is room, and otherwise in the system's place for temporary files; if `TMPDIR` is set, there.
    ///
    /// A guest's flush is one of the host's disk, and takes seconds if that is busy: longer than drivers have patience
    /// in a crash. What is tested is the guest, and not that disk.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = place().join(format!("blockconsole-{}-{number}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // Left behind by a killed process that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // Nobody could do anything about a failure here.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A file system in memory, on Linux.
const MEMORY: &str = "/dev/shm";
/// What it must have left, in bytes: a test may have some images of 100 MiB each, and there are tests side by side.
const ROOM: u64 = 2 << 30;

fn place() -> PathBuf {
    let has_room =
        || statvfs(MEMORY).is_ok_and(|found| found.blocks_available().saturating_mul(found.fragment_size()) >= ROOM);
    if env::var_os("TMPDIR").is_none() && has_room() { PathBuf::from(MEMORY) } else { env::temp_dir() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_away_with_its_files() {
        let directory = TemporaryDirectory::new().unwrap();
        let path = directory.path().to_owned();
        fs::write(directory.file("a"), "b").unwrap();
        assert!(path.is_dir());
        drop(directory);
        assert!(!path.exists());
    }
}
