//! The crash path.

pub mod kinds;
