//! The log on the serial port: whole lines, by a cursor of its own in the record ring.
//!
//! Sending never waits: what the port does not take now, it gets at the next log call, pump or tick. Whoever logs while somebody
//! else is sending leaves the line to them. The crash path takes the port over, from the first line on that is not out
//! as a whole.

use crate::arch::clock;
use crate::arch::serial::SerialPort;
use crate::logger;
use blockconsole::line::{MAX_LINE, format_line};
use blockconsole::ring::{Cursor, Next, Patience, RecordBuffer, Ring};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Mutex;

/// Sequence number of the first record whose line is not out as a whole, for the crash path.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Whether the port is in the middle of a line, for the crash path.
static MIDLINE: AtomicBool = AtomicBool::new(false);
/// Records before this sequence number are durable on every console, and the port shall say so; 0: nothing to say.
static ACKNOWLEDGE: AtomicU64 = AtomicU64::new(0);

static ECHO: Mutex<Option<Echo>> = Mutex::new(None);

/// How long [`flush`] waits for a port that takes nothing.
const STALL_NS: u64 = 1_000_000_000;
/// Tries to send, where there is no clock yet.
const PATIENCE: u32 = 1_000_000;
/// What ends a line on a serial terminal.
const LINE_END: &[u8] = b"\r\n";

/// A writer of lines on the serial port.
pub struct Echo {
    port: SerialPort,
    ring: &'static Ring<'static>,
    cursor: Cursor,
    patience: Patience,
    scratch: RecordBuffer,
    line: [u8; MAX_LINE + LINE_END.len()],
    len: usize,
    sent: usize,
    acknowledged: u64,
}

/// How far an [`Echo`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything there is has been sent.
    Done,
    /// The port is busy.
    Busy,
}

/// Starts showing the log, if there is a port and a ring.
pub fn start() -> bool {
    let Some(ring) = logger::ring() else { return false };
    let mut echo = ECHO.lock();
    // SAFETY: the only handle on the port: `ECHO` is empty, and is filled by this function only. The boot loader is gone.
    let Some(port) = (unsafe { SerialPort::open() }) else { return false };
    *echo = Some(Echo::new(port, ring, ring.cursor_oldest(), Patience::Wait));
    true
}

/// Sends what the port takes now. Never waits, and does nothing while somebody else is sending.
pub fn pump() {
    if let Some(mut echo) = ECHO.try_lock()
        && let Some(echo) = echo.as_mut()
    {
        echo.pump();
        NEXT.store(echo.first_unsent(), Ordering::Relaxed);
        MIDLINE.store(echo.sent != 0, Ordering::Relaxed);
    }
}

/// Sends everything, and gives up when the port takes nothing for a second.
pub fn flush() {
    if let Some(echo) = ECHO.lock().as_mut() {
        echo.flush(u64::MAX);
    }
}

/// Says on the port that every record before this sequence number is durable on every console.
pub fn acknowledge(sequence: u64) {
    ACKNOWLEDGE.store(sequence, Ordering::Relaxed);
}

/// Sends everything, then one more line that is not part of the log.
pub fn say(text: fmt::Arguments<'_>) {
    if let Some(echo) = ECHO.lock().as_mut() {
        echo.say_all(text, u64::MAX);
    }
}

/// Says one line on the port when there is no log yet.
pub fn cry(text: fmt::Arguments<'_>) {
    struct Raw(SerialPort);
    impl Write for Raw {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let mut bytes = text.as_bytes();
            for _ in 0..PATIENCE {
                let sent = self.0.send(bytes);
                bytes = bytes.get(sent..).unwrap_or_default();
                if bytes.is_empty() {
                    return Ok(());
                }
            }
            Err(fmt::Error)
        }
    }
    // SAFETY: without a log, nobody else has opened the port.
    if let Some(port) = unsafe { SerialPort::open() } {
        // A port that takes nothing is not worth more.
        let _ = write!(Raw(port), "{text}\r\n");
    }
}

/// The crash path's own writer, which goes on where the log's stopped; `None` where there is no port.
///
/// # Safety
/// Whoever used this module before must never run again.
pub unsafe fn take_over() -> Option<Echo> {
    let ring = logger::ring()?;
    // SAFETY: the caller's promise.
    let port = unsafe { SerialPort::take_over() }?;
    let mut echo = Echo::new(port, ring, ring.cursor_at(NEXT.load(Ordering::Relaxed)), Patience::Crash);
    if MIDLINE.load(Ordering::Relaxed) {
        echo.end_line();
    }
    Some(echo)
}

