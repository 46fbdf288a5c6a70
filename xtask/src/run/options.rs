//! The words of `cargo xtask run`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use qemu::{DEFAULT_SIZE, Disk, Firmware, Guest, Machine, Programs, parse_size};

/// Run a guest in QEMU, and say what its disks hold afterwards.
///
/// A machine that resets itself starts anew: then its last words are what the next boot saved of them.
///
/// Exit status: 0 the guest finished; 10 it crashed, and its crash record, or what a reset cut off, is whole on every console; 20 it crashed,
/// and some console lacks it; 30 time-out; 1 anything else.
#[derive(Args)]
pub(crate) struct RunOptions {
    /// Attach a disk, repeatable: `nvme`, `virtio`, `virtio-legacy` or `virtio-mmio` (on the microvm machine), or `none` for
    /// no disks at all.
    ///
    /// Keys: path=FILE (kept; made and formatted if absent), size=64M, block=512|4096, format=no, slow=WRITES (a second),
    /// fault=SPEC (eio-read, eio-write, eio-flush or enospc, each with -once and @SECTOR; nth-write:N; hang). Without
    /// a path, the disk is kept in the target directory. Default: one virtio and one nvme disk.
    #[arg(long = "disk", value_name = "KIND[,key=value…]", value_parser = parse_disk)]
    disks: Vec<Option<Disk>>,

    /// How the machine boots.
    #[arg(long, default_value = "pvh")]
    pub(super) boot: Boot,

    /// The kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub(super) append: String,

    /// The machine's memory.
    #[arg(long, default_value = "128M", value_parser = parse_memory)]
    memory: u32,

    /// Number of processors.
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,

    /// Time after which the guest is killed; with --gdb there is none.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,

    /// Build with optimisations.
    #[arg(long)]
    pub(super) release: bool,

    /// Wait for a debugger on port 1234.
    #[arg(long)]
    pub(super) gdb: bool,

    /// QEMU's accelerator. A `/dev/kvm` that opens is no proof that it works.
    #[arg(long, value_name = "NAME", default_value = "tcg")]
    accel: String,

    /// Hand an argument to QEMU, repeatable.
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    qemu_arguments: Vec<OsString>,

    /// Do not show the serial console.
    #[arg(long)]
    quiet: bool,
}

/// Ways to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Boot {
    /// QEMU loads the loader itself.
    Pvh,
    /// OVMF starts it from a disk image.
    Uefi,
    /// SeaBIOS starts it from a disk image.
    Bios,
}

/// `None` stands for the word `none`.
fn parse_disk(text: &str) -> Result<Option<Disk>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: anyhow::Error| format!("{error:#}"))
}

fn parse_memory(text: &str) -> Result<u32, String> {
    let size = parse_size(text).map_err(|error| error.to_string())?;
    match u32::try_from(size >> 20) {
        Ok(mebibytes @ 1..) if size.is_multiple_of(1 << 20) => Ok(mebibytes),
        _ => Err(format!("{text:?} is no whole number of MiB")),
    }
}

impl RunOptions {
    /// The disks to attach; those without a path get one in `folder`.
    pub(super) fn disks(&self, folder: &Path) -> Result<Vec<Disk>> {
        let mut disks: Vec<Disk> = match self.disks.as_slice() {
            [] => vec!["virtio".parse()?, "nvme".parse()?],
            words => words.iter().flatten().cloned().collect(),
        };
        if self.disks.len() > 1 && disks.len() < self.disks.len() {
            bail!("--disk none cannot stand beside other disks");
        }
        for index in 0..disks.len() {
            if disks[index].path.is_none() {
                let (earlier, disk) = disks[..=index].split_at(index);
                let path = (1..).map(|number| folder.join(file_name(&disk[0], number)));
                let free = |path: &PathBuf| earlier.iter().all(|other| other.path.as_ref() != Some(path));
                let chosen = path.into_iter().find(free);
                disks[index].path = chosen;
            }
        }
        Ok(disks)
    }

