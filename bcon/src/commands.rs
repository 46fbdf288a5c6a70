//! The commands: each a function of its arguments.

mod cat;
mod crash;
mod extents;
pub mod flash;
mod fleet;
mod format;
pub mod image;
mod list;
mod manual;
mod qr;
mod select;
mod tail;
mod targets;
mod verify;

use crate::cli::{Cli, Command};
use crate::output::terminal::write_harmless;
use anyhow::Result;
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit status: done, or nothing wrong.
const DONE: u8 = 0;
/// Exit status: what was asked for is not there, or something is damaged.
const FINDINGS: u8 = 1;
/// Exit status: a crash record is there, but damaged.
const DAMAGED: u8 = 2;
/// Exit status: failed, as said on standard error.
const FAILED: u8 = 3;
/// Exit status: wrong use of the command line; `EX_USAGE` of sysexits.
const USAGE: u8 = 64;

/// Runs a command, and says on standard error why it failed, if it did.
pub fn main(cli: &Cli) -> ExitCode {
    let status = run(&cli.command).unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            // Whoever read our output has seen enough.
            return DONE;
        }
        complain(&error);
        FAILED
    });
    ExitCode::from(status)
}

/// Prints clap's answer to a wrong command line, or the help that was asked for.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Where there is nobody to read it, there is nobody to tell.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { USAGE } else { DONE })
}

fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Format(args) => format::run(args),
        Command::List(args) => list::run(args),
        Command::Cat(args) => cat::run(args),
        Command::Crash(args) => crash::run(args),
        Command::Qr(args) => qr::run(args),
        Command::Tail(args) => tail::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Extents(args) => extents::run(args),
        Command::Image(args) => image::run(args),
        Command::Flash(args) => flash::run(args),
        Command::Completions(args) => manual::completions(args),
        Command::Man(args) => manual::pages(args),
    }
}

/// One line on standard error: what, why, what to do.
fn complain(error: &anyhow::Error) {
    say(&format!("{error:#}"));
}

/// One line on standard error. What stands in it, such as a path, does no harm to a terminal.
fn say(words: &str) {
    let mut line = b"bcon: ".to_vec();
    // Writing to memory cannot fail; and where nobody reads standard error, there is nobody to tell.
    let _ = write_harmless(words.as_bytes(), &mut line);
    line.push(b'\n');
    let _ = io::stderr().write_all(&line);
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
