//! What was written is what is read, whatever happens in between.

use std::collections::BTreeMap;

use block::{BlockDevice, ErrorKind, Request, State, Tag};
use proptest::prelude::*;

use crate::bench::{Bench, ready};
use crate::model::{Options, Verdict, lock};

/// What is done to the disk.
#[derive(Clone, Debug)]
enum Step {
    Write { first: u64, blocks: u32, fua: bool },
    Zeroes { first: u64, blocks: u32 },
    Read { first: u64, blocks: u32 },
    Flush,
    Drain(u8),
    Reset,
}

/// How the device behaves while that is done.
#[derive(Clone, Copy, Debug)]
struct Weather {
    shuffle: u64,
    entries: u32,
    /// Every so many commands fail once, in a way that may pass.
    fail_every: u32,
    /// Every so many are answered late.
    delay_every: u32,
    /// Every so many are claimed to be done and are not: the driver cannot know, but the oracle must.
    lie_every: u32,
}

const BLOCKS: u64 = 300;

/// What a block may hold: what completed writes left, or what writes that were given up may have.
type Shadow = BTreeMap<u64, Vec<u8>>;

/// A request in flight.
enum Pending {
    Write { first: u64, blocks: u32, fill: u8 },
    Read { first: u64, blocks: u32 },
    Flush,
}

struct Check {
    bench: Bench,
    shadow: Shadow,
    pending: BTreeMap<u64, Pending>,
    next: u64,
}

impl Check {
    fn new(weather: Weather) -> Self {
        let Weather { shuffle, entries, .. } = weather;
        let scatter_gather = (shuffle % 2) as u32;
        let bench = ready(Options { shuffle, max_entries: entries, scatter_gather, ..Options::default() });
        let mut count = 0u32;
        let every = move |n: u32, count: u32| n != 0 && count.is_multiple_of(n);
        lock(&bench.device).judge(move |entry| {
            count += u32::from(entry.is_io());
            match entry.is_io() {
                true if every(weather.lie_every, count) && entry.opcode == 1 => Verdict::Lie,
                true if every(weather.fail_every, count) => Verdict::Fail(0x0280),
                true if every(weather.delay_every, count) => Verdict::Delay(30_000_000),
                _ => Verdict::Obey,
            }
        });
        Self { bench, shadow: Shadow::new(), pending: BTreeMap::new(), next: 0 }
    }

    /// Whether a request for these blocks would overlap one in flight, which nobody may do.
    fn overlaps(&self, first: u64, blocks: u32) -> bool {
        let end = first + u64::from(blocks);
        self.pending.values().any(|pending| match pending {
            Pending::Write { first: other, blocks, .. } | Pending::Read { first: other, blocks } => {
                *other < end && first < other + u64::from(*blocks)
            }
            Pending::Flush => false,
        })
    }

    fn allowed(&mut self, block: u64) -> &mut Vec<u8> {
        self.shadow.entry(block).or_insert_with(|| vec![0])
    }

