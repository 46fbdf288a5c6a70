//! The screen: shows the log while the program runs, and a crash when it crashes.
//!
//! ```text
//!  ring ──► lines ──► terminal: cells in memory ──► framebuffer, cell by cell     (the tick, for a bounded time)
//!  crash record ──► heading, last lines, record ──► the same                      (the crash path, after the disks)
//!              └──► packed ──► QR codes, beside the text
//! ```
//! Where the boot loader handed no framebuffer over, nothing here does anything, and no memory is set aside. The crash path takes
//! everything over without the lock: all of it is plain memory whose every use is checked against its bounds.

mod code;
mod cry;
mod font;
mod framebuffer;
mod terminal;

use crate::arch::{clock, exit};
use crate::logger;
use alloc::boxed::Box;
use blockconsole::Level;
use blockconsole::line::{MAX_LINE, format_line};
use blockconsole::ring::{Cursor, Next, Patience, RecordBuffer, Ring};
use bootloader_api::BootInfo;
use code::Codes;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use framebuffer::Framebuffer;
use spin::mutex::SpinMutex;
use terminal::{Style, Terminal};

static SCREEN: SpinMutex<Option<Screen>> = SpinMutex::new(None);
/// A crash is being shown, or was.
static SHOWING_CRASH: AtomicBool = AtomicBool::new(false);

/// Records that are taken at a time.
const MOST_RECORDS: usize = 64;
/// How long showing everything may take at the end of a run, and a crash after the disks are written.
const LAST_NS: u64 = 2_000_000_000;
/// Lines of the log that are shown above a crash record.
const LAST_LINES: u64 = 8;

struct Screen {
    terminal: Terminal,
    cursor: Cursor,
    memory: &'static mut Memory,
    codes: Codes,
}

/// What lines are made in.
struct Memory {
    scratch: RecordBuffer,
    line: [u8; MAX_LINE],
}

/// What is shown of a crash.
#[derive(Clone, Copy, Debug)]
pub struct Crash<'a> {
    /// What happened, in a word.
    pub kind: &'a str,
    /// What happened, in a sentence.
    pub reason: &'a str,
    /// The crash record.
    pub record: &'a str,
    /// Consoles on which it is durable, and all there are.
    pub durable: (usize, usize),
}

/// Shows the log from this record on, if the boot loader handed a framebuffer over. Returns whether it did.
pub fn start(boot_info: &BootInfo, first: u64) -> bool {
    let Some(framebuffer) = boot_info.framebuffer.as_ref() else { return false };
    let address = framebuffer.buffer().as_ptr().addr();
    let Some(start) = NonNull::new(core::ptr::with_exposed_provenance_mut(address)) else { return false };
    // SAFETY: the boot loader mapped the framebuffer for the kernel, and nobody else in it uses it.
    let framebuffer = unsafe { Framebuffer::new(start, framebuffer.info()) };
    let Some((terminal, ring)) = framebuffer.and_then(Terminal::new).zip(logger::ring()) else { return false };
    let memory = Box::leak(Box::new(Memory { scratch: RecordBuffer::new(), line: [0; MAX_LINE] }));
    *SCREEN.lock() = Some(Screen { terminal, cursor: ring.cursor_at(first), memory, codes: Codes::new() });
    // Somebody may be looking: a machine that is switched off shows nothing.
    exit::stay_on();
    true
}

/// Shows why the program cannot go on, before there is a log or memory: on the framebuffer, or where there is none in the text
/// screen's memory.
pub fn cry(boot_info: &BootInfo, text: fmt::Arguments<'_>) {
    if SCREEN.is_locked() || SCREEN.lock().is_some() {
        // It shows the log.
        return;
    }
    if let Some(framebuffer) = boot_info.framebuffer.as_ref() {
        let address = framebuffer.buffer().as_ptr().addr();
        let Some(start) = NonNull::new(core::ptr::with_exposed_provenance_mut(address)) else { return };
        // SAFETY: the boot loader mapped the framebuffer for the kernel, and nobody else in it uses it yet.
        if let Some(framebuffer) = unsafe { Framebuffer::new(start, framebuffer.info()) } {
            // What does not fit on the screen is cut off.
            let _ = fmt::write(&mut cry::OnPixels::new(framebuffer), text);
        }
    } else if let Some(offset) = boot_info.physical_memory_offset.into_option() {
        // SAFETY: the boot loader mapped physical memory there, and with it what every PC has below 1 MiB.
        let _ = fmt::write(&mut unsafe { cry::InTextMemory::new(offset) }, text);
    }
}

/// Shows what is new, for so many nanoseconds at most. Does nothing while somebody else does it.
pub fn pump_for(limit_ns: u64) {
    let Some(ring) = logger::ring() else { return };
    if let Some(mut screen) = SCREEN.try_lock()
        && let Some(screen) = screen.as_mut()
    {
        let until = clock::now_ns().saturating_add(limit_ns);
        screen.take_lines(ring, Patience::Wait, MOST_RECORDS);
        screen.terminal.paint(|| clock::now_ns() < until);
    }
}

