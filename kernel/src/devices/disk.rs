//! A disk of any kind, by its driver or its crash port.

use super::event::Event;
use super::platform::{Machine, MappedRegisters, PortRegisters};
use super::rehearsal::Rehearsal;
use crate::checkpoint;
use block::{BlockDevice, Completion, ErrorKind, Geometry, Refused, Request, State, Tag};
use blockconsole::format::HEADER_LEN;
use blockconsole::place::Place;
use core::fmt::{self, Write};
use platform::DmaBuffer;
use virtio_blk::transport::AnyTransport;

/// Transport of a virtio disk.
pub type VirtioTransport = AnyTransport<MappedRegisters, PortRegisters>;

/// A way to a disk: by its driver, or by the crash port that belongs to it.
///
/// Both are one type, so that a console that logs and one that takes over after a crash are the same code.
pub struct Disk {
    way: Way,
    commands: Commands,
    /// It is about to be taken out: nothing goes in any more.
    is_leaving: bool,
}

#[allow(clippy::large_enum_variant, reason = "there are few of them, and they do not move about")]
enum Way {
    Nvme(nvme::Namespace<Machine>),
    NvmeCrash(nvme::CrashPort<Machine>),
    Virtio(virtio_blk::Disk<Machine, VirtioTransport>),
    VirtioCrash(virtio_blk::CrashPort<Machine, VirtioTransport>),
    Rehearsal(Rehearsal),
}

