//! `bcon verify`: what is damaged, and where.

use super::targets::{each, each_console};
use super::{DONE, FINDINGS, say};
use crate::cli::{Report, VerifyArgs};
use crate::output::json::write_value;
use crate::output::terminal::write_harmless;
use crate::target;
use crate::verify::{Findings, verify};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::io::{self, Write};

pub(super) fn run(args: &VerifyArgs) -> Result<u8> {
    let mut checked = Vec::new();
    let status = each(&args.targets, |path, is_named| {
        let target = target::open_as(path, args.uuid)?;
        if target.consoles.is_empty() && is_named {
            let path = path.display();
            bail!("{path} has no console: there is nothing to verify; if it had one, --uuid looks for its tiles");
        }
        // What merely lies in a folder may be anything.
        let notes = target.notes.iter().filter(|_| is_named || !target.consoles.is_empty());
        for note in notes {
            say(&format!("{}: {note}", path.display()));
        }
        Ok(each_console(&target.consoles, |console| {
            let findings = verify(console)?;
            let status = if findings.damages() == 0 { DONE } else { FINDINGS };
            checked.push((console.name.clone(), findings));
            Ok(status)
        }))
    })?;
    let out = &mut io::stdout().lock();
    match args.output {
        Report::Text => checked.iter().try_for_each(|(name, findings)| print(name, findings, out))?,
        Report::Json => {
            let all: Vec<Value> = checked.iter().map(|(name, findings)| to_json(name, findings)).collect();
            write_value(&all.into(), out)?;
        }
    }
    Ok(status)
}

fn print(name: &str, findings: &Findings, out: &mut dyn Write) -> io::Result<()> {
    for finding in findings.list() {
        let place = finding.byte.map_or_else(String::new, |byte| format!(" byte {byte}:"));
        let kind = if finding.is_damage { "damage" } else { "note" };
        write_harmless(format!("{name}:{place} {kind}: {}", finding.what).as_bytes(), out)?;
        writeln!(out)?;
    }
    let untold = findings.damages() + findings.notes() - findings.list().len() as u64;
    if untold > 0 {
        write_harmless(format!("{name}: {untold} more findings").as_bytes(), out)?;
        writeln!(out)?;
    }
    let sum = match findings.damages() {
        0 => "clean".to_owned(),
        1 => "1 damage".to_owned(),
        count => format!("{count} damages"),
    };
    write_harmless(format!("{name}: {sum}").as_bytes(), out)?;
    writeln!(out)
}

fn to_json(name: &str, findings: &Findings) -> Value {
    let list: Vec<Value> = findings
        .list()
        .iter()
        .map(|finding| json!({ "damage": finding.is_damage, "byte": finding.byte, "what": finding.what }))
        .collect();
    json!({ "console": name, "damages": findings.damages(), "notes": findings.notes(), "findings": list })
}
