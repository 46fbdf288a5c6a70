//! `bcon crash --all`: the crashes of many disks, counted by reason and place.

use super::list::expand;
use super::{DAMAGED, DONE, FINDINGS};
use crate::cli::{CrashArgs, Report};
use crate::crash;
use crate::crash::record::Record;
use crate::crash::symbols::{Symbols, build_id_of};
use crate::log::Log;
use crate::output::terminal::write_harmless;
use crate::target;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Width of the progress bar.
const BAR: usize = 40;
/// Names that are shown of each group.
const SHOWN: usize = 3;

/// What one disk has to say.
enum Outcome {
    /// Its last crash record: whether it is whole, and what it says.
    Crash { name: String, whole: bool, record: Box<Record> },
    /// It has a console, but no record.
    None,
    /// It could not be read.
    Failed(String),
}

/// Crashes for one reason at one place.
#[derive(Default)]
struct Group {
    names: Vec<String>,
    damaged: usize,
}

pub(super) fn run(args: &CrashArgs) -> Result<u8> {
    let mut paths = Vec::new();
    for target in &args.targets {
        paths.extend(expand(target)?);
    }
    let programs = args.elf.as_deref().map(Programs::open).transpose()?;
    let outcomes = read_all(&paths);
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    let (mut none, mut failed) = (0, 0);
    for outcome in outcomes {
        match outcome {
            Outcome::Crash { name, whole, record } => {
                let place = place_of(&record, programs.as_ref());
                let group = groups.entry((record.reason.clone(), place)).or_default();
                group.damaged += usize::from(!whole);
                group.names.push(name);
            }
            Outcome::None => none += 1,
            Outcome::Failed(words) => {
                failed += 1;
                eprintln!("bcon: {words}");
            }
        }
    }
    let mut sorted: Vec<_> = groups.into_iter().collect();
    sorted.sort_by_key(|(_, group)| std::cmp::Reverse(group.names.len()));
    let out = &mut io::stdout().lock();
    match args.output {
        Report::Text => print(&sorted, none, failed, out)?,
        Report::Json => writeln!(out, "{:#}", to_json(&sorted, none, failed))?,
    }
    Ok(match (sorted.is_empty(), sorted.iter().any(|(_, group)| group.damaged > 0)) {
        (true, _) => FINDINGS,
        (false, true) => DAMAGED,
        (false, false) => DONE,
    })
}

/// Reads all disks, as many at a time as there are processors. The outcomes come in the order of the paths.
fn read_all(paths: &[(PathBuf, bool)]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    let progress = Progress { total: paths.len(), is_shown: io::stderr().is_terminal() };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(paths.len().max(1));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some((path, is_named)) = paths.get(index)
                {
                    let found = read_one(path, *is_named);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.extend(found.into_iter().map(|outcome| (index, outcome)));
                    }
                    progress.show(index + 1);
                }
            });
        }
    });
    progress.end();
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn read_one(path: &Path, is_named: bool) -> Vec<Outcome> {
    let target = match target::open(path) {
        Ok(target) => target,
        Err(error) if is_named => return vec![Outcome::Failed(format!("{error:#}"))],
        Err(_) => return vec![],
    };
    let read = |console| {
        let log = match Log::open(console) {
            Ok(log) => log,
            Err(error) => return Outcome::Failed(format!("{error:#}")),
        };
        crash::last(&log, None).map_or(Outcome::None, |crash| {
            let (name, whole) = (log.name.clone(), crash.is_whole());
            Outcome::Crash { name, whole, record: Box::new(Record::parse(&crash.lines)) }
        })
    };
    target.consoles.iter().map(read).collect()
}

/// Programs by their build ids.
struct Programs {
    symbols: BTreeMap<String, Symbols>,
}

impl Programs {
    /// Opens a program, or all programs of a folder.
    fn open(path: &Path) -> Result<Self> {
        let mut symbols = BTreeMap::new();
        for (file, is_named) in expand(path)? {
            match (build_id_of(&file), is_named) {
                (Ok(Some(id)), _) => {
                    symbols.insert(id, Symbols::open(&file)?);
                }
                (Ok(None), true) => anyhow::bail!("{} has no build id", file.display()),
                (Err(error), true) => return Err(error).context("cannot use the program"),
                (_, false) => {}
            }
        }
        Ok(Self { symbols })
    }
}

/// Where it crashed: the innermost function, if its program is known; otherwise the place or the address that the record has.
fn place_of(record: &Record, programs: Option<&Programs>) -> String {
    let symbols = record.build.as_ref().zip(programs).and_then(|(build, programs)| programs.symbols.get(build));
    let address = record.frames.first().copied();
    let function = symbols.zip(address).and_then(|(symbols, address)| {
        let is_trapped = record.register("rip") == Some(address);
        symbols.frames(address, !is_trapped).first().map(ToString::to_string)
    });
    let address = || address.map(|address| format!("{address:#018x}"));
    function.or_else(|| record.place.clone()).or_else(address).unwrap_or_else(|| "?".to_owned())
}

type Groups = [((String, String), Group)];

fn print(groups: &Groups, none: usize, failed: usize, out: &mut dyn Write) -> io::Result<()> {
    for ((reason, place), group) in groups {
        let count = group.names.len();
        let names = group.names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
        let damaged = if group.damaged > 0 { format!(" ({} damaged)", group.damaged) } else { String::new() };
        write_harmless(format!("{count:6}  {reason}{damaged}").as_bytes(), out)?;
        writeln!(out)?;
        write_harmless(format!("        at {place}").as_bytes(), out)?;
        writeln!(out)?;
        write_harmless(format!("        {names}{more}").as_bytes(), out)?;
        writeln!(out)?;
    }
    let crashes: usize = groups.iter().map(|(_, group)| group.names.len()).sum();
    writeln!(out, "{crashes} crashed, {none} did not, {failed} could not be read")
}

fn to_json(groups: &Groups, none: usize, failed: usize) -> Value {
    let list: Vec<Value> = groups
        .iter()
        .map(|((reason, place), group)| {
            json!({ "count": group.names.len(), "damaged": group.damaged, "reason": reason, "place": place,
                    "consoles": group.names })
        })
        .collect();
    json!({ "crashes": list, "without_crash": none, "failed": failed })
}

/// A bar on a terminal.
struct Progress {
    total: usize,
    is_shown: bool,
}

impl Progress {
    fn show(&self, done: usize) {
        if self.is_shown && self.total > 1 {
            let filled = BAR * done / self.total;
            eprint!("\r[{:<BAR$}] {done}/{}", "#".repeat(filled), self.total);
        }
    }

    fn end(&self) {
        if self.is_shown && self.total > 1 {
            eprint!("\r{:1$}\r", "", BAR + 20);
        }
    }
}
