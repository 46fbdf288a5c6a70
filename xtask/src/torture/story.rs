//! What a disk tells of each boot, and what must be true of it.

use std::path::Path;

use anyhow::{Result, ensure};
use bcon::lines::{Line, Lines};
use bcon::log::Log;
use bcon::{target, verify};

use super::scenario::{LINES, LINES_BEFORE};

/// What is on a disk of one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Boot {
    /// As the console counts.
    pub(super) number: u32,
    /// Records: lines that the console has not written of its own accord.
    pub(super) records: usize,
    /// The numbers of the lines that it logged, and the losses that were said between them.
    pub(super) lines: Vec<Entry>,
    /// How many records there were before each of them.
    places: Vec<usize>,
    /// The numbers of lines that it saved from the boot before.
    pub(super) saved: Vec<u32>,
    /// Lines of the boots before those that suffer.
    pub(super) stale: usize,
    /// Whether its program finished.
    pub(super) has_finished: bool,
}

/// A numbered line, or a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Line(u32),
    /// So many records were lost here.
    Lost(u64),
}

/// What a disk tells.
#[derive(Debug)]
pub(super) struct Story {
    boots: Vec<Boot>,
    /// What a check of the whole console found damaged.
    pub(super) damages: Vec<String>,
}

impl Story {
    /// Reads the only console of a disk.
    ///
    /// # Errors
    /// When there is none, or several, or it cannot be read.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let target = target::open(path)?;
        ensure!(target.consoles.len() == 1, "{} has {} consoles", path.display(), target.consoles.len());
        let console = target.console(None)?;
        let findings = verify::verify(console)?;
        let damages = match findings.damages() {
            0 => Vec::new(),
            _ => findings.list().iter().map(|finding| format!("{finding:?}")).collect(),
        };
        let log = Log::open(console)?;
        let mut lines = Lines::new(&log);
        let (mut boots, mut is_saved) = (Vec::<Boot>::new(), false);
        while let Some(line) = lines.next_line() {
            let number = line.boot.unwrap_or(0);
            if boots.last().is_none_or(|boot| boot.number != number) {
                boots.push(Boot { number, ..Boot::default() });
                is_saved = false;
            }
            if let Some(boot) = boots.last_mut() {
                boot.take(&line, &mut is_saved);
            }
        }
        Ok(Self { boots, damages })
    }

    /// What there is of a boot.
    pub(super) fn boot(&self, number: u32) -> Boot {
        let found = self.boots.iter().find(|boot| boot.number == number);
        found.cloned().unwrap_or(Boot { number, ..Boot::default() })
    }
}

impl Boot {
    fn take(&mut self, line: &Line<'_>, is_saved: &mut bool) {
        if line.in_crash {
            return;
        }
        let Some(record) = line.record() else { return };
        let text = String::from_utf8_lossy(record.text);
        if record.target == b"blockconsole" {
            let lost = text.strip_prefix("*** ").and_then(|rest| rest.strip_suffix(" lines lost ***"));
            if let Some(count) = lost.and_then(|count| count.parse().ok()) {
                self.push(Entry::Lost(count));
            }
            return;
        }
        self.records += 1;
        if record.target == b"kernel" {
            *is_saved = text.starts_with("recovered: what the boot ") || *is_saved && !text.starts_with("recovered: ");
            self.has_finished |= text == "finished";
        }
        let number = text.strip_prefix("line ").and_then(|rest| rest.split_once(" of "));
        let Some((number, rest)) = number else { return };
        let Ok(number) = number.parse() else { return };
        let (of_this, of_before) = (format!("{LINES} "), format!("{LINES_BEFORE} "));
        if rest.starts_with(&of_before) {
            self.stale += 1;
        } else if rest.starts_with(&of_this) && *is_saved {
            self.saved.push(number);
        } else if rest.starts_with(&of_this) {
            self.push(Entry::Line(number));
        }
    }

    fn push(&mut self, entry: Entry) {
        self.lines.push(entry);
        self.places.push(self.records);
    }

