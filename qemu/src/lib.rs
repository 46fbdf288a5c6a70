//! Runs guests in QEMU and judges how they ended.
#![forbid(unsafe_code)]
