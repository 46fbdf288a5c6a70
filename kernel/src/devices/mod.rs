//! The machine's devices.

pub mod pci;
pub mod platform;
