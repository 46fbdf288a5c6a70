//! `bcon extents`: a file's place, for the kernel's command line.

use super::DONE;
use crate::cli::ExtentsArgs;
use crate::extents::extents_of;
use anyhow::Result;
use std::io::{self, Write};

pub(super) fn run(args: &ExtentsArgs) -> Result<u8> {
    let found = extents_of(&args.file)?;
    let list: Vec<String> =
        found.extents.iter().map(|extent| format!("{}+{}", extent.first_block, extent.block_count)).collect();
    let disk = args.disk.as_deref().unwrap_or(&found.disk);
    writeln!(io::stdout(), "bcon.extents={disk}:{}", list.join(","))?;
    Ok(DONE)
}
