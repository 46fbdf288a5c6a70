//! Where things are.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use qemu::workspace;
use serde_json::Value;

/// Cargo's target directory, as a path to show.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(workspace())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let path = metadata["target_directory"].as_str().map(PathBuf::from);
    path.map(shorten).context("cargo metadata names no target directory")
}

/// A path as it is shown to the user: from the current directory, if it lies in there.
fn shorten(path: PathBuf) -> PathBuf {
    let current = env::current_dir().ok();
    current.and_then(|current| path.strip_prefix(current).ok().map(PathBuf::from)).unwrap_or(path)
}
