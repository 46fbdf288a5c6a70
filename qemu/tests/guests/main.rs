//! The harness, on guests of a few instructions: what it must see.
#![forbid(unsafe_code)]

mod disks;
mod outcomes;
mod tiny;
