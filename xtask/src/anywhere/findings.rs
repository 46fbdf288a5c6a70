//! What a campaign found: as text, and as JSON that another one goes on from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{cmp, fs};

use anyhow::{Context, Result, bail, ensure};
use bcon::crash::symbols::Symbols;
use serde_json::{Value, json};

use super::Run;
use super::places::{Place, describe_drawing};
use crate::campaign::{Results, replace};

/// What must be the same in campaigns that are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) seed: u64,
    /// The kernel's build id.
    pub(super) build: String,
    /// More words of the kernel's command line.
    pub(super) append: String,
}

/// What was found.
pub(super) struct Findings {
    sort: Sort,
    symbols: Symbols,
    /// Different instructions that are wanted.
    distinct: Option<usize>,
    json: Option<PathBuf>,
    runs: Vec<Run>,
    /// Instructions that were crashed at, and the functions that they lie in.
    instructions: BTreeMap<u64, String>,
}

/// Crashes at places that have something in common.
#[derive(Default)]
struct Group {
    crashes: usize,
    failed: usize,
    instructions: BTreeSet<u64>,
}

impl Group {
    fn add(&mut self, run: &Run, at: u64) {
        self.crashes += 1;
        self.failed += usize::from(run.problem.is_some());
        self.instructions.insert(at);
    }
}

impl Results<Run> for Findings {
    fn take(&mut self, run: Run) -> bool {
        if let Some(at) = run.at {
            self.instructions.entry(at).or_insert_with(|| function(&self.symbols, at));
        }
        self.runs.push(run);
        !self.is_enough()
    }

    fn progress(&self) -> String {
        let wanted = self.distinct.map_or(String::new(), |distinct| format!(" of {distinct}"));
        let (guests, instructions) = (self.runs.len(), self.instructions.len());
        format!("{guests} guests, {instructions}{wanted} different instructions, {} not captured", self.failed().len())
    }

    fn keep(&self) -> Result<()> {
        match &self.json {
            Some(path) => replace(path, &self.to_json()?),
            None => Ok(()),
        }
    }
}

impl Findings {
    pub(super) fn new(sort: Sort, symbols: Symbols, distinct: Option<usize>, json: Option<PathBuf>) -> Self {
        Self { sort, symbols, distinct, json, runs: Vec::new(), instructions: BTreeMap::new() }
    }

    /// Takes in what an earlier campaign found, and adds to its file if there is no other.
    ///
    /// # Errors
    /// When the file cannot be read, or is of a campaign that this one cannot be counted together with.
    pub(super) fn resume(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let runs = parse(&text, &self.sort).with_context(|| format!("cannot go on from {shown}"))?;
        for run in runs {
            self.take(run);
        }
        self.json.get_or_insert_with(|| path.to_owned());
        Ok(())
    }

