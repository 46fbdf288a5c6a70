//! The processor and the devices that the loader itself touches.

pub mod bridge;
pub mod build_id;
pub mod cpu;
pub mod exceptions;
pub mod exit;
pub mod long_mode;
pub mod port;
pub mod serial;