    fn submit(&mut self, request: Request<platform::DmaBuffer>, pending: Pending) -> Result<(), String> {
        let tag = self.next;
        self.next += 1;
        match self.bench.disks[0].submit(Tag(tag), request) {
            Ok(()) => {
                self.pending.insert(tag, pending);
                Ok(())
            }
            Err(refused) if matches!(refused.error.kind, ErrorKind::QueueFull | ErrorKind::NotReady) => self.drain(1),
            Err(refused) => Err(format!("refused: {}", refused.error)),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let fill = (self.next % 255 + 1) as u8;
        match *step {
            Step::Write { first, blocks, .. } | Step::Zeroes { first, blocks } | Step::Read { first, blocks }
                if self.overlaps(first, blocks) =>
            {
                self.drain(usize::MAX)?;
                self.step(step)
            }
            Step::Write { first, blocks, fua } => {
                let buffer = self.bench.buffer(blocks as usize * 512, fill);
                let request = Request::Write { first_block: first, blocks, buffer, fua };
                self.submit(request, Pending::Write { first, blocks, fill })
            }
            Step::Zeroes { first, blocks } => self
                .submit(Request::WriteZeroes { first_block: first, blocks }, Pending::Write { first, blocks, fill: 0 }),
            Step::Read { first, blocks } => {
                let request = self.bench.read(first, blocks);
                self.submit(request, Pending::Read { first, blocks })
            }
            Step::Flush => self.submit(Request::Flush, Pending::Flush),
            Step::Drain(count) => self.drain(usize::from(count)),
            Step::Reset => {
                self.bench.disks[0].recover();
                self.drain(usize::MAX)?;
                self.bench.settle();
                (self.bench.disks[0].state() == State::Ready).then_some(()).ok_or("not ready".into())
            }
        }
    }

    /// Takes up to `count` completions and checks them.
    fn drain(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count.min(self.pending.len()) {
            let completion = self.bench.completion();
            let pending = self.pending.remove(&completion.tag.0).ok_or("a completion that nobody waits for")?;
            let given_up = match completion.result {
                Ok(()) => false,
                Err(error) if error.kind == ErrorKind::Aborted => true,
                Err(error) => return Err(format!("failed: {error}")),
            };
            match pending {
                Pending::Write { first, blocks, fill } => {
                    for block in first..first + u64::from(blocks) {
                        let allowed = self.allowed(block);
                        if !given_up {
                            allowed.clear();
                        }
                        allowed.push(fill);
                    }
                }
                Pending::Read { first, .. } if !given_up => {
                    let buffer = completion.buffer.ok_or("a read without its buffer")?;
                    for (block, data) in (first..).zip(buffer.as_ref().chunks(512)) {
                        self.compare(block, data)?;
                    }
                }
                Pending::Read { .. } | Pending::Flush => {}
            }
        }
        Ok(())
    }

    fn compare(&mut self, block: u64, data: &[u8]) -> Result<(), String> {
        let allowed = self.allowed(block);
        if data.iter().any(|byte| *byte != data[0]) || !allowed.contains(&data[0]) {
            return Err(format!("block {block} is {:#x}, may be {allowed:x?}", data[0]));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), String> {
        self.drain(usize::MAX)?;
        for block in 0..BLOCKS {
            let data = self.bench.medium(block, 1);
            self.compare(block, &data)?;
        }
        let violations = lock(&self.bench.device).violations.clone();
        let faults = self.bench.machine.bus().faults();
        (violations.is_empty() && faults.is_empty()).then_some(()).ok_or(format!("{violations:?} {faults:?}"))
    }
}

/// Does the steps and compares.
fn run(steps: &[Step], weather: Weather) -> Result<(), String> {
    let mut check = Check::new(weather);
    for step in steps {
        check.step(step)?;
    }
    check.finish()
}

fn step() -> impl Strategy<Value = Step> {
    let range = || (0..BLOCKS - 40, 1..40u32);
    prop_oneof![
        8 => (range(), any::<bool>()).prop_map(|((first, blocks), fua)| Step::Write { first, blocks, fua }),
        2 => range().prop_map(|(first, blocks)| Step::Zeroes { first, blocks }),
        6 => range().prop_map(|(first, blocks)| Step::Read { first, blocks }),
        1 => Just(Step::Flush),
        3 => (0..9u8).prop_map(Step::Drain),
        1 => Just(Step::Reset),
    ]
}

fn weather() -> impl Strategy<Value = Weather> {
    (any::<u64>(), 2..80u32, 0..20u32, 0..20u32).prop_map(|(shuffle, entries, fail_every, delay_every)| Weather {
        shuffle,
        entries,
        // More often than that, retries run out, and rightly so.
        fail_every: if fail_every < 7 { 0 } else { fail_every },
        delay_every,
        lie_every: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn the_medium_holds_what_was_written(steps in proptest::collection::vec(step(), 1..150), weather in weather()) {
        run(&steps, weather).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn the_oracle_goes_red_when_a_write_is_lost() {
    let fair = Weather { shuffle: 1, entries: 64, fail_every: 0, delay_every: 0, lie_every: 0 };
    let steps: Vec<Step> = (0..20).map(|n| Step::Write { first: n * 10, blocks: 5, fua: false }).collect();
    assert_eq!(run(&steps, fair), Ok(()));
    let lost = run(&steps, Weather { lie_every: 13, ..fair }).unwrap_err();
    assert!(lost.contains("may be"), "{lost}");
}
