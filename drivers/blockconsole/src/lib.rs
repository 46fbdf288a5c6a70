//! The blockconsole format, record ring, console and crash record.
#![no_std]
#![forbid(unsafe_code)]

pub mod level;
pub mod line;
pub mod ring;
mod sync;

pub use level::Level;
pub use line::format_line;
