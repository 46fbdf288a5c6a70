//! The loader's own log: kept in memory, and handed over to the kernel.
//!
//! One line each:
//!
//! ```text
//! <16 hexadecimal digits: time stamp counter> <INFO |WARN |ERROR> <text>\n
//! ```
//!
//! The loader knows no time but the processor's time stamp counter, which firmware leaves running; a kernel
//! that has calibrated it can tell when each line was written. Text has no control characters.
//!
//! The room is bounded. The less a line matters, the sooner there is none for it, so that a long memory map never hides why
//! the kernel does not start.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Most bytes that the log keeps. Lines that do not fit are counted, and named in the last line.
pub const CAPACITY: usize = 16 * 1024;

/// Room that is kept for the line that says how many were left out.
const LAST_LINE: usize = 80;
/// Room that is kept for warnings and errors, and of it for errors alone: an exception with all its registers takes half.
const WARNINGS: usize = 2048;
const ERRORS: usize = 1024;

/// Where a line has its level, and its text.
const LEVEL_AT: usize = 17;
const TEXT_AT: usize = LEVEL_AT + 6;

static LOG: Log = Log::new();

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the record.
    Info,
    /// Something that the user may have to look at.
    Warn,
    /// Why the kernel is not started.
    Error,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Info => "INFO ",
            Self::Warn => "WARN ",
            Self::Error => "ERROR",
        }
    }

    /// Where the log is full for lines of this level.
    const fn end(self) -> usize {
        CAPACITY
            - LAST_LINE
            - match self {
                Self::Info => WARNINGS,
                Self::Warn => ERRORS,
                Self::Error => 0,
            }
    }
}

/// Adds a line for the record.
pub fn info(text: fmt::Arguments<'_>) {
    LOG.add(time_stamp(), Level::Info, text);
}

/// Adds a line that the user may have to look at.
pub fn warn(text: fmt::Arguments<'_>) {
    LOG.add(time_stamp(), Level::Warn, text);
}

/// Adds the line that says why the kernel is not started.
pub fn error(text: fmt::Arguments<'_>) {
    LOG.add(time_stamp(), Level::Error, text);
}

/// Copies the log into `out`, as far as there is room, and returns the number of bytes.
pub fn copy_to(out: &mut [u8]) -> usize {
    LOG.copy_to(out)
}

/// How much of the log there is by now: where [`for_each_line`] may go on later.
pub fn mark() -> usize {
    LOG.len()
}

/// Calls `each` with the bytes of every line of at least a level, without time and line feed; from a [`mark`] on, or from 0: then the
/// line that says how many were left out comes first.
pub fn for_each_line(from: usize, at_least: Level, each: impl FnMut(&mut dyn Iterator<Item = u8>)) {
    LOG.for_each_line(from, at_least, each);
}

/// Calls `each` with time stamp, level and text of every line.
pub fn for_each_record(each: impl FnMut(u64, Level, &str)) {
    LOG.for_each_record(each);
}

/// The processor's time stamp counter, by which lines are dated.
pub fn time_stamp() -> u64 {
    // SAFETY: every 64-bit processor has the instruction, and a loader runs where it is allowed.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Text that only grows. Made of atomic bytes, so that an exception handler may read what the code it interrupted
/// was writing; there is one writer at a time.
struct Log {
    bytes: [AtomicU8; CAPACITY],
    len: AtomicUsize,
    left_out: AtomicUsize,
}

impl Log {
    const fn new() -> Self {
        Self { bytes: [const { AtomicU8::new(0) }; CAPACITY], len: AtomicUsize::new(0), left_out: AtomicUsize::new(0) }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).map_or(0, |byte| byte.load(Ordering::Relaxed))
    }

    fn add(&self, time: u64, level: Level, text: fmt::Arguments<'_>) {
        let mut line = Line { log: self, at: self.len(), end: level.end() };
        let written = write!(line, "{time:016x} {} {text}", level.word());
        if written.is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // `Line` keeps this byte free.
        self.bytes[line.at].store(b'\n', Ordering::Relaxed);
        self.len.store(line.at + 1, Ordering::Release);
    }

    /// What says how many lines were left out, if any were: the text of a warning.
    fn left_out(&self) -> Option<Short> {
        let count = self.left_out.load(Ordering::Relaxed);
        let mut text = Short { bytes: [0; LAST_LINE - TEXT_AT - 1], len: 0 };
        // It has room for the largest number.
        (count != 0 && write!(text, "{count} lines of the loader's log did not fit").is_ok()).then_some(text)
    }

    fn copy_to(&self, out: &mut [u8]) -> usize {
        let mut at = 0;
        for (to, from) in out.iter_mut().zip(&self.bytes[..self.len()]) {
            *to = from.load(Ordering::Relaxed);
            at += 1;
        }
        if let Some(text) = self.left_out() {
            let mut tail = Tail { out, at };
            let time = time_stamp();
            // Fails only where the caller gave less room than `CAPACITY`.
            if writeln!(tail, "{time:016x} {} {}", Level::Warn.word(), text.as_str()).is_ok() {
                at = tail.at;
            }
        }
        at
    }

    fn for_each_line(&self, from: usize, at_least: Level, mut each: impl FnMut(&mut dyn Iterator<Item = u8>)) {
        if let Some(text) = self.left_out().filter(|_| from == 0 && at_least != Level::Error) {
            each(&mut Level::Warn.word().bytes().chain([b' ']).chain(text.as_str().bytes()));
        }
        let mut at = from;
        while let Some(end) = (at..self.len()).find(|i| self.byte(*i) == b'\n') {
            let level = self.byte(at + LEVEL_AT);
            let wanted = match at_least {
                Level::Info => true,
                Level::Warn => level != b'I',
                Level::Error => level == b'E',
            };
            if wanted {
                each(&mut (at + LEVEL_AT..end).map(|i| self.byte(i)));
            }
            at = end + 1;
        }
    }

    fn for_each_record(&self, mut each: impl FnMut(u64, Level, &str)) {
        let mut at = 0;
        let mut line = [0; 512];
        let mut last = 0;
        while let Some(end) = (at..self.len()).find(|i| self.byte(*i) == b'\n') {
            let digits = (at..at + LEVEL_AT - 1).map(|i| char::from(self.byte(i)).to_digit(16).unwrap_or(0));
            let time = digits.fold(0, |time, digit| time << 4 | u64::from(digit));
            let level = match self.byte(at + LEVEL_AT) {
                b'I' => Level::Info,
                b'W' => Level::Warn,
                _ => Level::Error,
            };
            let mut len = 0;
            for (to, i) in line.iter_mut().zip(at + TEXT_AT..end) {
                *to = self.byte(i);
                len += 1;
            }
            let text = line.get(..len).unwrap_or_default();
            // A longer line is cut, maybe within a character.
            let text = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            each(time, level, text);
            (at, last) = (end + 1, time);
        }
        if let Some(text) = self.left_out() {
            each(last, Level::Warn, text.as_str());
        }
    }
}

