//! `bcon list`: which consoles there are, and how they ended.

use super::targets::{each, each_console};
use super::{DONE, FINDINGS, say};
use crate::cli::{ListArgs, Report};
use crate::output::json::write_value;
use crate::output::terminal::write_harmless;
use crate::summary::{End, Summary};
use crate::target;
use anyhow::Result;
use serde_json::{Value, json};
use std::io::{self, Write};

pub(super) fn run(args: &ListArgs) -> Result<u8> {
    let mut summaries = Vec::new();
    let status = each(&args.targets, |path, is_named| {
        let target = target::open(path)?;
        if target.consoles.is_empty() && is_named {
            say(&format!("{}: no console", path.display()));
        }
        Ok(each_console(&target.consoles, |console| {
            summaries.push(Summary::of(console)?);
            Ok(DONE)
        }))
    })?;
    let out = &mut io::stdout().lock();
    match args.output {
        Report::Text => table(&summaries, out)?,
        Report::Json => write_value(&summaries.iter().map(to_json).collect::<Vec<Value>>().into(), out)?,
    }
    Ok(if summaries.is_empty() { status.max(FINDINGS) } else { status })
}

const HEAD: [&str; 8] = ["PLACE", "UUID", "ROUND", "USED", "BOOTS", "FIRST BOOT", "LAST BOOT", "ENDED WITH"];

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
            say(&format!("{}: {note}", summary.name));
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
        summary.first_started.clone().unwrap_or_else(|| "-".to_owned()),
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
        "end": match summary.end {
            Some(End::Clean) => Value::from("clean"),
            Some(End::Crash) => "crash".into(),
            Some(End::Cut) => "cut".into(),
            None => Value::Null,
        },
        "last_crash": crash,
        "kept_tiles": summary.kept.iter().map(|(tile, _)| tile).collect::<Vec<_>>(),
        "kept_boots": summary.kept.iter().map(|(_, boot)| boot).collect::<Vec<_>>(),
        "notes": summary.notes,
    })
}
