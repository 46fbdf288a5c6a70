//! Devices that do anything at all, at random, for as long as it takes.

use std::collections::BTreeMap;

use block::{BlockDevice, Request, State, Tag};

use crate::model::{Kind, Rig, TestDisk, read, settle, write, write_and_read};

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What is known of the requests that were accepted.
#[derive(Default)]
struct Book {
    /// Not completed yet, with whether they have a buffer.
    open: BTreeMap<u64, bool>,
    next: u64,
    completed: u64,
}

impl Book {
    fn submit(&mut self, rig: &Rig, disk: &mut TestDisk, dice: &mut Dice) {
        let block = dice.roll(5000);
        let blocks = dice.roll(4) as u32;
        let request = match dice.roll(5) {
            0 => read(block, blocks, rig.buffer(2048, 0)),
            1 | 2 => write(block, blocks, rig.buffer(2048, 1)),
            3 => Request::WriteZeroes { first_block: block, blocks },
            _ => Request::Flush,
        };
        let with_buffer = matches!(request, Request::Read { .. } | Request::Write { .. });
        match disk.submit(Tag(self.next), request) {
            Ok(()) => {
                self.open.insert(self.next, with_buffer);
                self.next += 1;
            }
            Err(refused) => assert_eq!(refused.request.into_buffer().is_some(), with_buffer),
        }
    }

    fn poll(&mut self, disk: &mut TestDisk) {
        let Some(completion) = disk.poll() else { return };
        let with_buffer = self.open.remove(&completion.tag.0).expect("completes once, and only if accepted");
        self.completed += 1;
        let is_dead = matches!(disk.state(), State::Dead(_));
        assert!(completion.buffer.is_some() == with_buffer || is_dead, "a buffer got lost");
        assert!(!(is_dead && completion.result.is_ok()));
    }
}

impl Book {
    /// Asks for a recovery; of a dead device only when everything has come back, so that it is known why buffers are missing.
    fn recover(&mut self, disk: &mut TestDisk) {
        while matches!(disk.state(), State::Dead(_)) && !self.open.is_empty() {
            self.poll(disk);
        }
        disk.recover();
    }
}

/// Something that no driver should have to expect.
fn misbehave(rig: &Rig, dice: &mut Dice) {
    let mut device = rig.device();
    let queue_is_on = device.queues[0].enabled;
    match dice.roll(14) {
        0 if queue_is_on => device.push_used(0, dice.roll(300) as u32, dice.roll(5000) as u32),
        1 if queue_is_on => device.jump_used(0, dice.roll(0x1_0000) as u16),
        2 => device.status |= 0x40,
        3 => device.finish_reset(),
        4 => device.reset_reads = [0, 1, 5, u32::MAX][dice.roll(4) as usize],
        5 => device.gone = true,
        6 => device.listening = !device.listening,
        7 if queue_is_on => device.suppress(0, dice.one_in(2)),
        8 => device.refuse_features = !device.refuse_features,
        9 => device.config_changes = dice.roll(40) as u32,
        10 => {
            let place = dice.roll(60) as usize;
            device.set_config(place, &[dice.roll(256) as u8]);
        }
        11 => device.offered ^= 1 << dice.roll(40),
        12 => device.set_queue_size(dice.roll(2000) as u32),
        _ => device.prompt = !device.prompt,
    }
}

fn answer(rig: &Rig, dice: &mut Dice) {
    let mut device = rig.device();
    let waiting = device.jobs.len() as u64;
    if waiting == 0 || device.resetting.is_some() {
        return;
    }
    let which = dice.roll(waiting) as usize;
    if dice.one_in(4) {
        let job = device.jobs.remove(which);
        let status = (!dice.one_in(3)).then_some(dice.roll(4) as u8);
        device.finish(&job, status, dice.roll(3000) as u32);
    } else {
        device.complete(which);
    }
}

/// Makes the device good again, whatever it was.
fn heal(rig: &Rig, kind: Kind) {
    let good = crate::model::Device::new(rig.machine.bus().clone(), kind);
    let mut device = rig.device();
    let (config, offered, resets) = (good.config.clone(), good.offered, device.resets);
    *device = good;
    (device.config, device.offered, device.resets) = (config, offered, resets);
}

#[test]
fn every_request_completes_once_whatever_the_device_does() {
    let mut completed = 0;
    for seed in 1..=400_u64 {
        let kind = Kind::ALL[(seed % 4) as usize];
        let rig = Rig::new(kind, |device| device.prompt = false);
        let (mut disk, _port) = rig.open();
        let (mut dice, mut book) = (Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)), Book::default());
        for _ in 0..400 {
            match dice.roll(16) {
                0..5 => book.submit(&rig, &mut disk, &mut dice),
                5..10 => book.poll(&mut disk),
                10..13 => answer(&rig, &mut dice),
                13 => rig.wait_ms(dice.roll(2000)),
                14 if dice.one_in(4) => misbehave(&rig, &mut dice),
                15 if dice.one_in(20) => book.recover(&mut disk),
                _ => {}
            }
        }
        // Whatever happens now, it ends.
        for _ in 0..400 {
            rig.wait_ms(1_000);
            book.poll(&mut disk);
        }
        assert!(book.open.is_empty(), "seed {seed}: {:?} never completed, {:?}", book.open, disk.state());
        completed += book.completed;
        assert_eq!(rig.machine.bus().faults(), [], "seed {seed}");

        heal(&rig, kind);
        disk.recover();
        settle(&mut disk);
        assert_eq!(disk.state(), State::Ready, "seed {seed}: {}", disk.why());
        write_and_read(&rig, &mut disk, 3, 3);
    }
    assert!(completed > 5_000, "the device was too bad for this to mean anything: {completed}");
}
