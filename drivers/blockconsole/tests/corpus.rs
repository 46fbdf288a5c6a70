//! The corpus of the fuzz targets, fed to their entries on stable Rust.

#[path = "support/entries.rs"]
mod entries;

use block_fake::Random;
use std::fs;
use std::path::PathBuf;

/// What is made of each file.
const VARIANTS: u64 = 100;

fn files(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let paths = fs::read_dir(dir).expect("the corpus").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
    files.sort();
    assert!(files.len() >= 4, "the corpus of {target}");
    files
}

/// Another file's bytes in place of these, a flip, a cut, a copy.
fn mutate(bytes: &mut Vec<u8>, others: &[(PathBuf, Vec<u8>)], random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len() as u64;
    let (at, to) = (random.below(len) as usize, random.below(len) as usize);
    match random.below(7) {
        // This block cannot be read.
        6 => bytes[at / 512 * 512] = 0xEE,
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.bits() as u8,
        2 => bytes.truncate(at),
        3 => {
            let piece = bytes[at..(at + 512).min(bytes.len())].to_vec();
            bytes.splice(to..to, piece);
        }
        4 => {
            let (at, to) = (at / 512 * 512, to / 512 * 512);
            let end = (at + 512).min(bytes.len()).min(at + bytes.len() - to);
            bytes.copy_within(at..end, to);
        }
        _ => {
            let other = &others[random.below(others.len() as u64) as usize].1;
            let from = random.below(other.len().max(1) as u64) as usize;
            bytes.splice(at.., other[from..].iter().copied());
        }
    }
}

fn feed(target: &str, entry: fn(&[u8])) {
    let files = files(target);
    let mut random = Random::new(1);
    for (_, bytes) in &files {
        entry(bytes);
        for _ in 0..VARIANTS {
            let mut bytes = bytes.clone();
            for _ in 0..=random.below(4) {
                mutate(&mut bytes, &files, &mut random);
            }
            entry(&bytes);
        }
    }
}

#[test]
fn disks() {
    feed("disk", entries::disk);
}

#[test]
fn texts() {
    feed("text", entries::text);
}
