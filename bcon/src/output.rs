//! Lines for people, for programs, and for systemd's journal.

pub mod journal;
pub mod json;
pub mod terminal;

use crate::lines::Line;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// Standard output without the line buffer that Rust puts before it.
///
/// # Errors
/// If it is closed.
pub fn stdout() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Prints lines in some format.
pub trait LineWriter {
    /// Prints one.
    ///
    /// # Errors
    /// What writing gave.
    fn line(&mut self, line: &Line<'_>, out: &mut dyn Write) -> io::Result<()>;

    /// Takes note of a line, whether or not it is printed: every line is passed here, in order.
    fn note(&mut self, _line: &Line<'_>) {}
}

/// Prints lines as they stand in the log.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl LineWriter for Plain {
    fn line(&mut self, line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(line.bytes)?;
        out.write_all(b"\n")
    }
}
