//! `bcon list`: which consoles there are, and how they ended.

use super::{DONE, FAILED, FINDINGS, complain};
use crate::cli::{ListArgs, Report};
use crate::output::terminal::write_harmless;
use crate::summary::Summary;
use crate::target;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) fn run(args: &ListArgs) -> Result<u8> {
    let mut summaries = Vec::new();
    let mut failed = false;
    for path in &args.targets {
        for (path, is_named) in expand(path)? {
            match summaries_of(&path) {
                Ok(found) if found.is_empty() && is_named => eprintln!("bcon: {}: no console", path.display()),
                Ok(found) => summaries.extend(found),
                // What is merely lying in a folder may be anything.
                Err(error) if is_named => {
                    complain(&error);
                    failed = true;
                }
                Err(_) => {}
            }
        }
    }
    let out = &mut io::stdout().lock();
    match args.output {
        Report::Text => table(&summaries, out)?,
        Report::Json => {
            let all: Vec<Value> = summaries.iter().map(to_json).collect();
            writeln!(out, "{:#}", Value::from(all))?;
        }
    }
    Ok(match (failed, summaries.is_empty()) {
        (true, _) => FAILED,
        (false, true) => FINDINGS,
        (false, false) => DONE,
    })
}

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

fn summaries_of(path: &Path) -> Result<Vec<Summary>> {
    target::open(path)?.consoles.iter().map(Summary::of).collect()
}

const HEAD: [&str; 7] = ["PLACE", "UUID", "ROUND", "USED", "BOOTS", "LAST BOOT", "ENDED WITH"];

fn table(summaries: &[Summary], out: &mut dyn Write) -> io::Result<()> {
    if summaries.is_empty() {
        return Ok(());
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(summaries.iter().map(row));
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        write_harmless(line.trim_end().as_bytes(), out)?;
        writeln!(out)?;
    }
    for summary in summaries {
        for note in &summary.notes {
            eprintln!("bcon: {}: {note}", summary.name);
        }
    }
    Ok(())
}

fn row(summary: &Summary) -> [String; HEAD.len()] {
    let last = match (&summary.last_started, summary.last_time_us) {
        (Some(started), Some(time)) => format!("{started} +{}", seconds(time)),
        (None, Some(time)) => format!("+{}", seconds(time)),
        (started, None) => started.clone().unwrap_or_else(|| "-".to_owned()),
    };
    [
        summary.name.clone(),
        format!("{:08x}", summary.uuid),
        summary.round.to_string(),
        format!("{}/{} MiB", summary.used, summary.tiles),
        boots(summary),
        last,
        summary.end(),
    ]
}

/// The boots in the log: those whose crash records are kept, and then a range.
fn boots(summary: &Summary) -> String {
    let Some((oldest, newest)) = summary.boots else { return "-".to_owned() };
    let mut boots: Vec<String> = summary.kept.iter().map(|(_, boot)| boot.to_string()).collect();
    boots.dedup();
    boots.push(if oldest == newest { newest.to_string() } else { format!("{oldest}-{newest}") });
    boots.join(",")
}

fn seconds(time_us: u64) -> String {
    format!("{}.{:03} s", time_us / 1_000_000, time_us / 1000 % 1000)
}

fn to_json(summary: &Summary) -> Value {
    let crash = summary.crash.as_ref().map(|crash| {
        json!({
            "id": crash.id.map(|id| format!("{id:016x}")),
            "whole": crash.is_whole(),
            "reason": crate::crash::record::Record::parse(&crash.lines).reason,
        })
    });
    json!({
        "console": summary.name,
        "uuid": format!("{:08x}", summary.uuid),
        "round": summary.round,
        "used_tiles": summary.used,
        "tiles": summary.tiles,
        "oldest_boot": summary.boots.map(|boots| boots.0),
        "newest_boot": summary.boots.map(|boots| boots.1),
        "first_started": summary.first_started,
        "last_started": summary.last_started,
        "last_time": summary.last_time_us.map(|time| time as f64 / 1e6),
        "last_crash": crash,
        "kept_tiles": summary.kept.iter().map(|(tile, _)| tile).collect::<Vec<_>>(),
        "kept_boots": summary.kept.iter().map(|(_, boot)| boot).collect::<Vec<_>>(),
        "notes": summary.notes,
    })
}
