//! Makes disk images that boot by BIOS and by UEFI, with a console on them.
//!
//! What goes into an image are its [`Parts`]: four files, which `cargo xtask image --release-dir` writes for those who have no
//! source tree, in one folder:
//!
//! | file | what |
//! |---|---|
//! | `BOOTX64.EFI` | the loader for UEFI |
//! | `bios-mbr.bin` | the loader for BIOS: code of the master boot record |
//! | `bios-stage2.bin` | its second stage |
//! | `kernel` | the kernel |
//!
//! An image depends on its parts and [`Options`] alone, but for uuids and GUIDs, which are random unless a seed is given.

use crate::format::write_fresh;
use crate::medium::{Medium, Span};
use crate::sysfs::user_of;
use anyhow::{Context, Result, bail};
use boot_image::bios::{self, Stages};
use boot_image::image::{Contents, Identity};
use boot_image::{efi, kernel};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const APPLICATION: &str = "BOOTX64.EFI";
const BOOT_RECORD: &str = "bios-mbr.bin";
const STAGE2: &str = "bios-stage2.bin";
const KERNEL: &str = "kernel";

/// What an image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// What a BIOS boots.
    pub stages: Stages,
    /// What UEFI boots.
    pub application: Vec<u8>,
    /// The kernel's file.
    pub kernel: Vec<u8>,
}

impl Parts {
    /// Makes them of programs as the linker left them: ELF files. What only debuggers read of the kernel is left out.
    ///
    /// # Errors
    /// If a program is not as it must be.
    pub fn from_programs(loader_bios: &Path, loader_uefi: &Path, kernel: &Path) -> Result<Self> {
        Ok(Self {
            stages: bios::stages(&read(loader_bios)?)?,
            application: efi::application(&read(loader_uefi)?)?,
            kernel: kernel::strip(&read(kernel)?)?,
        })
    }

    /// Reads them from a folder of release files.
    ///
    /// # Errors
    /// If one is missing, or no such file.
    pub fn read(folder: &Path) -> Result<Self> {
        let stages = Stages::new(&read(&folder.join(BOOT_RECORD))?, read(&folder.join(STAGE2))?)?;
        let (application, kernel) = (read(&folder.join(APPLICATION))?, read(&folder.join(KERNEL))?);
        if !application.starts_with(b"MZ") {
            bail!("{} is no EFI application", folder.join(APPLICATION).display());
        }
        if !kernel.starts_with(b"\x7FELF") {
            bail!("{} is no ELF program", folder.join(KERNEL).display());
        }
        Ok(Self { stages, application, kernel })
    }

    /// Writes them to a folder, which is made if it is not there.
    ///
    /// # Errors
    /// What writing gave.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let files = [
            (APPLICATION, self.application.as_slice()),
            (BOOT_RECORD, self.stages.boot_record()),
            (STAGE2, self.stages.stage2()),
            (KERNEL, &self.kernel),
        ];
        for (name, bytes) in files {
            let path = folder.join(name);
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// How an image is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the console's partition in bytes, a multiple of 1 MiB; 0: no such partition.
    pub console_size: u64,
    /// The kernel's command line.
    pub command_line: String,
    /// What uuids and GUIDs are made from; `None`: random ones.
    pub seed: Option<u64>,
}

impl Default for Options {
    /// A console of 64 MiB, no command line, random uuids.
    fn default() -> Self {
        Self { console_size: 64 << 20, command_line: String::new(), seed: None }
    }
}

/// An image that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its size in bytes.
    pub size: u64,
    /// The uuid of its console, if it has one.
    pub uuid: Option<u32>,
}

