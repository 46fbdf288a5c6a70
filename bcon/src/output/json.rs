//! Lines as JSON: one object a line.

use super::LineWriter;
use crate::lines::Line;
use crate::log::Log;
use std::borrow::Cow;
use std::io::{self, Write};

/// Prints each line as an object with these fields, absent where they are not known:
///
/// | field | value |
/// |---|---|
/// | `console` | what the console is called |
/// | `uuid` | its uuid, 8 hexadecimal digits |
/// | `boot` | number of the boot |
/// | `tile` | number of the tile |
/// | `time` | seconds since that boot's start, with six decimals |
/// | `level` | `error`, `warn`, `info`, `debug`, `trace` |
/// | `target` | who logged it |
/// | `message` | what was logged; the whole line where it is of no known form |
/// | `crash` | `true` if the line is part of a crash record |
/// | `stale` | `true` if the line may be older than those before it, as on disks that Linux wrote |
///
/// No control character stands in them, so that they do no harm to a terminal.
#[derive(Clone, Debug)]
pub struct Json {
    /// The beginning of each object, the same for all.
    prefix: Vec<u8>,
}

impl Json {
    /// For the lines of a log.
    pub fn new(log: &Log) -> Self {
        let mut prefix = Vec::new();
        prefix.extend_from_slice(b"{\"console\":");
        prefix.extend_from_slice(escape_controls(&serde_json::Value::from(log.name.as_str()).to_string()).as_bytes());
        prefix.extend_from_slice(format!(",\"uuid\":\"{:08x}\"", log.found.uuid).as_bytes());
        Self { prefix }
    }
}

impl LineWriter for Json {
    fn line(&mut self, line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.prefix)?;
        if let Some(boot) = line.boot {
            write!(out, ",\"boot\":{boot}")?;
        }
        write!(out, ",\"tile\":{}", line.tile)?;
        let record = line.record().filter(|_| !line.in_crash);
        if let Some(record) = &record {
            write!(out, ",\"time\":{}.{:06}", record.time_us / 1_000_000, record.time_us % 1_000_000)?;
        }
        if let Some((level, record)) = record.as_ref().and_then(|record| Some((record.level?, record))) {
            write!(out, ",\"level\":\"{}\",\"target\":", level.name().to_ascii_lowercase())?;
            write_string(record.target, out)?;
        }
        out.write_all(b",\"message\":")?;
        write_string(record.map_or(line.bytes, |record| record.text), out)?;
        if line.in_crash {
            out.write_all(b",\"crash\":true")?;
        }
        if line.stale {
            out.write_all(b",\"stale\":true")?;
        }
        out.write_all(b"}\n")
    }
}

/// Prints a JSON value for a program, or for a person at a terminal: whatever stands in it does no harm there.
///
/// # Errors
/// What writing gave.
pub fn write_value(value: &serde_json::Value, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", escape_controls(&format!("{value:#}")))
}

/// Writes a JSON string. Invalid UTF-8 becomes replacement characters.
fn write_string(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string(&String::from_utf8_lossy(text)).map_err(io::Error::from)?;
    out.write_all(escape_controls(&text).as_bytes())
}

/// JSON leaves DEL and the C1 control characters as they are, some of which are commands to a terminal.
fn escape_controls(json: &str) -> Cow<'_, str> {
    let is_control = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    if !json.contains(is_control) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_control(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_comes_out() {
        let text: String = ('\0'..='\u{ff}').collect();
        let mut out = Vec::new();
        write_string(text.as_bytes(), &mut out).unwrap();
        out.push(b'\n');
        write_value(&serde_json::json!({ &text: &text }), &mut out).unwrap();
        let written = String::from_utf8(out).unwrap();
        assert!(!written.chars().any(|c| c.is_control() && c != '\n'), "{written:?}");
        assert!(written.contains("\\u009b"));
        let back: String = serde_json::from_str(written.lines().next().unwrap()).unwrap();
        assert_eq!(back, text);
    }
}