    /// Only its first so many records: what was acknowledged. Behind them a power cut may have lost any write and left a later one.
    pub(super) fn first(mut self, records: usize) -> Self {
        self.lines.truncate(self.places.partition_point(|place| *place <= records));
        self.records = self.records.min(records);
        self
    }

    /// The number of the last line.
    pub(super) fn last_line(&self) -> u32 {
        let number = |entry: &Entry| if let Entry::Line(number) = entry { Some(*number) } else { None };
        self.lines.iter().rev().find_map(number).unwrap_or(0)
    }

    /// Checks that the lines are there from the first one on, each once, and that as many as are missing are said to be lost.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.stale > 0 {
            problems.push(format!("{} lines of earlier boots are shown as boot {}'s", self.stale, self.number));
        }
        let (mut last, mut lost) = (0, 0);
        for entry in &self.lines {
            match *entry {
                Entry::Lost(count) => lost += count,
                Entry::Line(number) if number <= last => {
                    problems.push(format!("boot {}: line {number} comes after line {last}", self.number));
                }
                Entry::Line(number) => {
                    let missing = u64::from(number - last - 1);
                    if missing > lost {
                        let boot = self.number;
                        problems.push(format!(
                            "boot {boot}: {missing} lines before line {number} are missing, {lost} are said to be"
                        ));
                    }
                    (last, lost) = (number, 0);
                }
            }
        }
        problems
    }

    /// Checks besides that nothing was lost, and that it goes up to this line at least.
    pub(super) fn problems_up_to(&self, least: u32) -> Vec<String> {
        let mut problems = self.problems();
        if self.lines.iter().any(|entry| matches!(entry, Entry::Lost(_))) {
            problems.push(format!("boot {}: lines were lost", self.number));
        }
        if self.last_line() < least {
            problems.push(format!("boot {} ends with line {}, and not before {least}", self.number, self.last_line()));
        }
        problems
    }
}

/// The last line that a boot showed on the serial port before `end`, which is 0 if there was none.
pub(super) fn last_shown(serial: &str) -> u32 {
    // A line that was cut does not count.
    let whole = serial.rfind('\n').map_or("", |end| &serial[..end]);
    let number = |line: &str| line.split_once(": line ")?.1.get(..7)?.parse().ok();
    whole.lines().rev().find_map(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(lines: &[Entry]) -> Boot {
        let mut boot = Boot { number: 1, ..Boot::default() };
        for entry in lines {
            boot.records += 1;
            boot.push(*entry);
        }
        boot
    }

    #[test]
    fn what_is_missing_shows_unless_it_was_said() {
        use Entry::{Line, Lost};
        assert_eq!(boot(&[Line(1), Line(2), Lost(3), Line(5)]).problems(), [""; 0]);
        for (lines, word) in [
            (&[Line(2)][..], "1 lines before line 2 are missing, 0 are"),
            (&[Line(1), Lost(1), Line(4)], "2 lines before line 4 are missing, 1 are"),
            (&[Line(1), Line(1)], "line 1 comes after line 1"),
            (&[Line(1), Line(2), Line(1)], "line 1 comes after line 2"),
        ] {
            assert!(boot(lines).problems()[0].contains(word), "{lines:?}: {:?}", boot(lines).problems());
        }
        assert!(boot(&[Line(1)]).problems_up_to(1).is_empty());
        assert!(!boot(&[Line(1)]).problems_up_to(2).is_empty());
        assert!(!boot(&[Line(1), Lost(1)]).problems_up_to(1).is_empty());
        let holes = boot(&[Line(1), Line(2), Line(9), Line(10)]);
        assert!(holes.clone().first(2).problems().is_empty());
        assert!(!holes.first(3).problems().is_empty());
        assert!(!Boot { stale: 1, ..boot(&[]) }.problems().is_empty());
    }

    #[test]
    fn only_whole_lines_of_the_serial_port_count() {
        assert_eq!(last_shown("[ 0.1] INFO  x: line 0000007 of 9 abc\r\nfoo\n[ 0.1] INFO  x: line 0000008 of"), 7);
        assert_eq!(last_shown(""), 0);
    }
}
