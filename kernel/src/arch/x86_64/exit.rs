//! How a run ends, and how the outside world learns about it.
//!
//! The first way that works is taken:
//!
//! | ending | QEMU with `isa-debug-exit` at port F4h | other machines |
//! |---|---|---|
//! | [`Ending::Finished`] | status 33 | ACPI power-off, else halt; halt where there is a screen |
//! | [`Ending::CrashDurable`] | status 35 | pvpanic, then as above |
//! | [`Ending::CrashNotDurable`] | status 37 | pvpanic, then as above |
//! | a loader that failed (`boot`) | status 39 | halt |
//!
//! QEMU's exit status is twice the value written plus one, so that no status of QEMU's own (0 and 1) is
//! ever taken for one of these. All of it comes after the last flush, never before.

use super::{acpi, cpu, port};
use core::sync::atomic::{AtomicBool, Ordering};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The program finished, and everything it logged is durable.
    Finished,
    /// A crash; its record is durable on every console.
    CrashDurable,
    /// A crash; some console lacks its record, or there was none.
    CrashNotDurable,
}

impl Ending {
    /// What is written to the debug-exit port.
    const fn debug_exit_value(self) -> u32 {
        match self {
            Self::Finished => 0x10,
            Self::CrashDurable => 0x11,
            Self::CrashNotDurable => 0x12,
        }
    }

    const fn is_crash(self) -> bool {
        !matches!(self, Self::Finished)
    }
}

/// What is to happen to the machine after a crash: the command line's `panic=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Action {
    /// End the virtual machine, or switch the machine off.
    #[default]
    Exit,
    /// Reset.
    Reboot,
    /// Stand still.
    Halt,
}

/// QEMU's `isa-debug-exit,iobase=0xf4,iosize=4`.
const DEBUG_EXIT: u16 = 0xF4;
/// QEMU's `pvpanic` (docs/specs/pvpanic).
const PVPANIC: u16 = 0x505;
/// pvpanic events: the guest panicked; the guest panicked and sees to it itself.
const PANICKED: u8 = 1 << 0;
const CRASH_LOADED: u8 = 1 << 1;
/// The keyboard controller's command port, and its command that pulses the reset line.
const KEYBOARD: u16 = 0x64;
const KEYBOARD_RESET: u8 = 0xFE;
/// The chipset's reset control register, and a full reset in two steps.
const RESET_CONTROL: u16 = 0xCF9;
const RESET_PREPARE: u8 = 0x02;
const RESET_GO: u8 = 0x06;
/// Time for a reset or a power-off to happen before the next way is tried, in polls.
const PATIENCE: u32 = 1_000_000;

/// Whether a real machine stays on at the end.
static STAYS_ON: AtomicBool = AtomicBool::new(false);

/// A real machine is not switched off at the end but stands still, so that its screen can be read.
pub fn stay_on() {
    STAYS_ON.store(true, Ordering::Relaxed);
}

/// Ends the run.
pub fn end(ending: Ending, action: Action) -> ! {
    cpu::disable_interrupts();
    match action {
        Action::Exit => {
            if cpu::is_virtual() {
                // SAFETY: in a virtual machine the port is QEMU's debug exit, which ends the machine, or nothing.
                unsafe { port::write(DEBUG_EXIT, ending.debug_exit_value()) };
                notify(ending, PANICKED);
            } else if STAYS_ON.load(Ordering::Relaxed) {
                cpu::halt();
            }
            power_off();
        }
        Action::Reboot => {
            notify(ending, CRASH_LOADED);
            reset();
        }
        Action::Halt => {
            notify(ending, CRASH_LOADED);
            cpu::halt()
        }
    }
}

/// Tells a hypervisor that listens on pvpanic.
fn notify(ending: Ending, event: u8) {
    if !ending.is_crash() || !cpu::is_virtual() {
        return;
    }
    // SAFETY: in a virtual machine the port is pvpanic's, or nothing: then it reads as all ones.
    unsafe {
        let events: u8 = port::read(PVPANIC);
        if events != 0xFF && events & event != 0 {
            port::write(PVPANIC, event);
        }
    }
}

/// Switches the machine off by ACPI, and halts where that does nothing.
fn power_off() -> ! {
    acpi::power_off(wait);
    cpu::halt()
}

/// Resets the machine: by the chipset, by the keyboard controller, and last by a triple fault.
pub fn reset() -> ! {
    // SAFETY: both are a PC's reset registers; nothing is to run after this.
    unsafe {
        port::write(RESET_CONTROL, RESET_PREPARE);
        port::write(RESET_CONTROL, RESET_GO);
        wait();
        port::write(KEYBOARD, KEYBOARD_RESET);
    }
    wait();
    triple_fault()
}

/// Makes the processor give up: an exception without any table of handlers.
pub fn triple_fault() -> ! {
    super::descriptors::unload_gates();
    loop {
        // SAFETY: the breakpoint finds no gate, which resets the machine; that is what is wanted here.
        unsafe { core::arch::asm!("int3") };
    }
}

fn wait() {
    for _ in 0..PATIENCE {
        cpu::pause();
    }
}
