//! `app=lines:N[:LEN]`: numbered lines, to see that none is missing.

use kernel::Kernel;
use log::info;

/// Fills lines up to their length. Each character is told by its place.
const FILLER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";

/// Bytes of records that a console may be behind: what surely fits the ring.
const BACKLOG_BYTES: usize = 384 << 10;
/// What the ring keeps beside a line's text.
const RECORD_OVERHEAD: usize = 128;

/// Logs `count` lines of `length` characters each, as slowly as the slowest console takes them.
pub(crate) fn log_lines(kernel: &mut Kernel, count: u64, length: usize) {
    let filler = FILLER.repeat(length / FILLER.len() + 1);
    let most_behind = (BACKLOG_BYTES / (length + RECORD_OVERHEAD)) as u64;
    for number in 1..=count {
        kernel.wait_for_room(most_behind);
        let rest = length.saturating_sub(head_length(number, count));
        info!("line {number:07} of {count} {}", filler.get(..rest).unwrap_or_default());
    }
}

/// Characters in front of the filler.
fn head_length(number: u64, count: u64) -> usize {
    let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
    "line  of  ".len() + digits(number).max(7) + digits(count)
}