impl Echo {
    fn new(port: SerialPort, ring: &'static Ring<'static>, cursor: Cursor, patience: Patience) -> Self {
        let line = [0; MAX_LINE + LINE_END.len()];
        let scratch = RecordBuffer::new();
        Self { port, ring, cursor, patience, scratch, line, len: 0, sent: 0, acknowledged: 0 }
    }

    /// Sends what the port takes now.
    pub fn pump(&mut self) -> Progress {
        loop {
            if !self.send() {
                return Progress::Busy;
            }
            if !self.next_line() {
                return Progress::Done;
            }
        }
    }

    /// Sends everything. Gives up at `deadline_ns` of the kernel's clock, or when the port takes nothing for a second.
    pub fn flush(&mut self, deadline_ns: u64) {
        let mut last = (self.cursor.sequence(), self.sent);
        let mut stalled_since = clock::now_ns();
        while self.pump() == Progress::Busy {
            let now = clock::now_ns();
            let position = (self.cursor.sequence(), self.sent);
            if position != last {
                (last, stalled_since) = (position, now);
            } else if now.saturating_sub(stalled_since) > STALL_NS {
                return;
            }
            if now > deadline_ns {
                return;
            }
        }
    }

    /// Makes a line of this text, once the last one is out. Cut off if it does not fit.
    pub fn say(&mut self, text: fmt::Arguments<'_>) {
        (self.len, self.sent) = (0, 0);
        // Writing to memory does not fail, and what a `Display` says goes wrong is not worth more than the text so far.
        let _ = self.write_fmt(text);
        self.end_line();
    }

    /// Sends one line after everything before it, under the same conditions as [`flush`](Self::flush).
    pub fn say_all(&mut self, text: fmt::Arguments<'_>, deadline_ns: u64) {
        self.flush(deadline_ns);
        self.say(text);
        self.flush(deadline_ns);
    }

    /// Sends a few bytes at most: for those who have something more urgent to do.
    pub fn send_some(&mut self) {
        if self.sent == self.len && !self.next_line() {
            return;
        }
        if let Some(rest) = self.line.get(self.sent..self.len) {
            self.sent += self.port.send(rest);
        }
    }

    /// Sends text of several lines, each ended by a line feed, under the same conditions as [`flush`](Self::flush).
    pub fn send_text(&mut self, text: &str, deadline_ns: u64) {
        for line in text.lines() {
            self.say_all(format_args!("{line}"), deadline_ns);
        }
    }

    fn first_unsent(&self) -> u64 {
        let sequence = self.cursor.sequence();
        if self.sent < self.len { sequence.saturating_sub(1) } else { sequence }
    }

    fn end_line(&mut self) {
        if let Some(end) = self.line.get_mut(self.len..self.len + LINE_END.len()) {
            end.copy_from_slice(LINE_END);
            self.len += LINE_END.len();
        }
    }

    /// Sends what is left of the line; `true` when nothing is.
    fn send(&mut self) -> bool {
        while let Some(rest) = self.line.get(self.sent..self.len).filter(|rest| !rest.is_empty()) {
            match self.port.send(rest) {
                0 => return false,
                sent => self.sent += sent,
            }
        }
        (self.len, self.sent) = (0, 0);
        true
    }

    /// Makes the next line, if there is anything to say.
    fn next_line(&mut self) -> bool {
        let acknowledge = ACKNOWLEDGE.load(Ordering::Relaxed);
        if acknowledge > self.acknowledged {
            self.acknowledged = acknowledge;
            self.say(format_args!("durable {acknowledge}"));
            return true;
        }
        loop {
            match self.ring.next(&mut self.cursor, &mut self.scratch, self.patience) {
                Next::Record(record) => {
                    // The line ends in a line feed, which the line end replaces.
                    self.len = format_line(&record, &mut self.line).min(MAX_LINE) - 1;
                    self.end_line();
                    return true;
                }
                Next::Lost(count) => {
                    self.say(format_args!("*** {count} lines lost ***"));
                    return true;
                }
                Next::Skipped(_) => {}
                Next::Unfinished | Next::Empty => return false,
            }
        }
    }
}

/// Appends to the line; what does not fit is cut off.
impl Write for Echo {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_LINE.saturating_sub(self.len);
        let taken = text.as_bytes().get(..room).unwrap_or(text.as_bytes());
        if let Some(line) = self.line.get_mut(self.len..self.len + taken.len()) {
            line.copy_from_slice(taken);
            self.len += taken.len();
        }
        Ok(())
    }
}
