//! `cargo xtask run`: one guest, and what its disks hold afterwards.

mod judge;
mod options;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use boot_image::image::{self, Contents, Identity};
use qemu::{Disk, Outcome, Programs, TemporaryDirectory, build};

use crate::paths::target_directory;
use judge::{Findings, Verdict};
use options::Boot;
pub(crate) use options::RunOptions;

/// Builds, boots, and says what each disk holds.
///
/// # Errors
/// When the guest could not be run, or a disk not be read.
pub(crate) fn run(options: &RunOptions) -> Result<ExitCode> {
    let programs = Programs::build(options.release)?;
    let disks = options.disks(&target_directory()?.join("disks"))?;
    disks.iter().try_for_each(Disk::prepare)?;
    let before = Findings::read(&disks)?;

    if options.gdb {
        eprintln!("waiting for a debugger: gdb {} -ex 'target remote :1234'", programs.kernel.display());
    }
    let directory = TemporaryDirectory::new()?;
    let image = match options.boot {
        Boot::Pvh => None,
        Boot::Uefi | Boot::Bios => Some(boot_image(options, &programs, directory.file("boot"))?),
    };
    let report = options.guest(&programs, image, disks.clone())?.start()?.wait()?;

    let after = Findings::read(&disks)?;
    let verdict = Verdict::new(&report, &before, &after);
    println!();
    print!("{}", after.describe(&before, &programs.kernel));
    println!("{verdict}");
    if !matches!(report.outcome, Outcome::Finished | Outcome::Crashed { .. }) {
        eprintln!("{report}");
    }
    Ok(verdict.exit_code())
}

/// Makes a disk image with the kernel and its command line, which firmware boots from. It has no console.
fn boot_image(options: &RunOptions, programs: &Programs, path: PathBuf) -> Result<PathBuf> {
    let loaders = build(&["boot"], &["loader-bios", "loader-uefi"], options.release)?;
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let files = loaders.iter().chain([&programs.kernel]).map(read).collect::<Result<Vec<_>>>()?;
    let [loader_bios, loader_uefi, kernel] = files.as_slice() else { unreachable!("three files were read") };
    // Nobody meets two of these images at a time.
    let identity = Identity::from_random(&[0x5a; Identity::RANDOM]);
    let contents =
        Contents { loader_bios, loader_uefi, kernel, command_line: &options.append, console_size: 0, identity };
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    image::write(&mut file, &contents)?;
    Ok(path)
}