/// Shows everything there is.
pub fn finish() {
    let until = clock::now_ns().saturating_add(LAST_NS);
    let (Some(ring), Some(screen)) = (logger::ring(), &mut *SCREEN.lock()) else { return };
    while screen.cursor.sequence() < ring.written() && clock::now_ns() < until {
        screen.take_lines(ring, Patience::Crash, MOST_RECORDS);
    }
    screen.terminal.paint(|| clock::now_ns() < until);
}

/// Shows a crash: a heading, what became of its record, the last lines, the record, and the record as QR codes.
///
/// If this crashes itself, the next call does nothing.
///
/// # Safety
/// Whoever used this module before must never run again.
pub unsafe fn show_crash(crash: &Crash<'_>) {
    if SHOWING_CRASH.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the caller's promise: nobody uses it, whoever may have the lock. What is half changed is still in bounds.
    let Some(screen) = (unsafe { &mut *SCREEN.as_mut_ptr() }) else { return };
    screen.show_crash(crash);
}

impl Screen {
    /// Makes lines of records, at most so many.
    fn take_lines(&mut self, ring: &Ring<'_>, patience: Patience, most: usize) {
        // What would scroll off at once is passed over.
        let first = ring.written().saturating_sub(self.terminal.rows() as u64);
        if self.cursor.sequence() < first {
            self.cursor = ring.cursor_at(first);
        }
        for _ in 0..most {
            match ring.next(&mut self.cursor, &mut self.memory.scratch, patience) {
                Next::Record(record) => {
                    let len = format_line(&record, &mut self.memory.line);
                    let style = style(record.level);
                    let line = text(&self.memory.line, len);
                    self.terminal.line(line, style, usize::MAX);
                }
                Next::Lost(_) | Next::Skipped(_) => {}
                Next::Unfinished | Next::Empty => return,
            }
        }
    }

    fn show_crash(&mut self, crash: &Crash<'_>) {
        let until = clock::now_ns().saturating_add(LAST_NS);
        self.terminal.clear();
        self.terminal.distrust();
        self.say(format_args!(" CRASH  {}", crash.reason), Style::Alarm, usize::MAX);
        let (durable, all) = crash.durable;
        let style = if all > 0 && durable == all { Style::Plain } else { Style::Error };
        self.say(
            format_args!(" {}: its record is durable on {durable} of {all} consoles", crash.kind),
            style,
            usize::MAX,
        );
        // All of the screen is drawn here; the codes go where no text comes any more.
        self.terminal.paint(|| clock::now_ns() < until);
        let (_, height) = self.terminal.character();
        let rows =
            self.terminal.rows().saturating_sub(self.terminal.rows_left()) * height..self.terminal.screen().height();
        let left = self.codes.show(crash.record.as_bytes(), &mut self.terminal, rows);
        let width = left.unwrap_or(usize::MAX);
        if let Some(ring) = logger::ring() {
            self.show_last_lines(ring, width);
        }
        let columns = width.min(self.terminal.columns());
        let mut lines = crash.record.lines().peekable();
        // One row is kept for the last line.
        while let Some(line) = lines.next_if(|line| self.terminal.rows_left() > 1 + line.len() / columns.max(1)) {
            self.terminal.line(line, Style::Plain, width);
        }
        let rest = if lines.peek().is_some() { "... " } else { "" };
        let hint = if left.is_some() { "the whole record, from a photo: bcon qr PHOTO.png" } else { "" };
        self.say(format_args!("{rest}{hint}"), Style::Warning, width);
        self.terminal.paint(|| clock::now_ns() < until);
    }

    fn show_last_lines(&mut self, ring: &Ring<'_>, width: usize) {
        let mut cursor = ring.cursor_at(ring.written().saturating_sub(LAST_LINES));
        let Memory { scratch, line } = &mut *self.memory;
        for _ in 0..LAST_LINES {
            let Next::Record(record) = ring.next(&mut cursor, scratch, Patience::Crash) else { return };
            let len = format_line(&record, line);
            self.terminal.line(text(line, len), Style::Faint, width);
        }
    }

    /// Adds a line that is not of the log.
    fn say(&mut self, line: fmt::Arguments<'_>, style: Style, width: usize) {
        struct Line<'l>(&'l mut [u8], usize);
        impl fmt::Write for Line<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let room = self.0.get_mut(self.1..self.1 + text.len()).ok_or(fmt::Error)?;
                room.copy_from_slice(text.as_bytes());
                self.1 += text.len();
                Ok(())
            }
        }
        let mut out = Line(&mut self.memory.line, 0);
        // Memory; what does not fit is cut off.
        let _ = fmt::write(&mut out, line);
        let len = out.1;
        self.terminal.line(text(&self.memory.line, len), style, width);
    }
}

/// A line without its line feed.
fn text(line: &[u8], len: usize) -> &str {
    core::str::from_utf8(line.get(..len).unwrap_or_default()).unwrap_or_default().trim_end_matches('\n')
}

fn style(level: Level) -> Style {
    match level {
        Level::Error => Style::Error,
        Level::Warn => Style::Warning,
        Level::Info => Style::Plain,
        Level::Debug | Level::Trace => Style::Faint,
    }
}
