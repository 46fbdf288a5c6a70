//! Everything that is linked in can be passed on under MIT or Apache-2.0.

use super::Findings;
use super::metadata::Metadata;

/// Licences that ask for nothing that ours do not.
const ACCEPTED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

/// Packages with a licence that asks for more, and why that is no burden here.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("ucs2", "MPL-2.0", "used by `uefi` as it is published; the licence covers its own files only")];

pub(super) fn check(metadata: &Metadata, findings: &mut Findings) {
    for package in metadata.dependencies() {
        let (name, licence) = (package.name(), package.licence());
        let is_exception = EXCEPTIONS.iter().any(|(known, with, _)| (*known, *with) == (name, licence));
        if !is_exception && !accepts(licence) {
            findings.error(format!("dependency {} has the licence {:?}", name, licence));
        }
    }
}

/// Whether an SPDX expression leaves a choice that is accepted.
fn accepts(expression: &str) -> bool {
    // Older packages write a slash for OR.
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    any(&mut words.as_slice())
}

/// `all { "OR" all }`; leaves the words that follow.
fn any(words: &mut &[&str]) -> bool {
    let mut accepted = all(words);
    while let Some(("OR", rest)) = words.split_first().map(|(word, rest)| (*word, rest)) {
        *words = rest;
        accepted |= all(words);
    }
    accepted
}

/// `one { "AND" one }`
fn all(words: &mut &[&str]) -> bool {
    let mut accepted = one(words);
    while let Some(("AND", rest)) = words.split_first().map(|(word, rest)| (*word, rest)) {
        *words = rest;
        accepted &= one(words);
    }
    accepted
}

/// `"(" any ")"`, or a licence with or without an exception.
fn one(words: &mut &[&str]) -> bool {
    let Some((first, rest)) = words.split_first() else { return false };
    *words = rest;
    if *first == "(" {
        let accepted = any(words);
        if let Some((&")", rest)) = words.split_first() {
            *words = rest;
            return accepted;
        }
        return false;
    }
    match words {
        ["WITH", exception, rest @ ..] => {
            let licence = format!("{first} WITH {exception}");
            *words = rest;
            ACCEPTED.contains(&licence.as_str())
        }
        _ => ACCEPTED.contains(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_enough_and_a_demand_is_not() {
        for expression in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(accepts(expression), "{expression}");
        }
        for expression in
            ["", "GPL-2.0", "MIT AND GPL-2.0", "(MIT", "MIT AND (GPL-2.0 OR MPL-2.0)", "Apache-2.0 WITH x"]
        {
            assert!(!accepts(expression), "{expression}");
        }
    }
}
