//! `cargo xtask test`: everything that CI runs.

use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use clap::Args;
use qemu::{FOR_TESTS, GUEST_COUNT, Loaders, Programs, TemporaryDirectory, Tool, require, workspace};

use crate::tidy::tidy;

/// Run everything that CI runs: format, house rules, lints, and all tests, also those that boot guests.
#[derive(Args)]
pub(crate) struct TestOptions {
    /// What the arbitrary inputs of property tests are drawn from. By default always the same, so that whether the tests pass depends
    /// on nothing but the code; another number looks elsewhere
    #[arg(long, value_name = "NUMBER", default_value_t = 2012)]
    seed: u64,
}

/// Checks format, lints and house rules, runs every test, and says how long it took and how many guests were booted.
///
/// # Errors
/// At the first step that fails. All tests are run even if some fail.
pub(crate) fn test(options: &TestOptions) -> Result<()> {
    let started = Instant::now();
    let directory = TemporaryDirectory::new()?;
    let count = directory.file("guests");

    // All that will be needed, before half an hour of work could end for the want of it.
    for tool in [&[Tool::Qemu][..], &FOR_TESTS].concat() {
        require(tool)?;
    }
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
        cargo(&["test", "--quiet", "--workspace", "--no-fail-fast"], |command| {
            command.env("PROPTEST_RNG_SEED", options.seed.to_string());
            // What was installed for tests is used: without this they leave out what is missing.
            command.env("BLOCKCONSOLE_TOOLS", "required");
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
    println!("all passed: {guests} guests booted, seed {}, {} s in all", options.seed, seconds(started.elapsed()));
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
