//! How a guest ended, and what there is to say about it.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// How a guest ended. QEMU's exit status is `2 × value + 1` for a value written to `isa-debug-exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest finished what it had to do (status 33).
    Finished,
    /// The guest crashed.
    Crashed {
        /// Whether the guest says that its crash record is durable on every console (status 35), or that some
        /// console lacks it (37). No proof: only reading the disks is.
        durable_everywhere: bool,
    },
    /// The loader could not start the kernel; the reason stands on the serial port (status 39).
    LoaderFailed,
    /// The time limit passed, and QEMU was killed for it.
    TimedOut,
    /// QEMU was killed by this signal, for another reason than the time limit.
    Killed(i32),
    /// QEMU ended with a status that no guest of ours asks for. 0: the guest powered off or reset its machine; 1: QEMU did
    /// not take its arguments.
    Unexpected(i32),
}

impl Outcome {
    pub(crate) fn from_status(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(33), _) => Self::Finished,
            (Some(35), _) => Self::Crashed { durable_everywhere: true },
            (Some(37), _) => Self::Crashed { durable_everywhere: false },
            (Some(39), _) => Self::LoaderFailed,
            (Some(code), _) => Self::Unexpected(code),
            (None, signal) => Self::Killed(signal.unwrap_or(0)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("the guest finished"),
            Self::Crashed { durable_everywhere: true } => {
                f.write_str("the guest crashed, and says that its record is durable on every console")
            }
            Self::Crashed { durable_everywhere: false } => {
                f.write_str("the guest crashed, and says that some console lacks its record")
            }
            Self::LoaderFailed => f.write_str("the loader could not start the kernel"),
            Self::TimedOut => f.write_str("the time limit passed"),
            Self::Killed(signal) => write!(f, "QEMU was killed by signal {signal}"),
            Self::Unexpected(0) => f.write_str("QEMU ended with status 0: the guest powered off or reset its machine"),
            Self::Unexpected(status) => write!(f, "QEMU ended with status {status}, which no guest of ours asks for"),
        }
    }
}

/// Everything that is known about a guest that has ended. Its `Display` is what a failed test should print.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What it printed on its serial port.
    pub serial: Vec<u8>,
    /// What QEMU itself printed.
    pub messages: String,
    /// The command line, quoted for a shell.
    pub command: String,
    /// Whether the machine was reset, and started anew. (How often, nobody knows: firmware may reset it once more.)
    pub was_reset: bool,
    /// From the start of QEMU to its end.
    pub elapsed: Duration,
    /// The registers of the first CPU when the time limit passed, as QEMU's monitor prints them.
    pub registers: Option<String>,
}

/// Lines of serial output that a report shows.
const SERIAL_LINES_SHOWN: usize = 40;

impl Report {
    /// The serial output as text; what is not UTF-8 is replaced.
    pub fn serial_text(&self) -> String {
        String::from_utf8_lossy(&self.serial).replace('\r', "")
    }

    /// Checks the outcome.
    ///
    /// # Errors
    /// The whole report, if it is another one.
    pub fn expect(self, outcome: Outcome) -> anyhow::Result<Self> {
        if self.outcome == outcome {
            return Ok(self);
        }
        anyhow::bail!("expected that {outcome}, but {self}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reset = if self.was_reset { ", with a reset in between" } else { "" };
        writeln!(f, "{} (after {:.3} s{reset})", self.outcome, self.elapsed.as_secs_f64())?;
        writeln!(f, "command: {}", self.command)?;
        if !self.messages.is_empty() {
            writeln!(f, "QEMU said:\n{}", indent(self.messages.lines()))?;
        }
        if let Some(registers) = &self.registers {
            writeln!(f, "registers when the time limit passed:\n{}", indent(registers.lines()))?;
        }
        let serial = self.serial_text();
        let lines: Vec<&str> = serial.lines().collect();
        let first = lines.len().saturating_sub(SERIAL_LINES_SHOWN);
        writeln!(f, "serial output, last {} of {} lines:", lines.len() - first, lines.len())?;
        f.write_str(&indent(lines[first..].iter().copied()))
    }
}

fn indent<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.map(|line| format!("  | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_of(wait_status: i32) -> Outcome {
        Outcome::from_status(ExitStatus::from_raw(wait_status))
    }

    #[test]
    fn only_the_agreed_statuses_have_a_meaning() {
        assert_eq!(outcome_of(33 << 8), Outcome::Finished);
        assert_eq!(outcome_of(35 << 8), Outcome::Crashed { durable_everywhere: true });
        assert_eq!(outcome_of(37 << 8), Outcome::Crashed { durable_everywhere: false });
        assert_eq!(outcome_of(39 << 8), Outcome::LoaderFailed);
        for status in (0..=255).filter(|status| ![33, 35, 37, 39].contains(status)) {
            assert_eq!(outcome_of(status << 8), Outcome::Unexpected(status));
        }
        assert_eq!(outcome_of(9), Outcome::Killed(9));
    }
}