/// Makes an image file: all of it, or, if something fails, none. `replace` says whether it may take the place of another.
///
/// # Errors
/// If something is there that must not be replaced, the contents do not fit, or writing fails.
pub fn make(path: &Path, parts: &Parts, options: &Options, replace: bool) -> Result<Made> {
    let shown = path.display();
    if let Ok(metadata) = fs::metadata(path) {
        if !metadata.is_file() {
            bail!("{shown} is no file: an image is written to a disk by `flash`");
        }
        if !replace {
            bail!("{shown} is there already: nothing was changed; --force replaces it");
        }
        if let Some(user) = user_of(path, &metadata)? {
            bail!("{shown} is in use: {user}; stop that first");
        }
    }
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".part");
    let part = path.with_file_name(name);
    let made = write(&part, parts, options).with_context(|| format!("cannot make {shown}"));
    let made = made.and_then(|made| {
        fs::rename(&part, path).with_context(|| format!("cannot rename {}", part.display()))?;
        Ok(made)
    });
    made.inspect_err(|_| {
        // Best effort: the error that led here is the one to report.
        let _ = fs::remove_file(&part);
    })
}

fn write(path: &Path, parts: &Parts, options: &Options) -> Result<Made> {
    let random = random(options.seed)?;
    let (identity, uuid) = random.split_first_chunk().context("too few random bytes")?;
    let contents = Contents {
        stages: &parts.stages,
        application: &parts.application,
        kernel: &parts.kernel,
        command_line: &options.command_line,
        console_size: options.console_size,
        identity: Identity::from_random(identity),
    };
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let layout = boot_image::image::write(&mut file, &contents)?;
    file.set_len(layout.size)?;
    if layout.console.is_empty() {
        return Ok(Made { size: layout.size, uuid: None });
    }
    let uuid = uuid.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let span = Span { start: layout.console.start, len: layout.console.end - layout.console.start };
    write_fresh(&Medium::new(Arc::new(file), vec![span]), Some(uuid))?;
    Ok(Made { size: layout.size, uuid: Some(uuid) })
}

/// Bytes for an identity, and the console's uuid behind it.
fn random(seed: Option<u64>) -> io::Result<[u8; Identity::RANDOM + 4]> {
    let mut bytes = [0; Identity::RANDOM + 4];
    match seed {
        None => File::open("/dev/urandom")?.read_exact(&mut bytes)?,
        Some(seed) => {
            // SplitMix64: any seed will do, 0 too.
            let mut state = seed;
            for piece in bytes.chunks_mut(8) {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                let word = (mixed ^ mixed >> 31).to_le_bytes();
                piece.copy_from_slice(word.get(..piece.len()).unwrap_or_default());
            }
        }
    }
    Ok(bytes)
}

/// Formats that virtual machine monitors take, besides raw images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// QEMU's own.
    Qcow2,
    /// VMware, VirtualBox.
    Vmdk,
    /// Hyper-V, Azure.
    Vhd,
}

impl Format {
    /// What its files' names end in.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
        }
    }

    /// What qemu-img calls it, and with which options. A fixed VHD, as Azure wants it, of exactly the image's size.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Qcow2 => &["qcow2"],
            Self::Vmdk => &["vmdk"],
            Self::Vhd => &["vpc", "-o", "subformat=fixed,force_size=on"],
        }
    }
}

/// Converts a raw image, by QEMU's program `qemu-img`, into a file of the same name but for its extension, which is returned.
///
/// # Errors
/// If there is no such program, or it fails.
pub fn convert(raw: &Path, format: Format, qemu_img: &Path) -> Result<PathBuf> {
    let out = raw.with_extension(format.extension());
    if out == raw {
        bail!("{} is what the raw image is called: choose another name for it", out.display());
    }
    let mut command = Command::new(qemu_img);
    command.args(["convert", "-f", "raw", "-O"]).args(format.arguments()).args([raw, &out]);
    match command.output() {
        Ok(output) if output.status.success() => Ok(out),
        Ok(output) => bail!("qemu-img: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "{} is missing: install it (Debian, Ubuntu: `apt-get install qemu-utils`; Fedora: `dnf install qemu-img`), and try again",
            qemu_img.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot run {}", qemu_img.display())),
    }
}
