//! `cargo xtask tidy`: the house rules that no compiler checks.
//!
//! Each rule is a function from what it looks at to [`Findings`]; errors fail the command, warnings are printed.

mod arrows;
mod files;
mod licences;
mod metadata;

use std::process::Command;

use anyhow::{Context, Result, bail};
use qemu::workspace;

use metadata::Metadata;

/// What the rules found.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn error(&mut self, words: String) {
        self.errors.push(words);
    }

    fn warning(&mut self, words: String) {
        self.warnings.push(words);
    }
}

/// Checks every rule on the source tree.
///
/// # Errors
/// When a rule is broken, or git or cargo cannot say what the tree holds.
pub(crate) fn tidy() -> Result<()> {
    let mut findings = Findings::default();
    let metadata = Metadata::read()?;
    arrows::check(&metadata, &mut findings);
    licences::check(&metadata, &mut findings);
    for path in tracked_files()? {
        // A file that is deleted but not yet committed is still listed; one that is no text has no lines to check.
        if let Ok(text) = std::fs::read_to_string(workspace().join(&path)) {
            files::check(&path, &text, &mut findings);
        }
    }
    for root in metadata.roots_without_unsafe() {
        let text = std::fs::read_to_string(&root).with_context(|| format!("cannot read {}", root.display()))?;
        files::check_forbids_unsafe(&root, &text, &mut findings);
    }
    for words in &findings.warnings {
        println!("tidy: warning: {words}");
    }
    for words in &findings.errors {
        println!("tidy: error: {words}");
    }
    match findings.errors.len() {
        0 => Ok(()),
        count => bail!("tidy: {count} house rules broken"),
    }
}

fn tracked_files() -> Result<Vec<String>> {
    let output =
        Command::new("git").args(["ls-files", "-z"]).current_dir(workspace()).output().context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}
