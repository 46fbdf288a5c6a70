//! Finds what this needs and does not build, and installs it where it may.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use anyhow::{Context, Result, bail};

/// Something that this project needs and does not build itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// QEMU for x86_64 guests: a program.
    Qemu,
    /// The UEFI firmware for them: its code, a file that has one with variables beside it.
    Ovmf,
    /// QEMU's program that converts disk images.
    QemuImg,
    /// systemd's program that takes in exported journals: tests give it what `bcon` exports. It is in no search path.
    JournalRemote,
    /// A program that reads QR codes, and is not ours: tests show it a crash.
    Zbar,
}

/// Everything that only tests need, besides [`Tool::Qemu`].
pub const FOR_TESTS: [Tool; 4] = [Tool::Ovmf, Tool::QemuImg, Tool::JournalRemote, Tool::Zbar];

/// Where distributions have OVMF's code: Debian, Fedora, Arch, SUSE.
const OVMF_PLACES: [&str; 5] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd",
    "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
    "/usr/share/qemu/ovmf-x86_64-code.bin",
];

/// Where distributions have systemd's program.
const JOURNAL_REMOTE_PLACES: [&str; 2] =
    ["/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote"];

impl Tool {
    const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::Ovmf => "OVMF",
            Self::QemuImg => "qemu-img",
            Self::JournalRemote => "systemd-journal-remote",
            Self::Zbar => "zbarimg",
        }
    }

    /// The environment variable that says where it is, for those who have it elsewhere.
    const fn variable(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU",
            Self::Ovmf => "OVMF_CODE",
            Self::QemuImg => "QEMU_IMG",
            Self::JournalRemote => "JOURNAL_REMOTE",
            Self::Zbar => "ZBARIMG",
        }
    }

    /// How a user installs it, by the package manager that is there.
    const fn packages(self) -> [(&'static str, &'static str); 4] {
        match self {
            Self::Qemu => [
                ("apt-get", "apt-get install -y --no-install-recommends qemu-system-x86"),
                ("dnf", "dnf install -y qemu-system-x86-core"),
                ("pacman", "pacman -S --noconfirm qemu-system-x86"),
                ("zypper", "zypper install -y qemu-x86"),
            ],
            Self::Ovmf => [
                ("apt-get", "apt-get install -y --no-install-recommends ovmf"),
                ("dnf", "dnf install -y edk2-ovmf"),
                ("pacman", "pacman -S --noconfirm edk2-ovmf"),
                ("zypper", "zypper install -y qemu-ovmf-x86_64"),
            ],
            Self::QemuImg => [
                ("apt-get", "apt-get install -y --no-install-recommends qemu-utils"),
                ("dnf", "dnf install -y qemu-img"),
                ("pacman", "pacman -S --noconfirm qemu-img"),
                ("zypper", "zypper install -y qemu-img"),
            ],
            Self::JournalRemote => [
                ("apt-get", "apt-get install -y --no-install-recommends systemd-journal-remote"),
                ("dnf", "dnf install -y systemd-journal-remote"),
                ("pacman", "pacman -S --noconfirm systemd libmicrohttpd"),
                ("zypper", "zypper install -y systemd-journal-remote"),
            ],
            Self::Zbar => [
                ("apt-get", "apt-get install -y --no-install-recommends zbar-tools"),
                ("dnf", "dnf install -y zbar"),
                ("pacman", "pacman -S --noconfirm zbar"),
                ("zypper", "zypper install -y zbar"),
            ],
        }
    }

    fn find(self) -> Option<PathBuf> {
        if let Some(path) = env::var_os(self.variable()) {
            return Some(path.into());
        }
        let first_of = |places: &[&str]| places.iter().map(PathBuf::from).find(|path| path.is_file());
        match self {
            Self::Qemu | Self::QemuImg | Self::Zbar => in_path(self.name()),
            Self::Ovmf => first_of(&OVMF_PLACES),
            Self::JournalRemote => first_of(&JOURNAL_REMOTE_PLACES),
        }
    }
}

/// Finds a tool; installs it with apt-get if it is missing and this may be done without asking (as root, or with a
/// `sudo` that needs no password).
///
/// # Errors
/// When it is missing and cannot be installed: with the one command that the user has to run.
pub fn require(tool: Tool) -> Result<PathBuf> {
    // Held while installing, so that tests which start side by side do not install twice.
    static FOUND: Mutex<BTreeMap<Tool, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = found.get(&tool) {
        return Ok(path.clone());
    }
    let path = match tool.find() {
        Some(path) => path,
        None => {
            install(tool)?;
            tool.find().with_context(|| format!("installed, but there is still no {}", tool.name()))?
        }
    };
    found.insert(tool, path.clone());
    Ok(path)
}

fn in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn install(tool: Tool) -> Result<()> {
    let known = tool.packages().into_iter().find(|(manager, _)| in_path(manager).is_some());
    let Some((manager, command)) = known else {
        bail!("{} is missing: install it, or say in ${} where it is", tool.name(), tool.variable());
    };
    let advice = || format!("{} is missing: run `sudo {command}`", tool.name());
    if manager != "apt-get" {
        bail!(advice());
    }
    let prefix: &[&str] = match privilege() {
        Some(prefix) => prefix,
        None => bail!(advice()),
    };
    eprintln!("{} is missing: running `{command}`", tool.name());
    // The first try fails where the package lists are missing or old, as in fresh containers.
    if run(prefix, command) || (run(prefix, "apt-get update") && run(prefix, command)) {
        return Ok(());
    }
    bail!("{} (tried here; it failed)", advice())
}

/// What to put before a command so that it runs as root without a question; `None` if nothing does.
fn privilege() -> Option<&'static [&'static str]> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout.trim_ascii() == b"0" {
        return Some(&[]);
    }
    in_path("sudo")?;
    run(&["sudo", "-n"], "true").then_some(&["sudo", "-n"])
}

fn run(prefix: &[&str], command: &str) -> bool {
    let mut words = prefix.iter().copied().chain(command.split(' '));
    let Some(program) = words.next() else { return false };
    // Output goes to stderr: stdout belongs to the command that the user ran.
    Command::new(program)
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .is_ok_and(|status| status.success())
}
