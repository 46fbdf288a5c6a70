//! `bcon crash --all`: the crashes of many disks, counted by reason and place.

use super::targets::expand;
use super::{DAMAGED, DONE, FAILED, FINDINGS, complain, say};
use crate::cli::{CrashArgs, Report};
use crate::crash;
use crate::crash::record::Record;
use crate::crash::symbols::{Frame, Symbols, build_id_of, find_program};
use crate::log::Log;
use crate::output::json::write_value;
use crate::output::terminal::write_harmless;
use crate::target;
use anyhow::Result;
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

/// Functions that every panic goes through: they do not tell one from the other. Names begin with these.
const PANIC_PATH: [&str; 8] = [
    "core::panicking::",
    "core::option::",
    "core::result::",
    "core::slice::index::",
    "core::str::slice_error",
    "core::cell::panic",
    "__rustc::rust_begin_unwind",
    "rust_begin_unwind",
];
/// The same in the kernel: its panic handler, and how it leaves for the crash path.
const CRASH_PATH: [&str; 2] = ["crash::", "panic"];
/// Reasons that are listed of each group.
const REASONS: usize = 8;

/// Crashes of one kind at one place.
#[derive(Default)]
struct Group {
    names: Vec<String>,
    damaged: usize,
    /// Their reasons in full, and how often each.
    reasons: BTreeMap<String, usize>,
}

impl Group {
    /// The reasons, the most frequent first.
    fn sorted_reasons(&self) -> Vec<(&str, usize)> {
        let mut reasons: Vec<_> = self.reasons.iter().map(|(reason, &count)| (reason.as_str(), count)).collect();
        reasons.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        reasons
    }
}

pub(super) fn run(args: &CrashArgs) -> Result<u8> {
    let mut paths = Vec::new();
    let (mut none, mut failed) = (0, 0);
    for target in &args.targets {
        match expand(target) {
            Ok(files) => paths.extend(files),
            Err(error) => {
                complain(&error);
                failed += 1;
            }
        }
    }
    let mut programs = args.elf.as_deref().map(Programs::open).transpose()?;
    let outcomes = read_all(&paths, args.which.uuid);
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Crash { name, whole, record } => {
                let place = place_of(&record, programs.as_mut());
                let group = groups.entry((record.kind().to_owned(), place)).or_default();
                group.damaged += usize::from(!whole);
                *group.reasons.entry(record.reason.clone()).or_default() += 1;
                group.names.push(name);
            }
            Outcome::None => none += 1,
            Outcome::Failed(words) => {
                failed += 1;
                say(&words);
            }
        }
    }
    let mut sorted: Vec<_> = groups.into_iter().collect();
    sorted.sort_by_key(|(_, group)| std::cmp::Reverse(group.names.len()));
    let out = &mut io::stdout().lock();
    match args.output {
        Report::Text => print(&sorted, none, failed, out)?,
        Report::Json => write_value(&to_json(&sorted, none, failed), out)?,
    }
    if failed > 0 {
        return Ok(FAILED);
    }
    Ok(match (sorted.is_empty(), sorted.iter().any(|(_, group)| group.damaged > 0)) {
        (true, _) => FINDINGS,
        (false, true) => DAMAGED,
        (false, false) => DONE,
    })
}

