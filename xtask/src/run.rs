//! `cargo xtask run`: one guest, and what its disks hold afterwards.

mod judge;
mod options;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use bcon::image::{Options, make};
use qemu::{Disk, Loaders, Outcome, Programs, TemporaryDirectory};

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
    let parts = crate::image::parts(programs, &Loaders::build(options.release)?)?;
    // Nobody meets two of these images at a time.
    let options = Options { console_size: 0, command_line: options.append.clone(), seed: Some(0) };
    make(&path, &parts, &options, false)?;
    Ok(path)
}
