//! What to run: a machine, its disks, and the program.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::{Disk, Kind, Programs, Running};

/// QEMU's machine types that guests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A PC with PCI Express.
    Q35,
    /// A PC with PCI only.
    Pc,
    /// A small machine without PCI, with virtio on MMIO.
    Microvm,
}

impl Machine {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Pc => "pc",
            Self::Microvm => "microvm",
        }
    }

    const fn has(self, kind: Kind) -> bool {
        matches!(kind, Kind::VirtioMmio) == matches!(self, Self::Microvm)
    }

    /// The machine that these disks can be attached to: [`Machine::Q35`] unless one of them needs another.
    ///
    /// # Errors
    /// When no machine has them all.
    pub fn for_disks(disks: &[Disk]) -> Result<Self> {
        let mmio = disks.iter().any(|disk| disk.kind == Kind::VirtioMmio);
        let machine = if mmio { Self::Microvm } else { Self::Q35 };
        match disks.iter().find(|disk| !machine.has(disk.kind)) {
            None => Ok(machine),
            Some(disk) => {
                bail!("no machine has virtio-mmio and {} disks: run them one after the other", disk.kind.name())
            }
        }
    }
}

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, which QEMU brings along.
    Bios,
    /// OVMF.
    Uefi,
}

/// How the disk is attached that firmware boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// AHCI, which the guest has no driver for: its firmware reads the image, and nobody writes to it.
    Ahci,
    /// A USB stick, for which the same holds.
    Usb,
    /// virtio-blk on PCI.
    Virtio,
    /// NVMe.
    Nvme,
}

/// A guest to run. Make one with [`Guest::new`], change what should differ, and [`start`](Guest::start) it.
pub struct Guest {
    /// Where it runs.
    pub machine: Machine,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of CPUs.
    pub cpus: u32,
    /// QEMU's accelerator.
    pub accelerator: String,
    /// What QEMU loads as its kernel by the PVH protocol: our loader.
    pub loader: PathBuf,
    /// What the loader loads; handed over as the initial ramdisk.
    pub kernel: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
    /// A disk image that the firmware boots from. Then QEMU itself loads neither loader nor kernel, and hands no command line over.
    pub image: Option<(Firmware, PathBuf)>,
    /// The image's format, as QEMU calls it.
    pub image_format: &'static str,
    /// How that image is attached.
    pub image_bus: Bus,
    /// Arguments for QEMU that come before the disks: bridges that their property `bus` names, for example.
    pub buses: Vec<OsString>,
    /// Disks, in the order in which the guest finds them. Their ids are `disk0`, `disk1` and so on.
    pub disks: Vec<Disk>,
    /// Time limit, after which QEMU is killed; `None` for a debugging session.
    pub time_limit: Option<Duration>,
    /// Whether the machine starts anew when it is reset. Otherwise a reset ends QEMU.
    pub restarts: bool,
    /// Whether there is a device by which the guest ends QEMU with an exit status. Other machines have none.
    pub exit_device: bool,
    /// Whether the guest waits for a debugger on QEMU's usual port (`-s -S`).
    pub debug: bool,
    /// More arguments for QEMU.
    pub arguments: Vec<OsString>,
    /// Where the serial output goes as it comes, besides being kept.
    pub echo: Option<Box<dyn Write + Send>>,
}

impl Guest {
    /// A q35 machine with 128 MiB, one CPU, no disks and a time limit of 60 seconds.
    pub fn new(programs: &Programs) -> Self {
        Self { kernel: Some(programs.kernel.clone()), ..Self::bare(programs.loader.clone()) }
    }

    /// The same with a program of its own instead of our loader and kernel.
    pub fn bare(program: impl Into<PathBuf>) -> Self {
        Self {
            machine: Machine::Q35,
            memory_mib: 128,
            cpus: 1,
            accelerator: "tcg".to_owned(),
            loader: program.into(),
            kernel: None,
            command_line: String::new(),
            image: None,
            image_format: "raw",
            image_bus: Bus::Ahci,
            buses: Vec::new(),
            disks: Vec::new(),
            time_limit: Some(Duration::from_secs(60)),
            restarts: false,
            exit_device: true,
            debug: false,
            arguments: Vec::new(),
            echo: None,
        }
    }

    /// Starts it. Images that are not there are made; QEMU is installed if it is missing and that may be done.
    ///
    /// # Errors
    /// When QEMU or a disk is missing or does not fit, or QEMU does not take its arguments.
    pub fn start(self) -> Result<Running> {
        for disk in &self.disks {
            if !self.machine.has(disk.kind) {
                bail!("the {} machine has no {} disks", self.machine.name(), disk.kind.name());
            }
            disk.prepare()?;
        }
        Running::start(self)
    }
}
