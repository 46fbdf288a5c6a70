//! Writing a crash record: no allocation, no panic, and never more than fits.

use super::{MAX_RECORD, Report};
use crate::checksum::Crc32c;
use core::fmt::{self, Write};

/// The longest last line: the numbers at their widest.
const MAX_END: usize = "---[ end crash 0123456789abcdef lines=16384 crc32c=01234567 ]---\n".len();
/// The longest note on what was left out of the head.
const MAX_HEAD_NOTE: usize = "note: 1234567 lines of the head left out\n".len();
/// Room for that, and for two more.
const MAX_NOTES: usize =
    MAX_HEAD_NOTE + 2 * "note: 18446744073709551615 of 18446744073709551615 words of the stack left out\n".len();
/// Kept back while the record grows.
const RESERVE: usize = MAX_END + MAX_NOTES;
/// The most bytes of a value that somebody else made up.
const MAX_VALUE: usize = 2048;
const REGISTERS_A_LINE: usize = 4;
const WORDS_A_LINE: usize = 4;

/// Writes the record of a crash into `out`, and returns its length, at most [`MAX_RECORD`]: 0 if `out` has no room for
/// the first and the last line.
pub fn write(report: &Report<'_>, out: &mut [u8]) -> usize {
    let limit = out.len().min(MAX_RECORD);
    let Some(room) = limit.checked_sub(RESERVE) else { return 0 };
    let mut record = Writer { out, len: 0, limit: room, lines: 0, crc: Crc32c::new() };
    if !record.put(format_args!("---[ crash {:016x} ]---\n", report.id)) {
        return 0;
    }
    let left_out = head(report, &mut record);
    let frames = frames(report.backtrace, &mut record);
    let (shown, words) = stack(report, &mut record);
    record.limit = limit - MAX_END;
    if left_out > 0 {
        record.line(format_args!("note: {left_out} lines of the head left out\n"));
    }
    if frames < report.backtrace.len() {
        let left_out = report.backtrace.len() - frames;
        record.line(format_args!("note: {left_out} of {} frames left out\n", report.backtrace.len()));
    }
    if shown < words {
        record.line(format_args!("note: {} of {words} words of the stack left out\n", words - shown));
    }
    record.limit = limit;
    let (lines, crc) = (record.lines, record.crc.clone().finish());
    record.put(format_args!("---[ end crash {:016x} lines={lines} crc32c={crc:08x} ]---\n", report.id));
    record.len
}

/// Returns how many lines there was no room for.
fn head(report: &Report<'_>, record: &mut Writer<'_>) -> u32 {
    let mut left_out = 0;
    let mut line = |text: fmt::Arguments<'_>| left_out += u32::from(!record.line(text));
    line(format_args!("reason: {}: {}\n", Clean(report.kind), Clean(report.reason)));
    if let Some(place) = &report.place {
        line(format_args!("place: {}:{}:{}\n", Clean(place.file), place.line, place.column));
    }
    line(format_args!("version: {}\n", Clean(report.version)));
    line(format_args!("build: {}\n", Hex(report.build_id)));
    if let Some(boot) = report.boot {
        line(format_args!("boot: {boot}\n"));
    }
    let (seconds, micros) = (report.uptime_ns / 1_000_000_000, report.uptime_ns / 1000 % 1_000_000);
    line(format_args!("uptime: {seconds}.{micros:06} s\n"));
    line(format_args!("cpu: {}\n", report.cpu));
    if let Some(trap) = &report.trap {
        let (vector, name) = (trap.vector, Clean(trap.name));
        match trap.error_code {
            Some(code) => line(format_args!("trap: {vector} {name}, error code {code:#x}\n")),
            None => line(format_args!("trap: {vector} {name}\n")),
        };
    }
    for registers in report.registers.chunks(REGISTERS_A_LINE) {
        line(format_args!("registers:{}\n", Registers(registers)));
    }
    for (name, state) in report.devices {
        line(format_args!("console {}: {}\n", Clean(name), Clean(state)));
    }
    left_out
}

/// Returns how many there was room for.
fn frames(backtrace: &[u64], record: &mut Writer<'_>) -> usize {
    for (i, address) in backtrace.iter().enumerate() {
        if !record.line(format_args!("frame {i}: 0x{}\n", Digits(*address))) {
            return i;
        }
    }
    backtrace.len()
}

/// Returns how many words there was room for, and how many there are.
fn stack(report: &Report<'_>, record: &mut Writer<'_>) -> (usize, usize) {
    let Some(stack) = &report.stack else { return (0, 0) };
    let (words, _) = stack.bytes.as_chunks::<8>();
    let mut shown = 0;
    for line in words.chunks(WORDS_A_LINE) {
        let address = stack.address.wrapping_add(8 * shown as u64);
        if !record.line(format_args!("stack 0x{}:{}\n", Digits(address), Words(line))) {
            break;
        }
        shown += line.len();
    }
    (shown, words.len())
}

/// A record in the making. Lines go in whole or not at all.
struct Writer<'o> {
    out: &'o mut [u8],
    len: usize,
    limit: usize,
    lines: u32,
    crc: Crc32c,
}

impl Writer<'_> {
    /// Writes a line that counts; `false` if it does not fit.
    fn line(&mut self, line: fmt::Arguments<'_>) -> bool {
        let start = self.len;
        if !self.put(line) {
            return false;
        }
        self.crc.update(self.out.get(start..self.len).unwrap_or_default());
        self.lines += 1;
        true
    }

    fn put(&mut self, line: fmt::Arguments<'_>) -> bool {
        let start = self.len;
        let fits = self.write_fmt(line).is_ok();
        if !fits {
            self.len = start;
        }
        fits
    }
}

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).filter(|end| *end <= self.limit).ok_or(fmt::Error)?;
        self.out.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Somebody else's text on one line: control characters are escaped, and what is too long is cut.
struct Clean<'a>(&'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.get(..self.0.floor_char_boundary(MAX_VALUE)).unwrap_or_default();
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            f.write_str(text)?;
        } else {
            escape(text, f)?;
        }
        if text.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

/// A number in 16 hexadecimal digits, made by hand: there are a hundred of them in a record.
struct Digits(u64);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 16];
        for (digit, shift) in text.iter_mut().rev().zip((0..64).step_by(4)) {
            let value = (self.0 >> shift) as u8 & 15;
            *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        }
        f.write_str(core::str::from_utf8(&text).unwrap_or_default())
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(32).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct Registers<'a>(&'a [(&'a str, u64)]);

impl fmt::Display for Registers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| write!(f, " {}={}", Clean(name), Digits(*value)))
    }
}

struct Words<'a>(&'a [[u8; 8]]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, " {}", Digits(u64::from_le_bytes(*word))))
    }
}
