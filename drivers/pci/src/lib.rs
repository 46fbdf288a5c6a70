//! PCI configuration space, base address registers and capabilities.
//!
//! The machine supplies a [`ConfigSpace`] (on x86: I/O ports CF8h and CFCh, or ECAM); all else is here:
//!
//! ```text
//!   scan(&config, segment) ──► Function ──► identity()       vendor, device, class, subsystem
//!                                  │   ───► bar(n)           kind, address, size; sized with decoding off
//!                                  │   ───► capabilities()   list walk that cannot loop
//!                                  │   ───► link()           PCI Express link state
//!                                  └──────► enable(command)  memory, I/O, bus master, INTx
//! ```
//!
//! Whatever a device answers, nothing here panics, overflows or loops without a bound: a bus is visited once,
//! a capability list has at most as many entries as fit into configuration space, and a base address
//! register that makes no sense is an error.
//!
//! A device that is gone reads as all ones everywhere.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod address;
mod bar;
mod capability;
mod express;
#[cfg(test)]
mod fake;
mod function;
mod scan;
pub mod spec;
#[cfg(test)]
mod tests;

pub use address::Address;
pub use bar::{Bar, BarError, BarKind};
pub use capability::{Capabilities, Capability, ExtendedCapabilities};
pub use express::{Link, PortKind, Slot};
pub use function::{Class, Function, Header, Identity};
pub use scan::{Scan, scan, scan_from};
pub use spec::Command;

/// Configuration space of a machine, as its processor reaches it.
///
/// Offsets are bytes, multiples of 4: below 256 for every function, below 4096 where PCI Express's extended
/// space is reachable. What does not exist or cannot be reached reads as all ones and swallows writes.
///
/// Drivers' crash paths do not use it: they keep what they read at start.
pub trait ConfigSpace {
    /// Reads a 32-bit word.
    fn read32(&self, address: Address, offset: u16) -> u32;

    /// Writes a 32-bit word.
    fn write32(&self, address: Address, offset: u16, value: u32);
}

impl<C: ConfigSpace + ?Sized> ConfigSpace for &C {
    fn read32(&self, address: Address, offset: u16) -> u32 {
        (**self).read32(address, offset)
    }

    fn write32(&self, address: Address, offset: u16, value: u32) {
        (**self).write32(address, offset, value);
    }
}
