//! The local interrupt controller: the periodic tick, and nothing else.

use super::{clock, cpu, port};
use core::sync::atomic::{AtomicU32, Ordering};
use platform::Registers;
use x86_64::registers::model_specific::Msr;

/// Vector of the tick.
pub const TICK_VECTOR: u8 = 0x40;
/// Vector of spurious interrupts; its low four bits must be ones on old processors.
pub const SPURIOUS_VECTOR: u8 = 0xFF;
/// Vectors of the PC's old controllers, whose spurious interrupts come even though all of theirs are masked.
pub const LEGACY_VECTORS: core::ops::RangeInclusive<u8> = 0xF0..=0xFF;
/// Bytes of the register window.
pub const WINDOW: usize = 4096;

/// IA32_APIC_BASE (SDM vol. 3, 11.4.4).
const BASE_MSR: u32 = 0x1B;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// In x2APIC mode, registers are model specific: this plus the offset divided by 16 (SDM vol. 3, 11.12.1.2).
const X2APIC_MSR: u32 = 0x800;

/// Register offsets (SDM vol. 3, 11.4.1).
mod register {
    pub(super) const ID: usize = 0x020;
    pub(super) const VERSION: usize = 0x030;
    pub(super) const TASK_PRIORITY: usize = 0x080;
    pub(super) const END_OF_INTERRUPT: usize = 0x0B0;
    pub(super) const SPURIOUS: usize = 0x0F0;
    pub(super) const COMMAND: usize = 0x300;
    pub(super) const COMMAND_HIGH: usize = 0x310;
    pub(super) const TIMER: usize = 0x320;
    pub(super) const LINT0: usize = 0x350;
    pub(super) const LINT1: usize = 0x360;
    pub(super) const INITIAL_COUNT: usize = 0x380;
    pub(super) const CURRENT_COUNT: usize = 0x390;
    pub(super) const DIVIDE: usize = 0x3E0;
}
const SOFTWARE_ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
/// A local vector table entry that delivers a non-maskable interrupt.
const DELIVER_NMI: u32 = 0b100 << 8;
/// Other entries of the local vector table, and how many entries there must be for each, less one (SDM vol. 3, 11.5.1): error,
/// performance counters, thermal sensor, corrected machine checks. Firmware may have left them on.
const OTHER_ENTRIES: [(usize, u32); 4] = [(0x370, 3), (0x340, 4), (0x330, 5), (0x2F0, 6)];
/// Interrupt command: deliver a non-maskable interrupt, physical destination.
const SEND_NMI: u32 = 1 << 14 | 0b100 << 8;
const DIVIDE_BY_16: u32 = 0b0011;

/// How long the timer is measured for.
const MEASURE_NS: u64 = 1_000_000;
/// Polls after which a clock that stands still ends the measurement.
const PATIENCE: u32 = 10_000_000;

/// The local APIC of the boot processor.
pub struct LocalApic<R> {
    /// `None` in x2APIC mode.
    window: Option<R>,
    /// What the timer counts down from to the next tick.
    count: AtomicU32,
}

/// Where the registers are, if the firmware has left them in memory; [`WINDOW`] bytes. `None` in x2APIC mode, where
/// they are model specific registers.
pub fn window_address() -> Option<u64> {
    // SAFETY: every 64-bit processor has this register; reading it has no effect.
    let base = unsafe { Msr::new(BASE_MSR).read() };
    (base & BASE_X2APIC == 0).then_some(base & BASE_ADDRESS)
}

impl<R: Registers> LocalApic<R> {
    /// Switches the controller on, and the PC's old pair of controllers off.
    ///
    /// # Safety
    /// `window` must be [`window_address`]'s registers, or `None` where that is `None`, and traps must be set up.
    pub unsafe fn enable(window: Option<R>) -> Self {
        mask_legacy_controllers();
        // SAFETY: sets the global enable bit and keeps the rest, address and mode, as it is.
        unsafe {
            let mut base = Msr::new(BASE_MSR);
            let value = base.read();
            base.write(value | BASE_ENABLE);
        }
        let apic = Self { window, count: AtomicU32::new(0) };
        apic.write(register::TASK_PRIORITY, 0);
        apic.write(register::LINT0, MASKED);
        // The button, on a real machine.
        apic.write(register::LINT1, DELIVER_NMI);
        let last_entry = apic.read(register::VERSION) >> 16 & 0xFF;
        for (entry, number) in OTHER_ENTRIES {
            if last_entry >= number {
                apic.write(entry, MASKED);
            }
        }
        apic.write(register::SPURIOUS, SOFTWARE_ENABLE | u32::from(SPURIOUS_VECTOR));
        apic
    }

