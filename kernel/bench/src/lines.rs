//! The log: what a line costs, and how long it takes to be durable.

use crate::stopwatch::{Stopwatch, print_total};
use core::fmt::{self, Write};
use core::hint::black_box;
use kernel::arch::clock;
use kernel::{Kernel, logger};
use log::info;

const LINES: usize = 10_000;
const LINE_LENGTH: usize = 100;
const SINGLE_LINES: usize = 200;
/// The text of a line is its head and this, cut to the length.
const FILLER: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
/// Lines that surely fit the ring.
const BACKLOG: u64 = 2000;

/// Takes the log's figures, for all consoles at once.
pub(crate) fn measure(kernel: &mut Kernel) {
    let mut stopwatch = Stopwatch::new();
    kernel.wait_for_room(0);

    stopwatch.start();
    for number in 0..SINGLE_LINES {
        let from = clock::now_ns();
        format_line(number);
        stopwatch.note(from);
    }
    stopwatch.print("memory", "format", LINE_LENGTH, 1);

    stopwatch.start();
    for number in 0..SINGLE_LINES {
        let from = clock::now_ns();
        info!("line {number:07} of {SINGLE_LINES} {FILLER}");
        stopwatch.note(from);
    }
    stopwatch.print("memory", "log", LINE_LENGTH, 1);
    kernel.wait_for_room(0);

    stopwatch.start();
    for number in 0..SINGLE_LINES {
        let from = clock::now_ns();
        info!("line {number:07} of {SINGLE_LINES} {FILLER}");
        kernel.wait_for_room(0);
        stopwatch.note(from);
    }
    stopwatch.print("consoles", "line-durable", LINE_LENGTH, 1);

    stopwatch.start();
    for number in 0..LINES {
        let from = clock::now_ns();
        // Every line looks whether there is room, as a program would that must not lose one.
        if number % 100 == 0 {
            kernel.wait_for_room(BACKLOG);
        }
        info!("line {number:07} of {LINES} {FILLER}");
        stopwatch.note(from);
    }
    kernel.wait_for_room(0);
    stopwatch.print("consoles", "lines", LINE_LENGTH, 1);

    sustain(kernel);
    debug_assert!(logger::ring().is_some());
}

/// Lines without end: how many go to the disks, and how many could be logged if these had not to be waited for. By turns, so
/// that a machine that is slower for a while is slower for both.
fn sustain(kernel: &mut Kernel) {
    const PIECES: usize = 50;
    /// Lines that the ring holds, so that logging them is no more than logging.
    const PIECE: usize = 1000;
    let mut produced_ns = 0;
    for _ in 0..PIECES {
        let from = clock::now_ns();
        for number in 0..PIECE {
            info!("line {number:07} of {PIECE} {FILLER}");
        }
        produced_ns += clock::now_ns() - from;
        kernel.wait_for_room(0);
    }
    let from = clock::now_ns();
    for number in 0..PIECES * PIECE {
        if number % 100 == 0 {
            kernel.wait_for_room(BACKLOG);
        }
        info!("line {number:07} of {PIECE} {FILLER}");
    }
    kernel.wait_for_room(0);
    let sustained_ns = clock::now_ns() - from;
    print_total("memory", "produced", LINE_LENGTH, PIECES * PIECE, produced_ns);
    print_total("consoles", "sustained", LINE_LENGTH, PIECES * PIECE, sustained_ns);
}

/// What a line costs by itself: the same text into a buffer on the stack.
fn format_line(number: usize) {
    struct Buffer([u8; 256], usize);
    impl Write for Buffer {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = self.1 + text.len();
            self.0.get_mut(self.1..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
            self.1 = end;
            Ok(())
        }
    }
    let mut buffer = Buffer([0; 256], 0);
    let _ = write!(buffer, "line {number:07} of {SINGLE_LINES} {FILLER}");
    black_box(&buffer);
}
