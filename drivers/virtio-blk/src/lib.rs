//! A polled virtio-blk driver.
#![no_std]
