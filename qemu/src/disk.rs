//! A guest's disk: its kind, its image file, and what is wrong with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

use crate::Fault;

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An NVMe controller with one namespace.
    Nvme,
    /// virtio-blk on PCI as QEMU makes it by default: transitional on these machines.
    Virtio,
    /// virtio-blk on PCI with the legacy interface only.
    VirtioLegacy,
    /// virtio-blk on MMIO, on the microvm machine.
    VirtioMmio,
}

const KINDS: [(&str, Kind); 4] = [
    ("nvme", Kind::Nvme),
    ("virtio", Kind::Virtio),
    ("virtio-legacy", Kind::VirtioLegacy),
    ("virtio-mmio", Kind::VirtioMmio),
];

impl Kind {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match KINDS.iter().find(|(name, _)| *name == text) {
            Some((_, kind)) => Ok(*kind),
            None => bail!("disk kind {text:?} is unknown: known are nvme, virtio, virtio-legacy and virtio-mmio"),
        }
    }
}

/// A disk of a guest.
///
/// On command lines it is written `KIND[,key=value…]` with the keys `path`, `size`, `block`, `format=no`, `slow` and `fault`
/// (which may stand several times). A path with a comma in it cannot be written so.
#[derive(Clone, Debug)]
pub struct Disk {
    /// How it is attached.
    pub kind: Kind,
    /// The image file.
    pub path: Option<PathBuf>,
    /// Its size in bytes, if it has to be made; an image that is there must have this size.
    pub size: Option<u64>,
    /// Bytes a block: 512 or 4096.
    pub block_size: u32,
    /// Whether a new image becomes a console.
    pub format: bool,
    /// Limit of writes a second.
    pub slow: Option<u32>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// A file that gets every write and flush in order; see [`write_log`](crate::write_log).
    pub write_log: Option<PathBuf>,
    /// More `key=value` properties of QEMU's device.
    pub properties: Vec<String>,
}

/// The size of an image that nobody chose a size for.
pub const DEFAULT_SIZE: u64 = 64 << 20;

impl Disk {
    /// A sound disk with blocks of 512 bytes, on an image of [`DEFAULT_SIZE`] that becomes a console when it is made.
    pub fn new(kind: Kind, path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::without_path(kind) }
    }

    fn without_path(kind: Kind) -> Self {
        Self {
            kind,
            path: None,
            size: None,
            block_size: 512,
            format: true,
            slow: None,
            faults: Vec::new(),
            write_log: None,
            properties: Vec::new(),
        }
    }

    /// Makes the image if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or an image that is there does not fit what was asked for.
    pub fn prepare(&self) -> Result<()> {
        let path = self.image()?;
        match fs::metadata(path) {
            Ok(data) => self.check_existing(path, data.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.create(path),
            Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
        }
    }

    pub(crate) fn image(&self) -> Result<&Path> {
        self.path.as_deref().with_context(|| format!("the {} disk has no path", self.kind.name()))
    }

    fn check_existing(&self, path: &Path, length: u64) -> Result<()> {
        if let Some(size) = self.size
            && size != length
        {
            bail!("{} has {length} bytes, not {size}: delete it, or ask for no size", path.display());
        }
        if !length.is_multiple_of(self.block_size.into()) {
            bail!("{} has {length} bytes, which are no whole blocks of {}", path.display(), self.block_size);
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<()> {
        let size = self.size.unwrap_or(DEFAULT_SIZE);
        let make = || -> Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::create_new(path)?.set_len(size)?;
            if self.format {
                bcon::format::format(path, &bcon::format::Options::default())?;
            }
            Ok(())
        };
        let made = make().with_context(|| format!("cannot make the disk {}", path.display()));
        if made.is_err() {
            // A half-made image would be taken as it is the next time.
            let _ = fs::remove_file(path);
        }
        made
    }
}

impl FromStr for Disk {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split(',');
        let mut disk = Self::without_path(words.next().unwrap_or_default().parse()?);
        for word in words {
            disk.set(word).with_context(|| format!("disk {text:?}"))?;
        }
        let size = disk.size.unwrap_or(DEFAULT_SIZE);
        if size == 0 || !size.is_multiple_of(disk.block_size.into()) {
            bail!("disk {text:?}: a size of {size} bytes is no whole number of blocks of {}", disk.block_size);
        }
        Ok(disk)
    }
}

