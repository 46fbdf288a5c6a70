//! What the boot before left in memory: how it ended, and what it could not write.
//!
//! After a triple fault, a watchdog's reset or the reset button, its ring is still there. What was not durable on every console
//! is written again into this boot's ring, between two lines that say so, and so gets to the disks before anything else.

use crate::arch::rtc::DateTime;
use blockconsole::Level;
use blockconsole::ring::{Adopted, Next, RecordBuffer, RecordHeader, Ring, Tally};
use core::fmt;

/// Target of the kernel's own last lines.
pub const TARGET: &str = "kernel";
/// The text of a program's last line that has finished.
pub const FINISHED: &str = "finished";
/// What the crash path's line begins with.
pub const CRASHED: &str = "crashed: ";
/// What the line before a crash on purpose begins with.
pub const ON_PURPOSE: &str = "crash on purpose: ";
/// How far from the end these lines are looked for.
const LAST_RECORDS: u64 = 64;
/// Most records that are written again: they must not push themselves out of the ring.
const MOST_RECOVERED: u64 = 3000;

/// Why a boot crashed, as it said itself; what does not fit is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Why {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Why {
    const MAX: usize = 240;

    fn new(text: &str) -> Self {
        let len = text.floor_char_boundary(Self::MAX);
        let mut why = Self { bytes: [0; Self::MAX], len };
        why.bytes.iter_mut().zip(text.as_bytes().iter().take(len)).for_each(|(to, from)| *to = *from);
        why
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Ended {
    /// Its program finished.
    Finished,
    /// It crashed, and said why.
    Crashed(Why),
    /// Neither: a reset came in between.
    Reset,
}

/// What is known of the boot before.
#[derive(Clone, Copy, Debug)]
pub struct Previous {
    /// How it ended.
    pub ended: Ended,
    /// Whether it crashed on purpose; it would be pointless to do so again and again.
    pub on_purpose: bool,
    /// When it started, in seconds since 1970; 0 if that is not known.
    pub boot_seconds: u64,
    /// Its number for itself.
    pub boot_id: u64,
    /// What was written again.
    pub recovered: Tally,
}

impl Previous {
    /// Looks at what a boot left, and saves its tail into `ring`.
    pub fn save(adopted: &Adopted<'_>, ring: &Ring<'_>) -> Self {
        let identity = adopted.identity();
        let mut previous = Self {
            ended: Ended::Reset,
            on_purpose: false,
            boot_seconds: identity.boot_seconds,
            boot_id: identity.boot_id,
            recovered: Tally::default(),
        };
        previous.look_at_end(adopted);
        let (durable, written) = (adopted.durable(), adopted.written());
        let from = durable.max(written.saturating_sub(MOST_RECOVERED));
        if from < written && adopted.tally(adopted.cursor_at(from)).whole > 0 {
            let header = RecordHeader { time_ns: 0, cpu: 0, level: Level::Warn };
            ring.write(header, TARGET, format_args!("recovered: what the boot {previous} could not write follows"));
            previous.recovered = adopted.write_again(adopted.cursor_at(from), ring);
            let Tally { whole, lost } = previous.recovered;
            let lost = lost + (from - durable);
            ring.write(header, TARGET, format_args!("recovered: {whole} lines, {lost} were lost; this boot follows"));
        }
        previous
    }

    fn look_at_end(&mut self, adopted: &Adopted<'_>) {
        let mut cursor = adopted.cursor_at(adopted.written().saturating_sub(LAST_RECORDS));
        let mut scratch = RecordBuffer::new();
        loop {
            match adopted.next(&mut cursor, &mut scratch) {
                Next::Record(record) if record.target == TARGET => {
                    if record.text == FINISHED {
                        self.ended = Ended::Finished;
                    } else if let Some(why) = record.text.strip_prefix(CRASHED) {
                        self.ended = Ended::Crashed(Why::new(why));
                    } else if record.text.starts_with(ON_PURPOSE) {
                        self.on_purpose = true;
                    }
                }
                Next::Empty => return,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Previous {
    /// Which boot it was.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_seconds(self.boot_seconds) {
            Some(time) => write!(f, "of {time} (id {:016x})", self.boot_id),
            None => write!(f, "with id {:016x}", self.boot_id),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Crashed(why) => write!(f, "crashed: {}", why.as_str()),
            Self::Reset => f.write_str("was reset or cut short"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blockconsole::ring::{Patience, RingIdentity, succeed};
    use core::sync::atomic::AtomicU64;
    use std::string::{String, ToString};
    use std::vec::Vec;

    const HEADER: RecordHeader = RecordHeader { time_ns: 7, cpu: 0, level: Level::Info };

    fn identity(boot_id: u64) -> RingIdentity {
        RingIdentity { boot_id, build_id: [0; 20], boot_seconds: 1_776_124_801 }
    }

    fn memory() -> Vec<AtomicU64> {
        (0..32_768).map(|_| AtomicU64::new(0)).collect()
    }

    fn texts(ring: &Ring<'_>) -> Vec<String> {
        let (mut cursor, mut scratch) = (ring.cursor_oldest(), RecordBuffer::new());
        let mut texts = Vec::new();
        while let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) {
            texts.push(record.text.to_string());
        }
        texts
    }

    /// A boot that logs these, of which so many are durable; then the next one.
    fn boot_after(lines: &[(&str, &str)], durable: u64) -> (Previous, Vec<String>) {
        let memory = memory();
        let first = succeed(&memory, identity(1), |_, _| panic!("there was none before")).unwrap();
        for (target, text) in lines {
            first.write(HEADER, target, format_args!("{text}"));
        }
        first.note_durable(durable);
        let mut previous = None;
        let save = |ring: &Ring<'_>, adopted: &Adopted<'_>| previous = Some(Previous::save(adopted, ring));
        let second = succeed(&memory, identity(2), save).unwrap();
        (previous.unwrap(), texts(&second))
    }

    #[test]
    fn a_clean_end_leaves_nothing_to_do() {
        let (previous, texts) = boot_after(&[("x", "a"), (TARGET, FINISHED)], 2);
        assert_eq!((previous.ended, previous.on_purpose), (Ended::Finished, false));
        assert_eq!(texts, [""; 0]);
        assert_eq!(previous.to_string(), "of 2026-04-14T00:00:01Z (id 0000000000000001)");
    }

    #[test]
    fn the_tail_of_a_reset_boot_is_saved_between_two_lines() {
        let (previous, texts) = boot_after(&[("x", "a"), ("x", "b"), ("x", "c")], 1);
        assert_eq!(previous.ended, Ended::Reset);
        assert_eq!(previous.recovered, Tally { whole: 2, lost: 0 });
        assert_eq!(texts.len(), 4);
        assert!(texts[0].starts_with("recovered: what the boot of 2026-04-14T00:00:01Z"));
        assert_eq!(texts[1..3], ["b", "c"]);
        assert!(texts[3].starts_with("recovered: 2 lines, 0 were lost"));
    }

    #[test]
    fn a_crash_is_told_from_others_and_only_by_the_kernel_itself() {
        let ended = |lines: &[(&str, &str)]| boot_after(lines, 0).0;
        let crashed = ended(&[(TARGET, "crashed: panic: x")]).ended;
        assert_eq!(
            (crashed, crashed.to_string().as_str()),
            (Ended::Crashed(Why::new("panic: x")), "crashed: panic: x")
        );
        let long = "ä".repeat(500);
        assert_eq!(Why::new(&long).as_str(), &long[..Why::MAX]);
        assert_eq!(ended(&[("app", "crashed: panic: x")]).ended, Ended::Reset);
        assert!(ended(&[(TARGET, "crash on purpose: panic"), (TARGET, "crashed: panic: x")]).on_purpose);
    }
}
