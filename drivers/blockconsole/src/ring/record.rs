//! Records, and how one is laid out in words.
//!
//! A slot's `meta` word, from the lowest bit: text length (12 bits), target length (7), level (3), truncated (1),
//! zero (1), CPU (16), zero (24). A record's data words: the time, then the bytes of target and text one after the other, 8 to
//! a word, the first in the lowest bits, filled up with zeroes.

use crate::level::Level;
use core::{fmt, str};

/// The most bytes of text that a record holds; what is longer is truncated, with a mark.
pub const MAX_TEXT: usize = 2048;
/// The most bytes of target that a record holds; what is longer is cut.
pub const MAX_TARGET: usize = 64;

/// Target and text together, in bytes: a multiple of 8.
pub(super) const MAX_BYTES: usize = MAX_TARGET + MAX_TEXT;
/// The time, and target and text.
pub(super) const MAX_RECORD_WORDS: usize = 1 + MAX_BYTES / 8;

/// What a writer says about a record besides its target and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Nanoseconds since the kernel's start.
    pub time_ns: u64,
    /// The CPU it was written on.
    pub cpu: u16,
    /// How grave it is.
    pub level: Level,
}

/// A record as a reader gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    /// Its number, from 0 in each boot, without gaps.
    pub sequence: u64,
    /// Nanoseconds since the kernel's start.
    pub time_ns: u64,
    /// The CPU it was written on.
    pub cpu: u16,
    /// How grave it is.
    pub level: Level,
    /// Where in the program it comes from, at most [`MAX_TARGET`] bytes.
    pub target: &'b str,
    /// What it says, at most [`MAX_TEXT`] bytes.
    pub text: &'b str,
    /// Whether the text is only the beginning of what was to be said.
    pub truncated: bool,
}

/// What a slot's `meta` word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) text_len: usize,
    pub(super) target_len: usize,
    pub(super) level: Level,
    pub(super) truncated: bool,
    pub(super) cpu: u16,
}

impl Meta {
    pub(super) const fn encode(&self) -> u64 {
        self.text_len as u64
            | (self.target_len as u64) << 12
            | (self.level as u64) << 19
            | (self.truncated as u64) << 22
            | (self.cpu as u64) << 24
    }

    /// The meaning of a word that may be anything; `None` if it has none.
    pub(super) fn decode(word: u64) -> Option<Self> {
        let meta = Self {
            text_len: (word & 0xfff) as usize,
            target_len: (word >> 12 & 0x7f) as usize,
            level: Level::from_number((word >> 19 & 7) as u8)?,
            truncated: word >> 22 & 1 == 1,
            cpu: (word >> 24) as u16,
        };
        let fits = meta.text_len <= MAX_TEXT && meta.target_len <= MAX_TARGET && word >> 40 == 0 && word >> 23 & 1 == 0;
        fits.then_some(meta)
    }

    /// Data words that the record takes.
    pub(super) const fn record_words(&self) -> usize {
        1 + (self.text_len + self.target_len).div_ceil(8)
    }
}

/// Where a reader's record is copied to: about 2 KiB, used again and again.
#[derive(Clone, Debug)]
pub struct RecordBuffer {
    bytes: [u8; MAX_BYTES],
}

impl RecordBuffer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_BYTES] }
    }

    /// The buffer as places for words.
    pub(super) fn words_mut(&mut self) -> &mut [[u8; 8]] {
        self.bytes.as_chunks_mut().0
    }

    /// The record whose bytes lie here.
    pub(super) fn record(&mut self, sequence: u64, time_ns: u64, meta: Meta) -> Record<'_> {
        let Meta { text_len, target_len, level, truncated, cpu } = meta;
        let len = (target_len + text_len).min(MAX_BYTES);
        if let Some(bytes) = self.bytes.get_mut(..len)
            && str::from_utf8(bytes).is_err()
        {
            // Writers put whole characters here. Memory that somebody else filled with a valid checksum may hold
            // anything; what is not ASCII in it is not worth guessing at.
            for byte in bytes.iter_mut().filter(|byte| !byte.is_ascii()) {
                *byte = b'?';
            }
        }
        let bytes = str::from_utf8(self.bytes.get(..len).unwrap_or_default()).unwrap_or_default();
        let (target, text) = bytes.split_at_checked(target_len).unwrap_or(("", bytes));
        Record { sequence, time_ns, cpu, level, target, text, truncated }
    }
}

impl Default for RecordBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The longest beginning of a string that has at most `room` bytes.
pub(super) fn cut(text: &str, room: usize) -> &str {
    text.get(..text.floor_char_boundary(room)).unwrap_or_default()
}

/// Target and text of a record in the making, one after the other, on the writer's stack.
///
/// The bytes are not initialised before they are written to: zeroing 2 KiB would take longer than a usual line.
pub(super) struct Draft {
    bytes: arrayvec::ArrayVec<u8, MAX_BYTES>,
    target_len: usize,
    limit: usize,
    truncated: bool,
}

impl Draft {
    /// An empty text to this target, of which target and text together take at most `limit` bytes.
    pub(super) fn new(target: &str, limit: usize) -> Self {
        let limit = limit.min(MAX_BYTES);
        let target = cut(target, MAX_TARGET.min(limit));
        let mut bytes = arrayvec::ArrayVec::new();
        // It fits: the limit was just applied.
        let _ = bytes.try_extend_from_slice(target.as_bytes());
        Self { bytes, target_len: target.len(), limit: limit.min(target.len() + MAX_TEXT), truncated: false }
    }

    /// Notes that the text is not all that was to be said.
    pub(super) fn truncate(&mut self) {
        self.truncated = true;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn meta(&self, cpu: u16, level: Level) -> Meta {
        let text_len = self.bytes.len() - self.target_len;
        Meta { text_len, target_len: self.target_len, level, truncated: self.truncated, cpu }
    }
}

impl fmt::Write for Draft {
    /// Fails once the text is truncated, so that whoever is formatting something huge may stop.
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.truncated {
            return Err(fmt::Error);
        }
        let room = self.limit - self.bytes.len();
        let fitting = if text.len() <= room { text } else { cut(text, room) };
        self.truncated = fitting.len() < text.len();
        self.bytes.try_extend_from_slice(fitting.as_bytes()).map_err(|_| fmt::Error)?;
        if self.truncated { Err(fmt::Error) } else { Ok(()) }
    }
}
