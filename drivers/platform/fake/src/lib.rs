//! Adversarial stand-ins for a machine, for driver tests on the host.
//!
//! A [`Machine`] is a [`Platform`] for tests on the host. It is meant to show what a forgiving
//! fake would hide:
//! - DMA memory has another address for devices than for the processor, above 4 GiB, and each piece
//!   stands alone: a device that is told a processor address, or runs over the end of a piece,
//!   gets a [`BusFault`] which the [`Bus`] remembers;
//! - time stands still unless it is [advanced](FakeClock::advance), or moves by a fixed step each time
//!   somebody looks, so that a wait without a deadline never ends;
//! - registers answer from a [`RegisterModel`], and every write is logged;
//! - a [checkpoint](Platform::checkpoint) can be told to [panic](Machine::crash_at), or to
//!   [freeze](Machine::freeze_at) its thread for good, with all the locks that it holds: which is what a crash in the
//!   middle of a driver looks like to the code that comes after it.
//!
//! All handles are clones of one another; a model device keeps a [`Bus`] and a [`FakeClock`] of the
//! same machine.

mod bus;
mod clock;
mod registers;

pub use bus::{Bus, BusFault};
pub use clock::FakeClock;
pub use registers::{RegisterModel, RegisterWrite, Window};

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use platform::{Clock, DmaBuffer, Platform};

/// A machine made up for a test. Clones are handles of the same machine.
#[derive(Clone, Default)]
pub struct Machine {
    clock: FakeClock,
    bus: Bus,
    windows: Arc<Mutex<Vec<Attached>>>,
    checkpoints: Arc<(Mutex<Checkpoints>, Condvar)>,
}

#[derive(Clone)]
struct Attached {
    bus_address: u64,
    len: usize,
    model: Arc<Mutex<dyn RegisterModel + Send>>,
    log: Arc<Mutex<Vec<RegisterWrite>>>,
}

#[derive(Default)]
struct Checkpoints {
    passed: Vec<&'static str>,
    trap: Option<Trap>,
    frozen: usize,
}

/// What is to happen at a checkpoint.
#[derive(Clone, Copy)]
struct Trap {
    name: &'static str,
    /// How many passings are left, this one included.
    left: usize,
    freezes: bool,
}

/// What a [checkpoint](Platform::checkpoint) panics with when it was told to: the payload that
/// [`std::panic::catch_unwind`] gives to a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedCrash(pub &'static str);

impl Machine {
    /// A machine with nothing attached, at time 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its clock.
    pub fn clock(&self) -> &FakeClock {
        &self.clock
    }

    /// The bus on which devices reach DMA memory.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Puts a device's registers at a bus address, where [`Platform::map_registers`] finds them.
    pub fn attach(&self, bus_address: u64, len: usize, model: Arc<Mutex<dyn RegisterModel + Send>>) {
        lock(&self.windows).push(Attached { bus_address, len, model, log: Arc::default() });
    }

    /// Every register write so far to the device at `bus_address`, in order.
    pub fn register_writes(&self, bus_address: u64) -> Vec<RegisterWrite> {
        let windows = lock(&self.windows);
        let device = windows.iter().find(|device| device.bus_address == bus_address);
        device.map(|device| lock(&device.log).clone()).unwrap_or_default()
    }

    /// Makes the `nth` (from 1) passing of a checkpoint from now on panic with [`InjectedCrash`], once.
    pub fn crash_at(&self, name: &'static str, nth: usize) {
        self.set_trap(Trap { name, left: nth.max(1), freezes: false });
    }

    /// Makes the `nth` (from 1) passing of a checkpoint from now on freeze the thread that passes it, for good,
    /// once. The thread keeps every lock that it holds. It must not be joined.
    pub fn freeze_at(&self, name: &'static str, nth: usize) {
        self.set_trap(Trap { name, left: nth.max(1), freezes: true });
    }

    /// Waits until a thread has frozen since this was last asked, or `thread` has come to its end without; says
    /// which: `true` if one has frozen.
    pub fn wait_for_freeze<T>(&self, thread: &std::thread::JoinHandle<T>) -> bool {
        const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(20);
        let (checkpoints, changed) = &*self.checkpoints;
        let mut now = lock(checkpoints);
        while now.frozen == 0 && !thread.is_finished() {
            // A thread's end wakes nobody, so it is looked for from time to time.
            now = changed.wait_timeout(now, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
        }
        let has_frozen = now.frozen > 0;
        now.frozen = now.frozen.saturating_sub(1);
        has_frozen
    }

    /// The checkpoints passed so far, in order.
    pub fn checkpoints_passed(&self) -> Vec<&'static str> {
        lock(&self.checkpoints.0).passed.clone()
    }

    fn set_trap(&self, trap: Trap) {
        lock(&self.checkpoints.0).trap = Some(trap);
    }
}

impl Clock for Machine {
    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn relax(&self) {
        self.clock.relax();
    }
}

impl Platform for Machine {
    type Registers = Window;

