//! What a guest is put through: its disks, what they hold, and what goes wrong.

use std::fmt;

use qemu::{Disk, Fault, Kind};

use crate::kinds::{IN_DRIVER, KINDS, TRIPLE_FAULT};
use crate::random::Random;

/// Lines of the boot that is to suffer: as many as the smallest disk holds beside the tile that is erased ahead.
pub(super) const LINES: u32 = 12_000;
/// Lines of the boots before: another number, which tells their lines from those.
pub(super) const LINES_BEFORE: u32 = 20_000;

/// One drawn by lot.
pub(super) struct Scenario {
    /// Disks without paths.
    pub(super) disks: Vec<Disk>,
    /// Boots that fill the disks first.
    pub(super) boots_before: u32,
    pub(super) trouble: Trouble,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The power goes: at places drawn from all that the disks were told to do.
    PowerCut,
    /// QEMU is killed when so many records are durable.
    Kill(usize),
    /// The reset button is pressed when so many records are durable.
    Reset(usize),
    /// A non-maskable interrupt comes when so many records are durable.
    Nmi(usize),
    /// The kernel crashes in a flood of lines: in this way, after so many milliseconds.
    Crash(&'static str, u32),
    /// The first disk fails like this; the others do not.
    Fault(Fault),
    /// The first disk fails like this, and the kernel crashes after so many milliseconds.
    FaultAndCrash(Fault, u32),
    /// The first disk takes so many writes a second.
    Slow(u32),
}

impl Trouble {
    /// Which sort of trouble it is.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::PowerCut => "power cut",
            Self::Kill(_) => "killed",
            Self::Reset(_) => "reset button",
            Self::Nmi(_) => "interrupt",
            Self::Crash(..) => "crash",
            Self::Fault(_) => "failing disk",
            Self::FaultAndCrash(..) => "failing disk, crash",
            Self::Slow(_) => "slow disk",
        }
    }
}

impl Scenario {
    /// The scenario of this number.
    pub(super) fn draw(seed: u64, number: usize) -> Self {
        let mut random = Random::new(Random::new(seed).next() ^ number as u64);
        let trouble = draw_trouble(&mut random);
        let on_mmio = random.once_in(6);
        let faulty = matches!(trouble, Trouble::Fault(_) | Trouble::FaultAndCrash(..) | Trouble::Slow(_));
        let count = if faulty { 2 } else { 1 + random.below(2) };
        // After a reset two boots log, and the first one's lines must still be there.
        let sizes: &[u64] = if matches!(trouble, Trouble::Reset(_)) { &[8, 16] } else { &[4, 5, 8, 16] };
        let disks = (0..count).map(|_| draw_disk(&mut random, on_mmio, sizes)).collect();
        let mut scenario = Self { disks, boots_before: random.below(3) as u32, trouble };
        if let (Some(disk), Trouble::Fault(fault) | Trouble::FaultAndCrash(fault, _)) =
            (scenario.disks.first_mut(), &scenario.trouble)
        {
            disk.faults.push(*fault);
        }
        if let (Some(disk), Trouble::Slow(limit)) = (scenario.disks.first_mut(), &scenario.trouble) {
            disk.slow = Some(*limit);
        }
        scenario
    }
}

fn draw_trouble(random: &mut Random) -> Trouble {
    let records = 100 + random.below(8_000) as usize;
    let milliseconds = random.below(300) as u32;
    match random.below(8) {
        0 => Trouble::PowerCut,
        1 => Trouble::Kill(records),
        2 => Trouble::Reset(records),
        3 => Trouble::Nmi(records),
        4 => Trouble::Fault(draw_fault(random)),
        5 => Trouble::FaultAndCrash(draw_fault(random), milliseconds),
        6 => Trouble::Slow(20 + random.below(300) as u32),
        _ => {
            // What a driver's step or the next boot has to do with it is for `matrix` and for resets.
            let kinds: Vec<_> = KINDS.into_iter().filter(|kind| ![TRIPLE_FAULT, IN_DRIVER].contains(kind)).collect();
            Trouble::Crash(random.pick(&kinds), milliseconds)
        }
    }
}

fn draw_fault(random: &mut Random) -> Fault {
    let sector = random.below(4 << 11);
    let text = match random.below(7) {
        0 => "eio-write-once".to_owned(),
        1 => "eio-flush-once".to_owned(),
        2 => "enospc-once".to_owned(),
        3 => format!("eio-write-once@{sector}"),
        4 => format!("eio-read-once@{sector}"),
        5 => format!("eio-write@{sector}"),
        _ => format!("nth-write:{}", 1 + random.below(60)),
    };
    text.parse().unwrap_or(Fault::NthWrite(1))
}

fn draw_disk(random: &mut Random, on_mmio: bool, mebibytes: &[u64]) -> Disk {
    let kind = match on_mmio {
        true => Kind::VirtioMmio,
        false => random.pick(&[Kind::Nvme, Kind::Nvme, Kind::Virtio, Kind::Virtio, Kind::VirtioLegacy]),
    };
    let mut disk = Disk::new(kind, "");
    (disk.path, disk.size) = (None, Some(random.pick(mebibytes) << 20));
    disk.block_size = random.pick(&[512, 512, 4096]);
    let odd: &[&str] = match kind {
        Kind::Nvme => &["mdts=1", "mdts=3", "max_ioqpairs=1", "max_ioqpairs=2"],
        Kind::Virtio => &["queue-size=4", "queue-size=1024", "num-queues=2", "packed=on", "indirect_desc=off"],
        Kind::VirtioLegacy | Kind::VirtioMmio => &["queue-size=8", "queue-size=1024", "event_idx=off"],
    };
    if random.once_in(2) {
        disk.properties.push(random.pick(odd).to_owned());
    }
    disk
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trouble {
            Trouble::PowerCut => f.write_str("the power goes")?,
            Trouble::Kill(records) => write!(f, "killed after {records} records")?,
            Trouble::Reset(records) => write!(f, "reset button after {records} records")?,
            Trouble::Nmi(records) => write!(f, "interrupt after {records} records")?,
            Trouble::Crash(kind, milliseconds) => write!(f, "crash={kind}:{milliseconds}")?,
            Trouble::Fault(fault) => write!(f, "fault={fault}")?,
            Trouble::FaultAndCrash(fault, milliseconds) => write!(f, "fault={fault} crash=panic:{milliseconds}")?,
            Trouble::Slow(limit) => write!(f, "slow={limit}")?,
        }
        for disk in &self.disks {
            write!(f, ", {} of {} MiB", disk.kind.name(), disk.size.unwrap_or(0) >> 20)?;
            write!(f, " in blocks of {}", disk.block_size)?;
            disk.properties.iter().try_for_each(|property| write!(f, " {property}"))?;
        }
        write!(f, ", {} boots before", self.boots_before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_number_gives_the_same_scenario_again_and_all_troubles_come() {
        let names = |seed| (0..200).map(|number| Scenario::draw(seed, number).to_string()).collect::<Vec<_>>();
        assert_eq!(names(1), names(1));
        assert_ne!(names(1), names(2));
        let troubles: BTreeSet<_> = (0..200).map(|number| Scenario::draw(1, number).trouble.name()).collect();
        assert_eq!(troubles.len(), 8);
    }
}
