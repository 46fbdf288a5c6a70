//! The record ring under a model checker: see `tests/ring_loom`.
#![forbid(unsafe_code)]
