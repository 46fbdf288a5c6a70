//! What the design allows these figures to be, and whether they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Comparison;

/// One budget, and what was measured.
pub(super) struct Budget {
    pub(super) what: String,
    /// `None` if a figure that it needs is missing.
    pub(super) measured: Option<f64>,
    pub(super) limit: f64,
    /// The least it may be, not the most.
    pub(super) is_least: bool,
}

impl Budget {
    pub(super) fn least(what: String, measured: Option<f64>, limit: f64) -> Self {
        Self { what, measured, limit, is_least: true }
    }

    pub(super) fn most(what: String, measured: Option<f64>, limit: f64) -> Self {
        Self { what, measured, limit, is_least: false }
    }

    /// What was not measured is not kept.
    pub(super) fn is_kept(&self) -> bool {
        self.measured
            .is_some_and(|measured| if self.is_least { measured >= self.limit } else { measured <= self.limit })
    }
}

/// Raw writes one at a time, as a multiple of Linux's operations a second, by bytes.
const WRITES: [(u64, f64); 3] = [(512, 4.0), (4096, 4.0), (1 << 20, 3.5)];
/// A line until it is durable, as a part of the device's own write and flush, and of Linux's.
const LINE_TO_OWN: f64 = 1.1;
const LINE_TO_LINUX: f64 = 0.45;
/// Many lines until all are durable, as a part of Linux's buffered writes and `fdatasync`.
const LINES_TO_LINUX: f64 = 0.2;
/// A record in the ring, as a multiple of formatting its text.
const LOG_TO_FORMAT: f64 = 3.0;
/// Lines that go to the disk all the time, as a part of the disk's own rate. (Where a processor is emulated, it cannot even format as many: the
/// figures `format` and `produced` say how many it can.)
const SUSTAINED: f64 = 0.9;
/// Writes in flight.
const DEPTHS: [u64; 2] = [4, 16];
/// From the loader's first instruction to the first durable line, in ms of the guest's clock.
const START_MS: f64 = 50.0;
/// Of the kernel's program without symbols, in KiB.
const PROGRAM_KIB: f64 = 256.0;

/// All that follow from these figures.
pub(super) fn of_guests(comparisons: &[Comparison]) -> Vec<Budget> {
    let mut budgets = Vec::new();
    let mut disks: Vec<&str> = comparisons.iter().map(|comparison| comparison.disk).collect();
    disks.dedup();
    for disk in disks {
        let find = |what: &str, bytes: Option<u64>| {
            comparisons.iter().find(|one| {
                one.disk == disk && one.what == what && one.depth == 1 && bytes.is_none_or(|bytes| bytes == one.bytes)
            })
        };
        let ours = |what| find(what, None).and_then(|one| Comparison::median_us(&one.ours));
        let ratio = |over: Option<f64>, under: Option<f64>| over.zip(under).map(|(over, under)| over / under);
        for (bytes, least) in WRITES {
            let measured = find("write", Some(bytes)).and_then(Comparison::ratio);
            budgets.push(Budget::least(format!("{disk}: writes of {bytes} B, times Linux"), measured, least));
        }
        let linux = find("write-flush", None).and_then(|one| Comparison::median_us(&one.linux));
        let lines = find("lines", None).and_then(Comparison::ratio).map(|ratio| 1.0 / ratio);
        for (what, measured, most) in [
            ("line to durable, by write and flush", ratio(ours("line-durable"), ours("write-flush")), LINE_TO_OWN),
            ("line to durable, by Linux's write and fdatasync", ratio(ours("line-durable"), linux), LINE_TO_LINUX),
            ("lines to durable, by Linux's", lines, LINES_TO_LINUX),
            ("log call, by formatting alone", ratio(ours("log"), ours("format")), LOG_TO_FORMAT),
            ("start to first durable line, ms", ours("start").map(|micros| micros / 1e3), START_MS),
        ] {
            budgets.push(Budget::most(format!("{disk}: {what}"), measured, most));
        }
        let rate = |what, bytes| find(what, bytes).and_then(|one| Comparison::rate_mb(&one.ours));
        let sustained = ratio(rate("sustained", None), rate("write", Some(1 << 20)));
        budgets.push(Budget::least(format!("{disk}: lines to disk, by raw writes of 1 MiB"), sustained, SUSTAINED));
        for depth in DEPTHS {
            let deep = comparisons
                .iter()
                .find(|one| (one.disk, one.what.as_str(), one.bytes, one.depth) == (disk, "write", 4096, depth));
            let measured = ratio(deep.and_then(|one| Comparison::rate_mb(&one.ours)), rate("write", Some(4096)));
            budgets.push(Budget::least(format!("{disk}: writes of 4096 B, {depth} at a time, by one"), measured, 1.0));
        }
    }
    budgets
}

/// The size of the diagnostic kernel without its symbols.
///
/// # Errors
/// When `strip` is missing or refuses the file.
pub(super) fn of_program(kernel: &Path, folder: &Path) -> Result<Budget> {
    let stripped = folder.join("kernel-stripped");
    let status = Command::new("strip").arg("-o").args([&stripped, kernel]).status().context("cannot run strip")?;
    ensure!(status.success(), "strip ended with {status}");
    let len = fs::metadata(&stripped)?.len();
    fs::remove_file(&stripped)?;
    Ok(Budget::most("diagnostic kernel, stripped, KiB".to_owned(), Some(len as f64 / 1024.0), PROGRAM_KIB))
}

/// Prints them, each with whether it is kept.
pub(super) fn print(budgets: &[Budget]) {
    println!("{:64} {:>9} {:>12}", "budget", "measured", "allowed");
    for budget in budgets {
        let sign = if budget.is_least { ">=" } else { "<=" };
        let word = match budget.measured {
            None => "not measured",
            Some(_) if budget.is_kept() => "kept",
            Some(_) => "not kept",
        };
        let measured = budget.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.2}"));
        println!("{:64} {measured:>9} {sign:>4} {:>7.2}  {word}", budget.what, budget.limit);
    }
}