    /// The guest; with an image to boot from unless it boots by PVH.
    pub(super) fn guest(&self, programs: &Programs, image: Option<PathBuf>, disks: Vec<Disk>) -> Result<Guest> {
        let mut guest = Guest::new(programs);
        guest.image = match (self.boot, image) {
            (Boot::Uefi, Some(image)) => Some((Firmware::Uefi, image)),
            (Boot::Bios, Some(image)) => Some((Firmware::Bios, image)),
            _ => None,
        };
        guest.machine = Machine::for_disks(&disks)?;
        guest.disks = disks;
        guest.memory_mib = self.memory;
        guest.cpus = self.cpus;
        guest.accelerator = self.accel.clone();
        guest.command_line = self.append.clone();
        // Of some crashes only memory knows, until the next boot saves it.
        guest.restarts = true;
        guest.debug = self.gdb;
        guest.time_limit = (!self.gdb).then(|| Duration::from_secs(self.timeout));
        guest.arguments = self.qemu_arguments.clone();
        if !self.quiet {
            guest.echo = Some(Box::new(io::stdout()) as Box<dyn Write + Send>);
        }
        Ok(guest)
    }
}

/// A name that disks of another make do not have, so that each finds its own disk again from run to run.
fn file_name(disk: &Disk, number: usize) -> String {
    let mut name = disk.kind.name().to_owned();
    if let Some(size) = disk.size.filter(|size| *size != DEFAULT_SIZE) {
        name.push_str(&format!("-{size}"));
    }
    if disk.block_size != 512 {
        name.push_str(&format!("-block{}", disk.block_size));
    }
    if !disk.format {
        name.push_str("-unmarked");
    }
    if number > 1 {
        name.push_str(&format!("-{number}"));
    }
    name + ".img"
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use qemu::Kind;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: RunOptions,
    }

    fn names(words: &[&str]) -> Result<Vec<String>> {
        let line = Line::try_parse_from([&["run"], words].concat())?;
        let disks = line.options.disks(Path::new(""))?;
        Ok(disks.iter().map(|disk| disk.path.as_ref().unwrap().display().to_string()).collect())
    }

    #[test]
    fn disks_find_their_images_again() {
        assert_eq!(names(&[]).unwrap(), ["virtio.img", "nvme.img"]);
        assert_eq!(names(&["--disk", "none"]).unwrap(), [""; 0]);
        assert_eq!(names(&["--disk", "nvme,path=x", "--disk", "nvme"]).unwrap(), ["x", "nvme.img"]);
        assert_eq!(
            names(&["--disk", "virtio", "--disk", "virtio,format=no", "--disk", "virtio,size=4M,block=4096"]).unwrap(),
            ["virtio.img", "virtio-unmarked.img", "virtio-4194304-block4096.img"]
        );
        assert_eq!(names(&["--disk", "nvme", "--disk", "nvme"]).unwrap(), ["nvme.img", "nvme-2.img"]);
    }

    #[test]
    fn mistakes_are_refused() {
        for words in [
            &["--disk", "none", "--disk", "nvme"][..],
            &["--disk", "tape"],
            &["--memory", "100K"],
            &["--memory", "0"],
            &["--boot", "floppy"],
            &["--timeout", "soon"],
        ] {
            assert!(names(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn words_reach_the_guest() {
        let words =
            ["run", "--append", "crash=panic", "--memory", "1G", "--cpus", "2", "--qemu-arg", "-s", "--timeout", "5"];
        let options = Line::try_parse_from(words).unwrap().options;
        let programs = Programs { loader: "loader".into(), kernel: "kernel".into() };
        let disks = vec![Disk::new(Kind::VirtioMmio, "x")];
        let guest = options.guest(&programs, None, disks).unwrap();
        assert_eq!(guest.machine, Machine::Microvm);
        assert_eq!((guest.memory_mib, guest.cpus, guest.command_line.as_str()), (1024, 2, "crash=panic"));
        assert_eq!(guest.time_limit, Some(Duration::from_secs(5)));
        assert_eq!(guest.arguments, ["-s"]);
        assert_eq!(guest.accelerator, "tcg");
    }
}
