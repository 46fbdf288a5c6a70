//! Prepares and reads blockconsole disks.
//!
//! [`target::open`] finds the consoles on a device or in an image; each of them is read through
//! its [`Medium`](medium::Medium): [`log::Log`] finds the end of its log in a few reads, [`lines::Lines`] streams its
//! lines in constant memory, [`crash`] takes crash records apart. [`format::format`] makes a console, [`image::make`] an image
//! that boots, [`flash::flash`] writes one to a disk. The program's commands are in [`commands`].
#![forbid(unsafe_code)]

pub mod boots;
pub mod cli;
pub mod commands;
pub mod crash;
pub mod extents;
pub mod flash;
pub mod follow;
pub mod format;
pub mod image;
pub mod lines;
pub mod log;
pub mod medium;
pub mod output;
pub mod pieces;
pub mod qr;
pub mod signature;
pub mod summary;
pub mod sysfs;
pub mod target;
mod text;

pub mod verify;
