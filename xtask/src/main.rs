//! The project's commands: `cargo xtask help` lists them.
#![forbid(unsafe_code)]

mod tidy;

use anyhow::Result;
use clap::Parser;

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Check the house rules: arrows between packages, unsafe code, files, licences.
    Tidy,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Tidy => tidy::tidy(),
    }
}