    fn allocate_dma(&self, len: usize, align: usize) -> Option<DmaBuffer> {
        self.bus.allocate(len, align)
    }

    fn map_registers(&self, bus_address: u64, len: usize) -> Option<Window> {
        if len == 0 || !bus_address.is_multiple_of(4) {
            return None;
        }
        let windows = lock(&self.windows);
        windows.iter().find_map(|device| {
            let start = usize::try_from(bus_address.checked_sub(device.bus_address)?).ok()?;
            let end = start.checked_add(len)?;
            (end <= device.len).then(|| Window::new(device.model.clone(), device.log.clone(), start, len))
        })
    }

    fn checkpoint(&self, name: &'static str) {
        let (checkpoints, changed) = &*self.checkpoints;
        let mut now = lock(checkpoints);
        now.passed.push(name);
        let Some(trap) = now.trap.as_mut().filter(|trap| trap.name == name) else { return };
        trap.left -= 1;
        if trap.left > 0 {
            return;
        }
        let freezes = trap.freezes;
        now.trap = None;
        if freezes {
            now.frozen += 1;
            changed.notify_all();
            drop(now);
            loop {
                std::thread::park();
            }
        }
        drop(now);
        std::panic::resume_unwind(Box::new(InjectedCrash(name)));
    }
}

/// Locks what a test that panicked may have left locked: a fake has no invariant that a panic can break.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::Registers;

    struct Echo(u64);
    impl RegisterModel for Echo {
        fn read(&mut self, _offset: usize, _bytes: usize) -> u64 {
            self.0
        }
        fn write(&mut self, _offset: usize, _bytes: usize, value: u64) {
            self.0 = value;
        }
    }

    #[test]
    fn devices_see_other_addresses_than_the_processor() {
        let machine = Machine::new();
        let mut first = machine.allocate_dma(4096, 4096).unwrap();
        let second = machine.allocate_dma(100, 8192).unwrap();
        first.as_mut()[..4].copy_from_slice(b"abcd");
        let mut out = [0; 4];
        machine.bus().read(first.bus_address(), &mut out).unwrap();
        assert_eq!(&out, b"abcd");
        assert!(second.bus_address().is_multiple_of(8192) && second.bus_address() > u64::from(u32::MAX));
        assert_ne!(first.bus_address(), first.as_ref().as_ptr() as u64);
        assert!(machine.bus().faults().is_empty());
    }

    #[test]
    fn the_end_of_a_piece_and_processor_addresses_are_faults() {
        let machine = Machine::new();
        let buffer = machine.allocate_dma(4096, 4096).unwrap();
        let bus = machine.bus();
        assert!(bus.write(buffer.bus_address() + 4092, &[0; 8]).is_err());
        assert!(bus.read(buffer.as_ref().as_ptr() as u64, &mut [0; 1]).is_err());
        assert_eq!(bus.faults().len(), 2);
    }

    #[test]
    fn windows_keep_to_their_bounds_and_log_writes() {
        let machine = Machine::new();
        machine.attach(0x8000_0000, 0x1000, Arc::new(Mutex::new(Echo(0))));
        assert!(machine.map_registers(0x8000_0000, 0x1001).is_none());
        let window = machine.map_registers(0x8000_0100, 0x10).unwrap();
        window.write32(0xc, 0x1234_5678);
        window.write32(0x10, 1);
        assert_eq!(window.read32(0), 0x1234_5678);
        assert_eq!(window.read32(0x10), u32::MAX);
        assert_eq!(window.read16(1), u16::MAX);
        let log = machine.register_writes(0x8000_0000);
        assert_eq!(log, [RegisterWrite { offset: 0x10c, bytes: 4, value: 0x1234_5678 }]);
    }

    #[test]
    fn time_moves_only_when_told() {
        let machine = Machine::new();
        assert_eq!((machine.now_ns(), machine.now_ns()), (0, 0));
        machine.clock().advance(5);
        machine.clock().step_by(10);
        assert_eq!((machine.now_ns(), machine.now_ns()), (5, 15));
    }

    #[test]
    fn a_checkpoint_crashes_when_told_and_once() {
        let machine = Machine::new();
        machine.crash_at("here", 2);
        machine.checkpoint("here");
        let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| machine.checkpoint("here")));
        assert_eq!(crash.unwrap_err().downcast_ref(), Some(&InjectedCrash("here")));
        machine.checkpoint("here");
        assert_eq!(machine.checkpoints_passed().len(), 3);
    }

    #[test]
    fn a_frozen_thread_keeps_its_locks() {
        let machine = Machine::new();
        let shared = Arc::new(Mutex::new(()));
        machine.freeze_at("here", 1);
        let thread = std::thread::spawn({
            let (machine, shared) = (machine.clone(), shared.clone());
            move || {
                let _guard = lock(&shared);
                machine.checkpoint("here");
            }
        });
        assert!(machine.wait_for_freeze(&thread));
        assert!(shared.try_lock().is_err());
        let other = std::thread::spawn(|| ());
        assert!(Machine::new().wait_for_freeze(&other) || other.join().is_ok());
    }
}
