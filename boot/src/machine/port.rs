//! Port input and output.

use core::arch::asm;

/// Reads a byte.
///
/// # Safety
/// Reading the port must not have effects that break memory safety.
pub unsafe fn read8(port: u16) -> u8 {
    let value;
    // SAFETY: the instruction touches no memory; what the device does is the caller's promise.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a byte.
///
/// # Safety
/// Writing the port must not have effects that break memory safety.
pub unsafe fn write8(port: u16, value: u8) {
    // SAFETY: the instruction touches no memory; what the device does is the caller's promise.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}
