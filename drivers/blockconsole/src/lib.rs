//! The blockconsole format, record ring, console and crash record.
//!
//! A kernel's log is written into a [ring] in memory, and from there by one or more [consoles](console) to places on disks. When the
//! kernel dies, another console takes over what was not written yet, and puts a [crash] record behind it.
//!
//! ```text
//!  writers ──► ring ──► line ──► console ──► block::BlockDevice
//!                                  │ ▲
//!            TargetCell ◄──────────┘ └── search, last_boot (mount)
//!                │ crash
//!                └──► console::Console::resume ──► another queue of the device
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`ring`], [`level`], [`rate`] | records: lock-free, from any context, outliving a reset |
//! | [`line`](mod@line), [`marks`] | records as text, and the console's own lines |
//! | [`format`](mod@format), [`place`] | tiles and headers; where they lie |
//! | [`search`], [`last_boot`], [`series`] | finding the end of a log, what the boot before left, which crashes are kept |
//! | [`console`] | writing it all out, and taking over after a crash |
//! | [`crash`], [`checksum`] | the crash record |
//! | [`qr`] | the crash record as text for QR codes |
//!
//! `FORMAT.md`, beside this crate's manifest, defines what is on the disk. No hardware, no allocation, no clock, no panic: whatever is read from
//! a disk or a device is checked.
#![no_std]
#![forbid(unsafe_code)]

pub mod checksum;
pub mod console;
pub mod crash;
pub mod format;
pub mod last_boot;
pub mod level;
pub mod line;
pub mod marks;
pub mod place;
pub mod qr;
pub mod rate;
pub mod ring;
pub mod search;
pub mod series;
mod sync;

pub use console::{Config, Console, Event, TargetCell};
pub use level::Level;
pub use line::format_line;
