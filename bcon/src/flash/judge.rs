//! Whether a disk may be overwritten: what is known of it, and what that means.

use crate::sysfs::{SysDevice, user_of};
use crate::target::open_file;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Which disk or file it is, whatever it is called: where its name lies, and the number of the device behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    file: (u64, u64),
    device: u64,
}

impl Identity {
    /// Of a file that was opened, or looked at.
    pub fn of(metadata: &fs::Metadata) -> Self {
        Self { file: (metadata.dev(), metadata.ino()), device: metadata.rdev() }
    }
}

/// What is known of a disk that an image is to be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What the user called it.
    pub name: String,
    /// What its maker calls it; may be empty.
    pub model: String,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of a logical block; `None` if nobody says.
    pub block_size: Option<u32>,
    /// Which one it is.
    pub identity: Identity,
    /// The disk that it is a partition of.
    pub partition_of: Option<String>,
    /// Whether the kernel refuses writes to it.
    pub is_read_only: bool,
    /// Whether it can be taken out: a stick, a card, a disk on USB.
    pub is_removable: bool,
    /// Who uses it: `its partition sda1 is mounted on /`.
    pub user: Option<String>,
}

/// How often the user has said that a refused disk is meant: `--force`, and how many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told(pub u8);

/// Why a disk is not written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// It is a partition of this disk.
    Partition(&'a str),
    /// It is read-only.
    ReadOnly,
    /// Its blocks have so many bytes, and images are made for 512.
    BlockSize(u32),
    /// It is smaller than the image, which has so many bytes.
    TooSmall(u64),
    /// It is used in this way.
    InUse(&'a str),
    /// It is built into the machine.
    BuiltIn,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It may be overwritten.
    Go {
        /// Somebody uses it, and the user has said twice that it is meant nevertheless.
        is_held: bool,
    },
    /// It is left as it is, for this reason.
    Refused(Refusal<'a>),
}

impl Disk {
    /// Looks at a disk.
    ///
    /// # Errors
    /// If it is no block device, or cannot be looked at.
    pub fn look(path: &Path) -> Result<Self> {
        let shown = path.display();
        let metadata = fs::metadata(path).with_context(|| format!("cannot look at {shown}"))?;
        let Some(device) = SysDevice::of(&metadata) else {
            bail!("{shown} is no block device: name a disk, such as /dev/sdb");
        };
        let user = user_of(path, &metadata).with_context(|| format!("cannot see whether {shown} is in use"))?;
        let (file, size) = open_file(path, false)?;
        let identity = Identity::of(&metadata);
        if Identity::of(&file.metadata()?) != identity {
            bail!("{shown} is another disk than a moment ago: look which one it is");
        }
        Ok(Self { user, identity, ..Self::of_device(&device, shown.to_string(), size) })
    }

    /// What sysfs says of it; not who uses it.
    fn of_device(device: &SysDevice, name: String, size: u64) -> Self {
        Self {
            name,
            model: device.model(),
            size,
            block_size: device.logical_block_size(),
            identity: Identity::default(),
            partition_of: device.disk().map(|disk| disk.name()),
            is_read_only: device.is_read_only(),
            is_removable: device.is_removable(),
            user: None,
        }
    }

    /// Whether an image of so many bytes may be written to it.
    ///
    /// A disk that is built in takes one word of the user's, one that is in use two. What could not work is refused whatever he says.
    pub fn verdict(&self, image: u64, told: Told) -> Verdict<'_> {
        if let Some(disk) = &self.partition_of {
            return Verdict::Refused(Refusal::Partition(disk));
        }
        if self.is_read_only {
            return Verdict::Refused(Refusal::ReadOnly);
        }
        if let Some(size) = self.block_size.filter(|size| *size != 512) {
            return Verdict::Refused(Refusal::BlockSize(size));
        }
        if self.size < image {
            return Verdict::Refused(Refusal::TooSmall(image));
        }
        match &self.user {
            Some(user) if told < Told(2) => Verdict::Refused(Refusal::InUse(user)),
            None if !self.is_removable && told < Told(1) => Verdict::Refused(Refusal::BuiltIn),
            user => Verdict::Go { is_held: user.is_some() },
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = if self.model.is_empty() { "disk of an unnamed make" } else { &self.model };
        let tenths = (u128::from(self.size) * 10) >> 30;
        let built = if self.is_removable { "removable" } else { "built in" };
        write!(f, "{}: {model}, {}.{} GiB, {built}", self.name, tenths / 10, tenths % 10)
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(disk) => write!(f, "it is a partition: an image takes a whole disk, such as /dev/{disk}"),
            Self::ReadOnly => f.write_str("it is read-only: look for a switch on its side"),
            Self::BlockSize(size) => {
                write!(f, "its blocks have {size} bytes: nothing would boot from it, since images are made for 512")
            }
            Self::TooSmall(image) => write!(f, "it is too small for the image, which has {image} bytes"),
            Self::InUse(user) => write!(f, "{user}; stop that first, or, to lose what is there, give --force twice"),
            Self::BuiltIn => f.write_str("it is no removable disk; if it is the right one, give --force"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stick() -> Disk {
        Disk {
            name: "/dev/sdb".to_owned(),
            model: "ACME Stick".to_owned(),
            size: 16 << 30,
            block_size: Some(512),
            identity: Identity::default(),
            partition_of: None,
            is_read_only: false,
            is_removable: true,
            user: None,
        }
    }

    #[test]
    fn what_is_in_use_takes_two_words_and_what_is_built_in_one() {
        let held = Disk { user: Some("it is mounted on /".to_owned()), ..stick() };
        let built_in = Disk { is_removable: false, ..stick() };
        let both = Disk { is_removable: false, ..held.clone() };
        let in_use = Verdict::Refused(Refusal::InUse("it is mounted on /"));
        let go = Verdict::Go { is_held: false };
        let held_go = Verdict::Go { is_held: true };
        for (disk, verdicts) in [
            (stick(), [go, go, go]),
            (built_in, [Verdict::Refused(Refusal::BuiltIn), go, go]),
            (held, [in_use, in_use, held_go]),
            (both, [in_use, in_use, held_go]),
        ] {
            for (told, verdict) in verdicts.into_iter().enumerate() {
                assert_eq!(disk.verdict(1 << 20, Told(told as u8)), verdict, "{disk}, told {told} times");
            }
        }
    }

    #[test]
    fn what_cannot_work_is_refused_whatever_is_said() {
        for told in 0..=9 {
            let refused = |disk: Disk, image: u64| match disk.verdict(image, Told(told)) {
                Verdict::Refused(refusal) => refusal.to_string(),
                Verdict::Go { .. } => panic!("told {told} times"),
            };
            assert!(refused(Disk { partition_of: Some("sdb".to_owned()), ..stick() }, 1).contains("/dev/sdb"));
            assert!(refused(Disk { is_read_only: true, ..stick() }, 1).contains("read-only"));
            assert!(refused(stick(), (16 << 30) + 1).contains("too small"));
            assert!(refused(Disk { block_size: Some(4096), ..stick() }, 1).contains("4096"));
        }
        assert_eq!(stick().verdict(16 << 30, Told(0)), Verdict::Go { is_held: false });
    }

    #[test]
    fn sysfs_tells_sticks_from_disks_and_partitions() {
        let root = std::env::temp_dir().join(format!("bcon-judge-{}", std::process::id()));
        let make = |folder: &str, files: &[(&str, &str)]| {
            for (name, text) in files {
                let path = root.join(folder).join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let device = SysDevice::at(&root.join(folder));
            Disk::of_device(&device, "x".to_owned(), 1 << 30)
        };
        let no = [("removable", "0\n"), ("ro", "0\n"), ("device/vendor", "ACME    \n"), ("device/model", "Disk 9 \n")];
        let disk = make("devices/pci/ata1/block/sda", &no);
        assert_eq!((disk.model.as_str(), disk.is_removable, disk.is_read_only), ("ACME Disk 9", false, false));
        let part = make("devices/pci/ata1/block/sda/sda1", &[("partition", "1\n"), ("ro", "1\n")]);
        assert_eq!((part.partition_of.as_deref(), part.is_read_only), (Some("sda"), true));
        // A disk on USB says that its medium cannot be removed.
        assert!(make("devices/pci/usb2/2-1/block/sdb", &no).is_removable);
        assert!(make("devices/pci/ata1/block/sr0", &[("removable", "1\n")]).is_removable);
        assert!(!make("devices/virtual/block/loop0", &[("removable", "0\n")]).is_removable);
        assert!(make("devices/pci/mmc_host/mmc0/block/mmcblk0", &[("device/type", "SD\n")]).is_removable);
        assert!(!make("devices/pci/mmc_host/mmc1/block/mmcblk1", &[("device/type", "MMC\n")]).is_removable);
        fs::remove_dir_all(root).unwrap();
    }
}
