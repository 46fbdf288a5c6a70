//! Why the kernel cannot be started, and what to do about it.

use crate::disk::DiskError;
use crate::elf::ElfError;
use crate::memory_map::TooManyRegions;
use crate::paging::MapError;
use crate::pvh::StartInfoError;
use core::fmt;

/// Why the kernel cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The way in which the loader was started gave it no kernel. With advice.
    NoKernel(&'static str),
    /// Firmware cannot read something.
    Unreadable {
        /// What.
        what: &'static str,
        /// Firmware's status: UEFI's `EFI_STATUS`, or what INT 13h left in AH.
        status: u64,
    },
    /// The kernel's file is not one that can be loaded.
    Elf(ElfError),
    /// The configuration that the kernel carries in its section `.bootloader-config` is not one that this loader knows.
    Configuration(&'static str),
    /// There is no contiguous piece of memory of this many bytes; so many are free in all.
    OutOfMemory {
        /// What for.
        purpose: &'static str,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes free below 4 GiB.
        free: u64,
    },
    /// The kernel's address space cannot be made.
    Map(MapError),
    /// No room in the kernel's address space for what it asks for at a fixed address or within a range.
    NoRoom {
        /// What for.
        purpose: &'static str,
        /// The fixed address, if it asks for one.
        fixed: Option<u64>,
    },
    /// The machine's memory map is too long.
    MemoryMap(TooManyRegions),
    /// The information block that a PVH loader hands over is not usable.
    StartInfo(StartInfoError),
    /// The disk that the machine was started from is not as it must be.
    Disk(DiskError),
    /// Firmware lacks something that the loader cannot do without.
    Firmware(&'static str),
    /// The processor lacks something that the kernel cannot do without.
    Processor(&'static str),
}

impl Error {
    /// What the user can do.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoKernel(advice) => advice,
            Self::Disk(DiskError::SectorSize(_)) => "boot by UEFI, or from another disk",
            Self::Unreadable { .. } | Self::Disk(_) => "check the medium, or write the image to it again",
            Self::Elf(_) => "build the kernel again, and check that its file was copied whole",
            Self::Configuration(_) => "build the kernel with bootloader_api 0.11",
            Self::OutOfMemory { .. } | Self::Map(MapError::OutOfMemory) => {
                "give the machine more memory, or strip the kernel's debugging information"
            }
            Self::Map(_) | Self::NoRoom { .. } => {
                "change the kernel's BootloaderConfig, or the address it is linked to"
            }
            Self::MemoryMap(_) => "please report this, with the machine's model",
            Self::StartInfo(_) => {
                "start the loader by the PVH protocol, version 1 (QEMU: -kernel, and at most 4 KiB of -append)"
            }
            Self::Firmware(_) => "look for an update of the machine's firmware, or boot by UEFI",
            Self::Processor(_) => "use another processor, or another -cpu in QEMU",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernel(_) => f.write_str("no kernel was given"),
            Self::Unreadable { what, status } => write!(f, "cannot read {what}: firmware says {status:#x}"),
            Self::Elf(error) => write!(f, "bad kernel file: {error}"),
            Self::Configuration(problem) => write!(f, "bad section .bootloader-config in the kernel: {problem}"),
            Self::OutOfMemory { purpose, wanted, free } => write!(
                f,
                "not enough memory for {purpose}: {} KiB in one piece wanted, {} KiB free in all",
                wanted.div_ceil(1024),
                free / 1024
            ),
            Self::Map(error) => write!(f, "cannot make the kernel's address space: {error}"),
            Self::NoRoom { purpose, fixed: Some(address) } => {
                write!(f, "no room for {purpose} at {address:#x} in the kernel's address space")
            }
            Self::NoRoom { purpose, fixed: None } => write!(f, "no room for {purpose} in the kernel's address space"),
            Self::MemoryMap(error) => error.fmt(f),
            Self::StartInfo(error) => write!(f, "bad PVH start information: {error}"),
            Self::Disk(error) => error.fmt(f),
            Self::Firmware(lacks) => write!(f, "this machine's firmware has no {lacks}"),
            Self::Processor(lacks) => write!(f, "this processor has no {lacks}"),
        }
    }
}

impl core::error::Error for Error {}

impl From<ElfError> for Error {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

impl From<DiskError> for Error {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<MapError> for Error {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<TooManyRegions> for Error {
    fn from(error: TooManyRegions) -> Self {
        Self::MemoryMap(error)
    }
}

impl From<StartInfoError> for Error {
    fn from(error: StartInfoError) -> Self {
        Self::StartInfo(error)
    }
}