    /// Starts the tick: [`TICK_VECTOR`] once in `period_ns` nanoseconds, and again so long after each
    /// [`next_tick`](Self::next_tick). Returns `false` when the timer does not count.
    pub fn start_tick(&self, period_ns: u64) -> bool {
        self.write(register::DIVIDE, DIVIDE_BY_16);
        self.write(register::TIMER, MASKED);
        self.write(register::INITIAL_COUNT, u32::MAX);
        let start = clock::now_ns();
        let mut elapsed = 0;
        for _ in 0..PATIENCE {
            elapsed = clock::now_ns() - start;
            if elapsed >= MEASURE_NS {
                break;
            }
            cpu::pause();
        }
        let counted = u32::MAX - self.read(register::CURRENT_COUNT);
        let Some(count) = count_for(counted, elapsed, period_ns) else {
            self.stop_tick();
            return false;
        };
        self.count.store(count, Ordering::Relaxed);
        self.write(register::TIMER, u32::from(TICK_VECTOR));
        self.next_tick();
        true
    }

    /// Lets the next tick come a period from now. Counting from the end of a tick's work, what was interrupted gets its
    /// time even if that work takes longer than a period.
    pub fn next_tick(&self) {
        self.write(register::INITIAL_COUNT, self.count.load(Ordering::Relaxed));
    }

    /// Lets no tick come that is not on its way, until [`next_tick`](Self::next_tick).
    pub fn pause_tick(&self) {
        self.write(register::INITIAL_COUNT, 0);
    }

    /// Stops the tick.
    pub fn stop_tick(&self) {
        self.write(register::TIMER, MASKED);
        self.write(register::INITIAL_COUNT, 0);
    }

    /// Says that an interrupt has been dealt with.
    pub fn end_of_interrupt(&self) {
        self.write(register::END_OF_INTERRUPT, 0);
    }

    /// Sends this processor a non-maskable interrupt.
    pub fn send_nmi_to_self(&self) {
        let id = self.read(register::ID);
        match &self.window {
            Some(_) => {
                self.write(register::COMMAND_HIGH, id & 0xFF00_0000);
                self.write(register::COMMAND, SEND_NMI);
            }
            // SAFETY: in x2APIC mode the command is one 64-bit register; it makes the processor take its own NMI handler.
            None => unsafe {
                let mut command = Msr::new(X2APIC_MSR + (register::COMMAND / 16) as u32);
                command.write(u64::from(id) << 32 | u64::from(SEND_NMI));
            },
        }
    }

    fn read(&self, offset: usize) -> u32 {
        match &self.window {
            Some(window) => window.read32(offset),
            // SAFETY: the controller is in x2APIC mode, and the offset is one of the registers above.
            None => unsafe { Msr::new(X2APIC_MSR + (offset / 16) as u32).read() as u32 },
        }
    }

    fn write(&self, offset: usize, value: u32) {
        match &self.window {
            Some(window) => window.write32(offset, value),
            // SAFETY: as in `read`; the values written are defined for the registers, so that they do not fault.
            None => unsafe { Msr::new(X2APIC_MSR + (offset / 16) as u32).write(u64::from(value)) },
        }
    }
}

/// The count that makes a period, from what was counted in a known time.
fn count_for(counted: u32, elapsed_ns: u64, period_ns: u64) -> Option<u32> {
    let count = u128::from(counted) * u128::from(period_ns) / u128::from(elapsed_ns.max(1));
    u32::try_from(count).ok().filter(|&count| count > 0)
}

/// The two 8259 controllers: all inputs masked, and their vectors moved off the exceptions, as a
/// spurious interrupt comes through even so.
fn mask_legacy_controllers() {
    const COMMAND: [u16; 2] = [0x20, 0xA0];
    const DATA: [u16; 2] = [0x21, 0xA1];
    /// Initialisation words: vector base, how the two are wired together, 8086 mode.
    const WORDS: [[u8; 3]; 2] = [[0xF0, 1 << 2, 1], [0xF8, 2, 1]];
    for (chip, words) in WORDS.into_iter().enumerate() {
        // SAFETY: these are the controllers' ports on every PC, and nobody else uses them.
        unsafe {
            port::write(COMMAND[chip], 0x11u8);
            for word in words {
                port::write(DATA[chip], word);
            }
            port::write(DATA[chip], 0xFFu8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_scaled_from_the_measurement() {
        assert_eq!(count_for(62_500, 1_000_000, 10_000_000), Some(625_000));
        assert_eq!(count_for(0, 1_000_000, 10_000_000), None, "a timer that stands still");
        assert_eq!(count_for(u32::MAX, 1, 10_000_000), None, "more than the timer can count");
    }
}
