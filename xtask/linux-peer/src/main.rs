//! Init program of the Linux guest that benchmarks are compared with.
//!
//! It runs as process 1 from an initramfs that holds nothing but itself and the modules that the
//! kernel lacks (`/modules/*.ko`, loaded in the order of their names). For each disk
//! named on the kernel's command line (`peer.disks=/dev/vda,/dev/nvme0n1`) it does what
//! an application would do, and prints a line for each figure:
//!
//! ```text
//! peer: <disk> <what> bytes=<n> depth=<n> operations=<n> total_ns=<n> median_ns=<n>
//! ```
//!
//! The last line is `peer: done`; without it nothing of the run counts. Everything on the disks is overwritten.
#![forbid(unsafe_code)]

mod measure;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

fn main() {
    if let Err(error) = run() {
        println!("peer: failed: {error}");
    }
    // Process 1 must not return, and there is nobody left to tell if this fails.
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

fn run() -> Result<(), Box<dyn Error>> {
    mount_special("proc", "/proc")?;
    mount_special("devtmpfs", "/dev")?;
    let command_line = fs::read_to_string("/proc/cmdline")?;
    load_modules(Path::new("/modules"))?;
    for disk in word(&command_line, "peer.disks").unwrap_or_default().split(',').filter(|disk| !disk.is_empty()) {
        wait_for(Path::new(disk))?;
        measure::disk(disk)?;
    }
    println!("peer: done");
    Ok(())
}

/// The value of `name=value` among words separated by spaces.
fn word<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    command_line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn mount_special(kind: &str, place: &str) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(place)?;
    mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
        .map_err(|error| format!("mount {kind} on {place}: {error}"))?;
    Ok(())
}

fn load_modules(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut modules: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    modules.sort();
    for module in modules {
        let file = fs::File::open(&module)?;
        nix::kmod::finit_module(&file, c"", nix::kmod::ModuleInitFlags::empty())
            .map_err(|error| format!("load {}: {error}", module.display()))?;
    }
    Ok(())
}

/// Devices appear some time after their driver was loaded.
fn wait_for(disk: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while !disk.exists() {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(format!("{} did not appear within 20 s", disk.display()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
