//! The `log` facade: records go into the ring, and never wait for anything.

use crate::arch::clock;
use crate::serial_log;
use blockconsole::Level;
use blockconsole::ring::{RecordHeader, Ring};
use log::{LevelFilter, Log, Metadata, Record};
use spin::Once;

struct RingLogger;

static LOGGER: RingLogger = RingLogger;
static RING: Once<Ring<'static>> = Once::new();

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

impl Log for RingLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // The facade's own maximum level is the filter.
        true
    }

    fn log(&self, record: &Record<'_>) {
        let Some(ring) = RING.get() else { return };
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        ring.write(RecordHeader { time_ns: clock::now_ns(), cpu: 0, level }, record.target(), *record.args());
        serial_log::on_record();
    }

    fn flush(&self) {}
}
