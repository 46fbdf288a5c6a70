//! The tests notice when the console is broken.
//!
//! Each entry of [`MUTATIONS`] breaks one line of the crate, and names the test file that must fail for it. Plain `cargo test` checks that each
//! line is still there, once. `BLOCKCONSOLE_MUTATIONS=1 cargo test --test mutations -- --nocapture` copies the crate, breaks the copy, runs its tests, and
//! wants to see each of them red (and, to begin with, green): that takes some minutes. `BLOCKCONSOLE_MUTATIONS=<name>` does so for one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Mutation {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// The test file that must fail: `lib` for the crate's own.
    test: &'static str,
}

const fn mutation(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    test: &'static str,
) -> Mutation {
    Mutation { name, file, from, to, test }
}

const MUTATIONS: [Mutation; 40] = [
    mutation(
        "no-flush-before-entry",
        "console/next_tile.rs",
        "self.set_stage(Stage::Flushing { flush });",
        "let _ = flush; self.set_stage(Stage::Ready);",
        "weaknesses",
    ),
    mutation(
        "erase-the-header-too",
        "console/next_tile.rs",
        "Stage::Erasing { from: self.block_size(), by }",
        "Stage::Erasing { from: 0, by }",
        "weaknesses",
    ),
    mutation(
        "no-erasure",
        "console/next_tile.rs",
        "Stage::Erasing { from: self.block_size(), by }",
        "Stage::Erasing { from: TILE_BYTES, by }",
        "weaknesses",
    ),
    mutation(
        "erasure-stops-after-one-piece",
        "console/next_tile.rs",
        "(Ok(()), by) => Stage::Erasing { from: side.end, by },",
        "(Ok(()), by) => Stage::Erasing { from: TILE_BYTES.max(side.end), by },",
        "failures",
    ),
    mutation(
        "tile-number-of-the-tile-before",
        "console/writer.rs",
        "round: current.round, tile: current.tile }",
        "round: current.round, tile: current.tile.wrapping_sub(1) }",
        "weaknesses",
    ),
    mutation(
        "durable-without-a-flush",
        "console/flush.rs",
        "if !needs_flush(&device.geometry()) {",
        "if true || !needs_flush(&device.geometry()) {",
        "weaknesses",
    ),
    mutation(
        "flush-covers-what-completes-later",
        "console/flush.rs",
        "self.flushed(flush.covers, flush.entered);",
        "self.flushed(Covers::before(&self.completed_point()), flush.entered);",
        "power_cuts",
    ),
    mutation(
        "holes-count-as-written",
        "console/writer.rs",
        ".min_by_key(|(start, _)| *start)",
        ".max_by_key(|(start, _)| *start)",
        "weaknesses",
    ),
    mutation("wrap-in-the-same-round", "search.rs", "(0, round.wrapping_add(1)) }\n}", "(0, round) }\n}", "lib"),
    mutation(
        "enter-before-the-tile-is-written",
        "console/next_tile.rs",
        "next.stage != Stage::Ready || !is_done || self.outstanding().next().is_some()",
        "next.stage != Stage::Ready || !is_done",
        "failures",
    ),
    mutation(
        "enter-before-the-tile-is-ready",
        "console/next_tile.rs",
        "next.stage != Stage::Ready || !is_done ||",
        "matches!(next.stage, Stage::Idle | Stage::Choosing) || !is_done ||",
        "weaknesses",
    ),
    mutation(
        "two-writes-of-one-block",
        "console/writer.rs",
        "if fill.clean > 0 && self.outstanding().any(|write| write.end > fill.base) {",
        "if fill.clean > N * (1 << 20) {",
        "weaknesses",
    ),
    mutation("eleven-failures", "console/mod.rs", "MAX_FAILURES: u32 = 10;", "MAX_FAILURES: u32 = 11;", "weaknesses"),
    mutation(
        "no-second-try",
        "console/writer.rs",
        "Some(buffer) if !again => {",
        "Some(buffer) if again && !again => {",
        "failures",
    ),
    mutation(
        "a-failed-write-is-forgotten",
        "console/writer.rs",
        "        self.source.rewind(point);\n    }",
        "        let _ = point;\n    }",
        "failures",
    ),
    mutation(
        "not-around-a-bad-block",
        "console/writer.rs",
        "let goes_around = is_block && current.has_header;",
        "let goes_around = false && is_block && current.has_header;",
        "failures",
    ),
    mutation(
        "requests-cross-extents",
        "place.rs",
        "if u64::from(count) > run {",
        "if u64::from(count) > run + 1 {",
        "lib",
    ),
    mutation(
        "the-last-tile-is-one-too-many",
        "place.rs",
        "u64::from(tile) >= self.tiles() {\n            return Err(Outside);",
        "u64::from(tile) > self.tiles() {\n            return Err(Outside);",
        "lib",
    ),
    mutation(
        "damage-is-taken-for-the-end",
        "search.rs",
        "Answer::NoHeader | Answer::Unreadable => Verdict::Damage { newer: false },",
        "Answer::NoHeader | Answer::Unreadable => Verdict::Past,",
        "lib",
    ),
    mutation(
        "no-doubts",
        "search.rs",
        "} else if high < self.tiles {\n            self.doubt_on(high, 1)",
        "} else if high < self.tiles {\n            self.found(low, self.reference.round, false)",
        "weaknesses",
    ),
    mutation(
        "no-doubts-in-later-rounds",
        "search.rs",
        "Verdict::Past | Verdict::Unmarked => self.narrow(low, middle),",
        "Verdict::Past if middle - low == 1 => self.found(low, self.reference.round, false),\n            Verdict::Past | Verdict::Unmarked => self.narrow(low, middle),",
        "headers",
    ),
    mutation("a-failed-flush-is-repeated", "console/flush.rs", "self.is_undone = true;", "", "flushes"),
    mutation(
        "a-stale-answer-is-taken",
        "console/side.rs",
        "*state = SideState::Abandoned { serial };",
        "let _ = (state, serial);",
        "remount",
    ),
    mutation(
        "a-mount-is-taken-for-a-log",
        "console/resume.rs",
        "            Phase::Mounting(_) => true,",
        "            Phase::Mounting(_) => false,",
        "remount",
    ),
    mutation(
        "erase-the-tile-before",
        "console/next_tile.rs",
        "let tile = self.tiles.next.tile;\n        self.zero",
        "let tile = (u64::from(self.tiles.next.tile) + 2 * self.tile_count() - 2) % self.tile_count();\n        let tile = tile as u32;\n        self.zero",
        "power_cuts",
    ),
    mutation(
        "zeroes-count-as-success",
        "console/next_tile.rs",
        "        let stage = match (result, by) {",
        "        self.failures = 0; self.has_passed_over = false;\n        let stage = match (result, by) {",
        "headers",
    ),
    mutation(
        "upper-case-is-refused",
        "format.rs",
        "char::from(*digit).to_digit(16)?;",
        "char::from(*digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase())?;",
        "weaknesses",
    ),
    mutation(
        "no-reset-after-a-crash",
        "console/resume.rs",
        "must_reset: target.in_flight && pending == Pending::MayArrive,",
        "must_reset: target.in_flight && target.is_idle,",
        "crash_path",
    ),
    mutation(
        "what-was-in-flight-counts-as-written",
        "console/resume.rs",
        "was_in_flight: target.in_flight,",
        "was_in_flight: target.in_flight && pending == Pending::MayArrive,",
        "crash_path",
    ),
    mutation(
        "written-before-it-is-published",
        "console/writer.rs",
        "        self.is_changed = true;\n        self.publish();\n        let tag",
        "        self.is_changed = true;\n        let tag",
        "crash_path",
    ),
    mutation("no-look-at-the-header", "console/resume.rs", "if is_own {", "if is_own || !is_own {", "crash_path"),
    mutation(
        "first-crashes-are-not-kept",
        "console/next_tile.rs",
        "if self.tiles.kept.contains(next.tile) {",
        "if self.tiles.kept.contains(u32::MAX) {",
        "first_crash",
    ),
    mutation(
        "carried-without-an-order",
        "console/next_tile.rs",
        "self.set_stage(Stage::Settling { flush });",
        "let _ = flush; self.set_stage(Stage::Reading);",
        "power_cuts",
    ),
    mutation(
        "no-reserve",
        "console/writer.rs",
        "let has_reserve = self.tiles.next.stage",
        "let has_reserve = false && self.tiles.next.stage",
        "crash_path",
    ),
    mutation(
        "a-trickle-postpones-the-pad",
        "console/fill.rs",
        "self.oldest_ns.get_or_insert(feed.now_ns);",
        "self.oldest_ns = Some(feed.now_ns);",
        "console_basics",
    ),
    mutation(
        "a-quiet-console-misses-records",
        "console/quiet.rs",
        "rest.written == ring.written() && now_ns < rest.until_ns",
        "now_ns < rest.until_ns",
        "console_basics",
    ),
    mutation("no-tile-line", "console/next_tile.rs", "self.source.set_tile_due();", "", "first_crash"),
    mutation(
        "losses-are-not-said",
        "console/source.rs",
        "Taken::Lost(records) => Some((LineKind::Lost, records)),",
        "Taken::Lost(records) if records == 0 => Some((LineKind::Lost, records)), Taken::Lost(_) => None,",
        "weaknesses",
    ),
    mutation(
        "lines-are-made-again-one-byte-off",
        "console/fill.rs",
        "further(border - self.len)",
        "further(border - self.len + 1)",
        "crash_path",
    ),
    mutation(
        "damaged-targets-are-trusted",
        "console/target/words.rs",
        "if words.last() != Some(&from.checksum()) ||",
        "if words.last() == Some(&0) ||",
        "lib",
    ),
];

fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_mutation_still_applies() {
    for Mutation { name, file, from, to, .. } in &MUTATIONS {
        let source = fs::read_to_string(crate_dir().join("src").join(file)).expect("a source file");
        assert_eq!(source.matches(from).count(), 1, "{name}: {from:?} in {file}");
        assert_ne!(from, to);
    }
}

#[test]
fn every_mutation_is_noticed() {
    let Ok(wanted) = std::env::var("BLOCKCONSOLE_MUTATIONS") else { return };
    let copy = Copy::new();
    let mut unnoticed = Vec::new();
    let chosen: Vec<&Mutation> =
        MUTATIONS.iter().filter(|mutation| wanted == "1" || mutation.name.contains(&wanted)).collect();
    assert!(!chosen.is_empty(), "no such mutation");
    let mut tests: Vec<&str> = chosen.iter().map(|mutation| mutation.test).collect();
    tests.sort_unstable();
    tests.dedup();
    for test in tests {
        let result = copy.test(test);
        assert_eq!(result, Outcome::Green, "{test} as it is");
        println!("green as it is: {test}");
    }
    for mutation in chosen {
        let path = copy.dir.join("drivers/blockconsole/src").join(mutation.file);
        let source = fs::read_to_string(&path).expect("a source file");
        fs::write(&path, source.replacen(mutation.from, mutation.to, 1)).expect("a mutated file");
        let result = copy.test(mutation.test);
        println!("{result:?}: {} ({})", mutation.name, mutation.test);
        if result != Outcome::Red {
            unnoticed.push((mutation.name, result));
        }
        fs::write(&path, source).expect("the file as it was");
    }
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Green,
    Red,
    DoesNotCompile,
    /// It never ended: nothing was noticed, though nothing went on.
    TimedOut,
}

