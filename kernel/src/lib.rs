//! The kernel library: what a program links that runs on a bare machine and logs to its disks.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod arch;
pub mod checkpoint;
pub mod command_line;
pub mod crash;
pub mod devices;
pub mod logger;
pub mod memory;
pub mod serial_log;
