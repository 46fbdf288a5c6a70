//! The `log` facade: records go into the ring, and never wait for anything.
//!
//! Lines that come faster than the disks take them would push out others that are not written yet. So as long as the ring is mostly full of
//! such, each place in the source that logs gets so many lines a second and no more, and what it lost is counted and said.

use crate::arch::clock;
use crate::serial_log;
use blockconsole::Level;
use blockconsole::rate::{self, Admission, RateLimit};
use blockconsole::ring::{RecordHeader, Ring};
use core::sync::atomic::{AtomicBool, Ordering};
use log::{LevelFilter, Log, Metadata, Record};
use spin::Once;

struct RingLogger;

static LOGGER: RingLogger = RingLogger;
static RING: Once<Ring<'static>> = Once::new();

/// Lines that a place may log at once when there are too many, and the time in nanoseconds after which it may log one more.
static LIMIT: RateLimit = RateLimit::new(32, 10_000_000);
/// How full the ring must be, in percent, with records that are not durable everywhere yet.
const CROWDED: u64 = 70;
/// How often that is looked at, in records, while it is not.
const LOOK_EVERY: u64 = 16;
/// Whether lines are kept for a disk, or may be: until the disks have been looked at.
static HAS_CONSOLES: AtomicBool = AtomicBool::new(true);
static IS_CROWDED: AtomicBool = AtomicBool::new(false);
/// Lines were suppressed that may not have been spoken of.
static SUPPRESSED: AtomicBool = AtomicBool::new(false);
/// Places that are spoken of at a time.
const MOST_TOLD: usize = 16;

/// Lets the facade write into this ring what is at least as grave as `level`. Only the first call counts.
pub fn start(ring: Ring<'static>, level: LevelFilter) {
    RING.call_once(|| ring);
    // Fails only if there is a logger already, which is this one.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

/// The ring, once there is one.
pub fn ring() -> Option<&'static Ring<'static>> {
    RING.get()
}

/// There is no disk with a console, so that nothing has to be kept for one.
pub(crate) fn expect_no_console() {
    HAS_CONSOLES.store(false, Ordering::Relaxed);
}

/// Finds out whether there are too many lines.
fn look(ring: &Ring<'_>) -> bool {
    let is_crowded = HAS_CONSOLES.load(Ordering::Relaxed) && ring.percent_since(ring.durable()) >= CROWDED;
    IS_CROWDED.store(is_crowded, Ordering::Relaxed);
    is_crowded
}

/// Whether a line gets in.
fn admit(ring: &Ring<'_>, record: &Record<'_>, time_ns: u64) -> bool {
    if !IS_CROWDED.load(Ordering::Relaxed) || !look(ring) {
        return true;
    }
    let site = rate::site(record.file_static().unwrap_or_default(), record.line().unwrap_or_default());
    match LIMIT.admit(site, time_ns) {
        Admission::Admit => true,
        Admission::AdmitAfter(lines) => {
            let header = RecordHeader { time_ns, cpu: 0, level: Level::Warn };
            ring.write(header, record.target(), format_args!("*** {lines} lines from here were suppressed ***"));
            true
        }
        Admission::Suppress => {
            SUPPRESSED.store(true, Ordering::Relaxed);
            false
        }
    }
}

/// Says how many lines were suppressed of places that have been quiet since, at this time of the kernel's clock: of all, if
/// it is `u64::MAX`.
pub(crate) fn tell_suppressed(now_ns: u64) {
    let Some(ring) = RING.get() else { return };
    if !SUPPRESSED.swap(false, Ordering::Relaxed) {
        return;
    }
    // Those that are not quiet yet are looked at again.
    SUPPRESSED.store(now_ns != u64::MAX, Ordering::Relaxed);
    for _ in 0..MOST_TOLD {
        let Some(overdue) = LIMIT.take_overdue(now_ns) else { return };
        let header = RecordHeader { time_ns: clock::now_ns(), cpu: 0, level: Level::Warn };
        // The site's lower bits are the line's number.
        let (lines, number) = (overdue.lines, overdue.site & 0xF_FFFF);
        let text = format_args!("*** {lines} lines were suppressed that line {number} of a source file logged ***");
        ring.write(header, module_path!(), text);
    }
}

impl Log for RingLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // The facade's own maximum level is the filter.
        true
    }

    fn log(&self, record: &Record<'_>) {
        let Some(ring) = RING.get() else { return };
        let time_ns = clock::now_ns();
        if !admit(ring, record, time_ns) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        let sequence = ring.write(RecordHeader { time_ns, cpu: 0, level }, record.target(), *record.args());
        if sequence.is_multiple_of(LOOK_EVERY) {
            look(ring);
        }
        serial_log::on_record();
    }

    fn flush(&self) {}
}
