//! Builds the loader and the kernel, and says where they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, iter};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The programs that a guest runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The loader, which QEMU starts.
    pub loader: PathBuf,
    /// The diagnostic program, which the loader starts.
    pub kernel: PathBuf,
}

/// Cargo's names for them.
const LOADER: &str = "loader-pvh";
const KERNEL: &str = "kernel";

/// The environment variables that name programs which were built before, so that tests need not ask cargo again.
const BUILT: [&str; 2] = ["BLOCKCONSOLE_LOADER", "BLOCKCONSOLE_KERNEL"];

impl Programs {
    /// Builds them with cargo.
    ///
    /// # Errors
    /// When they do not build.
    pub fn build(release: bool) -> Result<Self> {
        Self::build_with(KERNEL, release)
    }

    /// Builds them with another program in the kernel's place: the one of this package, which has the package's name.
    ///
    /// # Errors
    /// When they do not build.
    pub fn build_with(kernel: &str, release: bool) -> Result<Self> {
        match <[PathBuf; 2]>::try_from(build(&["boot", kernel], &[LOADER, kernel], release)?) {
            Ok([loader, kernel]) => Ok(Self { loader, kernel }),
            Err(_) => bail!("cargo built other programs than {LOADER} and {kernel}"),
        }
    }

    /// Those that the environment names, and otherwise those that cargo builds: once for the whole process.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn find_or_build() -> Result<Self> {
        static FOUND: Mutex<Option<Programs>> = Mutex::new(None);
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(programs) = &*found {
            return Ok(programs.clone());
        }
        let programs = match BUILT.map(env::var_os) {
            [Some(loader), Some(kernel)] => Self { loader: loader.into(), kernel: kernel.into() },
            _ => Self::build(false)?,
        };
        Ok(found.insert(programs).clone())
    }

    /// What to put into the environment so that [`find_or_build`](Self::find_or_build) finds these.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        iter::zip(BUILT, [self.loader.as_path(), self.kernel.as_path()])
    }
}

/// The loaders that firmware starts, as the linker left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaders {
    /// For BIOS.
    pub bios: PathBuf,
    /// For UEFI.
    pub uefi: PathBuf,
}

/// Cargo's names for them, and the environment variables that name those which were built before.
const LOADERS: [&str; 2] = ["loader-bios", "loader-uefi"];
const BUILT_LOADERS: [&str; 2] = ["BLOCKCONSOLE_LOADER_BIOS", "BLOCKCONSOLE_LOADER_UEFI"];

impl Loaders {
    /// Builds them with cargo.
    ///
    /// # Errors
    /// When they do not build.
    pub fn build(release: bool) -> Result<Self> {
        match <[PathBuf; 2]>::try_from(build(&["boot"], &LOADERS, release)?) {
            Ok([bios, uefi]) => Ok(Self { bios, uefi }),
            Err(_) => bail!("cargo built other programs than {}", LOADERS.join(" and ")),
        }
    }

    /// Those that the environment names, and otherwise those that cargo builds: once for the whole process.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn find_or_build() -> Result<Self> {
        static FOUND: Mutex<Option<Loaders>> = Mutex::new(None);
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaders) = &*found {
            return Ok(loaders.clone());
        }
        let loaders = match BUILT_LOADERS.map(env::var_os) {
            [Some(bios), Some(uefi)] => Self { bios: bios.into(), uefi: uefi.into() },
            _ => Self::build(false)?,
        };
        Ok(found.insert(loaders).clone())
    }

    /// What to put into the environment so that [`find_or_build`](Self::find_or_build) finds these.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        iter::zip(BUILT_LOADERS, [self.bios.as_path(), self.uefi.as_path()])
    }
}

/// Builds programs of these packages with cargo, and says where they are, in the order of `programs`.
///
/// # Errors
/// When they do not build.
pub fn build(packages: &[&str], programs: &[&str], release: bool) -> Result<Vec<PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--message-format", "json-render-diagnostics"]).args(release.then_some("--release"));
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.args(programs.iter().flat_map(|program| ["--bin", program])).current_dir(workspace());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{} do not build", programs.join(" and "));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    programs.iter().map(|program| executable(&messages, program)).collect()
}

/// The root of the source tree.
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Finds the program of that name in what cargo says it built.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut paths = artifacts.filter(|message| message["target"]["name"] == name).filter_map(|message| {
        let is_program = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "bin");
        is_program.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    paths.next().with_context(|| format!("cargo built no program {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_told_from_the_library_and_the_build_script() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kernel","kind":["lib"]},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"build-script-build","kind":["custom-build"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"kernel","kind":["bin"]},"executable":"/a/kernel"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "kernel").unwrap(), Path::new("/a/kernel"));
        assert!(executable(messages, "boot").is_err());
    }
}
