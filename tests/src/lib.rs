//! What tests share: guests, images, and an independent reader.
//!
//! The tests themselves are in `tests/promises`: one file is one promise to the user, and each asserts on disk images, by two
//! readers. One is `bcon`, which runs the kernel's own code. The other is [`oracle`], written from the format's
//! description alone, so that both cannot be wrong together.
#![forbid(unsafe_code)]

pub mod gpt;
pub mod oracle;
pub mod parser;
pub mod pvh;
pub mod qr;
pub mod recipe;
mod scene;

pub use scene::{Scene, bcon_lines, damaged_bcon_lines, random_word, run};
