//! Lines as JSON: one object a line.

use super::LineWriter;
use crate::lines::Line;
use crate::log::Log;
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
        prefix.extend_from_slice(serde_json::Value::from(log.name.as_str()).to_string().as_bytes());
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
        out.write_all(b"}\n")
    }
}

/// Writes a JSON string. Invalid UTF-8 becomes replacement characters.
fn write_string(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(out, &String::from_utf8_lossy(text)).map_err(io::Error::from)
}
