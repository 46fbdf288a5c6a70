//! What a program without an operating system needs on this target.
//!
//! Kernel and loader are programs for `x86_64-unknown-linux-gnu` with its precompiled `core`, so that plain
//! `cargo build` makes them. What that target expects of a C library and of the C start-up files is here instead:
//!
//! - [`memory_functions!`], called once in the program's `main.rs`, for `memcpy` and its family;
//! - [`link`], the linker's arguments and script, which the program's `build.rs` hands on.
//!
//! The program itself has `#![no_std]`, `#![no_main]`, a `#[panic_handler]`, and a symbol `_start` at which
//! its loader enters it; its manifest says `test = false, bench = false` for that binary, and its package has no integration
//! tests, because cargo would build the binary for them with unwinding, which needs a C library.
//! `panic = "abort"` stands in the workspace's profiles.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod link;
mod memory;
