//! How fast `bcon` reads a full console, beside `cat`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, iter};

use anyhow::{Context, Result, ensure};
use qemu::workspace;

use super::budgets::Budget;
use super::median;

/// Tiles of the console: 4 GiB.
const TILES: u32 = 4096;
const TILE: usize = 1 << 20;
/// What `cat` takes, as a part of what `bcon cat` takes, at least.
const CAT: f64 = 0.8;
/// Turns that both take.
const TURNS: usize = 5;

/// Times both on the same file, by turns, when it is in memory.
///
/// # Errors
/// When there is no room for the file, or a program fails.
pub(super) fn reading(folder: &Path) -> Result<Budget> {
    let bcon = build()?;
    let image = folder.join("full.img");
    println!("bcon: {TURNS} turns beside cat, on {TILES} MiB");
    let made = make(&image).and_then(|()| turns(&bcon, &image));
    // Whatever became of it, nobody wants to keep 4 GiB.
    fs::remove_file(&image)?;
    Ok(Budget::least("bcon cat of a full 4 GiB console, by cat".to_owned(), median(made?), CAT))
}

fn turns(bcon: &Path, image: &Path) -> Result<Vec<f64>> {
    time(Command::new("cat").arg(image))?; // warm up: the file is in memory from here on
    iter::repeat_with(|| {
        let cat = time(Command::new("cat").arg(image))?;
        let ours = time(Command::new(bcon).arg("cat").arg(image))?;
        Ok(cat.as_secs_f64() / ours.as_secs_f64())
    })
    .take(TURNS)
    .collect()
}

fn time(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot run it")?;
    let elapsed = started.elapsed();
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(elapsed)
}

fn build() -> Result<PathBuf> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--package", "bcon"]).current_dir(workspace());
    ensure!(command.status().context("cannot run cargo")?.success(), "bcon does not build");
    Ok(crate::paths::target_directory()?.join("release").join("bcon"))
}

/// A console whose tiles are all full of lines, of one boot, made by hand.
fn make(path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).with_context(|| format!("cannot make {}", path.display()))?);
    let mut number = 0_u64;
    for tile in 0..TILES {
        let mut text = format!("\nLinux blockconsole version 1.1\n0badcafe\n00000000\n{tile:08x}\n").into_bytes();
        if tile == 0 {
            text.extend(b"[    0.000000] INFO  blockconsole: boot 1 of 0badcafe: blockconsole 0.1.0 build 00 at -\n");
        }
        text.extend(format!("[    0.000000] INFO  blockconsole: tile {tile} round 0 boot 1\n").bytes());
        while text.len() < TILE - 200 {
            number += 1;
            let (seconds, micros) = (number / 1_000_000, number % 1_000_000);
            let filler = "the quick brown fox jumps over the lazy dog, and logs that it did so once more";
            text.extend(format!("[{seconds:5}.{micros:06}] INFO  app::part: line {number:09} {filler}\n").bytes());
        }
        // Padded as a block that was written early is.
        text.resize(TILE - 1, b' ');
        text.push(b'\n');
        file.write_all(&text)?;
    }
    file.into_inner().context("cannot write the console")?.sync_all()?;
    Ok(())
}
