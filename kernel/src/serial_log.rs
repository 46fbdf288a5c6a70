//! The log on the serial port: whole lines, as far as there is time.
//!
//! The port is slow, emulated ones in particular, so it gets what time is left: a log call leaves its line to the next
//! pump or tick, which send for a bounded time. Whoever floods the log finds `*** n lines left out ***` here, warnings, and
//! all lines on the disks. The crash path takes the port over, from the first line on that is not out as a whole.

use crate::arch::clock;
use crate::arch::serial::SerialPort;
use crate::{crash, logger, tick};
use alloc::boxed::Box;
use blockconsole::Level;
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

/// The port gets one in so many parts of a busy program's time.
const SHARE: u64 = 5;
/// How long it sends at a time. In one piece, so that most lines are not held up on their way to a disk.
const SLICE_NS: u64 = 500_000;
/// When it may send again.
static SHARE_FROM: AtomicU64 = AtomicU64::new(0);
/// Lines that are still shown at the end of a run, or after a crash, if the port is behind.
const LAST_LINES: u64 = 200;
/// A port that is so many lines behind leaves some out, before the ring has overwritten them all.
const FAR_BEHIND: u64 = 1000;
/// How long [`Echo::flush`] waits for a port that takes nothing.
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
    memory: &'static mut Memory,
    len: usize,
    sent: usize,
    acknowledged: u64,
    left_out: u64,
    /// Records before this one are left out, but for warnings.
    skip_until: u64,
}

/// What an [`Echo`] works in.
pub struct Memory {
    scratch: RecordBuffer,
    line: [u8; MAX_LINE + LINE_END.len()],
}

