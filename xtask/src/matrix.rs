//! `cargo xtask matrix`: every way to crash, on all sorts of disks, at all moments.
//!
//! Each cell is a guest of its own with fresh disks. What counts is what stands on the disks afterwards: the crash record,
//! whole, of the same crash on all of them, and a random word, logged just before the crash, exactly once. Where a crash is
//! one that nothing can catch (a triple fault), the next boot must have saved the word from memory.

mod cells;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use qemu::{Guest, Machine, Outcome, Programs, Report, TemporaryDirectory};

use crate::campaign::{CampaignOptions, Results, replace};
use crate::capture::{self, Said};
use cells::Cell;

/// Crash in every way, on every sort of disk, at every sort of moment, and say what was captured, how fast, and with how many commands.
///
/// There are about a thousand cells, which take a quarter of an hour on two processors; `--only` takes some of them. SIGINT, SIGTERM and
/// --minutes end it in order.
/// Exit status: 0 everything was captured; 20 something was not, or was not tried; 1 anything else.
#[derive(Args)]
pub(crate) struct MatrixOptions {
    /// Write every cell's figures to this file, now and then and in the end.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Only cells whose name has this in it, repeatable: all of these must be there. A name is KIND/DISKS/MOMENT, such as
    /// `panic/nvme/flood`.
    #[arg(long, value_name = "FILTER")]
    only: Vec<String>,

    /// Guests for each cell.
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u32,

    #[command(flatten)]
    campaign: CampaignOptions,
}

/// How long a guest may take: the longest wait for a watchdog.
const TIME_LIMIT: Duration = Duration::from_secs(40);

/// What became of one guest.
struct Run {
    cell: Cell,
    /// Consoles, and those that have everything.
    consoles: usize,
    captured: usize,
    said: Vec<Said>,
    /// Why not all have.
    problem: Option<String>,
}

/// What became of those that have been run, of so many.
struct Runs {
    list: Vec<Run>,
    all: usize,
    json: Option<PathBuf>,
}

impl Runs {
    fn failed(&self) -> usize {
        self.list.iter().filter(|run| !run.is_captured()).count()
    }
}

impl Results<Run> for Runs {
    fn take(&mut self, run: Run) -> bool {
        self.list.push(run);
        true
    }

    fn progress(&self) -> String {
        format!("{} of {} guests, {} not captured", self.list.len(), self.all, self.failed())
    }

    fn keep(&self) -> Result<()> {
        match &self.json {
            Some(path) => replace(path, &table::to_json(&self.list)?),
            None => Ok(()),
        }
    }
}

/// Runs all cells, and prints the tables.
///
/// # Errors
/// When guests cannot be run at all, or no cell is asked for.
pub(crate) fn matrix(options: &MatrixOptions) -> Result<ExitCode> {
    let directory = TemporaryDirectory::new()?;
    let programs = options.campaign.programs(&directory)?;
    let wanted = |cell: &Cell| options.only.iter().all(|filter| cell.to_string().contains(filter.as_str()));
    let cells: Vec<Cell> = cells::all().filter(wanted).collect();
    ensure!(!cells.is_empty(), "no cell has a name with {:?}", options.only.join("\" and \""));
    let cells = cells.repeat(options.runs.max(1) as usize);
    println!("{} guests", cells.len());
    let mut runs = Runs { list: Vec::new(), all: cells.len(), json: options.json.clone() };
    options.campaign.run_all(&cells, |cell| run(&programs, cell, &options.campaign), &mut runs)?;
    print!("{}", table::tables(&runs.list));
    let not_tried = runs.all - runs.list.len();
    if not_tried > 0 {
        println!("{not_tried} of {} guests were not run", runs.all);
    }
    Ok(if not_tried == 0 && runs.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(20) })
}

fn run(programs: &Programs, cell: Cell, campaign: &CampaignOptions) -> Run {
    let consoles = cell.setup.disks().len();
    let result = try_run(programs, cell, campaign);
    let run = result.unwrap_or_else(|error| Run {
        cell,
        consoles,
        captured: 0,
        said: Vec::new(),
        problem: Some(format!("{error:#}")),
    });
    if let Some(problem) = &run.problem {
        println!("{cell}: {problem}");
    }
    run
}

fn try_run(programs: &Programs, cell: Cell, campaign: &CampaignOptions) -> Result<Run> {
    let directory = TemporaryDirectory::new()?;
    let word = capture::random_word();
    let mut guest = Guest::new(programs);
    guest.disks = cell.setup.disks();
    for (number, disk) in guest.disks.iter_mut().enumerate() {
        disk.path = Some(directory.file(&format!("disk{number}")));
    }
    guest.machine = Machine::for_disks(&guest.disks)?;
    guest.command_line = campaign.command_line(&cell.command_line(&word));
    guest.time_limit = Some(TIME_LIMIT);
    guest.restarts = cell.is_saved_by_next_boot();
    let disks = guest.disks.clone();
    let report = guest.start()?.wait()?;

    let mut problems = Vec::new();
    let mut ids = Vec::new();
    let mut captured = 0;
    for disk in &disks {
        let path = disk.path.as_deref().context("a disk has no path")?;
        let found = capture::read_one(path, &word)?;
        let before = problems.len();
        if !cell.is_saved_by_next_boot() {
            problems.extend(found.problem.map(|problem| format!("{}: {problem}", disk.kind.name())));
            ids.extend(found.id);
        }
        if found.marks != 1 {
            problems.push(format!("{}: the word is there {} times", disk.kind.name(), found.marks));
        }
        problems.extend(found.damages.iter().map(|damage| format!("{}: {damage}", disk.kind.name())));
        captured += usize::from(problems.len() == before);
    }
    if ids.windows(2).any(|pair| pair[0] != pair[1]) {
        problems.push("the records are not of one and the same crash".to_owned());
        captured = 0;
    }
    problems.extend(wrong_end(cell, &report));
    let problem = (!problems.is_empty()).then(|| format!("{}\n{report}", problems.join("; ")));
    let said = capture::said(&report.serial_text());
    Ok(Run { cell, consoles: disks.len(), captured, said, problem })
}

/// What the guest itself must say. It proves nothing, but if it is wrong, something is.
fn wrong_end(cell: Cell, report: &Report) -> Option<String> {
    let expected = match cell.is_saved_by_next_boot() {
        true => Outcome::Finished,
        false => Outcome::Crashed { durable_everywhere: true },
    };
    let says_how = || report.serial_text().contains("was reset or cut short");
    if report.outcome != expected {
        Some(format!("{}", report.outcome))
    } else if cell.is_saved_by_next_boot() && !says_how() {
        Some("the next boot does not say how this one ended".to_owned())
    } else {
        None
    }
}

impl Run {
    fn is_captured(&self) -> bool {
        self.captured == self.consoles && self.problem.is_none()
    }
}
