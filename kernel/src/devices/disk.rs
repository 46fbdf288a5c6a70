//! A disk of any kind, and its crash port.

use super::platform::{Machine, MappedRegisters, PortRegisters};
use block::{BlockDevice, Completion, Geometry, Refused, Request, State, Tag};
use core::fmt::{self, Write};
use platform::DmaBuffer;
use virtio_blk::transport::AnyTransport;

/// Transport of a virtio disk.
pub type VirtioTransport = AnyTransport<MappedRegisters, PortRegisters>;

/// A disk that is ready.
pub enum Disk {
    /// A namespace of an NVMe controller.
    Nvme(nvme::Namespace<Machine>),
    /// A virtio disk.
    Virtio(virtio_blk::Disk<Machine, VirtioTransport>),
}

/// The way to a disk after a crash.
pub enum CrashPort {
    /// To a namespace of an NVMe controller.
    Nvme(nvme::CrashPort<Machine>),
    /// To a virtio disk.
    Virtio(virtio_blk::CrashPort<Machine, VirtioTransport>),
}

macro_rules! each {
    ($any:expr, $it:ident => $call:expr) => {
        match $any {
            Self::Nvme($it) => $call,
            Self::Virtio($it) => $call,
        }
    };
}

macro_rules! block_device {
    ($type:ty) => {
        impl BlockDevice for $type {
            type Buffer = DmaBuffer;

            fn geometry(&self) -> Geometry {
                each!(self, it => it.geometry())
            }

            fn state(&self) -> State {
                each!(self, it => it.state())
            }

            fn submit(&mut self, tag: Tag, request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
                each!(self, it => it.submit(tag, request))
            }

            fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
                each!(self, it => it.poll())
            }

            fn recover(&mut self) {
                each!(self, it => it.recover());
            }
        }
    };
}

block_device!(Disk);
block_device!(CrashPort);

/// A disk's or partition's name, as Linux would call it: `nvme0n1`, `vda`, `nvme0n1p2`, `vda2`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Name {
    const MAX: usize = 24;
    const EMPTY: Self = Self { bytes: [0; Self::MAX], len: 0 };

    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut name = Self::EMPTY;
        // What does not fit is cut off.
        let _ = name.write_fmt(text);
        name
    }

    /// The name of an NVMe namespace, by the controller's number, counted from 0, and the namespace's id.
    pub fn nvme(controller: usize, namespace: u32) -> Self {
        Self::of(format_args!("nvme{controller}n{namespace}"))
    }

    /// The name of a virtio disk, by its number, counted from 0: vda to vdz, then vdaa.
    pub fn virtio(number: usize) -> Self {
        const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
        let letter = |index: usize| char::from(LETTERS[index % 26]);
        match number {
            0..26 => Self::of(format_args!("vd{}", letter(number))),
            _ => Self::of(format_args!("vd{}{}", letter(number / 26 - 1), letter(number))),
        }
    }

    /// The name of one of its partitions, counted from 1; the disk's own name for 0.
    pub fn partition(&self, number: u32) -> Self {
        match number {
            0 => *self,
            _ if self.as_str().ends_with(|last: char| last.is_ascii_digit()) => {
                Self::of(format_args!("{self}p{number}"))
            }
            _ => Self::of(format_args!("{self}{number}")),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("?")
    }
}

impl Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().filter(u8::is_ascii) {
            let slot = self.bytes.get_mut(self.len).ok_or(fmt::Error)?;
            *slot = byte;
            self.len += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_linux_s() {
        assert_eq!(Name::nvme(0, 1).as_str(), "nvme0n1");
        assert_eq!(Name::nvme(0, 1).partition(2).as_str(), "nvme0n1p2");
        assert_eq!(Name::virtio(0).partition(0).as_str(), "vda");
        assert_eq!(Name::virtio(25).partition(12).as_str(), "vdz12");
        assert_eq!(Name::virtio(26).as_str(), "vdaa");
        assert_eq!(Name::virtio(27).as_str(), "vdab");
        assert_eq!(Name::virtio(52).as_str(), "vdba");
    }

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        assert_eq!(Name::nvme(usize::MAX, u32::MAX).as_str().len(), Name::MAX);
    }
}
