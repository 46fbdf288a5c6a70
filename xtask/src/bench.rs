//! `cargo xtask bench`: disks and log, beside a Linux guest on the same QEMU.
//!
//! Only ratios mean anything: machines differ, and so does one machine from minute to minute. So both guests run by turns on
//! images of their own in the same folder, and what is shown is the median of the ratios of each turn.

mod budgets;
mod crashes;
mod figure;
mod initramfs;
mod peer;
mod reading;

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use budgets::Budget;
use clap::Args;
use figure::Figure;
use peer::Peer;
use qemu::{Disk, Guest, Kind, Outcome, Programs, Tool, require, workspace};
use serde_json::json;

use crate::paths::target_directory;

/// Measure disks and log beside a Linux guest on the same QEMU, as ratios. Fetches Debian's kernel package for that guest.
#[derive(Args)]
pub(crate) struct BenchOptions {
    /// Write the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Turns that both guests take on each kind of disk.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    turns: u8,
    /// End with status 20 if a budget is not kept, or could not be measured.
    #[arg(long)]
    check: bool,
}

const MIB: usize = 1 << 20;
/// Where the console's first block ends: what `format` wrote stays.
const FORMATTED: u64 = MIB as u64;

/// One figure of both guests, in all turns.
struct Comparison {
    disk: &'static str,
    what: String,
    bytes: u64,
    depth: u64,
    ours: Vec<Figure>,
    linux: Vec<Figure>,
}

