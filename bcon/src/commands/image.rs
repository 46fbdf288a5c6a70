//! `bcon image`, and what `cargo xtask image` has in common with it.

use super::DONE;
use crate::cli::{ImageArgs, ImageOptions};
use crate::image::{Format, Options, Parts, convert, make};
use anyhow::Result;
use std::io::{self, Write};
use std::path::Path;

pub(super) fn run(args: &ImageArgs) -> Result<u8> {
    let parts = Parts::read(&args.from)?;
    build(&args.out, &parts, &args.options, args.force, Path::new("qemu-img"))?;
    Ok(DONE)
}

impl ImageOptions {
    /// The formats that are asked for besides the raw one.
    pub fn formats(&self) -> impl Iterator<Item = Format> {
        let wanted = [(self.qcow2, Format::Qcow2), (self.vmdk, Format::Vmdk), (self.vhd, Format::Vhd)];
        wanted.into_iter().filter_map(|(is_wanted, format)| is_wanted.then_some(format))
    }
}

/// Makes an image, and the other files that are asked for; says what it has made.
///
/// # Errors
/// When one of them cannot be made.
pub fn build(out: &Path, parts: &Parts, options: &ImageOptions, replace: bool, qemu_img: &Path) -> Result<()> {
    let ImageOptions { console_size, seed, .. } = *options;
    let made = make(out, parts, &Options { console_size, command_line: options.append.clone(), seed }, replace)?;
    let console = made.uuid.map_or_else(|| "no console".to_owned(), |uuid| format!("console {uuid:08x}"));
    writeln!(io::stdout(), "{}: {} MiB, {console}", out.display(), made.size >> 20)?;
    for format in options.formats() {
        writeln!(io::stdout(), "{}", convert(out, format, qemu_img)?.display())?;
    }
    Ok(())
}
