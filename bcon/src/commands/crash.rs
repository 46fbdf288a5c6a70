//! `bcon crash`: the last crash record, checked, with functions and lines.

use super::select::boot_number;
use super::{DAMAGED, DONE, FAILED, FINDINGS, complain, fleet, say};
use crate::cli::{CrashArgs, Report};
use crate::crash::record::Record;
use crate::crash::symbols::{Symbols, find_program};
use crate::crash::{self, Crash};
use crate::log::Log;
use crate::output::json::write_value;
use crate::output::terminal::write_harmless;
use crate::target;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

pub(super) fn run(args: &CrashArgs) -> Result<u8> {
    if args.all {
        return fleet::run(args);
    }
    let [path] = args.targets.as_slice() else { bail!("one target at a time, or --all for a summary of several") };
    if path.is_dir() {
        bail!("{} is a folder: name one of its images, or give --all for a summary", path.display());
    }
    let target = target::open_as(path, args.which.uuid)?;
    let mut log = Log::open(target.console(args.which.partition)?)?;
    let boot = args.boot.map(|choice| boot_number(&mut log, choice)).transpose()?;
    let Some(crash) = crash::last(&log, boot) else {
        say(&format!("{}: there is no crash record", log.name));
        return Ok(FINDINGS);
    };
    let record = Record::parse(&crash.lines);
    let (symbols, status) = symbols_if_any(args.elf.as_deref(), &record);
    let out = &mut io::stdout().lock();
    match args.output {
        Report::Text => print(&crash, &record, symbols.as_ref(), out)?,
        Report::Json => write_value(&to_json(&log.name, &crash, &record, symbols.as_ref()), out)?,
    }
    match crash.damage() {
        None => Ok(status),
        Some(why) => {
            complain(&anyhow::anyhow!("{}: the crash record is damaged: {why}", log.name));
            Ok(DAMAGED.max(status))
        }
    }
}

/// The program that crashed, if it is asked for and fits, and the status. A record without functions is better than none, so that it is
/// only complained about where it does not.
pub(super) fn symbols_if_any(path: Option<&Path>, record: &Record) -> (Option<Symbols>, u8) {
    match path.map(|path| open_symbols(path, record)).transpose() {
        Ok(symbols) => (symbols, DONE),
        Err(error) => {
            complain(&error.context("the record is shown without functions and lines"));
            (None, FAILED)
        }
    }
}

/// Opens the program that crashed: the one that is named, or the one in a folder that has the record's build id.
fn open_symbols(path: &Path, record: &Record) -> Result<Symbols> {
    let shown = path.display();
    if !path.is_dir() {
        let symbols = Symbols::open(path)?;
        symbols.check(record)?;
        return Ok(symbols);
    }
    let wanted = record.build.as_deref().context("the crash record has no build id to look for")?;
    match find_program(path, wanted)? {
        Some(file) => Symbols::open(&file),
        None => bail!("no program in {shown} has the build id of the one that crashed, {wanted}: keep each build's"),
    }
}

/// The record as it stands on the disk; under each address of the backtrace, the functions that it belongs to.
pub(super) fn print(crash: &Crash, record: &Record, symbols: Option<&Symbols>, out: &mut dyn Write) -> io::Result<()> {
    let mut frame = 0;
    for line in crash.text.split_inclusive(|&byte| byte == b'\n') {
        write_harmless(line.trim_ascii_end(), out)?;
        writeln!(out)?;
        if !line.starts_with(b"frame ") {
            continue;
        }
        let address = record.frames.get(frame);
        for place in
            address.zip(symbols).map(|(&address, symbols)| places(record, symbols, frame, address)).iter().flatten()
        {
            write!(out, "    ")?;
            write_harmless(place.to_string().as_bytes(), out)?;
            writeln!(out)?;
        }
        frame += 1;
    }
    Ok(())
}

/// The functions of one address of the backtrace. All addresses are return addresses, but for that at which a trap struck.
fn places(record: &Record, symbols: &Symbols, index: usize, address: u64) -> Vec<crate::crash::symbols::Frame> {
    let is_trapped = index == 0 && record.register("rip") == Some(address);
    symbols.frames(address, !is_trapped)
}

pub(super) fn to_json(name: &str, crash: &Crash, record: &Record, symbols: Option<&Symbols>) -> Value {
    let hex = |value: u64| format!("{value:#018x}");
    let frames: Vec<Value> = record
        .frames
        .iter()
        .enumerate()
        .map(|(index, &address)| {
            let places = symbols.map(|symbols| places(record, symbols, index, address)).unwrap_or_default();
            let functions: Vec<Value> = places
                .iter()
                .map(|place| {
                    json!({
                        "function": place.function, "file": place.file, "line": place.line, "column": place.column,
                        "inlined": place.inlined,
                    })
                })
                .collect();
            json!({ "address": hex(address), "functions": functions })
        })
        .collect();
    let pairs = |pairs: &[(String, Value)]| Value::Object(pairs.iter().cloned().collect());
    let registers: Vec<_> = record.registers.iter().map(|(name, value)| (name.clone(), hex(*value).into())).collect();
    let consoles: Vec<_> = record.consoles.iter().map(|(name, state)| (name.clone(), state.as_str().into())).collect();
    let stack: Vec<Value> = record
        .stack
        .iter()
        .map(|(address, words)| {
            json!({ "address": hex(*address), "words": words.iter().map(|&word| hex(word)).collect::<Vec<_>>() })
        })
        .collect();
    json!({
        "console": name,
        "id": crash.id.map(|id| format!("{id:016x}")),
        "whole": crash.is_whole(),
        "damage": crash.damage(),
        "boot": crash.boot,
        "tile": crash.tile,
        "reason": record.reason,
        "place": record.place,
        "version": record.version,
        "build": record.build,
        "uptime": record.uptime,
        "cpu": record.cpu,
        "trap": record.trap,
        "registers": pairs(&registers),
        "consoles": pairs(&consoles),
        "frames": frames,
        "stack": stack,
        "notes": record.notes,
        "other": record.other,
    })
}
