//! Integration tests on disk images.
#![forbid(unsafe_code)]
