//! Rules for single files: first line, length, words that must not stand there.

use std::path::Path;

use super::Findings;

/// Lines of a file that are a signal to look again.
const LONG_FILE: usize = 400;

/// Characters of a file's first line, after `//! `.
const TAGLINE: usize = 80;

/// Beginnings of paths that exist on one machine only. Written in two parts so that this file passes.
const HOMES: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// Words for work that is not done.
const UNDONE: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

pub(super) fn check(path: &str, text: &str, findings: &mut Findings) {
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if let Some(home) = HOMES.iter().find(|home| line.contains(**home)) {
            findings.error(format!("{path}:{number}: a path in {home}, which others do not have"));
        }
        if let Some(word) = UNDONE.iter().find(|word| has_word(line, word)) {
            findings.error(format!("{path}:{number}: {word}"));
        }
        if path.ends_with("Cargo.toml") && line.contains("\"allow\"") && !line.contains('#') {
            findings.error(format!("{path}:{number}: a lint is allowed without a reason"));
        }
    }
    if path.ends_with(".rs") {
        check_tagline(path, text, findings);
        let lines = text.lines().count();
        if lines > LONG_FILE {
            findings.warning(format!("{path}: {lines} lines"));
        }
    }
}

fn has_word(line: &str, word: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|found| found == word)
}

fn check_tagline(path: &str, text: &str, findings: &mut Findings) {
    let words = text.lines().next().and_then(|first| first.strip_prefix("//! ")).unwrap_or_default();
    if words.trim().is_empty() {
        findings.error(format!("{path}:1: the first line does not say what this is (`//! …`)"));
    } else if words.chars().count() > TAGLINE {
        findings.error(format!("{path}:1: the first line has more than {TAGLINE} characters"));
    }
}

pub(super) fn check_forbids_unsafe(path: &Path, text: &str, findings: &mut Findings) {
    if !text.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]") {
        findings.error(format!("{}: does not forbid unsafe code", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(path: &str, text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        check(path, text, &mut findings);
        findings.errors
    }

    #[test]
    fn each_rule_can_be_broken() {
        assert!(errors("a.rs", "//! What it is.\nfn a() {}\n").is_empty());
        assert_eq!(errors("a.rs", "fn a() {}\n").len(), 1);
        assert_eq!(errors("a.rs", "").len(), 1);
        assert_eq!(errors("a.rs", "//! \n").len(), 1);
        assert_eq!(errors("a.rs", &format!("//! {}\n", "x".repeat(TAGLINE))).len(), 0);
        assert_eq!(errors("a.rs", &format!("//! {}\n", "x".repeat(TAGLINE + 1))).len(), 1);
        for home in HOMES {
            assert_eq!(errors("a.md", &format!("see {home}me/file\n")).len(), 1);
        }
        for word in UNDONE {
            assert_eq!(errors("a.md", &format!("({word}: this)\n")).len(), 1);
            assert_eq!(errors("a.md", &format!("{word}S\n")).len(), 0);
        }
        assert_eq!(errors("x/Cargo.toml", "a = \"allow\"\n").len(), 1);
        assert_eq!(errors("x/Cargo.toml", "a = \"allow\" # since b\n").len(), 0);
    }

    #[test]
    fn a_long_file_is_a_warning() {
        let mut findings = Findings::default();
        check("a.rs", &"//! x\n".repeat(LONG_FILE + 1), &mut findings);
        assert_eq!((findings.errors.len(), findings.warnings.len()), (0, 1));
    }

    #[test]
    fn unsafe_code_must_be_forbidden() {
        let mut findings = Findings::default();
        check_forbids_unsafe(Path::new("lib.rs"), "//! x\n#![forbid(unsafe_code)]\n", &mut findings);
        assert!(findings.errors.is_empty());
        check_forbids_unsafe(Path::new("lib.rs"), "//! #![forbid(unsafe_code)]\n", &mut findings);
        assert_eq!(findings.errors.len(), 1);
    }
}
