//! What the design allows these figures to be, and whether they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Comparison;

/// One budget, and what was measured.
pub(super) struct Budget {
    pub(super) what: String,
    pub(super) measured: f64,
    pub(super) limit: f64,
    /// The least it may be, not the most.
    pub(super) is_least: bool,
}

impl Budget {
    fn least(what: String, measured: f64, limit: f64) -> Self {
        Self { what, measured, limit, is_least: true }
    }

    fn most(what: String, measured: f64, limit: f64) -> Self {
        Self { what, measured, limit, is_least: false }
    }

    pub(super) fn is_kept(&self) -> bool {
        if self.is_least { self.measured >= self.limit } else { self.measured <= self.limit }
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
        for (bytes, least) in WRITES {
            if let Some(ratio) = find("write", Some(bytes)).and_then(Comparison::ratio) {
                budgets.push(Budget::least(format!("{disk}: writes of {bytes} B, times Linux"), ratio, least));
            }
        }
        if let (Some(line), Some(flush)) = (ours("line-durable"), ours("write-flush")) {
            let what = format!("{disk}: line to durable, by write and flush");
            budgets.push(Budget::most(what, line / flush, LINE_TO_OWN));
        }
        let linux = find("write-flush", None).and_then(|one| Comparison::median_us(&one.linux));
        if let (Some(line), Some(flush)) = (ours("line-durable"), linux) {
            let what = format!("{disk}: line to durable, by Linux's write and fdatasync");
            budgets.push(Budget::most(what, line / flush, LINE_TO_LINUX));
        }
        if let Some(ratio) = find("lines", None).and_then(Comparison::ratio) {
            budgets.push(Budget::most(format!("{disk}: lines to durable, by Linux's"), 1.0 / ratio, LINES_TO_LINUX));
        }
        if let (Some(log), Some(format)) = (ours("log"), ours("format")) {
            budgets.push(Budget::most(format!("{disk}: log call, by formatting alone"), log / format, LOG_TO_FORMAT));
        }
        if let Some(start) = ours("start") {
            budgets.push(Budget::most(format!("{disk}: start to first durable line, ms"), start / 1e3, START_MS));
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
    Ok(Budget::most("diagnostic kernel, stripped, KiB".to_owned(), len as f64 / 1024.0, PROGRAM_KIB))
}

/// Prints them, each with whether it is kept.
pub(super) fn print(budgets: &[Budget]) {
    println!("{:56} {:>9} {:>11}", "budget", "measured", "allowed");
    for budget in budgets {
        let sign = if budget.is_least { ">=" } else { "<=" };
        let word = if budget.is_kept() { "kept" } else { "not kept" };
        println!("{:56} {:>9.2} {sign:>4} {:>6.2}  {word}", budget.what, budget.measured, budget.limit);
    }
}
