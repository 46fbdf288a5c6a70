//! `bcon format`.

use super::DONE;
use crate::cli::FormatArgs;
use crate::format::{Options, format};
use crate::output::terminal::write_harmless;
use anyhow::Result;
use std::io::{self, Write};

pub(super) fn run(args: &FormatArgs) -> Result<u8> {
    let options = Options {
        size: args.size,
        force: args.force,
        uuid: args.uuid,
        partition: args.partition,
        fat_file: args.log_file,
    };
    let made = format(&args.target, &options)?;
    let out = &mut io::stdout();
    write_harmless(args.target.display().to_string().as_bytes(), out)?;
    writeln!(out, ": console {:08x}, {} MiB", made.uuid, made.tiles)?;
    Ok(DONE)
}
