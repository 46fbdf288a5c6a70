//! What `cargo metadata` says about the workspace and its dependencies.

use std::path::PathBuf;
use std::process::Command;
use std::{env, str};

use anyhow::{Context, Result, bail};
use qemu::workspace;
use serde_json::Value;

use super::arrows;

/// Packages, those of the workspace and all that they depend on.
pub(super) struct Metadata(Value);

/// One package.
#[derive(Clone, Copy)]
pub(super) struct Package<'a>(&'a Value);

impl Metadata {
    pub(super) fn read() -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(workspace())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Self::parse(str::from_utf8(&output.stdout)?)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        Ok(Self(serde_json::from_str(text).context("cargo metadata is not JSON")?))
    }

    fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        self.0["packages"].as_array().into_iter().flatten().map(Package)
    }

    fn is_member(&self, package: Package<'_>) -> bool {
        self.0["workspace_members"].as_array().is_some_and(|members| members.contains(&package.0["id"]))
    }

    /// The workspace's own packages.
    pub(super) fn members(&self) -> impl Iterator<Item = Package<'_>> {
        self.packages().filter(|package| self.is_member(*package))
    }

    /// Everybody else's.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = Package<'_>> {
        self.packages().filter(|package| !self.is_member(*package))
    }

    /// The root files of the libraries and programs that promise to have no `unsafe`.
    pub(super) fn roots_without_unsafe(&self) -> Vec<PathBuf> {
        let packages = self.members().filter(|package| arrows::WITHOUT_UNSAFE.contains(&package.name()));
        packages.flat_map(|package| package.roots()).collect()
    }
}

impl<'a> Package<'a> {
    pub(super) fn name(self) -> &'a str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// Its licence, as SPDX writes it; empty if it has none.
    pub(super) fn licence(self) -> &'a str {
        self.0["license"].as_str().unwrap_or_default()
    }

    /// The workspace's packages that it depends on, and whether only its tests do.
    pub(super) fn uses(self) -> impl Iterator<Item = (&'a str, bool)> {
        let dependencies = self.0["dependencies"].as_array().into_iter().flatten();
        let ours = dependencies.filter(|dependency| dependency["path"].is_string());
        ours.map(|dependency| (dependency["name"].as_str().unwrap_or_default(), dependency["kind"] == "dev"))
    }

    fn roots(self) -> impl Iterator<Item = PathBuf> {
        let targets = self.0["targets"].as_array().into_iter().flatten();
        // Tests and benchmarks may do what the code that they are for must not.
        let shipped = |kind: &Value| kind == "lib" || kind == "bin";
        let shipped =
            targets.filter(move |target| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(shipped)));
        shipped.filter_map(|target| target["src_path"].as_str().map(PathBuf::from))
    }
}
