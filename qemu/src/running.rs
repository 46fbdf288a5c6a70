//! A guest that runs: QEMU as a child process that does not outlive us.

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use crate::arguments::{Files, arguments, device_id, shell_line};
use crate::tools::{Tool, require};
use crate::{Disk, Fault, Firmware, Guest, Kind, Outcome, Qmp, Report, Serial, TemporaryDirectory};

/// How long QEMU may take from its start until it has connected to us, and from the end of its output to its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A guest that runs. Dropping it kills QEMU.
#[derive(Debug)]
pub struct Running {
    child: Guard,
    serial: Serial,
    messages: Serial,
    qmp: Qmp,
    disks: Vec<Disk>,
    command: String,
    started: Instant,
    deadline: Option<Instant>,
    /// Holds the sockets.
    _directory: TemporaryDirectory,
}

/// A child process that is killed on drop.
#[derive(Debug)]
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn start(guest: Guest) -> Result<Self> {
        let program = require(Tool::Qemu)?;
        let directory = TemporaryDirectory::new()?;
        let ovmf = match guest.image {
            Some((Firmware::Uefi, _)) => Some(ovmf(&directory)?),
            _ => None,
        };
        let paths = Files {
            serial: &directory.file("serial"),
            control: &directory.file("control"),
            ovmf: ovmf.as_ref().map(|(code, variables)| (code.as_path(), variables.as_path())),
        };
        let (serial, control) = (listen(paths.serial)?, listen(paths.control)?);
        let hanging = |fault: Fault| {
            let disks = guest.disks.iter().enumerate();
            disks.filter(move |(_, disk)| disk.faults.contains(&fault)).map(|(number, _)| number).collect::<Vec<_>>()
        };
        let (hanging_writes, hanging_flushes) = (hanging(Fault::Hang), hanging(Fault::HangFlush));
        let hanging_reads = hanging(Fault::HangRead);
        let words = arguments(&guest, &paths)?;
        let command = shell_line(&program, &words);

        let started = Instant::now();
        let (output, input) = io::pipe()?;
        let child = Command::new(&program)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        count_guest()?;
        let mut child = Guard(child);
        let messages = Serial::follow(output, None);
        let connected = (|| {
            let serial = accept(&serial, &mut child)?;
            let control = accept(&control, &mut child)?;
            Ok((Serial::follow(serial, guest.echo), Qmp::new(control)?))
        })();
        let (serial, qmp) = connected.map_err(|error: anyhow::Error| {
            // QEMU says why it stopped just before it does.
            messages.wait_for_end(Some(Instant::now() + Duration::from_secs(1)));
            let said = String::from_utf8_lossy(&messages.bytes()).trim().to_owned();
            anyhow!("{error:#}\nQEMU said: {said}\ncommand: {command}")
        })?;

        let mut running = Self {
            child,
            serial,
            messages,
            qmp,
            disks: guest.disks,
            command,
            started,
            deadline: guest.time_limit.map(|limit| started + limit),
            _directory: directory,
        };
        for number in hanging_writes {
            running.hold_next_write(number)?;
        }
        for number in hanging_flushes {
            running.hold_next_flush(number)?;
        }
        for number in hanging_reads {
            let path = running.block_device(number)?;
            running.qmp.disk_command(&path, "break read_aio held")?;
        }
        // QEMU started it paused, so that it cannot end before QEMU and we have met.
        if !guest.debug {
            running.qmp.begin()?;
        }
        Ok(running)
    }

    /// What the guest printed on its serial port.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// QEMU's control socket.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// QEMU's command line, quoted for a shell.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// QEMU's process id.
    pub fn process_id(&self) -> u32 {
        self.child.0.id()
    }

    /// Sets another time limit: from now on.
    pub fn limit(&mut self, limit: Duration) {
        self.deadline = Some(Instant::now() + limit);
    }

    /// Waits until the guest has printed `text`.
    ///
    /// # Errors
    /// When it ends or its time limit passes without.
    pub fn wait_for_serial(&self, text: &str) -> Result<()> {
        let found = |bytes: &[u8]| bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes());
        if self.serial.wait_until(self.deadline, found) {
            return Ok(());
        }
        let printed = String::from_utf8_lossy(&self.serial.bytes()).into_owned();
        bail!("the guest did not print {text:?}, but:\n{printed}\ncommand: {}", self.command)
    }

    /// Holds back the next write to a disk, by its number. A disk's reset waits for its held-back write.
    ///
    /// # Errors
    /// When there is no such disk, or it was given no faults: QEMU can hold writes back only where it can let them fail.
    /// A fault that never strikes will do.
    pub fn hold_next_write(&mut self, disk: usize) -> Result<()> {
        let path = self.block_device(disk)?;
        self.qmp.disk_command(&path, "break write_aio held")
    }

    /// Holds back the next flush of a disk, by its number, for ever.
    ///
    /// # Errors
    /// As [`hold_next_write`](Self::hold_next_write).
    pub fn hold_next_flush(&mut self, disk: usize) -> Result<()> {
        let path = self.block_device(disk)?;
        self.qmp.disk_command(&path, "break flush_to_disk held")
    }

    /// Lets the write go on that was held back, if there is one.
    ///
    /// # Errors
    /// As [`hold_next_write`](Self::hold_next_write).
    pub fn release_write(&mut self, disk: usize) -> Result<()> {
        let path = self.block_device(disk)?;
        self.qmp.disk_command(&path, "resume held")
    }

    /// Changes how many writes a second a disk takes that was given a limit; 0 lifts it.
    ///
    /// # Errors
    /// When there is no such disk, or it has no limit.
    pub fn limit_writes(&mut self, disk: usize, per_second: u32) -> Result<()> {
        let limits = json!({ "iops-write": per_second });
        let path = format!("/objects/{}-limit", device_id(disk));
        self.qmp.execute("qom-set", json!({ "path": path, "property": "limits", "value": limits })).map(drop)
    }

    fn block_device(&self, number: usize) -> Result<String> {
        let disk = self.disks.get(number).with_context(|| format!("there is no disk {number}"))?;
        if disk.faults.is_empty() {
            bail!("writes to disk {number} cannot be held back, since it has no faults");
        }
        // On PCI, the virtio device that holds the disk is a part of the one that has the id.
        let part = if matches!(disk.kind, Kind::Virtio | Kind::VirtioLegacy) { "/virtio-backend" } else { "" };
        Ok(format!("/machine/peripheral/{}{part}", device_id(number)))
    }

    /// Waits for the end of the guest, or of its time limit: then QEMU is killed.
    ///
    /// # Errors
    /// Only when the child process cannot be waited for; how the guest ended is the report's matter.
    pub fn wait(mut self) -> Result<Report> {
        let mut registers = None;
        let status = match self.wait_for_exit()? {
            Some(status) => Some(status),
            None => {
                // The reason of a hang is mostly seen from where it hangs.
                registers = self.qmp.monitor("info registers").ok();
                self.child.0.kill()?;
                self.child.0.wait()?;
                None
            }
        };
        Ok(self.report(status.map_or(Outcome::TimedOut, Outcome::from_status), registers))
    }

    /// Pulls the plug: kills QEMU at once, as if by a signal from outside.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<Report> {
        self.child.0.kill()?;
        let status = self.child.0.wait()?;
        Ok(self.report(Outcome::from_status(status), None))
    }

    fn wait_for_exit(&mut self) -> Result<Option<ExitStatus>> {
        if !self.serial.wait_for_end(self.deadline) {
            return Ok(None);
        }
        // QEMU closed its end of the serial port, and has only to leave.
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.0.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(None)
    }

    fn report(mut self, outcome: Outcome, registers: Option<String>) -> Report {
        let elapsed = self.started.elapsed();
        // QEMU is gone, so both ends are near.
        self.serial.wait_for_end(Some(Instant::now() + PATIENCE));
        self.messages.wait_for_end(Some(Instant::now() + PATIENCE));
        Report {
            outcome,
            was_reset: self.qmp.has_raised("RESET", Instant::now() + PATIENCE),
            serial: self.serial.bytes(),
            messages: String::from_utf8_lossy(&self.messages.bytes()).into_owned(),
            command: self.command,
            elapsed,
            registers,
        }
    }
}

