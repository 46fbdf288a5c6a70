//! Lines on a terminal: coloured, and harmless.

use super::LineWriter;
use crate::lines::{Line, Record};
use blockconsole::Level;
use std::io::{self, Write};

const RESET: &[u8] = b"\x1b[0m";
const DIM: &[u8] = b"\x1b[2m";
const BOLD: &[u8] = b"\x1b[1m";
const RED: &[u8] = b"\x1b[1;31m";
const YELLOW: &[u8] = b"\x1b[33m";

/// Prints lines for a terminal. A disk's bytes are somebody else's: control characters, which could do anything to
/// a terminal, are shown as escapes.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Whether to colour them.
    pub color: bool,
}

impl LineWriter for Terminal {
    fn line(&mut self, line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
        if !self.color {
            write_harmless(line.bytes, out)?;
            return out.write_all(b"\n");
        }
        if line.stale {
            painted(DIM, line.bytes, out)?;
            return out.write_all(b"\n");
        }
        match line.record().filter(|_| !line.in_crash) {
            Some(record) => write_record(line.bytes, &record, out)?,
            None if line.in_crash => painted(RED, line.bytes, out)?,
            None => write_harmless(line.bytes, out)?,
        }
        out.write_all(b"\n")
    }
}

fn write_record(line: &[u8], record: &Record<'_>, out: &mut dyn Write) -> io::Result<()> {
    let text_at = line.len() - record.text.len();
    let target_at = text_at.saturating_sub(record.target.len() + 2);
    let (head, text) = line.split_at(text_at);
    let (stamp, target) = head.split_at(target_at.min(head.len()));
    painted(DIM, stamp, out)?;
    painted(BOLD, target, out)?;
    match record.level {
        Some(Level::Error) => painted(RED, text, out),
        Some(Level::Warn) => painted(YELLOW, text, out),
        Some(Level::Debug | Level::Trace) => painted(DIM, text, out),
        Some(Level::Info) | None => write_harmless(text, out),
    }
}

fn painted(color: &[u8], text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(color)?;
    write_harmless(text, out)?;
    out.write_all(RESET)
}

/// Writes text with its control characters and invalid UTF-8 as `\x1b`.
pub fn write_harmless(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        let mut plain = 0;
        for (at, c) in valid.char_indices().filter(|(_, c)| c.is_control() && *c != '\t') {
            out.write_all(valid.get(plain..at).unwrap_or_default().as_bytes())?;
            write!(out, "\\x{:02x}", u32::from(c))?;
            plain = at + c.len_utf8();
        }
        out.write_all(valid.get(plain..).unwrap_or_default().as_bytes())?;
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut out = Vec::new();
        write_harmless(b"a\x1b[2Jb\xFF\xC2\x9Bc\xC3\xB6\t\x7F", &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a\\x1b[2Jb\\xff\\x9bcö\t\\x7f");
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let bytes = b"[    1.234567] ERROR app::net: no route";
        let line = Line { bytes, boot: None, tile: 0, offset: 0, stale: false, in_crash: false, mark: None };
        let mut out = Vec::new();
        Terminal { color: true }.line(&line, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\x1b[2m[    1.234567] ERROR \x1b[0m\x1b[1mapp::net: \x1b[0m\x1b[1;31mno route\x1b[0m\n");
    }
}
