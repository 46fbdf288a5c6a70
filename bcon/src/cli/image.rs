//! What `image` and `flash` take.

use super::parse_size;
use clap::Args;
use std::path::PathBuf;

const IMAGE_EXAMPLES: &str = "\
Examples:
  bcon image --from blockconsole-0.1.0                     makes blockconsole.img
  bcon image --from blockconsole-0.1.0 --append app=idle --vmdk

The folder holds what a release consists of: BOOTX64.EFI, bios-mbr.bin, bios-stage2.bin and kernel. The image boots by BIOS
and by UEFI, and has a console of its own. Two images are the same, byte by byte, if they are made of the same files with
the same options and the same --seed.

Exit status: 0 done, 3 failed, 64 wrong use.";

/// What `image` takes.
#[derive(Args, Debug)]
#[command(after_long_help = IMAGE_EXAMPLES)]
pub struct ImageArgs {
    /// The folder with the release's files
    #[arg(long, value_name = "FOLDER")]
    pub from: PathBuf,
    /// The image to make
    #[arg(long, value_name = "FILE", default_value = "blockconsole.img")]
    pub out: PathBuf,
    /// Replace the image if it is there already
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help of the first option")]
    pub options: ImageOptions,
}

/// How an image is to be.
#[derive(Args, Clone, Debug)]
pub struct ImageOptions {
    /// Size of the console, in whole MiB; 0 for an image without one
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    pub console_size: u64,
    /// The kernel's command line; it can be changed later, in blockconsole/cmdline.txt on the image's first FAT volume
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// Make uuids and GUIDs from this number [default: random ones]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Make a VMDK file of it as well, for VMware and VirtualBox
    #[arg(long)]
    pub vmdk: bool,
    /// Make a QCOW2 file of it as well, for QEMU
    #[arg(long)]
    pub qcow2: bool,
    /// Make a VHD file of it as well, for Hyper-V and Azure
    #[arg(long)]
    pub vhd: bool,
}

const FLASH_EXAMPLES: &str = "\
Examples:
  bcon flash /dev/sdb blockconsole.img

All that the disk holds is lost. What is mounted or otherwise in use (the system's own disk, too) is refused, unless --force
is given twice; a disk that cannot be taken out, unless it is given once; partitions, always. The disk is read back and compared.

Exit status: 0 it holds the image, 3 refused or failed, 64 wrong use.";

/// What `flash` takes.
#[derive(Args, Debug)]
#[command(after_long_help = FLASH_EXAMPLES)]
pub struct FlashArgs {
    /// The disk
    #[arg(value_name = "DEVICE")]
    pub device: PathBuf,
    /// The raw image
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help of the first option")]
    pub options: FlashOptions,
}

/// What the user has said already.
#[derive(Args, Clone, Copy, Debug)]
pub struct FlashOptions {
    /// Do not ask before the disk is overwritten
    #[arg(long)]
    pub yes: bool,
    /// Once: the disk may be a built-in one; twice: it may be in use
    #[arg(long, action = clap::ArgAction::Count)]
    pub force: u8,
}
