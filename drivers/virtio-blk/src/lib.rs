//! A polled virtio-blk driver.
#![no_std]
#![deny(unsafe_code)]

mod controller;
mod crash;
mod disk;
mod geometry;
pub mod pci;
mod port;
mod queue;
pub mod spec;
pub mod transport;

pub use controller::{Session, Timeouts};
pub use crash::{CHECKPOINTS, CrashPort};
pub use disk::{Disk, open};
pub use port::Counters;
pub use queue::SLOTS;
