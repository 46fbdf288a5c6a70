//! A polled NVMe driver.
//!
//! ```text
//!   attach(platform, pci function) ──► Controller ──► poll until Ready
//!                                          │
//!                  take_namespaces ◄───────┴──────► take_crash_ports
//!                        │                                │
//!                        ▼                                ▼
//!               Namespace: BlockDevice          CrashPort: BlockDevice
//!               (main engine, queue pair 1)     (crash engine, spare queue pair 2,
//!                                                or pair 1 after a reset of its own)
//! ```
//!
//! - Nothing here waits. `submit` and `poll` look at what has changed and return; bringing a controller up, resets and
//!   time-outs are phases that polling drives (`init`, `prepare`, `recovery`), each with a deadline.
//! - Nothing that a controller answers makes the driver panic, overflow or loop: ids of commands that do not
//!   exist, second completions, phases, sizes and codes that make no sense are counted, told as [`Event`]s, and
//!   lead to a reset at most.
//! - Memory is allocated when a controller is started, and not after.
//! - There is no `unsafe`: registers and DMA memory come through [`platform`].
//! - The named steps of [`checkpoint`] let a crash be injected anywhere.
//!
//! Retries are the driver's, not the caller's: see [`Namespace`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod admin;
mod attach;
mod bytes;
pub mod checkpoint;
mod command;
mod config;
mod controller;
mod crash;
mod engine;
mod event;
mod identify;
mod init;
mod io;
mod log_page;
mod namespace;
mod prepare;
mod prp;
mod queue;
mod recovery;
mod shared;
mod slots;
pub mod spec;
mod status;
mod watch;

pub use attach::{AttachError, attach};
pub use bytes::Text;
pub use config::{Config, MAX_DEPTH, MAX_TRANSFER, Timeouts};
pub use controller::Controller;
pub use crash::{CrashController, CrashPort};
pub use event::{Cause, CommandName, Event, Failure, ResetReason};
pub use identify::{ControllerInfo, NamespaceInfo, NamespaceNames};
pub use log_page::{Health, Log, LogKind, LoggedError, MAX_ERRORS, SelfTest, SelfTestResult};
pub use namespace::Namespace;
pub use status::Status;
