//! The atomics that the ring stands on, named in one place.
//!
//! Tests compile the ring a second time over a `sync` module of their own (a model checker's atomics, or ones that
//! are interrupted at a chosen access), so the ring takes its atomics from here and from nowhere else.

pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
