//! `bcon`.
#![forbid(unsafe_code)]
fn main() {}
