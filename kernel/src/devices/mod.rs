//! The machine's devices: how drivers reach them, and which disks there are.

pub mod disk;
pub mod event;
pub mod find;
pub mod pci;
pub mod platform;
mod rehearsal;
pub mod slots;
