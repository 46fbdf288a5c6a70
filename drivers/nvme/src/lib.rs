//! A polled NVMe driver.
#![no_std]
