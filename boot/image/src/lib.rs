//! Makes, on the host, what a machine boots from.
//!
//! - [`efi::application`]: `BOOTX64.EFI` out of the program `loader-uefi`.
#![forbid(unsafe_code)]

pub mod efi;
