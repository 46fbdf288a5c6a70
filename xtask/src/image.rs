//! `cargo xtask image` and `cargo xtask flash`: the flashable image, and flashing.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bcon::cli::{FlashOptions, ImageOptions};
use bcon::commands::{flash, image};
use bcon::image::Parts;
use clap::Args;
use qemu::{Loaders, Programs, Tool, require};

use crate::paths::target_directory;

/// What the image is called in the target directory.
const NAME: &str = "blockconsole.img";

/// Make a disk image that boots by BIOS and by UEFI, with a console of its own.
#[derive(Args)]
pub(crate) struct ImageCommand {
    /// The image to make, or to replace [default: blockconsole.img in the target directory].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the files that `bcon image --from` makes images of to this folder, instead of an image.
    #[arg(long, value_name = "FOLDER", conflicts_with = "out")]
    release_dir: Option<PathBuf>,
    /// Build without optimisations.
    #[arg(long)]
    debug: bool,
    #[command(flatten)]
    options: ImageOptions,
}

/// Write an image to a disk, and read it back: refuses what is in use, built in, or no whole disk.
#[derive(Args)]
pub(crate) struct FlashCommand {
    /// The disk: all that it holds is lost.
    device: PathBuf,
    /// The image [default: a fresh one, as `image` makes it].
    image: Option<PathBuf>,
    #[command(flatten)]
    options: FlashOptions,
    #[command(flatten)]
    image_options: ImageOptions,
}

/// Builds, and makes the image or the release's files.
///
/// # Errors
/// When something does not build, or a file cannot be written.
pub(crate) fn image(command: &ImageCommand) -> Result<()> {
    let programs = Programs::build(!command.debug)?;
    let parts = parts(&programs, &Loaders::build(!command.debug)?)?;
    if let Some(folder) = &command.release_dir {
        parts.write(folder)?;
        // For `bcon crash --elf`: the same kernel, with its names.
        let debug = folder.join("kernel.debug");
        std::fs::copy(&programs.kernel, &debug).with_context(|| format!("cannot write {}", debug.display()))?;
        println!("{}", folder.display());
        return Ok(());
    }
    let out = match &command.out {
        Some(out) => out.clone(),
        None => target_directory()?.join(NAME),
    };
    build(&out, &parts, &command.options)
}

fn build(out: &std::path::Path, parts: &Parts, options: &ImageOptions) -> Result<()> {
    let qemu_img = match options.formats().next() {
        Some(_) => require(Tool::QemuImg)?,
        None => PathBuf::new(),
    };
    image::build(out, parts, options, true, &qemu_img)
}

/// Writes an image to a disk.
///
/// # Errors
/// When the image cannot be made, the disk is refused, or writing or reading it back fails.
pub(crate) fn flash(command: &FlashCommand) -> Result<()> {
    let image = match &command.image {
        Some(image) => image.clone(),
        None => {
            let out = target_directory()?.join(NAME);
            build(&out, &parts(&Programs::build(true)?, &Loaders::build(true)?)?, &command.image_options)?;
            out
        }
    };
    flash::write(&command.device, &image, command.options)
}

/// What an image is made of.
pub(crate) fn parts(programs: &Programs, loaders: &Loaders) -> Result<Parts> {
    Parts::from_programs(&loaders.bios, &loaders.uefi, &programs.kernel)
}