    /// The places that were tried.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.runs.iter().map(|run| run.place)
    }

    /// Whether so many different instructions have been crashed at as were wanted.
    pub(super) fn is_enough(&self) -> bool {
        self.distinct.is_some_and(|distinct| self.instructions.len() >= distinct)
    }

    /// Whether everything that was tried was captured, and that was something, and as much as was wanted.
    pub(super) fn is_good(&self) -> bool {
        !self.runs.is_empty() && self.failed().is_empty() && (self.distinct.is_none() || self.is_enough())
    }

    fn failed(&self) -> Vec<String> {
        self.runs.iter().filter(|run| run.problem.is_some()).map(|run| run.place.to_string()).collect()
    }

    /// Crashes by what `name` says of them, most of them first.
    fn groups(&self, name: impl Fn(&Run, &str) -> String) -> Vec<(String, Group)> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for run in &self.runs {
            if let Some((at, function)) = run.at.and_then(|at| self.instructions.get_key_value(&at)) {
                groups.entry(name(run, function)).or_default().add(run, *at);
            }
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, group)| cmp::Reverse(group.crashes));
        groups
    }

    /// All of it, for people.
    pub(super) fn describe(&self, were_drawn: bool) -> String {
        let functions = self.groups(|_, function| function.to_owned());
        let reached = self.runs.iter().filter(|run| run.at.is_some()).count();
        let mut text = format!(
            "{} guests crashed; {reached} at their place, which is {} different instructions in {} functions\n",
            self.runs.len(),
            self.instructions.len(),
            functions.len()
        );
        if were_drawn {
            text += &describe_drawing(self.sort.seed);
        }
        for (what, groups) in [
            ("stretch", self.groups(|run, _| run.place.stretch().name().to_owned())),
            ("part of the kernel", self.groups(|_, function| part(function))),
            ("function", functions),
        ] {
            text += &format!("crashes, different instructions, and crashes that were not captured, by {what}:\n");
            text.extend(groups.iter().map(|(name, Group { crashes, failed, instructions })| {
                format!("{crashes:>7} {:>6} {failed:>4}  {name}\n", instructions.len())
            }));
        }
        if let Some(distinct) = self.distinct.filter(|_| !self.is_enough()) {
            text += &format!("{distinct} different instructions were wanted: --resume goes on\n");
        }
        match self.failed().as_slice() {
            [] => text + "all were captured\n",
            failed => {
                let (count, list) = (failed.len(), failed.join(" "));
                text + &format!("{count} were not captured; to try again, --replay one of: {list}\n")
            }
        }
    }

    fn to_json(&self) -> Result<String> {
        let place = |run: &Run| {
            let function = run.at.and_then(|at| self.instructions.get(&at));
            json!({ "place": run.place.to_string(), "rip": run.at, "function": function, "problem": run.problem })
        };
        let Sort { seed, build, append } = &self.sort;
        let places: Vec<_> = self.runs.iter().map(place).collect();
        Ok(serde_json::to_string_pretty(&json!({ "seed": seed, "build": build, "append": append, "places": places }))?)
    }
}

/// What a campaign of this sort left.
fn parse(text: &str, wanted: &Sort) -> Result<Vec<Run>> {
    let value: Value = serde_json::from_str(text).context("it is no JSON")?;
    let text = |name: &str| value[name].as_str().map(str::to_owned).with_context(|| format!("it has no `{name}`"));
    let seed = value["seed"].as_u64().context("it has no `seed`")?;
    let Sort { build, append, .. } = wanted;
    ensure!(seed == wanted.seed, "its places were drawn with seed {seed}, not {}: say --seed {seed}", wanted.seed);
    let (own_build, own_append) = (text("build")?, text("append")?);
    ensure!(own_build == *build, "its kernel is another: build id {own_build}, and {build} now");
    ensure!(own_append == *append, "its kernel was told {own_append:?}, and {append:?} now: --append must be the same");
    value["places"].as_array().context("it has no `places`")?.iter().map(parse_run).collect()
}

fn parse_run(value: &Value) -> Result<Run> {
    let place = value["place"].as_str().context("a place has no name")?.parse()?;
    let at = match &value["rip"] {
        Value::Null => None,
        rip => Some(rip.as_u64().with_context(|| format!("{place} was at {rip}, which is no address"))?),
    };
    let problem = match &value["problem"] {
        Value::Null => None,
        Value::String(problem) => Some(problem.clone()),
        problem => bail!("{place} has {problem} for a problem"),
    };
    Ok(Run { place, at, problem })
}

fn function(symbols: &Symbols, address: u64) -> String {
    // The last frame is the function that the address lies in; those before it are inlined there.
    let frames = symbols.frames(address, false);
    let name = frames.last().and_then(|frame| frame.function.clone());
    name.unwrap_or_else(|| "outside of all functions".to_owned())
}

