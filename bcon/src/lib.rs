//! Prepares and reads blockconsole disks.
#![forbid(unsafe_code)]
