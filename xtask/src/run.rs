//! `cargo xtask run`: one guest, and what its disks hold afterwards.

mod judge;
mod options;

use std::process::ExitCode;

use anyhow::Result;
use qemu::{Disk, Outcome, Programs};

use crate::paths::target_directory;
use judge::{Findings, Verdict};
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
    let report = options.guest(&programs, disks.clone())?.start()?.wait()?;

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
