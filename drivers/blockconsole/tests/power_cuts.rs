//! A power cut at any moment loses nothing that was reported durable.
//!
//! `BLOCKCONSOLE_CUTS=1000000 cargo test --release -p blockconsole --test power_cuts -- --nocapture` goes on until cuts have left so many
//! different images; without the variable there are some ten thousand. The seed is printed, and taken from `BLOCKCONSOLE_SEED` if that is set.

mod support;

use block::{ErrorKind, WriteCache};
use block_fake::history::Event;
use block_fake::{Disk, Effect, Fault, Kind, Medium, Order, Random, Settings};
use blockconsole::console::Outcome;
use support::cuts::{Ack, Checker, Story};
use support::{MIB, Rig, formatted};

/// Collects a story: a machine that logs, and what it was told to be durable.
struct Teller {
    disk: Disk,
    rig: Rig,
    settings: Settings,
    messages: Vec<String>,
    acks: Vec<Ack>,
    told: u64,
    may_repeat: bool,
    lines: u64,
    /// The tile that the last promised line ends in.
    tile: u64,
    random: Random,
}

impl Teller {
    fn boot(settings: Settings, disk: Disk, seed: u64) -> Self {
        let rig = Rig::boot(&disk);
        Self {
            disk,
            rig,
            settings,
            messages: Vec::new(),
            acks: Vec::new(),
            told: 0,
            may_repeat: false,
            lines: 0,
            tile: 0,
            random: Random::new(seed),
        }
    }

    /// Another boot of the same machine: a new ring, a new console.
    fn reboot(&mut self) {
        self.rig = Rig::boot(&self.disk);
        self.messages.clear();
        self.told = 0;
    }

    fn log(&mut self, len: usize) {
        let number = self.lines;
        self.lines += 1;
        let mut text = support::rig::line(number, len.max(40));
        text.push_str(&format!(" #{number:09}"));
        self.rig.log(&text);
        self.messages.push(text);
    }

    fn turn(&mut self) {
        let before = self.disk.now();
        self.rig.turn();
        self.listen(self.rig.console.durable(), before);
    }

    fn turns(&mut self, count: u64) {
        for _ in 0..count {
            self.turn();
        }
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            self.turn();
        }
        while self.rig.console.in_flight() > 0 {
            self.turn();
        }
    }

    fn finish(&mut self) {
        self.rig.console.finish(self.rig.ring.written());
        self.settle();
    }

    fn wait(&mut self, ns: u64) {
        self.rig.now_ns += ns;
        self.settle();
    }

    /// Notes what was reported durable in a turn that began after so many events.
    fn listen(&mut self, durable: u64, before: usize) {
        if durable <= self.told {
            return;
        }
        let mut at = self.disk.now();
        let medium = self.disk.medium();
        let tiles = self.settings.geometry.bytes() >> 20;
        if tiles == 1 {
            // It is reported when requests complete, and what is erased in the same turn is not promised from then on.
            let history = self.disk.history();
            let submitted = history.events().iter().skip(before).position(|event| matches!(event, Event::Submitted(_)));
            at = submitted.map_or(at, |first| before + first);
        }
        let mut finder = Finder {
            medium: &medium,
            tiles,
            tile: self.tile,
            from: 0,
            bytes: medium.read(self.tile * MIB, MIB as usize),
        };
        for sequence in self.told..durable {
            let message = self.messages[sequence as usize].clone();
            match finder.find(&message) {
                Some(end) => self.acks.push(Ack { at, message, end }),
                // A console of one tile erases it as soon as all of it is durable.
                None => assert_eq!(tiles, 1, "{message:?} was reported durable, and is nowhere"),
            }
        }
        self.tile = finder.tile;
        self.told = durable;
    }

    fn story(self, name: String) -> Story {
        assert!(self.disk.violations().is_empty(), "{:?}", self.disk.violations());
        Story {
            name,
            settings: self.settings,
            may_repeat: self.may_repeat,
            history: self.disk.history(),
            acks: self.acks,
        }
    }
}

