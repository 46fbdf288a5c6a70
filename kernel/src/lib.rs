//! What a program links that runs on a bare machine and logs to its disks.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod arch;
pub mod checkpoint;
pub mod command_line;
pub mod consoles;
pub mod crash;
pub mod devices;
mod handle;
pub mod image;
mod loader_log;
pub mod logger;
pub mod memory;
pub mod previous;
pub mod program;
mod scan;
pub mod screen;
pub mod serial_log;
pub mod start;
pub mod survey;
pub mod tick;

pub use handle::Kernel;
pub use start::Start;