/// A line that is being added: invisible until the log's length is moved past it.
struct Line<'a> {
    log: &'a Log,
    at: usize,
    end: usize,
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // One byte is kept for the line feed.
            if self.at + 1 >= self.end {
                return Err(fmt::Error);
            }
            let byte = if byte.is_ascii_control() { b' ' } else { byte };
            self.log.bytes[self.at].store(byte, Ordering::Relaxed);
            self.at += 1;
        }
        Ok(())
    }
}

/// A short text.
struct Short {
    bytes: [u8; LAST_LINE - TEXT_AT - 1],
    len: usize,
}

impl Short {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

struct Tail<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Write for Tail<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.out.get_mut(self.at..self.at + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.at += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::ToOwned;
    use std::string::String;
    use std::vec::Vec;

    fn text(log: &Log) -> String {
        let mut out = [0; CAPACITY];
        let len = log.copy_to(&mut out);
        String::from_utf8(out[..len].into()).unwrap()
    }

    #[test]
    fn a_line_has_time_level_and_text_without_control_characters() {
        let log = Log::new();
        log.add(0x1234, Level::Info, format_args!("a\nb{}", 'é'));
        log.add(u64::MAX, Level::Error, format_args!(""));
        assert_eq!(text(&log), "0000000000001234 INFO  a bé\nffffffffffffffff ERROR \n");
    }

    #[test]
    fn a_full_log_keeps_the_first_lines_and_counts_the_others() {
        let log = Log::new();
        for number in 0..1000 {
            log.add(0, Level::Info, format_args!("line {number} {:100}", ""));
        }
        let text = text(&log);
        assert!(text.len() <= CAPACITY);
        let kept = text.lines().count() - 1;
        assert!(
            text.lines().take(kept).enumerate().all(|(i, line)| line[17..].starts_with(&format!("INFO  line {i} ")))
        );
        assert!(text.ends_with(&format!("WARN  {} lines of the loader's log did not fit\n", 1000 - kept)));
    }

    #[test]
    fn a_full_log_still_takes_what_matters() {
        let log = Log::new();
        for number in 0..400 {
            log.add(0, Level::Info, format_args!("memory {number:100}"));
        }
        for number in 0..400 {
            log.add(0, Level::Warn, format_args!("warning {number:100}"));
        }
        log.add(7, Level::Error, format_args!("the reason, and {:800}", "registers"));
        let mut lines = Vec::new();
        log.for_each_line(0, Level::Info, |line| lines.push(String::from_utf8(line.collect()).unwrap()));
        assert!(
            lines[0].starts_with("WARN  ") && lines[0].ends_with(" lines of the loader's log did not fit"),
            "{}",
            lines[0]
        );
        assert!(lines.last().unwrap().starts_with("ERROR the reason, and registers "));
        // Besides what the lines for the record left over.
        let warnings = lines.iter().filter(|line| line.starts_with("WARN  warning ")).count();
        let most = (WARNINGS - ERRORS) / (TEXT_AT + 109);
        assert!((most..=most + 1).contains(&warnings), "{warnings}");
        let mut errors = Vec::new();
        log.for_each_line(0, Level::Error, |line| errors.push(line.count()));
        assert_eq!(errors.len(), 1);
        let mut records = Vec::new();
        log.for_each_record(|time, level, text| records.push((time, level, text.trim_end().to_owned())));
        let [.., error, left_out] = &records[..] else { panic!("{records:?}") };
        assert_eq!(*error, (7, Level::Error, "the reason, and registers".to_owned()));
        assert!(left_out.1 == Level::Warn && left_out.2 == lines[0][6..]);
        assert!(text(&log).len() <= CAPACITY);
    }
}
