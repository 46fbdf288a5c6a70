//! The blockconsole format, record ring, console and crash record.
#![no_std]
#![forbid(unsafe_code)]
