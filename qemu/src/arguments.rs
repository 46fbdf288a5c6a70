//! A guest as QEMU's command line.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::blocks::blocks;
use crate::{Bus, Disk, Guest, Kind, Machine};

/// The files that QEMU uses besides those that the guest names.
pub(crate) struct Files<'a> {
    /// Sockets where we listen.
    pub(crate) serial: &'a Path,
    pub(crate) control: &'a Path,
    /// UEFI's code, and this guest's own copy of its variables.
    pub(crate) ovmf: Option<(&'a Path, &'a Path)>,
}

/// Everything after the program's name. The machine starts paused.
pub(crate) fn arguments(guest: &Guest, files: &Files<'_>) -> Result<Vec<OsString>> {
    let mut list = Arguments(Vec::new());
    list.add(["-nodefaults", "-no-user-config", "-display", "none"]);
    if !guest.restarts {
        list.add(["-no-reboot"]);
    }
    list.add(["-machine", guest.machine.name(), "-accel", &guest.accelerator]);
    list.add(["-m", &guest.memory_mib.to_string(), "-smp", &guest.cpus.to_string()]);
    list.socket("serial", files.serial)?;
    list.add(["-serial", "chardev:serial"]);
    list.socket("control", files.control)?;
    list.add(["-mon", "chardev=control,mode=control"]);
    if guest.exit_device {
        list.add(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    }
    // Rests until the guest starts it.
    list.add(["-device", "ib700", "-action", "watchdog=inject-nmi"]);
    match &guest.image {
        None => list.program(guest),
        Some((_, image)) => list.boot_image(image, guest.image_format, guest.image_bus),
    }
    if let Some((code, variables)) = files.ovmf {
        list.flash("if=pflash,format=raw,readonly=on,file=", code);
        list.flash("if=pflash,format=raw,file=", variables);
    }
    list.0.extend(guest.buses.iter().cloned());
    for (number, disk) in guest.disks.iter().enumerate() {
        list.disk(disk, &device_id(number))?;
    }
    if guest.machine == Machine::Microvm {
        // What hypervisors without legacy offer; QEMU's own default is the legacy interface.
        list.add(["-global", "virtio-mmio.force-legacy=false"]);
    }
    if guest.debug {
        list.add(["-s"]);
    }
    list.add(["-S"]);
    list.0.extend(guest.arguments.iter().cloned());
    Ok(list.0)
}

/// The id of a guest's disk.
pub(crate) fn device_id(number: usize) -> String {
    format!("disk{number}")
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    /// A character device on a socket where we listen already.
    fn socket(&mut self, id: &str, path: &Path) -> Result<()> {
        let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        self.add(["-chardev", &format!("socket,id={id},server=off,path={}", path.replace(',', ",,"))]);
        Ok(())
    }

    fn program(&mut self, guest: &Guest) {
        self.add(["-kernel"]);
        self.0.push(guest.loader.clone().into_os_string());
        if let Some(kernel) = &guest.kernel {
            // A comma separates several modules.
            self.add(["-initrd"]);
            self.0.push(double_commas(kernel.as_os_str()));
        }
        if !guest.command_line.is_empty() {
            self.add(["-append", &guest.command_line]);
        }
    }

    fn boot_image(&mut self, path: &Path, format: &str, bus: Bus) {
        let file = json!({ "driver": format, "node-name": "boot", "file": { "driver": "file", "filename": path } });
        let device = match bus {
            Bus::Ahci => "ide-hd",
            Bus::Virtio => "virtio-blk-pci",
            Bus::Nvme => "nvme,serial=boot",
            Bus::Usb => {
                self.add(["-device", "qemu-xhci,id=usb"]);
                "usb-storage,bus=usb.0"
            }
        };
        self.add(["-blockdev", &file.to_string(), "-device", &format!("{device},drive=boot,bootindex=0")]);
    }

    fn flash(&mut self, options: &str, path: &Path) {
        let mut words = OsString::from(options);
        words.push(double_commas(path.as_os_str()));
        self.add(["-drive"]);
        self.0.push(words);
    }

    fn disk(&mut self, disk: &Disk, id: &str) -> Result<()> {
        let blocks = blocks(disk, id)?;
        for (option, value) in &blocks.options {
            self.add([option, &value.to_string()]);
        }
        let (driver, fixed) = match disk.kind {
            Kind::Nvme => ("nvme", ""),
            Kind::Virtio => ("virtio-blk-pci", ""),
            Kind::VirtioLegacy => ("virtio-blk-pci", ",disable-modern=on,disable-legacy=off"),
            Kind::VirtioMmio => ("virtio-blk-device", ""),
        };
        let block = disk.block_size;
        let mut device = format!("{driver},id={id},drive={},serial=bcon-{id}{fixed}", blocks.top);
        if block != 512 {
            // QEMU refuses a logical block that is larger than the physical one.
            device.push_str(&format!(",logical_block_size={block},physical_block_size={block}"));
        }
        if disk.kind != Kind::Nvme && !disk.faults.is_empty() {
            // By default QEMU pauses the machine when a virtio disk has no space left.
            device.push_str(",werror=report,rerror=report");
        }
        for property in &disk.properties {
            device.push(',');
            device.push_str(property);
        }
        self.add(["-device", &device]);
        Ok(())
    }
}

fn double_commas(text: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let doubled = text.as_bytes().iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    OsString::from_vec(doubled.collect())
}

/// A command as it can be pasted into a shell.
pub(crate) fn shell_line(program: &Path, arguments: &[OsString]) -> String {
    let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    words.map(|word| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_survive_a_shell() {
        for word in ["", "plain-1", "a b", "it's", "{\"a\":1}", "$HOME", "a\\b", "*"] {
            let output =
                std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(word))).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
