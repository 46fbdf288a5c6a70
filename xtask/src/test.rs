//! `cargo xtask test`: everything that CI runs.

use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use qemu::{GUEST_COUNT, Loaders, Programs, TemporaryDirectory, Tool, require, workspace};

use crate::tidy::tidy;

/// Checks format, lints and house rules, runs every test, and says how long it took and how many guests were booted.
///
/// # Errors
/// At the first step that fails.
pub(crate) fn test() -> Result<()> {
    let started = Instant::now();
    let directory = TemporaryDirectory::new()?;
    let count = directory.file("guests");

    require(Tool::Qemu)?;
    step("format", || cargo(&["fmt", "--all", "--check"], |_| ()))?;
    step("house rules", tidy)?;
    step("lints", || {
        cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"], |_| ())
    })?;
    let (mut programs, mut loaders) = (None, None);
    step("loaders and kernel", || {
        programs = Some(Programs::build(false)?);
        loaders = Some(Loaders::build(false)?);
        Ok(())
    })?;
    step("tests", || {
        cargo(&["test", "--quiet", "--workspace"], |command| {
            command.env(GUEST_COUNT, &count).envs(programs.iter().flat_map(Programs::environment));
            command.envs(loaders.iter().flat_map(Loaders::environment));
        })
    })?;

    // A workspace of its own, since loom's dependencies would bring the standard library into the kernel.
    step("model of the ring", || {
        let manifest = ["--manifest-path", "drivers/blockconsole/loom/Cargo.toml"];
        cargo(&[&["test", "--quiet"][..], &manifest].concat(), |_| ())
    })?;

    // No file: no guest, and then the tests have not tested what they are for.
    let guests = fs::metadata(&count).map(|data| data.len()).unwrap_or(0);
    if guests == 0 {
        bail!("all tests passed, but no guest was booted");
    }
    println!("all passed: {guests} guests booted, {} s in all", seconds(started.elapsed()));
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let started = Instant::now();
    work().with_context(|| format!("step `{name}` failed"))?;
    println!("== {name}: passed in {} s", seconds(started.elapsed()));
    Ok(())
}

fn cargo(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Result<()> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    change(&mut command);
    if !command.status().context("cannot run cargo")?.success() {
        bail!("run `cargo {}` to see this step alone", arguments.join(" "));
    }
    Ok(())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}
