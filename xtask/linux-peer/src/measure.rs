//! What an application on Linux does with a disk, timed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Instant;

use nix::libc::O_DIRECT;

/// Writes of this size are made until `total` bytes are written or `most` writes made.
const SIZES: [usize; 4] = [512, 4096, 64 * 1024, 1024 * 1024];
const MOST_BYTES: u64 = 48 << 20;
const MOST_WRITES: u64 = 2000;
const FEWEST_WRITES: u64 = 32;
/// Where on the disk writes go: the first half of the smallest disk that benchmarks use.
const SPAN: u64 = 32 << 20;
const LINES: u32 = 10_000;
const LINE_LENGTH: usize = 100;
/// What an O_DIRECT buffer must be aligned to.
const ALIGNMENT: usize = 4096;

/// Takes all figures of one disk. Its contents are overwritten.
pub(crate) fn disk(path: &str) -> io::Result<()> {
    let direct = OpenOptions::new().read(true).write(true).custom_flags(O_DIRECT).open(path)?;
    for size in SIZES {
        let writes = (MOST_BYTES / size as u64).clamp(FEWEST_WRITES, MOST_WRITES);
        sequential(&direct, size, 8)?; // warm up: the host's file has its blocks from here on
        report(path, "write", size, 1, sequential(&direct, size, writes)?);
        for depth in [4, 16] {
            report(path, "write", size, depth, parallel(&direct, size, writes, depth)?);
        }
    }
    report(path, "write-flush", 512, 1, write_and_flush(&direct, 512, 300)?);
    drop(direct);
    report(path, "lines", LINE_LENGTH, 1, lines(path)?);
    Ok(())
}

/// How long some operations took.
struct Figure {
    operations: u64,
    total_ns: u64,
    median_ns: u64,
}

fn report(disk: &str, what: &str, bytes: usize, depth: u64, figure: Figure) {
    let Figure { operations, total_ns, median_ns } = figure;
    println!(
        "peer: {disk} {what} bytes={bytes} depth={depth} operations={operations} total_ns={total_ns} median_ns={median_ns}"
    );
}

/// A buffer of `size` bytes that starts at a multiple of [`ALIGNMENT`] within `memory`.
fn aligned(memory: &mut Vec<u8>, size: usize) -> &mut [u8] {
    memory.resize(size + ALIGNMENT, 0x20);
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    &mut memory[start..start + size]
}

fn timed(operations: u64, mut operation: impl FnMut(u64) -> io::Result<()>) -> io::Result<Figure> {
    let mut each = Vec::with_capacity(operations as usize);
    let start = Instant::now();
    for index in 0..operations {
        let before = Instant::now();
        operation(index)?;
        each.push(before.elapsed().as_nanos() as u64);
    }
    let total_ns = start.elapsed().as_nanos() as u64;
    each.sort_unstable();
    Ok(Figure { operations, total_ns, median_ns: each.get(each.len() / 2).copied().unwrap_or_default() })
}

fn sequential(file: &File, size: usize, writes: u64) -> io::Result<Figure> {
    let mut memory = Vec::new();
    let buffer = aligned(&mut memory, size);
    timed(writes, |index| file.write_all_at(buffer, index * size as u64 % SPAN))
}

fn write_and_flush(file: &File, size: usize, writes: u64) -> io::Result<Figure> {
    let mut memory = Vec::new();
    let buffer = aligned(&mut memory, size);
    timed(writes, |index| {
        file.write_all_at(buffer, index * size as u64 % SPAN)?;
        file.sync_data()
    })
}

/// The same writes by `depth` threads at once; the median is the mean here, since single times overlap.
fn parallel(file: &File, size: usize, writes: u64, depth: u64) -> io::Result<Figure> {
    let share = (writes / depth).max(1);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..depth)
            .map(|thread| {
                scope.spawn(move || {
                    let mut memory = Vec::new();
                    let buffer = aligned(&mut memory, size);
                    for index in 0..share {
                        file.write_all_at(buffer, (index * depth + thread) * size as u64 % SPAN)?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a writing thread panicked"))))
    })?;
    let total_ns = start.elapsed().as_nanos() as u64;
    let operations = share * depth;
    Ok(Figure { operations, total_ns, median_ns: total_ns / operations })
}

/// Buffered lines, then one fdatasync: what a log daemon does.
fn lines(path: &str) -> io::Result<Figure> {
    let file = OpenOptions::new().write(true).open(path)?;
    let start = Instant::now();
    let mut writer = BufWriter::new(&file);
    for line in 1..=LINES {
        let text = format!("line {line:07} of {LINES} ");
        writeln!(writer, "{text:x<width$}", width = LINE_LENGTH - 1)?;
    }
    writer.flush()?;
    drop(writer);
    file.sync_data()?;
    let total_ns = start.elapsed().as_nanos() as u64;
    Ok(Figure { operations: u64::from(LINES), total_ns, median_ns: total_ns / u64::from(LINES) })
}
