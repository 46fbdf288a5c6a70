//! The matrix as tables, and as JSON.

use std::fmt::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::Run;
use super::cells::{Moment, Setup};
use crate::capture::spread;

/// Figures of several guests.
struct Summary {
    name: String,
    guests: usize,
    consoles: usize,
    captured: usize,
    micros: Option<[u64; 3]>,
    commands: Option<[u64; 3]>,
}

impl Summary {
    fn new<'a>(name: String, runs: impl Iterator<Item = &'a Run>) -> Option<Self> {
        let runs: Vec<&Run> = runs.collect();
        let said = || runs.iter().flat_map(|run| &run.said);
        (!runs.is_empty()).then(|| Self {
            name,
            guests: runs.len(),
            consoles: runs.iter().map(|run| run.consoles).sum(),
            captured: runs.iter().map(|run| run.captured).sum(),
            micros: spread(said().map(|said| said.micros).collect()),
            commands: spread(
                said().filter_map(|said| said.commands.map(|commands| u64::from(commands.all()))).collect(),
            ),
        })
    }

    fn line(&self) -> String {
        let figures = |values: Option<[u64; 3]>| match values {
            Some([least, median, most]) => format!("{least:>7} {median:>7} {most:>7}"),
            None => format!("{:>7} {:>7} {:>7}", "-", "-", "-"),
        };
        let captured = format!("{} of {}", self.captured, self.consoles);
        format!("{:<24} {captured:>12}  {}  {}\n", self.name, figures(self.micros), figures(self.commands))
    }

    fn to_json(&self) -> Value {
        let figures = |values: Option<[u64; 3]>| {
            values.map(|[least, median, most]| json!({ "min": least, "median": median, "max": most }))
        };
        json!({
            "name": self.name,
            "guests": self.guests,
            "consoles": self.consoles,
            "captured": self.captured,
            "micros_to_durable": figures(self.micros),
            "commands": figures(self.commands),
        })
    }
}

/// Figures by disks and moment.
fn by_place(runs: &[Run]) -> Vec<Summary> {
    let moments = |setup| Moment::ALL.into_iter().map(move |moment| (setup, moment));
    let places = Setup::ALL.into_iter().flat_map(moments);
    let summary = |(setup, moment): (Setup, Moment)| {
        let own = runs.iter().filter(move |run| (run.cell.setup, run.cell.moment) == (setup, moment));
        Summary::new(format!("{}, {}", setup.name(), moment.name()), own)
    };
    places.filter_map(summary).collect()
}

/// Figures by the way to crash.
fn by_kind(runs: &[Run]) -> Vec<Summary> {
    let mut kinds: Vec<&str> = runs.iter().map(|run| run.cell.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let own = |kind: &str| Summary::new(kind.to_owned(), runs.iter().filter(|run| run.cell.kind == kind));
    kinds.into_iter().filter_map(own).collect()
}

pub(super) fn tables(runs: &[Run]) -> String {
    let mut text = String::new();
    let all = Summary::new("all".to_owned(), runs.iter()).into_iter().collect();
    for (what, summaries) in [("disks, moment", by_place(runs)), ("way to crash", by_kind(runs)), ("", all)] {
        // Memory: nothing can fail.
        let _ = writeln!(
            text,
            "\n{what:<24} {:>12}  {:^23}  {:^23}\n{:<24} {:>12}  {:>7} {:>7} {:>7}  {:>7} {:>7} {:>7}",
            "captured", "us to durable", "commands", "", "", "min", "median", "max", "min", "median", "max"
        );
        text.extend(summaries.iter().map(Summary::line));
    }
    let failed: Vec<String> = runs.iter().filter(|run| !run.is_captured()).map(|run| run.cell.to_string()).collect();
    if !failed.is_empty() {
        let _ = writeln!(text, "\nnot captured, or not as it should be: {}", failed.join(", "));
    }
    text + &goals(runs)
        + "captured: of all consoles, those that have the whole record, and the word exactly once.\n\
        us to durable: from the crash until the console's flush was done, by the guest's clock.\n\
        commands: reads, writes, erasures and flushes of a console after the crash.\n"
}

/// What the design wants of all of it, in us of the guest's clock, and whether it is so. On a machine that is busy with other things, times
/// are those of the machine.
fn goals(runs: &[Run]) -> String {
    const MEDIAN: u64 = 2_000;
    const WORST: u64 = 5_000;
    let word = |is_kept| if is_kept { "kept" } else { "not kept" };
    let captured = runs.iter().filter(|run| run.is_captured()).count();
    let mut text = format!("\ngoals: all {} guests captured: {}", runs.len(), word(captured == runs.len()));
    if let Some([_, median, worst]) = spread(runs.iter().flat_map(|run| &run.said).map(|said| said.micros).collect()) {
        text += &format!("; median at most {MEDIAN} us: {}", word(median <= MEDIAN));
        text += &format!("; worst at most {WORST} us: {}", word(worst <= WORST));
    }
    text + "\n"
}

pub(super) fn to_json(runs: &[Run]) -> Result<String> {
    let cells: Vec<Value> = runs
        .iter()
        .map(|run| {
            let said = run.said.iter().map(|said| {
                let commands = said.commands.map(|commands| {
                    json!({ "reads": commands.reads, "writes": commands.writes, "flushes": commands.flushes })
                });
                json!({ "micros": said.micros, "commands": commands })
            });
            let said: Vec<Value> = said.collect();
            json!({
                "cell": run.cell.to_string(),
                "consoles": run.consoles,
                "captured": run.captured,
                "durable": said,
                "problem": run.problem,
            })
        })
        .collect();
    let summaries = |list: Vec<Summary>| list.iter().map(Summary::to_json).collect::<Vec<_>>();
    Ok(serde_json::to_string_pretty(&json!({
        "all": Summary::new("all".to_owned(), runs.iter()).map(|all| all.to_json()),
        "by_place": summaries(by_place(runs)),
        "by_kind": summaries(by_kind(runs)),
        "cells": cells,
    }))?)
}
