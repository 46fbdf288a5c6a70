//! Ways to a device's registers, each a `Transport` of `virtio-drivers`.
//!
//! All three go through [`platform::Registers`], so that the code that runs on a machine is the code that runs
//! in tests. They keep to what that trait's users rely on, and besides
//! - report a status of all ones unchanged (a device that is gone reads so),
//! - ring the doorbell with one register write, whose place was looked up once,
//! - leave a queue switched off that cannot be set up (an address beyond what the legacy interface can say, a
//!   doorbell outside its region): [`queue_used`](virtio_drivers::transport::Transport::queue_used) tells.
//!
//! None of them resets the device when it is dropped.

mod any;
mod config;
mod legacy;
mod mmio;
mod modern;
mod place;

pub use any::AnyTransport;
pub use legacy::LegacyPci;
pub use mmio::{Mmio, MmioError};
pub use modern::ModernPci;
pub use place::MmioPlace;
