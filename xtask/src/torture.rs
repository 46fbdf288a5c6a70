//! `cargo xtask torture`: power cuts, resets, crashes and failing disks, by lot.
//!
//! Each trial draws disks of all sorts, what they hold, and what goes wrong. What counts is on the disks afterwards: everything
//! that was acknowledged or shown, each line once and in order, losses said, crash records whole; and the next boot must take the disks
//! and leave all that.

mod scenario;
mod story;
mod trial;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use qemu::{Programs, TemporaryDirectory};

use crate::campaign::{CampaignOptions, Results};
use scenario::Scenario;
use trial::{Trial, TrialResult};

/// Put guests through power cuts, resets, interrupts, crashes and failing disks, drawn by lot, and say what their disks lack.
///
/// A trial takes a second or two. SIGINT, SIGTERM and --minutes end it in order: then what was tried counts.
/// Exit status: 0 nothing was lost; 20 something was; 1 anything else.
#[derive(Args)]
pub(crate) struct TortureOptions {
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 100)]
    runs: usize,

    /// What everything is drawn from; the same number gives the same trials.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Only this trial, as a failure names it.
    #[arg(long, value_name = "NUMBER")]
    only: Option<usize>,

    #[command(flatten)]
    campaign: CampaignOptions,
}

/// What became of one trial.
struct Played {
    number: usize,
    trouble: &'static str,
    result: TrialResult,
}

/// What became of those that have been played, of so many.
struct Trials {
    played: Vec<Played>,
    all: usize,
}

impl Trials {
    fn failed(&self) -> usize {
        self.played.iter().filter(|played| !played.result.problems.is_empty()).count()
    }
}

impl Results<Played> for Trials {
    fn take(&mut self, played: Played) -> bool {
        self.played.push(played);
        true
    }

    fn progress(&self) -> String {
        format!("{} of {} trials, {} lost something", self.played.len(), self.all, self.failed())
    }
}

/// Runs all trials, and says what was lost.
///
/// # Errors
/// When the programs do not build.
pub(crate) fn torture(options: &TortureOptions) -> Result<ExitCode> {
    let directory = TemporaryDirectory::new()?;
    let programs = options.campaign.programs(&directory)?;
    let numbers: Vec<usize> = options.only.map_or_else(|| (0..options.runs).collect(), |only| vec![only]);
    let mut trials = Trials { played: Vec::new(), all: numbers.len() };
    options.campaign.run_all(&numbers, |number| play(&programs, options, number), &mut trials)?;
    print!("{}", describe(&trials.played, options.seed));
    // That nothing was lost when nothing was tried is no good news.
    let is_whole = !trials.played.is_empty() && trials.failed() == 0;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(20) })
}

fn play(programs: &Programs, options: &TortureOptions, number: usize) -> Played {
    let scenario = Scenario::draw(options.seed, number);
    let result = match Trial::new(programs, &scenario, options.seed ^ number as u64, &options.campaign) {
        Ok(mut trial) => {
            if let Err(error) = trial.play() {
                trial.result.problems.push(format!("{error:#}"));
            }
            trial.result
        }
        Err(error) => TrialResult { problems: vec![format!("{error:#}")], ..TrialResult::default() },
    };
    if !result.problems.is_empty() {
        println!("trial {number} ({scenario}):\n  {}", result.problems.join("\n  "));
    }
    Played { number, trouble: scenario.trouble.name(), result }
}

fn describe(played: &[Played], seed: u64) -> String {
    let mut sorts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for Played { trouble, result, .. } in played {
        let sort = sorts.entry(trouble).or_default();
        let whole = usize::from(result.problems.is_empty());
        let counts = [1, whole, result.guests, result.cuts];
        sort.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let mut text = String::from("trouble              nothing lost    guests   disks after a power cut\n");
    for (name, [trials, whole, guests, cuts]) in &sorts {
        let whole = format!("{whole} of {trials}");
        text += &format!("{name:<20} {whole:>12} {guests:>9} {cuts:>9}\n");
    }
    let failed = played.iter().filter(|played| !played.result.problems.is_empty());
    let mut failed: Vec<usize> = failed.map(|played| played.number).collect();
    failed.sort_unstable();
    text += &match failed.as_slice() {
        [] => format!("nothing was lost in {} trials\n", played.len()),
        [first, ..] => {
            let numbers = failed.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
            format!("something was lost in trials {numbers}; to try again: --seed {seed} --only {first}\n")
        }
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_named() {
        let played = |number, problems: &[&str]| Played {
            number,
            trouble: "killed",
            result: TrialResult {
                problems: problems.iter().map(|text| (*text).to_owned()).collect(),
                guests: 2,
                cuts: 0,
            },
        };
        let text = describe(&[played(0, &[]), played(7, &["x"])], 5);
        assert!(text.contains("1 of 2") && text.contains("--seed 5 --only 7"), "{text}");
        assert!(describe(&[played(0, &[])], 5).contains("nothing was lost in 1 trials"));
    }
}