impl Memory {
    /// Memory for one.
    pub const fn new() -> Self {
        Self { scratch: RecordBuffer::new(), line: [0; MAX_LINE + LINE_END.len()] }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// How far an [`Echo`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything there is has been sent.
    Done,
    /// The port is busy.
    Busy,
}

/// Starts showing the log from this record on, if there is a port and a ring.
pub fn start(first: u64) -> bool {
    let Some(ring) = logger::ring() else { return false };
    let mut echo = ECHO.lock();
    // SAFETY: the only handle on the port: `ECHO` is empty, and is filled by this function only. The boot loader is gone.
    let Some(port) = (unsafe { SerialPort::open() }) else { return false };
    let memory = Box::leak(Box::new(Memory::new()));
    *echo = Some(Echo::new(port, ring, ring.cursor_at(first), Patience::Wait, memory));
    true
}

/// Sends for at most so many nanoseconds, less if the port is busy or there is nothing to send. Does nothing while
/// somebody else is sending.
pub fn pump_for(limit_ns: u64) {
    if let Some(mut echo) = ECHO.try_lock()
        && let Some(echo) = echo.as_mut()
    {
        echo.pump_until(clock::now_ns().saturating_add(limit_ns));
        NEXT.store(echo.first_unsent(), Ordering::Relaxed);
        MIDLINE.store(echo.sent != 0, Ordering::Relaxed);
    }
}

/// Sends if the port has not used up its share of the time: for the main loop of a busy program.
pub fn pump_share() {
    pump_share_at(clock::now_ns());
}

/// The same for who has just looked at the clock.
pub(crate) fn pump_share_at(now_ns: u64) {
    if now_ns >= SHARE_FROM.load(Ordering::Relaxed) {
        let start = clock::now_ns();
        pump_for(SLICE_NS);
        let end = clock::now_ns();
        SHARE_FROM.store(end.saturating_add((end - start).saturating_mul(SHARE - 1)), Ordering::Relaxed);
    }
}

/// A line has been logged: sends it at once as long as nobody else would, which is before the tick is started.
pub(crate) fn on_record() {
    if !tick::is_running() && !crash::has_begun() {
        pump_for(u64::MAX);
    }
}

/// Takes the lock for ever: for crashes on purpose.
pub(crate) fn hold_lock() {
    core::mem::forget(ECHO.try_lock());
}

/// Says on the port that every record before this sequence number is durable on every console.
pub fn acknowledge(sequence: u64) {
    ACKNOWLEDGE.store(sequence, Ordering::Relaxed);
}

/// Sends everything but what is far behind, then one more line that is not part of the log.
pub fn say(text: fmt::Arguments<'_>) {
    if let Some(echo) = ECHO.lock().as_mut() {
        echo.catch_up();
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
pub unsafe fn take_over(memory: &'static mut Memory) -> Option<Echo> {
    let ring = logger::ring()?;
    // SAFETY: the caller's promise.
    let port = unsafe { SerialPort::take_over() }?;
    let mut echo = Echo::new(port, ring, ring.cursor_at(NEXT.load(Ordering::Relaxed)), Patience::Crash, memory);
    if MIDLINE.load(Ordering::Relaxed) {
        echo.end_line();
    }
    echo.catch_up();
    Some(echo)
}

impl Echo {
    fn new(
        port: SerialPort,
        ring: &'static Ring<'static>,
        cursor: Cursor,
        patience: Patience,
        memory: &'static mut Memory,
    ) -> Self {
        let (len, sent, acknowledged, left_out, skip_until) = (0, 0, 0, 0, 0);
        Self { port, ring, cursor, patience, memory, len, sent, acknowledged, left_out, skip_until }
    }

    /// Sends what the port takes, until a time of the kernel's clock.
    pub fn pump_until(&mut self, until_ns: u64) -> Progress {
        while self.sent < self.len || self.next_line() {
            if !self.send_some() || clock::now_ns() >= until_ns {
                return Progress::Busy;
            }
        }
        Progress::Done
    }

    /// Leaves out all but the last lines, and warnings.
    fn catch_up(&mut self) {
        self.skip_until = self.ring.written().saturating_sub(LAST_LINES);
    }

    /// Sends everything. Gives up at `deadline_ns` of the kernel's clock, or when the port takes nothing for a second.
    pub fn flush(&mut self, deadline_ns: u64) {
        let mut last = (self.cursor.sequence(), self.sent);
        let mut stalled_since = clock::now_ns();
        while self.pump_until(deadline_ns) == Progress::Busy {
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

    /// Sends a few bytes at most: for those who have something more urgent to do. `false` if the port took none.
    pub fn send_some(&mut self) -> bool {
        if self.sent == self.len && !self.next_line() {
            return true;
        }
        let rest = self.memory.line.get(self.sent..self.len).unwrap_or_default();
        let sent = self.port.send(rest);
        self.sent += sent;
        sent > 0
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
        if let Some(end) = self.memory.line.get_mut(self.len..self.len + LINE_END.len()) {
            end.copy_from_slice(LINE_END);
            self.len += LINE_END.len();
        }
    }

    /// Goes past what is left out, without reading it.
    fn skip(&mut self) {
        let mut next = self.cursor.sequence();
        while next < self.skip_until && self.ring.level(next).is_some_and(|level| level > Level::Warn) {
            next += 1;
        }
        if next > self.cursor.sequence() {
            self.left_out += next - self.cursor.sequence();
            self.cursor = self.ring.cursor_at(next);
        }
    }

    /// Makes the next line, if there is anything to say.
    fn next_line(&mut self) -> bool {
        let acknowledge = ACKNOWLEDGE.load(Ordering::Relaxed);
        if acknowledge > self.acknowledged {
            self.acknowledged = acknowledge;
            self.say(format_args!("durable {acknowledge}"));
            return true;
        }
        if self.ring.written().saturating_sub(self.cursor.sequence()) > FAR_BEHIND {
            self.catch_up();
        }
        (self.len, self.sent) = (0, 0);
        loop {
            self.skip();
            match self.ring.next(&mut self.cursor, &mut self.memory.scratch, self.patience) {
                Next::Record(record) => {
                    let start = note_left_out(&mut self.memory.line, &mut self.left_out);
                    let room = self.memory.line.get_mut(start..MAX_LINE).unwrap_or_default();
                    // The line ends in a line feed, which the line end replaces.
                    self.len = start + format_line(&record, room).min(room.len()).saturating_sub(1);
                    self.end_line();
                    return true;
                }
                Next::Lost(count) => self.left_out += count,
                Next::Skipped(_) => {}
                Next::Unfinished | Next::Empty => {
                    self.len = note_left_out(&mut self.memory.line, &mut self.left_out);
                    return self.len > 0;
                }
            }
        }
    }
}

/// Says in a line how many were left out, if any were. Returns the line's length.
fn note_left_out(line: &mut [u8], left_out: &mut u64) -> usize {
    struct Start<'l>(&'l mut [u8], usize);
    impl Write for Start<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = self.0.get_mut(self.1..self.1 + text.len()).ok_or(fmt::Error)?;
            room.copy_from_slice(text.as_bytes());
            self.1 += text.len();
            Ok(())
        }
    }
    let count = core::mem::take(left_out);
    let mut start = Start(line, 0);
    if count > 0 {
        // It fits: lines are much longer than this.
        let _ = write!(start, "*** {count} lines left out ***\r\n");
    }
    start.1
}

/// Appends to the line; what does not fit is cut off.
impl Write for Echo {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_LINE.saturating_sub(self.len);
        let taken = text.as_bytes().get(..room).unwrap_or(text.as_bytes());
        if let Some(line) = self.memory.line.get_mut(self.len..self.len + taken.len()) {
            line.copy_from_slice(taken);
            self.len += taken.len();
        }
        Ok(())
    }
}
