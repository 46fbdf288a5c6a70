//! QEMU's control socket (QMP): commands, their answers, and events.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

/// How long QEMU may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(60);

/// QEMU ended, and its end of the connection with it.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QEMU closed its control socket")
    }
}

impl std::error::Error for Closed {}

/// A connection to QEMU. Every call ends after a minute at the latest.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    /// The beginning of a message whose rest had not come when a deadline passed.
    partial: String,
    events: VecDeque<Value>,
}

impl Qmp {
    /// Takes QEMU's greeting, and switches commands on.
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        let mut qmp = Self { reader: BufReader::new(stream), partial: String::new(), events: VecDeque::new() };
        let greeting = qmp.receive(Instant::now() + PATIENCE)?.context("QEMU did not greet on its control socket")?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU greeted with {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command, and returns its answer.
    ///
    /// # Errors
    /// What QEMU says against it; no answer in a minute; a closed connection.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let message = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_ref(), "{message}")
            .map_err(closed)
            .with_context(|| format!("cannot send {command} to QEMU"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut answer =
                self.receive(deadline)?.with_context(|| format!("QEMU did not answer {command} in {PATIENCE:?}"))?;
            if answer.get("event").is_some() {
                self.events.push_back(answer);
            } else if let Some(error) = answer.get("error") {
                let words = error["desc"].as_str().map_or_else(|| error.to_string(), str::to_owned);
                bail!("QEMU refused {command}: {words}");
            } else {
                return Ok(answer["return"].take());
            }
        }
    }

    /// Runs a command of the monitor for humans, and returns what it prints.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). A command that fails says so in what it prints.
    pub fn monitor(&mut self, command: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": command }))?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Waits for an event of that name, and returns its data. Events that came earlier count.
    ///
    /// # Errors
    /// When it does not come by the deadline, or QEMU ends first.
    pub fn wait_for_event(&mut self, name: &str, deadline: Instant) -> Result<Value> {
        loop {
            if let Some(place) = self.events.iter().position(|event| event["event"] == name) {
                let event = self.events.remove(place);
                return Ok(event.map_or(Value::Null, |mut event| event["data"].take()));
            }
            let message = self.receive(deadline)?;
            self.events.push_back(message.with_context(|| format!("QEMU raised no {name} in time"))?);
        }
    }

    /// Whether QEMU has ever raised an event of that name that nobody has waited for. To be asked when it has ended.
    pub(crate) fn has_raised(&mut self, name: &str, deadline: Instant) -> bool {
        // Whatever ends the stream: there is no more to be had.
        while let Ok(Some(message)) = self.receive(deadline) {
            self.events.push_back(message);
        }
        self.events.iter().any(|event| event["event"] == name)
    }

    /// Sends a non-maskable interrupt to every CPU.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn inject_nmi(&mut self) -> Result<()> {
        self.execute("inject-nmi", json!({})).map(drop)
    }

    /// Lets a paused machine go on.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn resume(&mut self) -> Result<()> {
        self.execute("cont", json!({})).map(drop)
    }

    /// Lets a machine begin that was started paused. A short guest may have ended before QEMU answers: then how it ended
    /// is for its exit status to say.
    pub(crate) fn begin(&mut self) -> Result<()> {
        match self.resume() {
            Err(error) if error.is::<Closed>() => Ok(()),
            result => result,
        }
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", json!({})).map(drop)
    }

    /// Runs a command of `qemu-io` on the disk behind a device.
    pub(crate) fn disk_command(&mut self, device: &str, command: &str) -> Result<()> {
        let answer = self.monitor(&format!("qemu-io -d {device} \"{command}\""))?;
        match answer.trim() {
            "" => Ok(()),
            complaint => Err(anyhow!("QEMU refused {command:?} on {device}: {complaint}")),
        }
    }

    /// The next message; `None` when the deadline passes.
    fn receive(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            // A time-out of zero would mean to wait for ever.
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            self.reader.get_ref().set_read_timeout(Some(left))?;
            match self.reader.read_line(&mut self.partial) {
                Ok(0) => bail!(Closed),
                Ok(_) if self.partial.ends_with('\n') => {
                    let line = std::mem::take(&mut self.partial);
                    return serde_json::from_str(&line).map(Some).with_context(|| format!("QEMU said {line:?}"));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(closed(error)).context("cannot read from QEMU's control socket"),
            }
        }
    }
}

/// Tells the end of QEMU from what else may be wrong with the connection.
fn closed(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Closed.into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn answers_errors_and_events_are_told_apart() {
        let (ours, mut theirs) = pair();
        theirs
            .write_all(
                b"{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"STOP\", \"data\": {\"a\": 1}}\n\
                  {\"return\": \"yes\"}\n{\"error\": {\"desc\": \"no such thing\"}}\n",
            )
            .unwrap();
        let mut qmp = Qmp::new(ours).unwrap();
        assert_eq!(qmp.monitor("info").unwrap(), "yes");
        assert!(qmp.execute("x", json!({})).unwrap_err().to_string().contains("no such thing"));
        assert_eq!(qmp.wait_for_event("STOP", Instant::now()).unwrap(), json!({ "a": 1 }));
        assert!(qmp.wait_for_event("STOP", Instant::now() + Duration::from_millis(1)).is_err());
        drop(theirs);
        assert!(qmp.inject_nmi().is_err());
    }

    #[test]
    fn a_machine_that_ends_at_once_has_begun_and_one_that_is_refused_has_not() {
        let started = |then: &[u8]| {
            let (ours, mut theirs) = pair();
            theirs.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n").unwrap();
            theirs.write_all(then).unwrap();
            let qmp = Qmp::new(ours).unwrap();
            (qmp, theirs)
        };
        let (mut qmp, theirs) = started(b"{\"return\": {}}\n");
        qmp.begin().unwrap();
        // Ended before the command, and while it was on its way: with bytes that were not read, the end is a reset.
        drop(theirs);
        qmp.begin().unwrap();
        qmp.begin().unwrap();
        assert!(qmp.resume().is_err());
        let (mut qmp, _theirs) = started(b"{\"error\": {\"desc\": \"no\"}}\n");
        assert!(qmp.begin().unwrap_err().to_string().contains("refused cont"));
    }

    #[test]
    fn nonsense_is_an_error() {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"hello\n").unwrap();
        assert!(Qmp::new(ours).is_err());
    }
}
