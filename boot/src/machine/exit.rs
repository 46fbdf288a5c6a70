//! The end, where the kernel cannot be started.

use super::{cpu, port};

/// Port of QEMU's isa-debug-exit device, as the project's machines have it.
pub const DEBUG_EXIT: u16 = 0xF4;

/// Why the loader ended. QEMU's exit status is twice the value, plus one. The kernel uses the values below these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The kernel cannot be started; the serial port has the reason. QEMU's exit status is 39.
    Error = 0x13,
    /// The loader itself failed: an exception or a panic. QEMU's exit status is 41.
    Crash = 0x14,
    /// The kernel ran into an exception before it handled exceptions itself. QEMU's exit status is 43.
    EarlyKernel = 0x15,
}

/// Ends the machine where there is something to tell (QEMU's isa-debug-exit), and returns otherwise.
pub fn tell_host(reason: Reason) {
    if cpu::is_virtual() {
        // SAFETY: on QEMU the port ends the machine, if it is there at all; other hypervisors have nothing there.
        unsafe { port::write8(DEBUG_EXIT, reason as u8) };
    }
}

/// Ends the machine where there is something to tell, and stops it otherwise.
pub fn exit(reason: Reason) -> ! {
    tell_host(reason);
    cpu::halt()
}
