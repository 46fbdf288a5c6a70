//! What the machine decides about a controller: depths, limits, time-outs.

use crate::spec;

/// The most commands that one I/O queue pair may have in flight: its slots are counted in the bits of a `u64`.
pub const MAX_DEPTH: u16 = 64;
/// The most bytes that one command may carry: a PRP list then fits into half a page.
pub const MAX_TRANSFER: u32 = 1 << 20;

/// Settings of a controller. [`Default`] is meant to be right.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Commands in flight on the controller's I/O queue, 1 to [`MAX_DEPTH`]. Its namespaces share them evenly.
    pub queue_depth: u16,
    /// Likewise for the crash ports' queue.
    pub crash_queue_depth: u16,
    /// Bytes a command may carry, at most [`MAX_TRANSFER`]. The controller's own limit applies as well.
    pub max_transfer_bytes: u32,
    /// Namespaces that are taken notice of.
    pub max_namespaces: usize,
    /// Use scatter gather lists where the controller has them. One that then refuses them is given PRPs.
    pub scatter_gather: bool,
    /// How often a command that failed is made again, where the device allows it.
    pub retries: u8,
    /// Time-outs of the main driver.
    pub timeouts: Timeouts,
    /// Time-outs of the crash ports.
    pub crash_timeouts: Timeouts,
    /// How long a controller must be left alone after it was disabled before its ready bit means anything. 0 but
    /// for the controllers that [`attach`](crate::attach) knows to need it.
    pub ready_check_delay_ns: u64,
}

/// How long things may take, in nanoseconds. What the controller itself announces (`CAP.TO`, `CRTO`, RTD3E)
/// comes on top: that governs enabling, disabling and shutting down.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// An I/O command is late when this much time has passed since it was made *and* since the device last
    /// completed any other: a slow disk with a deep queue is not a dead one. The controller is then asked to
    /// abort it, and if it answers, the command gets more time.
    pub progress_ns: u64,
    /// An I/O command is late at the latest this long after it was submitted, retries included.
    pub command_ns: u64,
    /// How long an Abort may take before the controller is reset; 0 = never try, but reset.
    pub abort_ns: u64,
    /// How long an admin command may take.
    pub admin_ns: u64,
}

const MS: u64 = 1_000_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            queue_depth: 64,
            crash_queue_depth: 8,
            max_transfer_bytes: MAX_TRANSFER,
            max_namespaces: 16,
            scatter_gather: true,
            retries: 3,
            // A log can wait: its ring holds it meanwhile. And some hypervisors stop the whole machine for as
            // long as a reset of theirs waits for a request, so that a reset costs more than patience.
            timeouts: Timeouts {
                progress_ns: 5000 * MS,
                command_ns: 15_000 * MS,
                abort_ns: 500 * MS,
                admin_ns: 5000 * MS,
            },
            // Nobody is left to whom a late answer would be of use: the reset is the better bet, and soon.
            crash_timeouts: Timeouts {
                progress_ns: 1500 * MS,
                command_ns: 5000 * MS,
                abort_ns: 0,
                admin_ns: 2000 * MS,
            },
            ready_check_delay_ns: 0,
        }
    }
}

impl Config {
    /// Entries that a queue for `depth` commands gets on a controller that allows `max_entries`. One entry of a
    /// queue always stays empty (base 3.3.1.5), so that full and empty can be told apart.
    pub(crate) fn queue_entries(depth: u16, max_entries: u32) -> u16 {
        let wanted = u32::from(depth.clamp(1, MAX_DEPTH) + 1).next_power_of_two();
        wanted.min(max_entries).max(2) as u16
    }

    /// [`Self::max_transfer_bytes`] within its bounds: at least a page.
    pub(crate) fn transfer_limit(&self) -> u32 {
        self.max_transfer_bytes.clamp(spec::PAGE_SIZE as u32, MAX_TRANSFER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_an_entry_to_spare_and_keep_to_the_controllers_limit() {
        assert_eq!(Config::queue_entries(64, 65536), 128);
        assert_eq!(Config::queue_entries(8, 65536), 16);
        assert_eq!(Config::queue_entries(64, 3), 3);
        assert_eq!(Config::queue_entries(0, 65536), 2);
        assert_eq!(Config::queue_entries(u16::MAX, 65536), 128);
    }
}