/// Finds where lines end, by their last characters, which no other line has.
struct Finder<'m> {
    medium: &'m Medium,
    tiles: u64,
    tile: u64,
    from: usize,
    bytes: Vec<u8>,
}

impl Finder<'_> {
    fn find(&mut self, message: &str) -> Option<(u64, usize)> {
        let tail = format!("{}\n", &message[message.len() - 10..]);
        for _ in 0..=self.tiles {
            let rest = &self.bytes[self.from..];
            if let Some(at) = find(rest, tail.as_bytes()) {
                self.from += at + tail.len();
                return Some((self.tile, self.from));
            }
            let old = std::mem::take(&mut self.bytes);
            self.tile = (self.tile + 1) % self.tiles;
            self.from = 0;
            self.bytes = self.medium.read(self.tile * MIB, MIB as usize);
            // It goes on in the next tile, in the middle of these characters.
            let straddles = |split: &usize| {
                old.ends_with(&tail.as_bytes()[..*split]) && self.bytes[59..].starts_with(&tail.as_bytes()[*split..])
            };
            if let Some(split) = (1..tail.len()).find(straddles) {
                self.from = 59 + tail.len() - split;
                return Some((self.tile, self.from));
            }
        }
        None
    }
}

/// Where a line's last characters are; lines are long, so that most of them can be passed over.
fn find(bytes: &[u8], tail: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at + tail.len() <= bytes.len() {
        // The end of the line that is here, or of this block.
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n')? + 1;
        if bytes[..end].ends_with(tail) {
            return Some(end - tail.len());
        }
        at = end;
    }
    None
}

/// The first boot of a fresh disk: a few lines, some at once, some a while later.
fn mid_tile(teller: &mut Teller) {
    for _ in 0..12 {
        let count = 1 + teller.random.below(4);
        for _ in 0..count {
            let len = 40 + teller.random.below(900) as usize;
            teller.log(len);
        }
        match teller.random.below(4) {
            0 => teller.finish(),
            1 => teller.wait(1_100_000_000),
            _ => {
                let turns = teller.random.below(6);
                teller.turns(turns);
            }
        }
    }
    teller.finish();
}

/// Fills tiles, and pauses where one begins and ends.
fn fill(teller: &mut Teller, bytes: u64) {
    let mut logged = 0;
    while logged < bytes {
        for _ in 0..20 {
            let len = 1800 + teller.random.below(200) as usize;
            teller.log(len);
            logged += len as u64 + 40;
        }
        let turns = teller.random.below(8);
        teller.turns(turns);
        // The ring must not be lapped: these are tests of the disk.
        while teller.rig.ring.written() - teller.told > 250 {
            teller.rig.now_ns += 10_000_000;
            teller.turn();
        }
    }
    teller.finish();
}

fn crash(teller: &mut Teller) {
    for _ in 0..5 {
        teller.log(100);
    }
    let turns = teller.random.below(4);
    teller.turns(turns);
    teller.log(300);
    assert_eq!(
        teller.rig.crash(b"---[ crash 0 ]---\nlast words\n---[ end crash 0 lines=1 crc32c=0 ]---\n"),
        Outcome::Done
    );
    teller.listen(teller.rig.ring.written(), teller.disk.now());
}

type Scene = fn(&mut Teller);