/// Hands a call on to whichever way it is.
macro_rules! each {
    ($way:expr, $disk:ident => $call:expr) => {
        match $way {
            Way::Nvme($disk) => $call,
            Way::NvmeCrash($disk) => $call,
            Way::Virtio($disk) => $call,
            Way::VirtioCrash($disk) => $call,
            Way::Rehearsal($disk) => $call,
        }
    };
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

/// Steps at which a crash can be made, beside those of the drivers: a request of this sort has just been submitted to any disk.
pub const CHECKPOINTS: [&str; 4] = ["disk.read", "disk.write", "disk.zeroes", "disk.flush"];

impl Disk {
    /// A namespace of an NVMe controller.
    pub fn nvme(namespace: nvme::Namespace<Machine>) -> Self {
        Self::new(Way::Nvme(namespace))
    }

    /// A namespace of an NVMe controller, after a crash.
    pub fn nvme_crash(port: nvme::CrashPort<Machine>) -> Self {
        Self::new(Way::NvmeCrash(port))
    }

    /// A virtio disk.
    pub fn virtio(disk: virtio_blk::Disk<Machine, VirtioTransport>) -> Self {
        Self::new(Way::Virtio(disk))
    }

    /// A virtio disk, after a crash.
    pub fn virtio_crash(port: virtio_blk::CrashPort<Machine, VirtioTransport>) -> Self {
        Self::new(Way::VirtioCrash(port))
    }

    /// A disk that is not there: it takes whatever is written to a place, and reads as blocks that begin with `header`.
    pub fn rehearsal(place: &Place, header: [u8; HEADER_LEN]) -> Self {
        Self::new(Way::Rehearsal(Rehearsal::new(place, header)))
    }

    fn new(way: Way) -> Self {
        Self { way, commands: Commands::default(), is_leaving: false }
    }

    /// A crash port takes over what its disk's driver has negotiated, each time that this has become ready.
    pub fn arm(&mut self, driver: &Self) {
        if let (Way::VirtioCrash(port), Way::Virtio(disk)) = (&mut self.way, &driver.way)
            && let Some(session) = disk.session()
        {
            port.arm(session);
        }
    }

    /// The names of its medium, which several controllers may lead to.
    pub fn medium(&self) -> Option<nvme::NamespaceNames> {
        match &self.way {
            Way::Nvme(disk) => Some(disk.info().names),
            Way::NvmeCrash(port) => Some(port.info().names),
            Way::Virtio(_) | Way::VirtioCrash(_) | Way::Rehearsal(_) => None,
        }
    }

    /// What was submitted so far.
    pub fn commands(&self) -> Commands {
        self.commands
    }

    /// What happened to it that is worth a line in the log.
    pub fn next_event(&mut self) -> Option<Event> {
        match &mut self.way {
            Way::Nvme(disk) => disk.next_event().map(Event::Nvme),
            Way::NvmeCrash(port) => port.next_event().map(Event::Nvme),
            Way::Virtio(disk) => disk.next_event().map(Event::Virtio),
            Way::VirtioCrash(port) => port.next_event().map(Event::Virtio),
            Way::Rehearsal(_) => None,
        }
    }

    /// How often a doorbell was rung again because nothing had come for a while.
    pub fn doorbells_rung_again(&self) -> u64 {
        match &self.way {
            Way::Virtio(disk) => disk.counters().notified_again,
            // NVMe drivers need not do so: a doorbell's value says how far the queue is filled.
            Way::Nvme(_) | Way::NvmeCrash(_) | Way::VirtioCrash(_) | Way::Rehearsal(_) => 0,
        }
    }

    /// A buffer that a request was given up without, and the request's tag, now that the disk has come back.
    pub fn reclaim(&mut self) -> Option<(Tag, DmaBuffer)> {
        match &mut self.way {
            Way::Virtio(disk) => disk.reclaim(),
            Way::Nvme(disk) => disk.reclaim(),
            Way::NvmeCrash(_) | Way::VirtioCrash(_) | Way::Rehearsal(_) => None,
        }
    }

    /// For a crash port: how many requests the device has been given and not answered, by whoever was interrupted and by the port
    /// itself. Once it is 0, nothing of theirs can reach the medium any more. `None` if it cannot be said.
    pub fn unanswered(&mut self) -> Option<u32> {
        match &mut self.way {
            Way::NvmeCrash(port) => port.unanswered(),
            Way::VirtioCrash(port) => port.unanswered(),
            Way::Nvme(_) | Way::Virtio(_) | Way::Rehearsal(_) => Some(0),
        }
    }

    /// Takes no requests any more, as a disk that is gone; what is in flight is still answered.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Shuts the disk's controller down, if it is of a kind that wants to be: to be called until it returns `true`. Whatever is in
    /// flight is lost sight of, and the disk is of no use from then on.
    pub fn shut_down(&mut self) -> bool {
        let Way::Nvme(disk) = &mut self.way else { return true };
        let _ = disk.poll();
        match disk.state() {
            State::Dead(_) => true,
            State::Ready => {
                // It refuses while anything is in flight.
                let _ = disk.shut_down();
                false
            }
            State::Recovering => false,
        }
    }
}

impl BlockDevice for Disk {
    type Buffer = DmaBuffer;

    fn geometry(&self) -> Geometry {
        each!(&self.way, disk => disk.geometry())
    }

    fn state(&self) -> State {
        if self.is_leaving {
            return State::Dead(ErrorKind::Gone.into());
        }
        each!(&self.way, disk => disk.state())
    }

    fn submit(&mut self, tag: Tag, request: Request<DmaBuffer>) -> Result<(), Refused<DmaBuffer>> {
        if self.is_leaving {
            return Err(Refused { error: ErrorKind::Gone.into(), request });
        }
        let (count, step) = match &request {
            Request::Read { .. } => (&mut self.commands.reads, CHECKPOINTS[0]),
            Request::Write { .. } => (&mut self.commands.writes, CHECKPOINTS[1]),
            Request::WriteZeroes { .. } => (&mut self.commands.zeroes, CHECKPOINTS[2]),
            Request::Flush => (&mut self.commands.flushes, CHECKPOINTS[3]),
        };
        each!(&mut self.way, disk => disk.submit(tag, request))?;
        *count = count.wrapping_add(1);
        checkpoint::pass(step);
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion<DmaBuffer>> {
        each!(&mut self.way, disk => disk.poll())
    }

    fn recover(&mut self) {
        self.commands.resets = self.commands.resets.wrapping_add(1);
        each!(&mut self.way, disk => disk.recover());
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
    /// No name at all.
    pub const EMPTY: Self = Self { bytes: [0; Self::MAX], len: 0 };

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

    /// The name of what is reset together with this disk: of the controller of an NVMe namespace, and else the disk's own.
    pub fn device(&self) -> &str {
        let name = self.as_str();
        let is_namespace = name.starts_with("nvme");
        name.rsplit_once('n').filter(|_| is_namespace).map_or(name, |(controller, _)| controller)
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
        assert_eq!(Name::nvme(11, 2).device(), "nvme11");
        assert_eq!(Name::virtio(13).device(), "vdn");
    }

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        assert_eq!(Name::nvme(usize::MAX, u32::MAX).as_str().len(), Name::MAX);
    }
}