/// Takes all figures, and prints them.
///
/// # Errors
/// When something is missing, or a guest does not come to its end.
pub(crate) fn bench(options: &BenchOptions) -> Result<ExitCode> {
    require(Tool::Qemu)?;
    let folder = target_directory()?.join("bench");
    let peer = Peer::prepare(workspace(), &folder)?;
    let programs = Programs::build_with("bench", true)?;
    let mut comparisons = Vec::new();
    for kind in [Kind::Virtio, Kind::Nvme] {
        let image = |whose: &str| folder.join(format!("{}-{whose}.img", kind.name()));
        let (ours, linux) = (image("blockconsole"), image("linux"));
        let mut alone = None;
        for turn in 1..=options.turns {
            println!("{}: turn {turn} of {}", kind.name(), options.turns);
            for path in [&ours, &linux] {
                make_image(kind, path)?;
            }
            let figures = run(&programs, kind, &ours)?;
            match peer.run(kind, &linux)? {
                Some(peer) => add(&mut comparisons, kind, figures, peer),
                // The two are compared turn by turn.
                None => alone = Some(figures),
            }
        }
        if let Some(figures) = alone.filter(|_| !comparisons.iter().any(|known| known.disk == kind.name())) {
            println!("{}: no turn has figures of Linux", kind.name());
            add(&mut comparisons, kind, figures, Vec::new());
        }
        for path in [ours, linux] {
            fs::remove_file(path)?;
        }
    }
    print(&comparisons);
    let mut budgets = budgets::of_guests(&comparisons);
    let diagnostic = Programs::build(true)?;
    budgets.extend(crashes::crashes(&diagnostic)?);
    budgets.push(crashes::memory(&diagnostic)?);
    budgets.push(budgets::of_program(&diagnostic.kernel, &folder)?);
    budgets.push(reading::reading(&folder)?);
    budgets::print(&budgets);
    if let Some(path) = &options.json {
        fs::write(path, to_json(&comparisons, &budgets)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let is_bad = options.check && !budgets.iter().all(Budget::is_kept);
    Ok(if is_bad { ExitCode::from(20) } else { ExitCode::SUCCESS })
}

/// A fresh console whose file has all its blocks, so that no guest has to wait for the host to find some.
fn make_image(kind: Kind, path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    Disk::new(kind, path).prepare()?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut left = file.metadata()?.len().saturating_sub(FORMATTED);
    file.seek(SeekFrom::Start(FORMATTED))?;
    let zeroes = vec![0; MIB];
    while left > 0 {
        let piece = zeroes.len().min(left as usize);
        file.write_all(&zeroes[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()?;
    Ok(())
}

fn run(programs: &Programs, kind: Kind, image: &Path) -> Result<Vec<Figure>> {
    let mut guest = Guest::new(programs);
    guest.disks = vec![Disk::new(kind, image)];
    guest.memory_mib = 256;
    guest.command_line = "loglevel=info".to_owned();
    guest.time_limit = Some(Duration::from_secs(180));
    let report = guest.start()?.wait()?.expect(Outcome::Finished)?;
    let text = report.serial_text();
    ensure!(text.lines().any(|line| line == "bench: done"), "the benchmark did not come to its end: {report}");
    text.lines()
        .filter_map(|line| line.strip_prefix("bench: ")?.split_once(' '))
        .map(|(_, rest)| Figure::parse(rest))
        .collect()
}

fn add(comparisons: &mut Vec<Comparison>, kind: Kind, ours: Vec<Figure>, linux: Vec<Figure>) {
    for figure in ours {
        let is_same =
            |other: &&Figure| (&other.what, other.bytes, other.depth) == (&figure.what, figure.bytes, figure.depth);
        let peer = linux.iter().find(is_same).cloned();
        let disk = kind.name();
        let known = comparisons.iter_mut().find(|known| {
            (known.disk, &known.what, known.bytes, known.depth) == (disk, &figure.what, figure.bytes, figure.depth)
        });
        match known {
            Some(known) => {
                known.ours.push(figure);
                known.linux.extend(peer);
            }
            None => comparisons.push(Comparison {
                disk,
                what: figure.what.clone(),
                bytes: figure.bytes,
                depth: figure.depth,
                ours: vec![figure],
                linux: peer.into_iter().collect(),
            }),
        }
    }
}

impl Comparison {
    /// Ours, as a multiple of Linux's, of each turn: of operations a second, by the median operation at depth 1, where single
    /// times mean something, and by the total at others and for the lines. `None` where Linux has no such figure.
    fn ratio(&self) -> Option<f64> {
        let by_median = self.depth == 1 && self.what != "lines";
        let time = |figure: &Figure| {
            if by_median { figure.median_ns as f64 } else { figure.total_ns as f64 / figure.operations as f64 }
        };
        let ratios = self.ours.iter().zip(&self.linux).map(|(ours, linux)| time(linux) / time(ours));
        median(ratios.collect())
    }

    fn median_us(figures: &[Figure]) -> Option<f64> {
        median(figures.iter().map(|figure| figure.median_ns as f64 / 1000.0).collect())
    }

    /// Operations a second.
    fn per_second(figures: &[Figure]) -> Option<f64> {
        let rate = |figure: &Figure| figure.operations as f64 * 1e9 / figure.total_ns as f64;
        median(figures.iter().map(rate).collect())
    }

    fn rate_mb(figures: &[Figure]) -> Option<f64> {
        median(figures.iter().map(|figure| figure.rate() / 1e6).collect())
    }
}

/// The middle one; of an even number, the lower of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

fn print(comparisons: &[Comparison]) {
    println!(
        "{:8} {:12} {:>8} {:>5} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7}",
        "disk", "what", "bytes", "depth", "ours, us", "Linux, us", "ours, 1/s", "Linux", "ours, MB/s", "Linux", "ratio"
    );
    let show = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    for comparison in comparisons {
        println!(
            "{:8} {:12} {:>8} {:>5} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7}",
            comparison.disk,
            comparison.what,
            comparison.bytes,
            comparison.depth,
            show(Comparison::median_us(&comparison.ours), 1),
            show(Comparison::median_us(&comparison.linux), 1),
            show(Comparison::per_second(&comparison.ours), 0),
            show(Comparison::per_second(&comparison.linux), 0),
            show(Comparison::rate_mb(&comparison.ours), 1),
            show(Comparison::rate_mb(&comparison.linux), 1),
            show(comparison.ratio(), 2),
        );
    }
    println!("us: of the median operation. ratio: how many times as fast as Linux, the median of all turns.");
}

fn to_json(comparisons: &[Comparison], budgets: &[Budget]) -> Result<String> {
    let figures: Vec<_> = comparisons
        .iter()
        .map(|comparison| {
            json!({
                "disk": comparison.disk,
                "what": comparison.what,
                "bytes": comparison.bytes,
                "depth": comparison.depth,
                "median_us": Comparison::median_us(&comparison.ours),
                "linux_median_us": Comparison::median_us(&comparison.linux),
                "per_s": Comparison::per_second(&comparison.ours),
                "linux_per_s": Comparison::per_second(&comparison.linux),
                "mb_per_s": Comparison::rate_mb(&comparison.ours),
                "linux_mb_per_s": Comparison::rate_mb(&comparison.linux),
                "ratio": comparison.ratio(),
            })
        })
        .collect();
    let budgets: Vec<_> = budgets
        .iter()
        .map(|budget| {
            let bound = if budget.is_least { "at_least" } else { "at_most" };
            json!({ "what": budget.what, "measured": budget.measured, bound: budget.limit, "kept": budget.is_kept() })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&json!({ "figures": figures, "budgets": budgets }))?)
}
