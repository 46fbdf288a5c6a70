//! `bcon completions` and `bcon man`: made from the command line's own description.

use super::DONE;
use crate::cli::{Cli, CompletionsArgs, ManArgs};
use anyhow::{Context, Result};
use clap::CommandFactory;
use std::fs;
use std::io::{self, Write};

pub(super) fn completions(args: &CompletionsArgs) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bcon", &mut script);
    io::stdout().write_all(&script)?;
    Ok(DONE)
}

pub(super) fn pages(args: &ManArgs) -> Result<u8> {
    match &args.folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            io::stdout().write_all(&page)?;
        }
        Some(folder) => {
            let shown = folder.display();
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {shown}"))?;
            clap_mangen::generate_to(Cli::command(), folder).with_context(|| format!("cannot write to {shown}"))?;
        }
    }
    Ok(DONE)
}