/// Each scene, and on how many tiles it is played.
const SCENES: [(&str, u64, Scene); 14] = [
    ("fresh", 4, |teller| {
        teller.settle();
        mid_tile(teller);
    }),
    ("mid-tile", 4, |teller| {
        fill(teller, 300_000);
        mid_tile(teller);
    }),
    ("tile change", 4, |teller| {
        fill(teller, 1_000_000);
        for _ in 0..60 {
            teller.log(1900);
            let turns = teller.random.below(5);
            teller.turns(turns);
        }
        teller.finish();
    }),
    ("wrap at run time", 4, |teller| {
        fill(teller, 5_500_000);
        mid_tile(teller);
    }),
    ("wrap at mount", 4, |teller| {
        for _ in 0..6 {
            mid_tile(teller);
            teller.reboot();
        }
        mid_tile(teller);
    }),
    ("crash", 4, |teller| {
        mid_tile(teller);
        crash(teller);
    }),
    ("two boots and a crash at the end of a tile", 4, |teller| {
        fill(teller, 980_000);
        crash(teller);
        teller.reboot();
        mid_tile(teller);
        crash(teller);
    }),
    ("a disk that fails now and then", 4, |teller| {
        teller.may_repeat = true;
        for (nth, times) in [(3, 1), (9, 2), (16, 3), (30, 2), (31, 2), (50, 1), (70, 4)] {
            let effect =
                if nth % 2 == 0 { Effect::Fail(ErrorKind::Media) } else { Effect::FailAfter(ErrorKind::Media, 1) };
            teller.disk.inject(Fault::new(effect).kind(Kind::Write).after(nth).times(times));
        }
        mid_tile(teller);
        fill(teller, 1_300_000);
        mid_tile(teller);
    }),
    ("one tile", 1, |teller| {
        fill(teller, 2_300_000);
        mid_tile(teller);
        crash(teller);
        teller.reboot();
        mid_tile(teller);
    }),
    ("two tiles", 2, |teller| {
        fill(teller, 2_500_000);
        mid_tile(teller);
        crash(teller);
        teller.reboot();
        mid_tile(teller);
        teller.reboot();
        mid_tile(teller);
    }),
    ("a disk that goes and comes back", 4, |teller| {
        teller.may_repeat = true;
        for round in 0..6 {
            mid_tile(teller);
            teller.log(500);
            teller.turns(round);
            teller.disk.kill();
            teller.turns(3);
            teller.log(500);
            block::BlockDevice::recover(&mut teller.rig.port);
            teller.turns(5);
            for _ in 0..support::rig::BUFFERS {
                teller.rig.console.add_buffer(vec![0; 256 * 1024]);
            }
            teller.rig.console.reattach();
            teller.settle();
        }
        mid_tile(teller);
    }),
    ("a header that cannot be written in a later round", 5, |teller| {
        teller.may_repeat = true;
        for boot in 0..16 {
            if boot == 6 {
                let blocks = (1 << 20) / u64::from(teller.settings.geometry.block_size);
                let fault = Fault::new(Effect::Fail(ErrorKind::Media)).kind(Kind::Write);
                teller.disk.inject(fault.blocks(2 * blocks..2 * blocks + 1));
            }
            mid_tile(teller);
            teller.reboot();
        }
        fill(teller, 2_500_000);
    }),
    ("flushes that fail and lose what was not durable", 4, |teller| {
        teller.may_repeat = true;
        teller.disk.heal();
        for nth in [2, 7, 8, 19, 30, 44, 60] {
            let fault = Fault::new(Effect::Forget(ErrorKind::Media)).kind(Kind::Flush);
            teller.disk.inject(fault.after(nth).times(1));
        }
        mid_tile(teller);
        fill(teller, 1_300_000);
        mid_tile(teller);
        teller.reboot();
        fill(teller, 1_300_000);
    }),
    ("a boot loop that carries its first crashes", 12, |teller| {
        for _ in 0..14 {
            teller.log(100);
            teller.settle();
            crash(teller);
            teller.reboot();
        }
        mid_tile(teller);
    }),
];

/// What a device is like, besides its settings.
#[derive(Clone, Copy)]
struct Device {
    settings: Settings,
    /// Its flushes take this many polls more.
    flush_delay: u32,
}