/// The part of the kernel that a function belongs to.
fn part(function: &str) -> String {
    let path = function.trim_start_matches(['<', '&']);
    path.split("::").take(2).collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use std::env;

    use qemu::TemporaryDirectory;

    use super::*;

    fn sort() -> Sort {
        Sort { seed: 1, build: "ab12".to_owned(), append: String::new() }
    }

    /// Findings about this very program, which has symbols.
    fn findings(distinct: Option<usize>, json: Option<PathBuf>) -> Findings {
        Findings::new(sort(), Symbols::open(&env::current_exe().unwrap()).unwrap(), distinct, json)
    }

    fn run(place: &str, at: Option<u64>, problem: Option<&str>) -> Run {
        Run { place: place.parse().unwrap(), at, problem: problem.map(str::to_owned) }
    }

    #[test]
    fn parts_are_crates_and_modules() {
        assert_eq!(part("blockconsole::ring::writer::write"), "blockconsole::ring");
        assert_eq!(part("<blockconsole::ring::Ring>::write"), "blockconsole::ring");
    }

    #[test]
    fn different_instructions_are_counted_until_they_are_enough() {
        let mut findings = findings(Some(2), None);
        assert!(!findings.is_good(), "nothing was tried");
        assert!(findings.take(run("run:1", Some(1), None)) && findings.take(run("run:2", Some(1), None)));
        assert!(findings.take(run("run:3", None, None)));
        assert!(!findings.is_enough() && !findings.is_good());
        assert_eq!(findings.progress(), "3 guests, 1 of 2 different instructions, 0 not captured");
        assert!(findings.describe(true).contains("2 different instructions were wanted: --resume goes on\n"));
        assert!(!findings.take(run("crash:3", Some(2), None)));
        assert!(findings.is_good());
        let text = findings.describe(true);
        assert!(
            text.starts_with("4 guests crashed; 3 at their place, which is 2 different instructions in 1 f"),
            "{text}"
        );
        assert!(text.contains("      2      1    0  run\n      1      1    0  crash\n"), "{text}");
        assert!(text.contains("with seed 1, ") && text.ends_with("all were captured\n"), "{text}");

        findings.take(run("start:7", Some(3), Some("vda: no crash record")));
        assert!(!findings.is_good());
        let text = findings.describe(true);
        assert!(text.ends_with("1 were not captured; to try again, --replay one of: start:7\n"), "{text}");
    }

    #[test]
    fn a_campaign_goes_on_from_what_another_kept() {
        let directory = TemporaryDirectory::new().unwrap();
        let path = directory.file("a.json");
        let mut first = findings(None, Some(path.clone()));
        first.take(run("run:1", Some(u64::MAX), Some("it was lost")));
        first.take(run("crash:5", None, None));
        first.keep().unwrap();

        let mut second = findings(Some(2), None);
        second.resume(&path).unwrap();
        assert!(second.places().eq(first.places()));
        assert_eq!(
            second.describe(true),
            first
                .describe(true)
                .replace("1 were not", "2 different instructions were wanted: --resume goes on\n1 were not")
        );
        second.take(run("run:2", Some(4), None));
        second.keep().unwrap();
        let mut third = findings(None, Some(directory.file("b.json")));
        third.resume(&path).unwrap();
        assert_eq!((third.runs.len(), third.instructions.len()), (3, 2));
        third.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(directory.file("b.json")).unwrap());
    }

    #[test]
    fn campaigns_of_another_sort_are_not_counted_together() {
        let text = findings(None, None).to_json().unwrap();
        assert!(parse(&text, &sort()).is_ok_and(|runs| runs.is_empty()));
        for (other, reason) in [
            (Sort { seed: 2, ..sort() }, "drawn with seed 1, not 2"),
            (Sort { build: "cd".to_owned(), ..sort() }, "its kernel is another: build id ab12, and cd now"),
            (Sort { append: "x".to_owned(), ..sort() }, "its kernel was told \"\", and \"x\" now"),
        ] {
            let error = parse(&text, &other).err().unwrap().to_string();
            assert!(error.contains(reason), "{error}");
        }
        for text in ["", "{}", r#"{"seed": 1, "places": []}"#, r#"{"seed":1,"build":"ab12","append":"","places":[1]}"#]
        {
            assert!(parse(text, &sort()).is_err(), "{text}");
        }
    }
}
