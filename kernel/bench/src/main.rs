//! The benchmark: what disks and log can do, without an operating system.
//!
//! For each console it writes to tiles that the log is far away from (they are erased when the log comes to them), with the same sizes
//! and numbers of writes as the Linux guest that it is compared with (`xtask/linux-peer`), and prints a line for each figure:
//!
//! ```text
//! bench: <disk> <what> bytes=<n> depth=<n> operations=<n> total_ns=<n> median_ns=<n>
//! ```
//!
//! With `program.wrap=N` on the command line it makes N small writes to each disk instead, and says when they are over.
#![no_std]
#![no_main]

mod lines;
mod raw;
mod stopwatch;

use kernel::arch::clock;
use kernel::{Start, consoles, serial_log};

kernel::program!(main);

fn main(start: Start) -> ! {
    let mut kernel = start.bring_up();
    kernel.find_consoles();
    // The log is still from here on: nothing but the benchmark uses the disks.
    kernel.wait_for_room(0);
    // The clock began when the loader did; everything said so far is durable now.
    let now = clock::now_ns();
    serial_log::say(format_args!("bench: consoles start bytes=0 depth=1 operations=1 total_ns={now} median_ns={now}"));
    let wrap = kernel.words.own("wrap").and_then(|writes| writes.parse().ok());
    consoles::on_each_disk(|name, disk, place| {
        let measured = match wrap {
            Some(writes) => raw::wrap(name, disk, place, writes),
            None => raw::measure(name, disk, place),
        };
        if let Err(error) = measured {
            serial_log::say(format_args!("bench: failed: {name}: {error}"));
        }
    });
    if wrap.is_none() {
        lines::measure(&mut kernel);
    }
    serial_log::say(format_args!("bench: done"));
    kernel.finish()
}
