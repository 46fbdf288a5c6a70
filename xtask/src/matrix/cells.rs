//! The cells of the matrix: a way to crash, disks, a moment.

use std::fmt;

use qemu::{Disk, Kind};

use crate::kinds::{IN_DRIVER, KINDS, TRIPLE_FAULT};

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) kind: &'static str,
    pub(super) setup: Setup,
    pub(super) moment: Moment,
}

/// All cells.
pub(super) fn all() -> impl Iterator<Item = Cell> {
    let moments = |setup| Moment::ALL.into_iter().map(move |moment| (setup, moment));
    let places = Setup::ALL.into_iter().flat_map(moments);
    places.flat_map(|(setup, moment)| KINDS.into_iter().map(move |kind| Cell { kind, setup, moment }))
}

impl Cell {
    /// The guest's command line.
    pub(super) fn command_line(self, word: &str) -> String {
        let Self { kind, moment, .. } = self;
        let (mut app, after, at) = moment.words();
        if self.is_saved_by_next_boot() {
            // Which goes on behind the crash, and must come to an end.
            app = if app == FLOOD { "app=lines:40000" } else { "app=diag" };
        }
        // A hang is to be noticed soon, but not one because the host is busy.
        let mut line = format!("{app} mark={word} hang_ms=1500 crash={kind}");
        if kind == IN_DRIVER {
            let (step, count) = at.unwrap_or(("disk.write", 2));
            return format!("{line}:{step} crash.at={step}:{count}");
        }
        if let Some(after) = after {
            line.push_str(&format!(":{after}"));
        }
        if let Some((step, count)) = at {
            line.push_str(&format!(" crash.at={step}:{count}"));
        }
        line
    }

    /// Whether only memory has the last words, until the next boot saves them.
    pub(super) fn is_saved_by_next_boot(self) -> bool {
        self.kind == TRIPLE_FAULT
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.setup.name(), self.moment.name())
    }
}

/// Disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    Virtio,
    Nvme,
    Both,
    LargeBlocks,
    Legacy,
    Mmio,
}

impl Setup {
    pub(super) const ALL: [Self; 6] =
        [Self::Virtio, Self::Nvme, Self::Both, Self::LargeBlocks, Self::Legacy, Self::Mmio];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Nvme => "nvme",
            Self::Both => "both",
            Self::LargeBlocks => "4k",
            Self::Legacy => "legacy",
            Self::Mmio => "mmio",
        }
    }

    /// Small disks without a path.
    pub(super) fn disks(self) -> Vec<Disk> {
        let (kinds, block_size): (&[Kind], u32) = match self {
            Self::Virtio => (&[Kind::Virtio], 512),
            Self::Nvme => (&[Kind::Nvme], 512),
            Self::Both => (&[Kind::Virtio, Kind::Nvme], 512),
            Self::LargeBlocks => (&[Kind::Virtio, Kind::Nvme], 4096),
            Self::Legacy => (&[Kind::VirtioLegacy], 512),
            Self::Mmio => (&[Kind::VirtioMmio], 512),
        };
        let disk = |kind: &Kind| {
            let mut disk = Disk::new(*kind, "");
            (disk.path, disk.size, disk.block_size) = (None, Some(16 << 20), block_size);
            disk
        };
        kinds.iter().map(disk).collect()
    }
}

/// When the crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Idle,
    Flood,
    Mount,
    TileChange,
    Flush,
}

/// Lines without end.
const FLOOD: &str = "app=lines:9000000";

impl Moment {
    pub(super) const ALL: [Self; 5] = [Self::Idle, Self::Flood, Self::Mount, Self::TileChange, Self::Flush];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Flood => "flood",
            Self::Mount => "mount",
            Self::TileChange => "tile-change",
            Self::Flush => "flush",
        }
    }

    /// What the program does, and after how many milliseconds or at which passage of which step it crashes.
    const fn words(self) -> (&'static str, Option<u32>, Option<(&'static str, u32)>) {
        match self {
            Self::Idle => ("app=idle", Some(20), None),
            Self::Flood => (FLOOD, Some(40), None),
            Self::Mount => ("app=idle", None, Some(("console.mount", 2))),
            // Not that of the mount, on any of the disks.
            Self::TileChange => (FLOOD, None, Some(("console.tile", 4))),
            Self::Flush => (FLOOD, None, Some(("disk.flush", 5))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_names_and_command_lines() {
        assert_eq!(all().count(), KINDS.len() * 30);
        let cell = Cell { kind: "panic", setup: Setup::LargeBlocks, moment: Moment::Flush };
        assert_eq!(cell.to_string(), "panic/4k/flush");
        assert!(cell.command_line("x").ends_with(" mark=x hang_ms=1500 crash=panic crash.at=disk.flush:5"));
        let cell = Cell { kind: IN_DRIVER, ..cell };
        assert!(cell.command_line("x").ends_with("crash=panic-in-driver:disk.flush crash.at=disk.flush:5"));
        let cell = Cell { moment: Moment::Idle, ..cell };
        assert!(cell.command_line("x").ends_with("crash=panic-in-driver:disk.write crash.at=disk.write:2"));
    }
}
