//! `bcon format`.

use super::DONE;
use crate::cli::FormatArgs;
use crate::format::{Options, format};
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
    writeln!(io::stdout(), "{}: console {:08x}, {} MiB", args.target.display(), made.uuid, made.tiles)?;
    Ok(DONE)
}
