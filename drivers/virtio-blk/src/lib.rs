//! A polled virtio-blk driver.
//!
//! ```text
//!   pci::probe ──► PciDevice::open ─┐ twice: two handles
//!   Mmio::probe ────────────────────┤
//!                                   ▼
//!                     open(platform, transport, crash transport)
//!                        │                           │
//!                        ▼                           ▼
//!            Disk: BlockDevice            CrashPort: BlockDevice
//!            queue 0                      queue 1 while the device has one to spare,
//!            poll() brings it up          queue 0 after recover(): full reset and re-initialisation
//! ```
//!
//! - Nothing here waits. Reset, initialisation and recovery are phases that `poll` drives, each with a deadline (`controller.rs`).
//! - Nothing that a device answers makes it panic, overflow or loop; what no device may do leads to a reset (`queue.rs`).
//! - Memory is set aside in [`open`], and none later.
//! - A disk whose requests are overdue takes no more, and waits for late answers for a while; then it is given up, since a
//!   reset may stop the whole machine ([`Silence`]). The crash port does not wait that long.
//! - The buffers of unanswered requests stay with the driver until the device has confirmed a reset; if it never does, they
//!   are not handed back at all. A device that was given up and then answers after all is reset by itself, and taken up again: its
//!   buffers are then given back by [`Disk::reclaim`].
//! - What went wrong is kept as [`Event`]s until somebody asks.
//! - Disk and crash port share no memory and no lock. [`CHECKPOINTS`] are the places where a crash of the one can be injected to
//!   see the other take over.
//! - There is no `unsafe` block: registers and DMA memory come through [`platform`].
//!
//! What is not used though devices offer it: packed queues, event index, in-order use, MSI-X, and `seg_max` (a request has one segment
//! of data; `size_max` limits its length). Force unit access does not exist in virtio: it is taken for granted on write-through disks, and
//! refused on others. A device without flush is reported as [`WriteCache::Unknown`](block::WriteCache::Unknown).
//!
//! # What is used of `virtio-drivers`, and what is not
//! Used: its [`Transport`](virtio_drivers::transport::Transport) trait, which is the seam between this crate's device layer and *any*
//! transport, its own ones included; its types for device status and kind; its recognition of PCI ids and its walk of PCI capabilities.
//!
//! Not used, since a crash path can do nothing about them:
//! - `VirtIOBlk`: waits for ever, and has no flush that does not wait.
//! - `PciTransport`, `MmioTransport` on the machine. They own their registers exclusively (`UniqueMmioPointer`), so that the crash port's second
//!   handle of the same registers would be unsound; each doorbell is three register accesses and panics where the device names a doorbell
//!   outside its region (a device that was pulled out does); a capability's length is added to its offset in 32 bits unchecked; and they read memory by
//!   raw pointer, so that tests would run other code than the machine. The [`transport`]s here are small, checked and testable.
//! - `VirtQueue`. Its `Hal` is static functions, so that disk and crash port could not have memory of their own; without `alloc` it has no indirect
//!   descriptors, hence a third of the depth; its length is a constant of its type, and legacy devices name theirs at run time; an index that
//!   runs ahead is not noticed; and the traps 3 and 4 below are inside it.
//!
//! # Traps of such drivers, and how each is avoided
//! | # | trap | here | shown by |
//! |---|---|---|---|
//! | 1 | a wait without a time-out | `poll` returns; deadlines on requests, reset, configuration | `timeouts::every_wait_ends_while_the_clock_runs` |
//! | 2 | a flush that waits, with header and status on a stack that is gone when it fails | a flush is a request like any other; header and status lie in the queue's own memory | `timeouts::a_dead_device_keeps_its_buffers` |
//! | 3 | available index and "do not notify" flag can pass each other: lost doorbell | full fence between them (Q2), and the doorbell is rung again every 10 ms while something is in flight | `threads`, `timeouts::a_lost_doorbell_is_rung_again`; the fence itself by its argument in `queue.rs` |
//! | 4 | event index compared without regard to the wrap | event index is declined: there is no comparison | `queues::seventy_thousand_requests_in_any_order_across_the_wrap` |
//! | 5 | a transport's `Drop` resets the device and waits for ever | transports are kept in `ManuallyDrop`, and those here have no `Drop` | `foreign::a_transport_is_never_dropped` |
//! | 6 | status 0 not waited for, FEATURES_OK not read again | both are steps of the initialisation | `initialisation::a_reset_is_waited_for`, `features_ok_is_read_again` |
//! | 7 | NEEDS_RESET never looked at | looked at every 10 ms while something is in flight | `timeouts::a_device_that_asks_for_a_reset_gets_one` |
//! | 8 | configuration read until it is stable, for ever; assertions on arguments | one attempt a `poll`, with a deadline; arguments are checked and refused | `initialisation::a_configuration_that_always_changes_is_given_up_at_its_deadline` |
//! | 9 | three register accesses a doorbell | one; its place is looked up once | `transports::a_doorbell_is_one_register_write` |
//! | 10 | completion read by ordinary references; statuses left over; buffers lent from a stack | volatile words, poisoned statuses, buffers moved in and out | `completions::a_completion_without_a_status_is_no_success` |
#![no_std]
#![deny(unsafe_code)]

mod controller;
mod crash;
mod disk;
mod event;
mod flight;
mod geometry;
pub mod pci;
mod port;
mod queue;
pub mod spec;
pub mod transport;
mod watch;

pub use controller::{Session, Silence, Timeouts};
pub use crash::{CHECKPOINTS, CrashPort};
pub use disk::{Disk, open};
pub use event::{Event, RequestName};
pub use port::Counters;
pub use queue::SLOTS;
