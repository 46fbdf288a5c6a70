//! The harness on guests of a few instructions: what it must see, and what it must not take for success.
#![forbid(unsafe_code)]

mod disks;
mod outcomes;
mod tiny;