/// The devices on which each scene is played.
fn devices(tiles: u64) -> Vec<(String, Device)> {
    let mut devices = Vec::new();
    for block in [512, 4096, 65_536] {
        for (cache, name) in [(WriteCache::Volatile, "volatile"), (WriteCache::WriteThrough, "write-through")] {
            for zeroes in [true, false] {
                let mut settings = Settings { blank: b'S', ..Settings::new(block, tiles * MIB) };
                settings.geometry.write_cache = cache;
                settings.geometry.max_transfer_blocks = 128 * 1024 / block;
                if !zeroes {
                    settings.geometry.max_write_zeroes_blocks = 0;
                }
                settings.latency = 2;
                let flush_delay = if zeroes { 0 } else { 30 };
                devices.push((format!("{block}, {name}, write-zeroes {zeroes}"), Device { settings, flush_delay }));
            }
        }
    }
    devices
}

/// Stories of one round: scenes, and devices.
const STORIES: u64 = SCENES.len() as u64 * 12;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn stories(seed: u64) -> impl Iterator<Item = Story> {
    SCENES.into_iter().flat_map(move |(scene, tiles, play)| {
        devices(tiles).into_iter().enumerate().map(move |(i, (name, device))| {
            let seed = seed.wrapping_add(i as u64);
            let order = if i % 3 == 2 { Order::First } else { Order::Random(seed) };
            let settings = Settings { order, ..device.settings };
            let disk = formatted(settings);
            if device.flush_delay > 0 {
                disk.inject(Fault::new(Effect::Delay(device.flush_delay)).kind(Kind::Flush));
            }
            let mut teller = Teller::boot(settings, disk, seed);
            play(&mut teller);
            teller.story(format!("{scene} ({name}, seed {seed})"))
        })
    })
}

#[test]
fn no_cut_loses_what_was_reported_durable() {
    let wanted = number("BLOCKCONSOLE_CUTS").unwrap_or(30_000);
    let seed = number("BLOCKCONSOLE_SEED").unwrap_or(1);
    println!("seed {seed}");
    let (mut cuts, mut distinct, mut full, mut acks) = (0, 0, 0, 0);
    let mut round = 0;
    while distinct < wanted {
        for story in stories(seed + round * 1000) {
            let left = (wanted - distinct.min(wanted)).max(wanted / 100);
            let share = if wanted > 1_000_000 { 1_000_000 } else { wanted };
            let of_each = 2 * share.min(left + share / 4) / STORIES;
            let variants = (of_each / story.history.len() as u64).clamp(2, 4000);
            let mut checker = Checker::new(&story, seed + round);
            checker.run(variants);
            cuts += checker.cuts;
            distinct += checker.distinct();
            full += checker.full_checks;
            acks += story.acks.len();
        }
        round += 1;
    }
    println!("{cuts} cuts, {distinct} different images, {full} of them in full, {acks} lines promised, seed {seed}");
    assert!(distinct >= wanted && full > 0 && acks > 1000);
}

/// The harness itself: a disk that lies about a flush must make it go red.
#[test]
#[should_panic(expected = "was reported durable and is not")]
fn a_lost_flush_is_noticed() {
    let settings = devices(4)[0].1.settings;
    let disk = formatted(settings);
    disk.inject(Fault::new(Effect::Lie).kind(Kind::Flush).after(3));
    let mut teller = Teller::boot(settings, disk, 1);
    mid_tile(&mut teller);
    let story = teller.story("a lost flush".into());
    assert!(!story.acks.is_empty());
    Checker::new(&story, 1).run(64);
}

/// As above: text that is overwritten must make it go red.
#[test]
#[should_panic(expected = "promised bytes")]
fn an_overwritten_line_is_noticed() {
    let settings = devices(4)[0].1.settings;
    let mut teller = Teller::boot(settings, formatted(settings), 1);
    mid_tile(&mut teller);
    let (tile, end) = teller.acks.last().expect("an ack").end;
    let block = (tile * MIB + end as u64 - 1) / 512;
    let mut port = teller.disk.port();
    let request = block::Request::Write { first_block: block, blocks: 1, buffer: vec![b'x'; 512], fua: false };
    assert!(block::BlockDevice::submit(&mut port, block::Tag(0), request).is_ok());
    for _ in 0..5 {
        block::BlockDevice::poll(&mut port);
    }
    let story = teller.story("an overwritten line".into());
    Checker::new(&story, 1).run(64);
}
