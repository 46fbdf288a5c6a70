//! The Linux guest to compare with: Debian's kernel and a program that writes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use qemu::{Disk, Guest, Kind, Outcome, Report};

use super::figure::Figure;
use super::initramfs::Initramfs;

/// How long a run may take, and how many there may be.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const ATTEMPTS: u32 = 4;
/// The package that always depends on Debian's newest kernel for virtual machines.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// The modules that the peer needs besides what is built into that kernel.
const MODULES: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// A Linux kernel and an initramfs, ready to be booted.
pub(super) struct Peer {
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl Peer {
    /// Fetches Debian's kernel package unless `folder` has it already, and builds the initramfs there.
    ///
    /// # Errors
    /// When apt-get, dpkg-deb or cargo fail, or the package does not hold what it should.
    pub(super) fn prepare(workspace: &Path, folder: &Path) -> Result<Self> {
        let unpacked = folder.join("unpacked");
        if !unpacked.join("boot").is_dir() {
            fetch(folder, &unpacked)?;
        }
        let kernel = file_that_starts_with(&unpacked.join("boot"), "vmlinuz-")?;
        let mut archive = Initramfs::default();
        archive.program("init", &fs::read(build_init(workspace, folder)?)?);
        archive.folder("modules");
        for (number, module) in modules_in_order(&unpacked.join("lib/modules"))?.iter().enumerate() {
            let name = module.file_name().and_then(OsStr::to_str).unwrap_or("module.ko");
            archive.program(&format!("modules/{number:02}-{name}"), &fs::read(module)?);
        }
        let initramfs = folder.join("initramfs.cpio");
        fs::write(&initramfs, archive.finish())?;
        Ok(Self { kernel, initramfs })
    }

    /// Boots it with one disk, and takes its figures. Linux and QEMU's NVMe now and then lose an interrupt, and wait half a minute each time:
    /// such a run measures nothing, and is made again; `None` if it stalls each time.
    ///
    /// # Errors
    /// When the guest does not come to its end.
    pub(super) fn run(&self, kind: Kind, image: &Path) -> Result<Option<Vec<Figure>>> {
        for attempt in 1..=ATTEMPTS {
            let report = self.boot(kind, image)?;
            if report.outcome != Outcome::TimedOut {
                return figures(kind, &report).map(Some);
            }
            let then = if attempt < ATTEMPTS { "is started again" } else { "this turn is left out" };
            println!("the Linux guest stalled: {then}");
        }
        Ok(None)
    }

    fn boot(&self, kind: Kind, image: &Path) -> Result<Report> {
        let mut guest = Guest::bare(&self.kernel);
        guest.kernel = Some(self.initramfs.clone());
        guest.command_line = format!("console=ttyS0 quiet panic=-1 peer.disks={}", node(kind));
        guest.memory_mib = 512;
        guest.disks = vec![Disk { format: false, ..Disk::new(kind, image) }];
        guest.time_limit = Some(TIME_LIMIT);
        guest.start()?.wait()
    }
}

/// What Linux calls the disk.
fn node(kind: Kind) -> &'static str {
    if kind == Kind::Nvme { "/dev/nvme0n1" } else { "/dev/vda" }
}

fn figures(kind: Kind, report: &Report) -> Result<Vec<Figure>> {
    let text = report.serial_text();
    // The guest powers off, which is no proof of anything: its last line is.
    ensure!(text.lines().any(|line| line.trim() == "peer: done"), "the Linux guest did not finish: {report}");
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("peer: ")?.strip_prefix(node(kind)))
        .map(Figure::parse)
        .collect()
}

fn fetch(folder: &Path, unpacked: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let package = newest_kernel_package()?;
    println!("fetching Debian's {package} (about 25 MB) for the Linux guest");
    run(Command::new("apt-get").arg("download").arg(&package).current_dir(folder))?;
    let archive = file_that_starts_with(folder, &package)?;
    let partial = folder.join("unpacking");
    run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&partial))?;
    fs::rename(&partial, unpacked)?;
    Ok(())
}

fn newest_kernel_package() -> Result<String> {
    let find = || -> Result<Option<String>> {
        let output =
            Command::new("apt-cache").args(["depends", META_PACKAGE]).output().context("cannot run apt-cache")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned))
    };
    if let Some(package) = find()? {
        return Ok(package);
    }
    run(Command::new("apt-get").arg("update"))?;
    find()?.with_context(|| {
        format!("apt has no {META_PACKAGE}: benchmarks need Debian's kernel package for the Linux guest")
    })
}

fn build_init(workspace: &Path, folder: &Path) -> Result<PathBuf> {
    let target = folder.join("build");
    run(Command::new("cargo")
        .args(["build", "--quiet", "--release", "--package", "linux-peer", "--target-dir"])
        .arg(&target)
        .current_dir(workspace)
        // Linked statically: the initramfs holds no libraries.
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Cstrip=symbols"))?;
    Ok(target.join("release/linux-peer"))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn file_that_starts_with(folder: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix)) {
            return Ok(path);
        }
    }
    bail!("{} has no file that starts with {prefix}", folder.display())
}

/// [`MODULES`] and what they depend on, each after what it needs.
fn modules_in_order(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = BTreeMap::new();
    find_modules(folder, &mut all)?;
    let mut order = Vec::new();
    for module in MODULES {
        add_with_dependencies(module, &all, &mut order)?;
    }
    Ok(order)
}

fn find_modules(folder: &Path, all: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            find_modules(&path, all)?;
        } else if path.extension() == Some(OsStr::new("ko"))
            && let Some(name) = path.file_stem().and_then(OsStr::to_str)
        {
            all.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn add_with_dependencies(name: &str, all: &BTreeMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Result<()> {
    // What is not among the modules is built into the kernel.
    let Some(path) = all.get(name) else { return Ok(()) };
    if order.contains(path) {
        return Ok(());
    }
    let contents = fs::read(path)?;
    for dependency in dependencies(&contents) {
        add_with_dependencies(&dependency, all, order)?;
    }
    order.push(path.clone());
    Ok(())
}

/// What a module's `.modinfo` section says it depends on.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[start + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
