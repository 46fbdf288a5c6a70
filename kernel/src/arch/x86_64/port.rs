//! I/O ports.

use x86_64::instructions::port::Port;
pub use x86_64::instructions::port::{PortRead, PortWrite};

/// Reads a port of 8, 16 or 32 bits.
///
/// # Safety
/// Reading it must not change a device that somebody else relies on.
#[inline]
pub unsafe fn read<T: PortRead>(port: u16) -> T {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).read() }
}

/// Writes a port of 8, 16 or 32 bits.
///
/// # Safety
/// What the device does in answer must not break memory safety, nor a device that somebody else relies on.
#[inline]
pub unsafe fn write<T: PortWrite>(port: u16, value: T) {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).write(value) }
}
