//! Runs guests in QEMU and judges how they ended.
//!
//! A [`Guest`] says what to run: machine, disks with their faults, command line, time limit. [`Guest::start`]
//! gives a [`Running`] one, and [`Running::wait`] a [`Report`] with its [`Outcome`]:
//!
//! ```text
//!   Guest ── start ──► Running ── wait ──► Report { outcome, serial, … }
//!                        │ serial()   what the guest printed so far
//!                        │ qmp()      QEMU's control socket: NMI, pause, held-back writes
//!                        └ drop       kills QEMU, whatever happened
//! ```
//!
//! Only positive evidence counts: the guest itself says how it ended, through the `isa-debug-exit` device at
//! port 0xf4, and every other end (a time-out, a signal, a QEMU that stops by itself) is an [`Outcome`] of its own that
//! no caller can take for success.
//!
//! QEMU always gets `-accel tcg` unless told otherwise: a `/dev/kvm` that opens is no proof that it works.
#![forbid(unsafe_code)]

mod arguments;
mod blocks;
mod disk;
mod fault;
mod guest;
mod outcome;
mod programs;
mod qmp;
mod running;
mod serial;
mod temporary;
mod tools;
pub mod write_log;

pub use disk::{DEFAULT_SIZE, Disk, Kind, parse_size};
pub use fault::{Fault, Requests};
pub use guest::{Bus, Firmware, Guest, Machine};
pub use outcome::{Outcome, Report};
pub use programs::{Loaders, Programs, build, workspace};
pub use qmp::Qmp;
pub use running::{GUEST_COUNT, Running};
pub use serial::{Serial, last_acknowledged};
pub use temporary::TemporaryDirectory;
pub use tools::{FOR_TESTS, Tool, require};
