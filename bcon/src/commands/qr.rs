//! `bcon qr`: a crash record from a picture of the screen.

use super::crash::{print, symbols_if_any, to_json};
use super::{DAMAGED, FINDINGS, complain, say};
use crate::cli::Report;
use crate::cli::qr::QrArgs;
use crate::crash::Crash;
use crate::crash::record::Record;
use crate::output::json::write_value;
use crate::qr::Collector;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a file.
const MAX_FILE: u64 = 256 << 20;

pub(super) fn run(args: &QrArgs) -> Result<u8> {
    let mut collector = Collector::new();
    let mut found = 0;
    for path in &args.pictures {
        let name = || path.display().to_string();
        found += collector.take(&read(path).with_context(name)?).with_context(name)?;
    }
    if found == 0 {
        say("there is no QR code of a crash record in what was given: is it sharp, and shown as a whole?");
        return Ok(FINDINGS);
    }
    let crash = match collector.record().map(Crash::alone) {
        Ok(Some(crash)) => crash,
        Ok(None) => anyhow::bail!("the codes hold something that is no crash record"),
        Err(error) => {
            complain(&error);
            return Ok(DAMAGED);
        }
    };
    let record = Record::parse(&crash.lines);
    let (symbols, status) = symbols_if_any(args.elf.as_deref(), &record);
    let out = &mut io::stdout().lock();
    match args.output {
        Report::Text => print(&crash, &record, symbols.as_ref(), out)?,
        Report::Json => write_value(&to_json("screen", &crash, &record, symbols.as_ref()), out)?,
    }
    match crash.damage() {
        None => Ok(status),
        Some(why) => {
            complain(&anyhow::anyhow!("the crash record is damaged: {why}"));
            Ok(DAMAGED.max(status))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match path.to_str() {
        Some("-") => io::stdin().lock().take(MAX_FILE).read_to_end(&mut bytes)?,
        _ => File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}