/// UEFI's code, and a copy of its variables that this guest may change.
fn ovmf(directory: &TemporaryDirectory) -> Result<(PathBuf, PathBuf)> {
    let code = require(Tool::Ovmf)?;
    let name = code.file_name().unwrap_or_default().to_string_lossy().replace("CODE", "VARS").replace("code", "vars");
    let (original, copy) = (code.with_file_name(name), directory.file("variables"));
    fs::copy(&original, &copy).with_context(|| format!("cannot copy {}", original.display()))?;
    Ok((code, copy))
}

fn listen(path: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Waits for QEMU's connection, as long as QEMU is there.
fn accept(listener: &UnixListener, child: &mut Guard) -> Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot take QEMU's connection"),
        }
        if let Some(status) = child.0.try_wait()? {
            bail!("QEMU stopped at once: {status}");
        }
        if Instant::now() > deadline {
            bail!("QEMU did not connect in {PATIENCE:?}");
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The environment variable that names the file in which guests are counted.
pub const GUEST_COUNT: &str = "BLOCKCONSOLE_GUEST_COUNT";

/// Adds a byte to the file in which a test run counts its guests, if there is one.
fn count_guest() -> Result<()> {
    use std::io::Write;
    let Some(path) = std::env::var_os(GUEST_COUNT) else { return Ok(()) };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(b"."))
        .with_context(|| format!("cannot count guests in {}", path.to_string_lossy()))
}
