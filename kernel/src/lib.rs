//! The kernel library and the diagnostic program on it.
#![no_std]