/// A workspace of the crate and what it needs, in a directory of its own.
struct Copy {
    dir: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("blockconsole-mutations-{}", std::process::id()));
        let root = crate_dir().join("../..");
        for folder in ["drivers/block", "drivers/blockconsole"] {
            copy(&root.join(folder), &dir.join(folder));
        }
        let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the workspace");
        let (head, rest) = manifest.split_once("members = [").expect("the members");
        let rest = rest.split_once("]\n").expect("their end").1;
        let members = r#"members = ["drivers/block", "drivers/block/fake", "drivers/blockconsole"]"#;
        fs::write(dir.join("Cargo.toml"), format!("{head}{members}\n{rest}")).expect("a workspace");
        fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).expect("the lock file");
        Self { dir }
    }

    fn test(&self, test: &str) -> Outcome {
        let run = |more: &[&str]| {
            let target = if test == "lib" { vec!["--lib"] } else { vec!["--test", test] };
            Command::new("timeout")
                .args(["300", env!("CARGO")])
                .args(["test", "--offline", "-q", "-p", "blockconsole"])
                .args(target)
                .args(more)
                .current_dir(&self.dir)
                .env("CARGO_TARGET_DIR", self.dir.join("target"))
                .env_remove("BLOCKCONSOLE_MUTATIONS")
                .output()
                .expect("cargo")
        };
        let built = run(&["--no-run"]);
        if !built.status.success() {
            println!("{}", String::from_utf8_lossy(&built.stderr));
            return Outcome::DoesNotCompile;
        }
        let status = run(&[]).status;
        match status.code() {
            Some(0) => Outcome::Green,
            // As `timeout` says it.
            Some(124) => Outcome::TimedOut,
            _ => Outcome::Red,
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What remains of it lies in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