impl Disk {
    fn set(&mut self, word: &str) -> Result<()> {
        let (key, value) = word.split_once('=').with_context(|| format!("{word:?} is no key=value"))?;
        match key {
            "path" if value.is_empty() => bail!("path is empty"),
            "path" => self.path = Some(value.into()),
            "size" => self.size = Some(parse_size(value)?),
            "block" => {
                self.block_size = match value {
                    "512" => 512,
                    "4096" => 4096,
                    _ => bail!("block is {value:?}, but can be 512 or 4096"),
                }
            }
            "format" => {
                self.format = match value {
                    "yes" => true,
                    "no" => false,
                    _ => bail!("format is {value:?}, but can be yes or no"),
                }
            }
            "slow" => match value.parse() {
                Ok(limit @ 1..) => self.slow = Some(limit),
                _ => bail!("slow is {value:?}, but must be a number of writes a second"),
            },
            "fault" => self.faults.push(value.parse()?),
            _ => bail!("key {key:?} is unknown: known are path, size, block, format, slow and fault"),
        }
        Ok(())
    }
}

/// Reads a size in bytes, with K, M, G or T for powers of 1024.
///
/// # Errors
/// When it is none.
pub fn parse_size(text: &str) -> Result<u64> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let size = number.parse().ok().and_then(|number: u64| number.checked_mul(1 << shift));
    size.with_context(|| format!("{text:?} is no size: a number of bytes, or one with K, M, G or T"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_taken() {
        let disk: Disk =
            "nvme,path=a=b,size=4M,block=4096,format=no,slow=50,fault=eio-flush,fault=hang".parse().unwrap();
        assert_eq!(disk.kind, Kind::Nvme);
        assert_eq!(disk.path.as_deref(), Some(Path::new("a=b")));
        assert_eq!(disk.size, Some(4 << 20));
        assert_eq!(disk.block_size, 4096);
        assert!(!disk.format);
        assert_eq!(disk.slow, Some(50));
        assert_eq!(disk.faults.len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, reason) in [
            ("", "kind \"\""),
            ("floppy", "kind \"floppy\""),
            ("nvme,path", "\"path\" is no key=value"),
            ("nvme,path=", "path is empty"),
            ("nvme,size=4X", "\"4X\" is no size"),
            ("nvme,size=99999999999999T", "is no size"),
            ("nvme,size=0", "0 bytes"),
            ("nvme,size=1025", "1025 bytes"),
            ("nvme,block=1024", "block is \"1024\""),
            ("nvme,format=maybe", "format is \"maybe\""),
            ("nvme,slow=0", "slow is \"0\""),
            ("nvme,fault=fire", "fault \"fire\""),
            ("nvme,colour=red", "key \"colour\""),
        ] {
            let error = format!("{:#}", text.parse::<Disk>().unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn an_existing_image_is_kept_and_must_fit() {
        let directory = crate::TemporaryDirectory::new().unwrap();
        let mut disk = Disk::new(Kind::Virtio, directory.file("disk"));
        disk.format = false;
        disk.size = Some(1 << 20);
        disk.prepare().unwrap();
        fs::write(directory.file("disk"), vec![7; 1 << 20]).unwrap();
        disk.prepare().unwrap();
        assert_eq!(fs::read(directory.file("disk")).unwrap(), vec![7; 1 << 20]);
        disk.size = Some(2 << 20);
        assert!(disk.prepare().unwrap_err().to_string().contains("delete it"));
        disk.size = None;
        disk.block_size = 4096;
        fs::write(directory.file("disk"), [0; 512]).unwrap();
        assert!(disk.prepare().unwrap_err().to_string().contains("no whole blocks"));
    }
}
