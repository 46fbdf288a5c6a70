//! The targets of a command: named ones, and folders of images.

use super::{DONE, FAILED, complain, is_broken_pipe};
use crate::target::Console;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder's files, sorted, or the target itself; and whether the user named it.
pub(super) fn expand(path: &Path) -> Result<Vec<(PathBuf, bool)>> {
    if !path.is_dir() {
        return Ok(vec![(path.to_owned(), true)]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files.into_iter().map(|path| (path, false)).collect())
}

/// Does something to each target and each file of each folder. What fails is complained about, and does not keep it from
/// the others. Returns the highest status.
///
/// `act` is told whether the user named the file: what merely lies in a folder may be anything, but whatever cannot be read there
/// is a failure too, since it may hold a console.
///
/// # Errors
/// If nobody reads standard output any more.
pub(super) fn each(targets: &[PathBuf], mut act: impl FnMut(&Path, bool) -> Result<u8>) -> Result<u8> {
    let mut worst = DONE;
    for target in targets {
        let files = expand(target).unwrap_or_else(|error| {
            complain(&error);
            worst = FAILED;
            vec![]
        });
        for (path, is_named) in files {
            match act(&path, is_named) {
                Ok(status) => worst = worst.max(status),
                Err(error) if is_broken_pipe(&error) => return Err(error),
                Err(error) => {
                    complain(&error);
                    worst = FAILED;
                }
            }
        }
    }
    Ok(worst)
}

/// Does something to each console of a target. What fails is complained about, and does not keep it from the others. Returns the highest
/// status.
pub(super) fn each_console(consoles: &[Console], mut act: impl FnMut(&Console) -> Result<u8>) -> u8 {
    consoles.iter().fold(DONE, |worst, console| {
        let status = act(console).unwrap_or_else(|error| {
            complain(&error);
            FAILED
        });
        worst.max(status)
    })
}
