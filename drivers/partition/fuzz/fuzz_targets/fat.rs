//! Feeds arbitrary bytes to `entries::fat`.
#![no_main]

#[path = "../../tests/common/entries.rs"]
#[allow(dead_code, reason = "each target uses one entry")]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::fat(data));
