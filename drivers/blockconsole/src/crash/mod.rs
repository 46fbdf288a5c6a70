//! The crash record: a dying kernel's last words, as text that proves itself whole.
//!
//! ```text
//! ---[ crash 5f1c09e2a7b3d480 ]---
//! reason: panic: index out of bounds: the len is 3 but the index is 7
//! place: src/main.rs:41:9
//! version: 0.1.0
//! build: 9f2c51…
//! uptime: 1.204417 s
//! cpu: 0
//! trap: 14 page fault, error code 0x2
//! registers: rax=0000000000000000 rbx=0000000000000007 rcx=…
//! console vda: logging, tile 17, 0 in flight, 0 errors
//! frame 0: 0xffffffff80104c2a
//! frame 1: 0xffffffff80101f07
//! stack 0xffffffff80212f40: 0000000000000007 ffffffff80104c2a …
//! ---[ end crash 5f1c09e2a7b3d480 lines=13 crc32c=1d0c97ab ]---
//! ```
//!
//! The first and the last line carry the same id: 16 hexadecimal digits, the same on all consoles of one crash. `lines` counts
//! the lines between them, and `crc32c` is the CRC-32C of the bytes of those lines, with their line feeds, as
//! 8 hexadecimal digits. The lines between are `key: value` or `key name: value`; values have no control characters.
//!
//! A record has at most [`MAX_RECORD`] bytes. What does not fit is left out, with a `note`: the stack's far end first, then
//! the far end of the backtrace, which are therefore last.
//!
//! In the log, a record may cross from one tile into the next, but nothing is put between its lines.

mod parse;
mod write;

pub use parse::{Damage, Found, Verdict, find, find_last};
pub use write::write;

/// The most bytes of a record, its first and last line included.
pub const MAX_RECORD: usize = 16 * 1024;
/// What a record's first line begins with.
pub const BEGIN: &[u8] = b"---[ crash ";
/// What a record's last line begins with.
pub const END: &[u8] = b"---[ end crash ";

/// What is known of a crash: plain data, gathered without allocation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report<'a> {
    /// Tells this crash from others, on all consoles.
    pub id: u64,
    /// What happened, in a word: `panic`, `page fault`…
    pub kind: &'a str,
    /// What happened, in a sentence; at most 2 KiB of it are kept.
    pub reason: &'a str,
    /// Where in the source.
    pub place: Option<Place<'a>>,
    /// The program's version.
    pub version: &'a str,
    /// Its build id; at most 32 bytes of it are kept.
    pub build_id: &'a [u8],
    /// The boot's number, where there is one that holds for all consoles. (Each console counts boots of its own:
    /// the tile line above the record has that number.)
    pub boot: Option<u32>,
    /// Nanoseconds since the kernel's start.
    pub uptime_ns: u64,
    /// The processor it happened on.
    pub cpu: u16,
    /// The trap, if it was one.
    pub trap: Option<Trap<'a>>,
    /// Registers by name, in the order in which they are to be shown.
    pub registers: &'a [(&'a str, u64)],
    /// The state of consoles and drivers: names, and what is to be said of each.
    pub devices: &'a [(&'a str, &'a str)],
    /// Return addresses, the innermost first.
    pub backtrace: &'a [u64],
    /// Memory around the stack pointer.
    pub stack: Option<Stack<'a>>,
}

/// A place in the source.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file.
    pub file: &'a str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

/// A processor's trap.
#[derive(Clone, Copy, Debug)]
pub struct Trap<'a> {
    /// Its vector.
    pub vector: u8,
    /// Its name.
    pub name: &'a str,
    /// Its error code, if it has one.
    pub error_code: Option<u64>,
}

/// A piece of the stack.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// Address of its first byte.
    pub address: u64,
    /// The bytes; they are shown as little-endian words of 8 bytes, and what remains is left out.
    pub bytes: &'a [u8],
}
