//! What Linux knows about a block device, and who uses it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A block device as `/sys/dev/block` has it.
#[derive(Clone, Debug)]
pub struct SysDevice {
    /// Device number as sysfs writes it: `major:minor`.
    pub number: String,
    folder: PathBuf,
}

impl SysDevice {
    /// The device behind a special file; `None` if it is no block device, or sysfs does not know it.
    pub fn of(metadata: &fs::Metadata) -> Option<Self> {
        if !metadata.file_type().is_block_device() {
            return None;
        }
        let (major, minor) = split_device_number(metadata.rdev());
        Self::by_number(major, minor)
    }

    /// The device with this number.
    pub fn by_number(major: u64, minor: u64) -> Option<Self> {
        let number = format!("{major}:{minor}");
        let folder = fs::canonicalize(Path::new("/sys/dev/block").join(&number)).ok()?;
        Some(Self { number, folder })
    }

    /// Whether it is made of other devices or files, as device-mapper, RAID and loop devices are.
    pub fn is_virtual(&self) -> bool {
        let virtual_names = ["dm-", "md", "loop", "zram", "nbd", "drbd", "bcache", "ram"];
        virtual_names.iter().any(|prefix| self.name().starts_with(prefix))
    }

    /// The kernel's name for it, such as `nvme0n1p2`.
    pub fn name(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The disk that it is a partition of; `None` if it is a disk.
    pub fn disk(&self) -> Option<Self> {
        self.folder.join("partition").exists().then(|| self.folder.parent().map(Self::at))?
    }

    /// Bytes of a logical block.
    pub fn logical_block_size(&self) -> Option<u32> {
        let queue = self.disk().unwrap_or_else(|| self.clone()).folder.join("queue/logical_block_size");
        fs::read_to_string(queue).ok()?.trim().parse().ok()
    }

    /// Whether the kernel refuses writes to it.
    pub fn is_read_only(&self) -> bool {
        fs::read_to_string(self.folder.join("ro")).is_ok_and(|text| text.trim() == "1")
    }

    /// Whether it can be taken out: its medium, as sticks and cards say, or the disk itself, on USB.
    pub fn is_removable(&self) -> bool {
        let says =
            |name: &str, word: &str| fs::read_to_string(self.folder.join(name)).is_ok_and(|text| text.trim() == word);
        let is_on_usb = self.folder.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
        is_on_usb || says("removable", "1") || says("device/type", "SD")
    }

    /// What its maker calls it; empty if nobody says.
    pub fn model(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.join("device").join(name)).unwrap_or_default();
        let words = [read("vendor"), read("model"), read("name")];
        // The vendor of virtio disks is a number.
        let words = words.iter().map(|text| text.trim()).filter(|text| !text.is_empty() && !text.starts_with("0x"));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Where a partition starts on its disk, in units of 512 bytes.
    pub fn start_512(&self) -> Option<u64> {
        fs::read_to_string(self.folder.join("start")).ok()?.trim().parse().ok()
    }

    /// The device's partitions.
    pub fn partitions(&self) -> Vec<Self> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().join("partition").exists()).map(|entry| Self::at(&entry.path())).collect()
    }

    /// Names of the devices that are built on it: RAID, LVM, dm-crypt, multipath.
    pub fn holders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join("holders")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn at(folder: &Path) -> Self {
        let number = fs::read_to_string(folder.join("dev")).unwrap_or_default().trim().to_owned();
        Self { number, folder: folder.to_owned() }
    }
}

/// Major and minor number, as glibc's `makedev` packs them.
pub fn split_device_number(device: u64) -> (u64, u64) {
    let major = (device & 0xFFFF_F000_0000_0000) >> 32 | (device & 0xF_FF00) >> 8;
    let minor = (device & 0x0FFF_FFF0_0000) >> 12 | (device & 0xFF);
    (major, minor)
}

