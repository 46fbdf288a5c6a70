//! A device on a thread of its own, that sleeps until its doorbell rings.
//!
//! The driver may leave the doorbell alone while the device says that it is looking anyway. Whether the two can miss each
//! other depends on the order of one store and one load on each side, which only real processors put to the test. They do
//! not put it to a hard test here: without the driver's fence (Q2 in `queue.rs`), three million requests went well
//! too, since this device takes a lock between its own two steps. So the fence rests on its argument, what this file shows is
//! that the protocol as a whole loses nothing, and `timeouts.rs` that a lost doorbell is rung again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use block::{BlockDevice, Tag};
use platform::{Clock, DmaBuffer, Platform};
use platform_fake::{Machine, Window};
use virtio_blk::Disk;

use crate::model::{Handle, Kind, Rig, settle, write};

/// The machine, without its log of checkpoints: the lock around that would order what is to be tested.
#[derive(Clone)]
struct Quiet(Machine);

impl Clock for Quiet {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

impl Platform for Quiet {
    type Registers = Window;

    fn allocate_dma(&self, len: usize, align: usize) -> Option<DmaBuffer> {
        self.0.allocate_dma(len, align)
    }

    fn map_registers(&self, bus_address: u64, len: usize) -> Option<Window> {
        self.0.map_registers(bus_address, len)
    }
}

/// What the two threads tell each other, beside the queue itself.
#[derive(Default)]
struct Signals {
    /// The device found nothing and waits for the doorbell; it has heard this many, plus one. 0: it is awake.
    asleep_after: AtomicU64,
    stop: AtomicBool,
}

/// Completes what is there, without wanting to be notified meanwhile; then asks for doorbells (unless it forgets to), looks once
/// more, and sleeps.
fn device_thread(rig: &Rig, signals: &Signals, forgets: bool) {
    loop {
        rig.device().suppress(0, true);
        rig.device().take(0);
        rig.device().suppress(0, forgets);
        fence(Ordering::SeqCst);
        let heard = rig.device().notifications.len() as u64;
        if rig.device().has_available(0) {
            continue;
        }
        signals.asleep_after.store(heard + 1, Ordering::SeqCst);
        while rig.device().notifications.len() as u64 == heard {
            if signals.stop.load(Ordering::SeqCst) {
                return;
            }
            std::hint::spin_loop();
        }
        signals.asleep_after.store(0, Ordering::SeqCst);
    }
}

/// Sends requests with several in flight, in stop-and-go bursts, and says what got lost, if anything did.
fn drive(rig: &Rig, disk: &mut Disk<Quiet, Handle>, signals: &Signals, total: u64) -> Result<(), String> {
    let mut buffers: Vec<_> = (0..3).map(|_| rig.buffer(512, 1)).collect();
    let (mut sent, mut done) = (0, 0);
    while done < total {
        if let Some(buffer) = if sent < total { buffers.pop() } else { None } {
            disk.submit(Tag(sent), write(sent % 64, 1, buffer)).map_err(|refused| refused.error.to_string())?;
            sent += 1;
            continue;
        }
        // Read before the poll: once the device sleeps, everything it did is there to be polled.
        let asleep_after = signals.asleep_after.load(Ordering::SeqCst);
        match disk.poll() {
            Some(completion) => {
                completion.result.map_err(|error| error.to_string())?;
                buffers.extend(completion.buffer);
                done += 1;
            }
            // This thread is the only one that rings: if the device sleeps and has heard every doorbell, it sleeps for ever.
            None if asleep_after == disk.counters().notified + 1 => {
                return Err(format!("a doorbell was lost after {done} requests"));
            }
            None => {}
        }
    }
    Ok(())
}

fn run(total: u64, forgets: bool) -> Result<(), String> {
    let rig = Rig::new(Kind::Mmio, |device| device.listening = false);
    let (mut disk, _port) =
        virtio_blk::open(Quiet(rig.machine.clone()), rig.transport(), rig.transport()).expect("enough memory");
    settle(&mut disk);
    let signals = Signals::default();
    std::thread::scope(|scope| {
        scope.spawn(|| device_thread(&rig, &signals, forgets));
        let result = drive(&rig, &mut disk, &signals, total);
        signals.stop.store(true, Ordering::SeqCst);
        result
    })?;
    assert_eq!(disk.counters().notified_again, 0, "time stood still");
    assert!(disk.counters().notified <= total);
    rig.assert_clean();
    Ok(())
}

#[test]
fn no_doorbell_is_lost_between_two_threads() {
    run(70_000, false).expect("every request completes");
}

/// The proof that this can go red: a device that sleeps without having asked for doorbells.
#[test]
fn a_device_that_sleeps_too_soon_turns_the_harness_red() {
    let lost = run(70_000, true).expect_err("nobody wakes it");
    assert!(lost.starts_with("a doorbell was lost"), "{lost}");
}
