//! `bcon`: prepares and reads blockconsole disks.
#![forbid(unsafe_code)]

use bcon::cli::Cli;
use bcon::commands;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => commands::main(&cli),
        Err(error) => commands::usage(&error),
    }
}
