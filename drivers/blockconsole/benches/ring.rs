//! What a record costs, beside formatting its line and beside two published rings.
//!
//! Every subject formats the same line and keeps the newest 8192 of them, the oldest going first. They are measured
//! in turn, round after round, and the first quartile of the rounds is what counts, so that whatever else the machine
//! does hits all alike, and does not hit what counts.
//! `cargo bench -p blockconsole --bench ring [-- ROUNDS]`

use arrayvec::ArrayString;
use blockconsole::Level;
use blockconsole::line::{MAX_LINE, format_line};
use blockconsole::ring::{MAX_TEXT, Next, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity};
use concurrent_queue::ConcurrentQueue;
use crossbeam_queue::ArrayQueue;
use std::fmt::{Arguments, Write};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// Lines that a writer writes in one measurement.
const LINES: u64 = 5_000;
/// Records that the rings hold.
const KEPT: usize = 8192;
const TARGET: &str = "kernel::net::tcp";

/// Something that takes a line, from any thread.
trait Subject: Sync {
    fn write(&self, time_ns: u64, text: Arguments<'_>);
}

/// Formatting alone, into a stack buffer as large as a record's text, not initialised.
struct Format;
impl Subject for Format {
    #[inline(never)]
    fn write(&self, _: u64, text: Arguments<'_>) {
        let mut buffer = ArrayString::<MAX_TEXT>::new();
        let _ = buffer.write_fmt(text);
        black_box(&buffer);
    }
}

/// The record ring.
struct Ours<'a>(Ring<'a>);
impl Subject for Ours<'_> {
    #[inline(never)]
    fn write(&self, time_ns: u64, text: Arguments<'_>) {
        black_box(self.0.write(RecordHeader { time_ns, cpu: 0, level: Level::Info }, TARGET, text));
    }
}

/// A record as somebody would put it together for a queue of fixed-size elements.
struct Plain {
    _time_ns: u64,
    _target: &'static str,
    _text: ArrayString<128>,
}

/// `crossbeam_queue::ArrayQueue`, whose `force_push` replaces the oldest element.
struct Crossbeam(ArrayQueue<Plain>);
impl Subject for Crossbeam {
    #[inline(never)]
    fn write(&self, time_ns: u64, text: Arguments<'_>) {
        let mut buffer = ArrayString::new();
        let _ = buffer.write_fmt(text);
        let _ = black_box(self.0.force_push(Plain { _time_ns: time_ns, _target: TARGET, _text: buffer }));
    }
}

/// `concurrent_queue::ConcurrentQueue`, bounded, used in the same way.
struct Concurrent(ConcurrentQueue<Plain>);
impl Subject for Concurrent {
    #[inline(never)]
    fn write(&self, time_ns: u64, text: Arguments<'_>) {
        let mut buffer = ArrayString::new();
        let _ = buffer.write_fmt(text);
        let _ = black_box(self.0.force_push(Plain { _time_ns: time_ns, _target: TARGET, _text: buffer }));
    }
}

/// Has so many threads write at once; nanoseconds of wall-clock time per line, from the first start to the last end.
fn measure(subject: &dyn Subject, writers: u64) -> f64 {
    let barrier = Barrier::new(writers as usize);
    let write = &|writer| {
        barrier.wait();
        let start = Instant::now();
        for i in 0..LINES {
            let (peer, port, sent) = (black_box(writer), black_box(i as u16), black_box(i * 1460));
            let text = format_args!("connection {peer} port {port}: sent {sent} bytes, window {:#06x}", port / 2);
            subject.write(i, text);
        }
        (start, Instant::now())
    };
    let times: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(writer))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = times.iter().map(|times| times.0).min().unwrap();
    let end = times.iter().map(|times| times.1).max().unwrap();
    end.duration_since(start).as_nanos() as f64 / (writers * LINES) as f64
}

/// Reads a full ring from end to end, with or without making a line of each record; nanoseconds per record.
fn measure_reading(ring: &Ring<'_>, with_lines: bool) -> f64 {
    let mut cursor = ring.cursor_oldest();
    let mut scratch = RecordBuffer::new();
    let mut line = [0; MAX_LINE];
    let start = Instant::now();
    let mut records = 0_u32;
    while let Next::Record(record) = black_box(ring.next(&mut cursor, &mut scratch, Patience::Wait)) {
        records += u32::from(!record.text.is_empty());
        if with_lines {
            black_box(format_line(&record, &mut line));
        }
    }
    start.elapsed().as_nanos() as f64 / f64::from(records)
}

/// A quarter of the values are less. What else the machine does only ever makes a round longer.
fn first_quartile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 4]
}

fn main() {
    // Cargo passes `--bench`; a number is the number of rounds. Under `cargo test` there are no arguments: one round
    // will do.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = arguments.iter().find_map(|argument| argument.parse().ok());
    let rounds: usize = wanted.unwrap_or(if arguments.is_empty() { 1 } else { 201 });

    let memory: Vec<AtomicU64> = (0..1 << 17).map(|_| AtomicU64::new(0)).collect();
    let identity = RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 };
    let ring = Ring::create(&memory, identity).unwrap();
    let subjects: [(&str, &dyn Subject); 4] = [
        ("format into a stack buffer", &Format),
        ("blockconsole::ring", &Ours(ring)),
        ("crossbeam-queue ArrayQueue", &Crossbeam(ArrayQueue::new(KEPT))),
        ("concurrent-queue, bounded", &Concurrent(ConcurrentQueue::bounded(KEPT))),
    ];
    println!(
        "{rounds} rounds of {LINES} lines a writer; first quartile; wall-clock ns per record, all writers together"
    );
    println!("{:28} {:>16} {:>16} {:>16}", "", "1 writer", "2 writers", "4 writers");
    let mut samples = vec![[const { Vec::new() }; 3]; subjects.len()];
    for _ in 0..rounds {
        for (column, writers) in [1, 2, 4].into_iter().enumerate() {
            for (row, (_, subject)) in subjects.iter().enumerate() {
                samples[row][column].push(measure(*subject, writers));
            }
        }
    }
    let typical: Vec<[f64; 3]> = samples.into_iter().map(|row| row.map(first_quartile)).collect();
    for ((name, _), row) in subjects.iter().zip(&typical) {
        print!("{name:28}");
        for (value, format) in row.iter().zip(&typical[0]) {
            print!(" {value:7.1} ({:4.2} ×)", value / format);
        }
        println!();
    }
    for (name, with_lines) in [("reading a record", false), ("… and making its line", true)] {
        let reading = first_quartile((0..rounds).map(|_| measure_reading(&ring, with_lines)).collect());
        println!("{name:28} {reading:7.1} ({:4.2} ×)", reading / typical[0][0]);
    }
    println!("in brackets: as a ratio to formatting, with as many threads; budget for 1 writer: 3 ×");
}
