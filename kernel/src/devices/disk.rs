//! A disk of any kind, and its crash port.

use super::platform::{Machine, MappedRegisters, PortRegisters};
use crate::checkpoint;
use alloc::boxed::Box;
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
    Virtio(Box<virtio_blk::Disk<Machine, VirtioTransport>>),
}

/// Steps at which a crash can be made, beside those of the drivers: a request of this sort has just been submitted to any disk.
pub const CHECKPOINTS: [&str; 4] = ["disk.read", "disk.write", "disk.zeroes", "disk.flush"];

fn step(request: &Request<DmaBuffer>) -> &'static str {
    match request {
        Request::Read { .. } => CHECKPOINTS[0],
        Request::Write { .. } => CHECKPOINTS[1],
        Request::WriteZeroes { .. } => CHECKPOINTS[2],
        Request::Flush => CHECKPOINTS[3],
    }
}

/// The way to a disk after a crash.
pub struct CrashPort {
    way: CrashWay,
    commands: Commands,
}

#[allow(clippy::large_enum_variant, reason = "there are few of them, and they do not move about")]
enum CrashWay {
    Nvme(nvme::CrashPort<Machine>),
    Virtio(virtio_blk::CrashPort<Machine, VirtioTransport>),
}

/// Commands that were submitted, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// Reads.
    pub reads: u32,
    /// Writes.
    pub writes: u32,
    /// Erasures without data.
    pub zeroes: u32,
    /// Flushes.
    pub flushes: u32,
    /// Resets.
    pub resets: u32,
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, writes, zeroes, flushes, resets } = self;
        write!(f, "reads={reads} writes={writes} zeroes={zeroes} flushes={flushes} resets={resets}")
    }
}

impl CrashPort {
    /// The way to a namespace of an NVMe controller.
    pub fn nvme(port: nvme::CrashPort<Machine>) -> Self {
        Self { way: CrashWay::Nvme(port), commands: Commands::default() }
    }

    /// The way to a virtio disk.
    pub fn virtio(port: virtio_blk::CrashPort<Machine, VirtioTransport>) -> Self {
        Self { way: CrashWay::Virtio(port), commands: Commands::default() }
    }

    /// Takes over what the disk has negotiated, each time that it has become ready.
    pub fn arm(&mut self, disk: &Disk) {
        if let (CrashWay::Virtio(port), Disk::Virtio(disk)) = (&mut self.way, disk)
            && let Some(session) = disk.session()
        {
            port.arm(session);
        }
    }

    /// What was submitted so far.
    pub fn commands(&self) -> Commands {
        self.commands
    }

    fn count(&mut self, request: &Request<DmaBuffer>) {
        let commands = &mut self.commands;
        *match request {
            Request::Read { .. } => &mut commands.reads,
            Request::Write { .. } => &mut commands.writes,
            Request::WriteZeroes { .. } => &mut commands.zeroes,
            Request::Flush => &mut commands.flushes,
        } += 1;
    }
}

impl BlockDevice for CrashPort {
    type Buffer = DmaBuffer;

    fn geometry(&self) -> Geometry {
        match &self.way {
            CrashWay::Nvme(port) => port.geometry(),
            CrashWay::Virtio(port) => port.geometry(),
        }
    }

    fn state(&self) -> State {
        match &self.way {
            CrashWay::Nvme(port) => port.state(),
            CrashWay::Virtio(port) => port.state(),
        }
    }

    fn submit(&mut self, tag: Tag, request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
        self.count(&request);
        let point = step(&request);
        match &mut self.way {
            CrashWay::Nvme(port) => port.submit(tag, request)?,
            CrashWay::Virtio(port) => port.submit(tag, request)?,
        }
        checkpoint::pass(point);
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
        match &mut self.way {
            CrashWay::Nvme(port) => port.poll(),
            CrashWay::Virtio(port) => port.poll(),
        }
    }

    fn recover(&mut self) {
        self.commands.resets += 1;
        match &mut self.way {
            CrashWay::Nvme(port) => port.recover(),
            CrashWay::Virtio(port) => port.recover(),
        }
    }
}

impl Disk {
    /// The names of its medium, which several controllers may lead to.
    pub fn medium(&self) -> Option<nvme::NamespaceNames> {
        match self {
            Self::Nvme(disk) => Some(disk.info().names),
            Self::Virtio(_) => None,
        }
    }
}

impl BlockDevice for Disk {
    type Buffer = DmaBuffer;

    fn geometry(&self) -> Geometry {
        match self {
            Self::Nvme(disk) => disk.geometry(),
            Self::Virtio(disk) => disk.geometry(),
        }
    }

    fn state(&self) -> State {
        match self {
            Self::Nvme(disk) => disk.state(),
            Self::Virtio(disk) => disk.state(),
        }
    }

    fn submit(&mut self, tag: Tag, request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
        let point = step(&request);
        match self {
            Self::Nvme(disk) => disk.submit(tag, request)?,
            Self::Virtio(disk) => disk.submit(tag, request)?,
        }
        checkpoint::pass(point);
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
        match self {
            Self::Nvme(disk) => disk.poll(),
            Self::Virtio(disk) => disk.poll(),
        }
    }

    fn recover(&mut self) {
        match self {
            Self::Nvme(disk) => disk.recover(),
            Self::Virtio(disk) => disk.recover(),
        }
    }
}

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
