//! The corpus of the fuzz targets, fed to their entries on stable Rust.
#![forbid(unsafe_code)]

#[path = "common/entries.rs"]
mod entries;

use std::fs;
use std::path::Path;

/// What is made of each file.
const VARIANTS: u64 = 150;

/// Numbers that are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % bound.max(1) as u64) as usize
    }
}

/// A flip, a byte, a number at its edge, a cut, a copy.
fn mutate(bytes: &mut Vec<u8>, used: &[usize], random: &mut Random) {
    if bytes.is_empty() || used.is_empty() {
        return;
    }
    // Most bytes are zero, and mean nothing.
    let at = used[random.below(used.len())].min(bytes.len() - 1);
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF][random.below(6)],
        3 => bytes.truncate(at + 1),
        4 => {
            let end = (at + 4).min(bytes.len());
            bytes[at..end].fill(0xFF);
        }
        _ => {
            let to = random.below(bytes.len());
            let len = 64.min(bytes.len() - at.max(to));
            bytes.copy_within(at..at + len, to);
        }
    }
}

fn feed(target: &str, entry: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(dir).expect("the corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= 3, "the corpus of {target}");
    let mut random = Random(1);
    for path in paths {
        let bytes = fs::read(&path).expect("a file");
        entry(&bytes);
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        for _ in 0..VARIANTS {
            let mut bytes = bytes.clone();
            for _ in 0..=random.below(5) {
                mutate(&mut bytes, &used, &mut random);
            }
            entry(&bytes);
        }
    }
    entry(&[]);
}

#[test]
fn boot_records() {
    feed("mbr", entries::mbr);
}

#[test]
fn partition_tables() {
    feed("gpt", entries::gpt);
}

#[test]
fn volumes() {
    feed("fat", entries::fat);
}
