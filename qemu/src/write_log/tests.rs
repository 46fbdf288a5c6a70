//! A log made by hand, followed step by step, and damaged.

use super::*;

/// A log with sectors of 512 bytes.
fn log(entries: &[(u64, &[u8], u64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [MAGIC, 1, entries.len() as u64, 512] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(512, 0);
    for (sector, data, flags) in entries {
        let start = bytes.len();
        for number in [*sector, data.len() as u64 / 512, *flags, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.resize(start + 512, 0);
        bytes.extend(*data);
    }
    bytes
}

fn firsts(image: &[u8]) -> Vec<u8> {
    image.iter().step_by(512).copied().collect()
}

#[test]
fn only_a_flush_makes_writes_durable() {
    let log =
        WriteLog::parse(log(&[(0, &[1; 1024], 0), (1, &[2; 512], 0), (0, &[], FLUSH), (3, &[3; 512], FUA)])).unwrap();
    let mut cut = PowerCut::new(&log, vec![9; 2048]);
    cut.step().unwrap();
    cut.step().unwrap();
    assert_eq!((cut.position(), cut.pending()), (2, 2));
    assert_eq!(firsts(&cut.image(|_| Fate::Lost).unwrap()), [9, 9, 9, 9]);
    assert_eq!(firsts(&cut.image(|_| Fate::Whole).unwrap()), [1, 2, 9, 9]);
    let mut fates = [Fate::Torn(1), Fate::Lost].into_iter();
    assert_eq!(firsts(&cut.image(|_| fates.next().unwrap()).unwrap()), [1, 9, 9, 9]);
    cut.step().unwrap();
    assert_eq!(firsts(&cut.image(|_| Fate::Lost).unwrap()), [1, 2, 9, 9]);
    cut.step().unwrap();
    assert_eq!(firsts(&cut.image(|_| Fate::Lost).unwrap()), [1, 2, 9, 3]);
    assert!(cut.step().unwrap().is_none());
}

#[test]
fn entries_are_found_by_the_length_of_the_log() {
    let log = WriteLog::parse(log(&[(0, &[1; 1024], 0), (0, &[], FLUSH)])).unwrap();
    assert_eq!([0, 512, 2047, 2048, 2559, 2560, 9999].map(|length| log.entries_in(length)), [0, 0, 0, 1, 1, 2, 2]);
}

#[test]
fn damage_is_an_error() {
    let sound = log(&[(0, &[1; 512], 0)]);
    assert!(WriteLog::parse(sound.clone()).is_ok());
    assert!(WriteLog::parse(Vec::new()).is_err());
    assert!(WriteLog::parse(sound[..1024].to_vec()).is_err());
    for (at, value) in [(0, 0), (8, 2), (16, 2), (25, 0), (24, 3), (520, 255), (528, 64)] {
        let mut damaged = sound.clone();
        damaged[at] = value;
        assert!(WriteLog::parse(damaged).is_err(), "byte {at}");
    }
    let beyond = WriteLog::parse(log(&[(7, &[1; 512], 0), (0, &[], FLUSH)])).unwrap();
    let mut cut = PowerCut::new(&beyond, vec![0; 1024]);
    cut.step().unwrap();
    assert!(cut.image(|_| Fate::Whole).is_err());
    assert!(cut.step().is_err());
}
