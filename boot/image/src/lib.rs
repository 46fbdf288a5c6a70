//! Makes, on the host, what a machine boots from.
//!
//! - [`image::write`]: a whole disk that boots by BIOS and by UEFI, with room for a console;
//! - [`efi::application`]: `BOOTX64.EFI` out of the program `loader-uefi`;
//! - [`bios::stages`]: master boot record and second stage out of the program `loader-bios`;
//! - [`gpt::fit`]: that disk's partition table, for a larger disk that it is written to;
//! - [`kernel::strip`]: a kernel without what only debuggers read.
//!
//! Nothing here knows what a console looks like on a disk: its partition is left zeroed, and its place returned.
#![forbid(unsafe_code)]

pub mod bios;
pub mod efi;
pub mod gpt;
pub mod image;
pub mod kernel;

use std::fmt;

/// Why something cannot be made.
#[derive(Debug)]
pub enum Error {
    /// A program is not an ELF file that can be read.
    Object(&'static str, object::Error),
    /// It is one, but not as it must be.
    Program(&'static str, String),
    /// The image cannot be written.
    Io(std::io::Error),
    /// The image cannot have this in it.
    Image(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(program, error) => write!(f, "cannot read {program}: {error}"),
            Self::Program(program, problem) => write!(f, "cannot use {program}: {problem}"),
            Self::Io(error) => write!(f, "cannot write the image: {error}"),
            Self::Image(problem) => write!(f, "cannot make the image: {problem}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Object(_, error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Program(..) | Self::Image(_) => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