/// Reads all disks, as many at a time as there are processors. The outcomes come in the order of the paths.
fn read_all(paths: &[(PathBuf, bool)], uuid: Option<u32>) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    let progress = Progress { total: paths.len(), done: AtomicUsize::new(0), is_shown: io::stderr().is_terminal() };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(paths.len().max(1));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some((path, is_named)) = paths.get(index)
                {
                    let found = read_one(path, *is_named, uuid);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.extend(found.into_iter().map(|outcome| (index, outcome)));
                    }
                    progress.show();
                }
            });
        }
    });
    progress.end();
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn read_one(path: &Path, is_named: bool, uuid: Option<u32>) -> Vec<Outcome> {
    let target = match target::open_as(path, uuid) {
        Ok(target) => target,
        Err(error) => return vec![Outcome::Failed(format!("{error:#}"))],
    };
    if target.consoles.is_empty() && is_named {
        return vec![Outcome::Failed(format!("{}: no console", path.display()))];
    }
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

/// Programs by their build ids: looked for when a record has one that is new.
struct Programs {
    folder: PathBuf,
    symbols: BTreeMap<String, Option<Symbols>>,
}

impl Programs {
    /// A program, or the programs of a folder.
    fn open(path: &Path) -> Result<Self> {
        let mut symbols = BTreeMap::new();
        if !path.is_dir() {
            let Some(id) = build_id_of(path)? else {
                anyhow::bail!("{} has no build id: link it with --build-id", path.display())
            };
            symbols.insert(id, Some(Symbols::open(path)?));
        }
        Ok(Self { folder: path.to_owned(), symbols })
    }

    fn get(&mut self, build_id: &str) -> Option<&Symbols> {
        if !self.symbols.contains_key(build_id) {
            let found = if self.folder.is_dir() { find_program(&self.folder, build_id) } else { Ok(None) };
            let opened = found.and_then(|path| path.map(|path| Symbols::open(&path)).transpose());
            let symbols = opened.unwrap_or_else(|error| {
                complain(&error);
                None
            });
            self.symbols.insert(build_id.to_owned(), symbols);
        }
        self.symbols.get(build_id)?.as_ref()
    }
}

/// Where it crashed: the place that the record has, which a panic knows; the innermost function that is not on the way of every
/// panic, if the program is known; otherwise the address.
fn place_of(record: &Record, programs: Option<&mut Programs>) -> String {
    if let Some(place) = &record.place {
        return place.clone();
    }
    let symbols = record.build.as_ref().zip(programs).and_then(|(build, programs)| programs.get(build));
    let function = symbols.and_then(|symbols| {
        record.frames.iter().enumerate().find_map(|(index, &address)| {
            let is_trapped = index == 0 && record.register("rip") == Some(address);
            symbols.frames(address, !is_trapped).into_iter().find(|frame| !is_panic_path(frame))
        })
    });
    let address = || record.frames.first().map(|address| format!("{address:#018x}"));
    function.map(|frame| frame.to_string()).or_else(address).unwrap_or_else(|| "?".to_owned())
}

/// Whether a function is one that every panic goes through.
fn is_panic_path(frame: &Frame) -> bool {
    let Some(name) = frame.function.as_deref() else { return false };
    let name = name.trim_start_matches('<');
    // Behind the crate's name, which may be anything.
    let inner = name.split_once("::").map_or(name, |(_, inner)| inner);
    PANIC_PATH.iter().any(|path| name.starts_with(path)) || CRASH_PATH.iter().any(|path| inner.starts_with(path))
}

type Groups = [((String, String), Group)];

fn print(groups: &Groups, none: usize, failed: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut harmless = |words: String| {
        write_harmless(words.as_bytes(), out)?;
        out.write_all(b"\n")
    };
    for ((kind, place), group) in groups {
        let count = group.names.len();
        let names = group.names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
        let damaged = if group.damaged > 0 { format!(" ({} damaged)", group.damaged) } else { String::new() };
        let reasons = group.sorted_reasons();
        match reasons.as_slice() {
            [(reason, _)] => harmless(format!("{count:6}  {reason}{damaged}"))?,
            _ => harmless(format!("{count:6}  {kind}{damaged}"))?,
        }
        harmless(format!("        at {place}"))?;
        if reasons.len() > 1 {
            for (reason, count) in reasons.iter().take(REASONS) {
                harmless(format!("        {count} x {reason}"))?;
            }
            if reasons.len() > REASONS {
                harmless(format!("        and {} more reasons", reasons.len() - REASONS))?;
            }
        }
        harmless(format!("        {names}{more}"))?;
    }
    let crashes: usize = groups.iter().map(|(_, group)| group.names.len()).sum();
    writeln!(out, "{crashes} crashed, {none} did not, {failed} could not be read")
}

fn to_json(groups: &Groups, none: usize, failed: usize) -> Value {
    let list: Vec<Value> = groups
        .iter()
        .map(|((kind, place), group)| {
            let sorted = group.sorted_reasons();
            let reasons: Vec<Value> =
                sorted.iter().map(|(reason, count)| json!({ "reason": reason, "count": count })).collect();
            json!({ "count": group.names.len(), "damaged": group.damaged, "kind": kind, "place": place,
                    "reason": sorted.first().map(|(reason, _)| reason), "reasons": reasons, "consoles": group.names })
        })
        .collect();
    json!({ "crashes": list, "without_crash": none, "failed": failed })
}

/// A bar on a terminal.
struct Progress {
    total: usize,
    done: AtomicUsize,
    is_shown: bool,
}

impl Progress {
    fn show(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_shown && self.total > 1 {
            let filled = BAR * done / self.total;
            // Where nobody sees it, there is nobody to tell.
            let _ = write!(io::stderr(), "\r[{:<BAR$}] {done}/{}", "#".repeat(filled), self.total);
        }
    }

    fn end(&self) {
        if self.is_shown && self.total > 1 {
            let _ = write!(io::stderr(), "\r{:1$}\r", "", BAR + 20);
        }
    }
}
