//! What it costs to get a line from the ring into a device's buffers.
//!
//! The device takes everything at once and does nothing with it. Shown are nanoseconds a line of 100 bytes: to format it, to
//! write it to the ring, and to take it from there through a console; best of some runs.
//! `cargo bench -p blockconsole --bench console`

use block::{Access, BlockDevice, Completion, Geometry, Refused, Request, State, Tag, WriteCache};
use blockconsole::Level;
use blockconsole::console::{Config, Console, Name, PAD_NS, TargetCell};
use blockconsole::line::{MAX_LINE, format_line};
use blockconsole::marks::BootFacts;
use blockconsole::place::Place;
use blockconsole::ring::{Next, Patience, RecordBuffer, RecordHeader, Ring, RingIdentity};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

const LINES: u64 = 4000;
const RUNS: usize = 200;
const TEXT: &str =
    "a line of some hundred bytes with its time and its target, as programs write them all day long, yes";

/// A device that completes whatever it is given, and reads as a console's first block.
struct Null {
    done: VecDeque<Completion<Vec<u8>>>,
}

impl BlockDevice for Null {
    type Buffer = Vec<u8>;

    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: 4096,
            block_count: 1 << 20,
            max_transfer_blocks: 256,
            max_write_zeroes_blocks: 256,
            queue_depth: 16,
            write_cache: WriteCache::Volatile,
            access: Access::ReadWrite,
        }
    }

    fn state(&self) -> State {
        State::Ready
    }

    fn submit(&mut self, tag: Tag, request: Request<Vec<u8>>) -> Result<(), Refused<Vec<u8>>> {
        let buffer = match request {
            Request::Read { first_block, mut buffer, .. } => {
                buffer.fill(0);
                if first_block == 0 {
                    let header = b"\nLinux blockconsole version 1.1\n12345678\n00000000\n00000000\n";
                    buffer[..header.len()].copy_from_slice(header);
                }
                Some(buffer)
            }
            request => request.into_buffer(),
        };
        self.done.push_back(Completion { tag, result: Ok(()), buffer });
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        self.done.pop_front()
    }

    fn recover(&mut self) {}
}

fn best(mut run: impl FnMut() -> u64) -> f64 {
    (0..RUNS).map(|_| run()).min().unwrap_or(0) as f64 / LINES as f64
}

fn nanoseconds(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as u64
}

fn main() {
    let memory: Vec<AtomicU64> = (0..1 << 17).map(|_| AtomicU64::new(0)).collect();
    let ring = Ring::create(&memory, RingIdentity { boot_id: 1, build_id: [0; 20], boot_seconds: 0 }).expect("a ring");
    let header = RecordHeader { time_ns: 1_234_567_890, cpu: 0, level: Level::Info };
    let log = || {
        for _ in 0..LINES {
            ring.write(header, "bench", format_args!("{}", black_box(TEXT)));
        }
    };
    let written = best(|| nanoseconds(log));

    let mut scratch = RecordBuffer::new();
    let mut out = [0; MAX_LINE];
    let formatted = best(|| {
        let mut cursor = ring.cursor_at(ring.written() - LINES);
        nanoseconds(|| {
            while let Next::Record(record) = ring.next(&mut cursor, &mut scratch, Patience::Wait) {
                black_box(format_line(&record, &mut out));
            }
        })
    });

    let mut device = Null { done: VecDeque::new() };
    let cell = TargetCell::new();
    let place = Place::whole(&device.geometry()).expect("a place");
    let facts = BootFacts { version: "bench", build_id: &[], started: None };
    let config = Config { index: 0, name: Name::new("null"), place, expected: None, facts, pad_ns: PAD_NS };
    let buffers: [Vec<u8>; 4] = core::array::from_fn(|_| vec![0; 256 * 1024]);
    let mut console = Console::new(config, &cell, buffers);
    let mut drain = || {
        console.finish(ring.written());
        while console.durable() < ring.written() {
            while let Some(completion) = device.poll() {
                assert!(console.complete(completion).is_ok());
            }
            console.pump(&mut device, &ring, 0);
        }
    };
    drain();
    let consoled = best(|| {
        log();
        nanoseconds(&mut drain)
    });
    println!("ring write {written:.1} ns, ring read and format {formatted:.1} ns, console {consoled:.1} ns a line");
}
