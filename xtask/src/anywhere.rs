//! `cargo xtask anywhere`: crashes in the middle of anything, drawn by lot.
//!
//! The processor's trap flag counts instructions one by one, and what it interrupts after so many is taken for a non-maskable
//! interrupt: no step of the code can be left out by it, as it knows of none. Each guest logs a random word and crashes once. Its
//! disks must hold the whole record and the word exactly once.
//!
//! Places are numbers of instructions, in three stretches of a run:
//! - `start:N`, from when all devices have been found: drivers come up, disks are searched, memory is allocated, consoles mount;
//! - `run:N`, from when the program begins, which logs without end: logging, formatting, console, drivers, timer tick;
//! - `crash:N`, from the beginning of the crash path, which is interrupted by another crash.
//!
//! Numbers are drawn uniformly from as far as a guest gets. The record says where that was.

mod findings;
mod places;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bcon::crash::record::Record;
use bcon::crash::symbols::Symbols;
use clap::Args;
use qemu::{Disk, Guest, Kind, Outcome, Programs, TemporaryDirectory};

use crate::campaign::CampaignOptions;
use crate::capture;
use findings::{Findings, Sort};
use places::{Place, draw, without};

/// Crash at instructions drawn by lot, all over the kernel, and say which were captured and where they were.
///
/// A guest takes half a second on average, so that 2000 different instructions are a matter of 10 minutes on two processors. SIGINT,
/// SIGTERM and --minutes end it in order, and --resume goes on with it.
/// Exit status: 0 everything was captured, and --distinct was reached; 20 not so; 1 anything else.
#[derive(Args)]
pub(crate) struct AnywhereOptions {
    /// Guests to crash.
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: usize,

    /// Go on drawing until so many different instructions have been crashed at; gives up at ten times as many guests.
    #[arg(long, value_name = "N", conflicts_with_all = ["count", "replay"])]
    distinct: Option<usize>,

    /// What the places are drawn from; the same number gives the same places.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Crash at this place, as a failure names it: `start:N`, `run:N` or `crash:N`. Shows all that is known. As disks and timer do not
    /// keep time with instructions, what is at the place may differ a little from time to time: --count says how often to try.
    #[arg(long, value_name = "PLACE")]
    replay: Option<Place>,

    /// Write every place's result to this file, now and then and in the end.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Go on with an earlier campaign, of the same seed and the same kernel, that left this file: its places count, and are not done
    /// again. What is found is added to the file, unless --json names another.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    resume: Option<PathBuf>,

    #[command(flatten)]
    campaign: CampaignOptions,
}

/// How long a guest may take. One instruction at a time is slow.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// What became of one guest.
struct Run {
    place: Place,
    /// Where the crash was; `None` if the guest did not get there.
    at: Option<u64>,
    problem: Option<String>,
}

/// Crashes everywhere, and prints where that was.
///
/// # Errors
/// When guests cannot be run at all.
pub(crate) fn anywhere(options: &AnywhereOptions) -> Result<ExitCode> {
    let directory = TemporaryDirectory::new()?;
    let programs = options.campaign.programs(&directory)?;
    let symbols = Symbols::open(&programs.kernel)?;
    let sort = Sort {
        seed: options.seed,
        build: symbols.build_id().context("the kernel has no build id")?.to_owned(),
        append: options.campaign.words().to_owned(),
    };
    let mut findings = Findings::new(sort, symbols, options.distinct, options.json.clone());
    if let Some(path) = &options.resume {
        findings.resume(path)?;
    }
    let places = match options.replay {
        Some(place) => vec![place; options.count.clamp(1, 20)],
        None => draw(options.seed, options.distinct.map_or(options.count, |distinct| distinct.saturating_mul(10))),
    };
    let places = if findings.is_enough() { Vec::new() } else { without(places, findings.places()) };
    options.campaign.run_all(&places, |place| run(&programs, place, &options.campaign), &mut findings)?;
    print!("{}", findings.describe(options.replay.is_none()));
    Ok(if findings.is_good() { ExitCode::SUCCESS } else { ExitCode::from(20) })
}

fn run(programs: &Programs, place: Place, campaign: &CampaignOptions) -> Run {
    let result = try_run(programs, place, campaign);
    let run = result.unwrap_or_else(|error| Run { place, at: None, problem: Some(format!("{error:#}")) });
    if let Some(problem) = &run.problem {
        println!("{place}: {problem}");
    }
    run
}

fn try_run(programs: &Programs, place: Place, campaign: &CampaignOptions) -> Result<Run> {
    let directory = TemporaryDirectory::new()?;
    let word = capture::random_word();
    let mut guest = Guest::new(programs);
    guest.disks = [Kind::Virtio, Kind::Nvme]
        .map(|kind| {
            let mut disk = Disk::new(kind, directory.file(kind.name()));
            disk.size = Some(8 << 20);
            disk
        })
        .to_vec();
    guest.command_line = campaign.command_line(&place.command_line(&word));
    guest.time_limit = Some(TIME_LIMIT);
    let disks = guest.disks.clone();
    let report = guest.start()?.wait()?;

    let mut problems = Vec::new();
    let mut at = None;
    for disk in &disks {
        let name = disk.kind.name();
        let path = disk.path.as_deref().context("a disk has no path")?;
        let found = capture::read_one(path, &word)?;
        problems.extend(found.problem.map(|problem| format!("{name}: {problem}")));
        problems.extend(found.damages.iter().map(|damage| format!("{name}: {damage}")));
        if found.marks != 1 {
            problems.push(format!("{name}: the word is there {} times", found.marks));
        }
        // A disk that was done with before the second crash has the record of the first.
        at = at.or_else(|| found.record.as_ref().and_then(|record| place_of(record, place)));
    }
    if report.outcome != (Outcome::Crashed { durable_everywhere: true }) {
        problems.push(report.outcome.to_string());
    }
    let problem = (!problems.is_empty()).then(|| format!("{}\n{report}", problems.join("; ")));
    Ok(Run { place, at, problem })
}

/// Where the crash was that the place is about.
fn place_of(record: &Record, place: Place) -> Option<u64> {
    let is_second = record.reason.contains("this was in the crash path of");
    (is_second == place.is_in_crash()).then(|| record.register("rip")).flatten()
}
