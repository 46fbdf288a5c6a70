//! The project's commands.
#![forbid(unsafe_code)]
fn main() {}
