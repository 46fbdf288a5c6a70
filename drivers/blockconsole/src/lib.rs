//! The blockconsole format, record ring, console and crash record.
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
pub mod rate;
pub mod ring;
pub mod search;
pub mod series;
mod sync;

pub use console::{Config, Console, Event, TargetCell};
pub use level::Level;
pub use line::format_line;
