//! A console with the fewest buffers there can be, of every size, gets along.

mod support;

use block::{BlockDevice, WriteCache};
use block_fake::{Order, Settings};
use blockconsole::console::{Console, TargetCell};
use blockconsole::place::Place;
use blockconsole::ring::RecordHeader;
use blockconsole::{Event, Level};
use support::rig::{config, line, ring};
use support::{Log, MIB, formatted};

/// Logs 6000 lines through a console with `N` buffers of this size.
fn log<const N: usize>(settings: Settings, size: usize) -> (Log, Vec<Event>) {
    let disk = formatted(settings);
    let mut port = disk.port();
    let cell = TargetCell::new();
    let ring = ring(1 << 17);
    let place = Place::whole(&port.geometry()).expect("a place");
    let buffers: [Vec<u8>; N] = core::array::from_fn(|_| vec![b'#'; size]);
    let mut console: Console<'_, Vec<u8>, N> = Console::new(config(place), &cell, buffers);
    let mut events = Vec::new();
    let mut number = 0;
    for _ in 0..1_000_000 {
        while number < 6000 && ring.written() - console.durable() < 2000 {
            let header = RecordHeader { time_ns: 0, cpu: 0, level: Level::Info };
            number = ring.write(header, "test", format_args!("{}", line(number, 200))) + 1;
        }
        while let Some(completion) = port.poll() {
            assert!(console.complete(completion).is_ok());
        }
        console.finish(ring.written());
        console.pump(&mut port, &ring, 0);
        events.extend(console.event());
        if console.durable() == 6000 || !console.is_active() {
            assert!(disk.violations().is_empty(), "{:?}", disk.violations());
            return (Log::read(&disk.medium(), 4), events);
        }
    }
    panic!("it is stuck: {:?}", console.target());
}

fn settings(block: u32, zeroes: bool, seed: u64) -> Settings {
    let mut settings = Settings { order: Order::Random(seed), latency: 2, ..Settings::new(block, 4 * MIB) };
    settings.geometry.write_cache =
        if seed.is_multiple_of(2) { WriteCache::Volatile } else { WriteCache::WriteThrough };
    if !zeroes {
        settings.geometry.max_write_zeroes_blocks = 0;
    }
    settings
}

#[test]
fn two_buffers_are_enough() {
    let expected: Vec<String> = (0..6000).map(|number| line(number, 200)).collect();
    for (i, block) in [512, 4096, 65_536].into_iter().enumerate() {
        for zeroes in [true, false] {
            for size in [1, 2, 3] {
                let (log, _) = log::<2>(settings(block, zeroes, i as u64), (block as usize * size).max(8192));
                assert_eq!(log.messages("test"), expected, "{size} blocks of {block}");
            }
        }
    }
}

#[test]
fn buffers_of_no_even_size_and_of_more_than_a_tile_are_good_as_well() {
    let expected: Vec<String> = (0..6000).map(|number| line(number, 200)).collect();
    for size in [5000, 100_001, 3 << 20] {
        let (log, _) = log::<3>(settings(512, false, 1), size);
        assert_eq!(log.messages("test"), expected, "{size} bytes");
    }
}

#[test]
fn buffers_under_a_block_are_refused() {
    let (log, events) = log::<2>(settings(4096, true, 0), 4095);
    assert!(log.messages("test").is_empty());
    assert!(matches!(events[..], [Event::NoLongerLogging { reason: blockconsole::console::Reason::Buffers, .. }]));
}

#[test]
fn a_console_takes_little_memory_besides_its_buffers() {
    let size = size_of::<Console<'_, [u64; 3], 4>>();
    assert!(size <= 8 * 1024, "{size} bytes");
    assert!(size_of::<TargetCell>() <= 1024);
}