/// Who uses a file or device, in words: `is mounted on /home`. `None` if nobody does, as far as can be seen.
///
/// # Errors
/// What reading `/proc` gave.
pub fn user_of(path: &Path, metadata: &fs::Metadata) -> io::Result<Option<String>> {
    if !metadata.file_type().is_block_device() {
        return Ok(file_user(path, metadata));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let Some(device) = SysDevice::of(metadata) else {
        // Without sysfs, as in some containers: of its partitions and of what is built on it, only the kernel knows.
        let number = number_of(metadata);
        return Ok(mount_of(&mounts, &number).map(|place| format!("it is mounted on {place}")).or_else(|| {
            swap_numbers(&swaps).any(|swap| swap == number).then(|| "it is active swap space".to_owned())
        }));
    };
    let parts = device.partitions();
    for part in std::iter::once(&device).chain(&parts) {
        let what =
            if part.number == device.number { "it".to_owned() } else { format!("its partition {}", part.name()) };
        if let Some(place) = mount_of(&mounts, &part.number) {
            return Ok(Some(format!("{what} is mounted on {place}")));
        }
        if swap_numbers(&swaps).any(|number| number == part.number) {
            return Ok(Some(format!("{what} is active swap space")));
        }
        if let Some(holder) = part.holders().first() {
            return Ok(Some(format!("{holder} is built on {what}")));
        }
    }
    Ok(None)
}

/// Where the device with this number is mounted, from the text of `mountinfo`. File systems such as btrfs hide their
/// device's number, so that the source's name is looked up as well.
fn mount_of(mounts: &str, number: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let mounted = fields.nth(2)?;
        let place = fields.nth(1)?;
        let source = line.split(" - ").nth(1)?.split(' ').nth(1)?;
        let is_source = || {
            let metadata = source.starts_with('/').then(|| fs::metadata(unescape(source)).ok())??;
            let (major, minor) = split_device_number(metadata.rdev());
            (metadata.file_type().is_block_device() && format!("{major}:{minor}") == number).then_some(())
        };
        (mounted == number || is_source().is_some()).then(|| unescape(place))
    })
}

fn swap_numbers(swaps: &str) -> impl Iterator<Item = String> {
    swaps.lines().skip(1).filter_map(|line| {
        let metadata = fs::metadata(unescape(line.split_whitespace().next()?)).ok()?;
        metadata.file_type().is_block_device().then(|| number_of(&metadata))
    })
}

/// A special file's device number, as sysfs and `mountinfo` write it.
fn number_of(metadata: &fs::Metadata) -> String {
    let (major, minor) = split_device_number(metadata.rdev());
    format!("{major}:{minor}")
}

/// A regular file is in use if a loop device stands on it, or if somebody holds a lock on it, as QEMU does.
fn file_user(path: &Path, metadata: &fs::Metadata) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file"));
        if backing.is_ok_and(|backing| Path::new(backing.trim_end()) == path) {
            return Some(format!("{} stands on it", entry.file_name().to_string_lossy()));
        }
    }
    let (major, minor) = split_device_number(metadata.dev());
    let wanted = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let lock = locks.lines().find(|line| line.split_whitespace().any(|field| field == wanted))?;
    let process = lock.split_whitespace().nth(4).filter(|pid| *pid != "-1");
    let by = process.map_or_else(String::new, |pid| format!(" (process {pid})"));
    Some(format!("another program{by} has locked it, such as a running virtual machine"))
}

/// Undoes the octal escapes of `/proc` files.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        if let Some(digits) = digits {
            out.push(digits.iter().fold(0_u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_unpacked_as_glibc_packs_them() {
        assert_eq!(split_device_number(0x0801), (8, 1));
        assert_eq!(split_device_number(0x10_3002), (0x30, 0x102));
        assert_eq!(split_device_number(0xFFFF_F123_4567_89AB), (0xFFFF_F789, 0x1234_56AB));
    }

    #[test]
    fn mounts_are_found_by_number() {
        let mounts = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                      30 22 259:2 / /mnt/my\\040disk rw shared:3 - vfat /dev/nvme0n1p2 rw\n";
        assert_eq!(mount_of(mounts, "259:2").as_deref(), Some("/mnt/my disk"));
        assert_eq!(mount_of(mounts, "259:1"), None);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape(r"a\040b\134c\09"), r"a b\c\09");
    }
}
