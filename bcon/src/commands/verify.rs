//! `bcon verify`: what is damaged, and where.

use super::{DONE, FINDINGS};
use crate::cli::{Report, VerifyArgs};
use crate::output::terminal::write_harmless;
use crate::target;
use crate::verify::{Findings, verify};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::io::{self, Write};

pub(super) fn run(args: &VerifyArgs) -> Result<u8> {
    let mut checked = Vec::new();
    for path in &args.targets {
        let target = target::open(path)?;
        if target.consoles.is_empty() {
            bail!("{} has no console: there is nothing to verify", path.display());
        }
        for note in &target.notes {
            eprintln!("bcon: {}: {note}", path.display());
        }
        for console in &target.consoles {
            checked.push((console.name.clone(), verify(console)?));
        }
    }
    let out = &mut io::stdout().lock();
    match args.output {
        Report::Text => checked.iter().try_for_each(|(name, findings)| print(name, findings, out))?,
        Report::Json => {
            let all: Vec<Value> = checked.iter().map(|(name, findings)| to_json(name, findings)).collect();
            writeln!(out, "{:#}", Value::from(all))?;
        }
    }
    Ok(if checked.iter().all(|(_, findings)| findings.damages() == 0) { DONE } else { FINDINGS })
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
        writeln!(out, "{name}: {untold} more findings")?;
    }
    match findings.damages() {
        0 => writeln!(out, "{name}: clean"),
        1 => writeln!(out, "{name}: 1 damage"),
        count => writeln!(out, "{name}: {count} damages"),
    }
}

fn to_json(name: &str, findings: &Findings) -> Value {
    let list: Vec<Value> = findings
        .list()
        .iter()
        .map(|finding| json!({ "damage": finding.is_damage, "byte": finding.byte, "what": finding.what }))
        .collect();
    json!({ "console": name, "damages": findings.damages(), "notes": findings.notes(), "findings": list })
}
