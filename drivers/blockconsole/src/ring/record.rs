//! Records, and how one is laid out in words.
//!
//! A slot's `meta` word, from the lowest bit: text length (12 bits), target length (7), level (3), truncated (1),
//! zero (1), CPU (16), zero (24). A record's data words: the time, then the bytes of target and text one after the
//! other, 8 to a word, the first in the lowest bits, filled up with zeroes.

use crate::level::Level;
use core::str;

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
pub(crate) struct Meta {
    pub(crate) text_len: usize,
    pub(crate) target_len: usize,
    pub(crate) level: Level,
    pub(crate) truncated: bool,
    pub(crate) cpu: u16,
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

/// A record but for its bytes, which lie in a [`RecordBuffer`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) time_ns: u64,
    pub(crate) meta: Meta,
    /// All its bytes are printable ASCII. (If this is not set, they may be so as well.)
    pub(crate) is_plain: bool,
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
    pub(super) fn record(&mut self, mut entry: Entry) -> Record<'_> {
        self.make_valid(&mut entry);
        let (target, text) = self.parts(&entry);
        let (target, text) = (str::from_utf8(target).unwrap_or_default(), str::from_utf8(text).unwrap_or_default());
        let Entry { sequence, time_ns, meta: Meta { level, truncated, cpu, .. }, .. } = entry;
        Record { sequence, time_ns, cpu, level, target, text, truncated }
    }

    /// Sees to it that target and text are UTF-8. Writers put whole characters there; memory that somebody else filled, with a
    /// checksum that fits, may hold anything, and what is not ASCII in it is not worth guessing at.
    pub(crate) fn make_valid(&mut self, entry: &mut Entry) {
        if entry.is_plain {
            return;
        }
        let meta = &mut entry.meta;
        let len = (meta.target_len + meta.text_len).min(MAX_BYTES);
        let bytes = self.bytes.get_mut(..len).unwrap_or_default();
        if str::from_utf8(bytes).is_err() {
            for byte in bytes.iter_mut().filter(|byte| !byte.is_ascii()) {
                *byte = b'?';
            }
        }
        let is_boundary = str::from_utf8(bytes).is_ok_and(|text| text.is_char_boundary(meta.target_len));
        if !is_boundary {
            (meta.target_len, meta.text_len) = (0, len);
        }
    }

    /// Target and text of the record whose bytes lie here.
    pub(crate) fn parts(&self, entry: &Entry) -> (&[u8], &[u8]) {
        let Meta { text_len, target_len, .. } = entry.meta;
        let len = (target_len + text_len).min(MAX_BYTES);
        let bytes = self.bytes.get(..len).unwrap_or_default();
        bytes.split_at_checked(target_len).unwrap_or((&[], bytes))
    }
}

impl Default for RecordBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_word_means_itself_or_nothing() {
        let meta =
            Meta { text_len: MAX_TEXT, target_len: MAX_TARGET, level: Level::Trace, truncated: true, cpu: u16::MAX };
        let word = meta.encode();
        assert_eq!(Meta::decode(word), Some(meta));
        let (mut valid, mut invalid) = (0, 0);
        for one in 0..64 {
            for other in 0..64 {
                let word = word ^ 1 << one ^ 1 << other;
                match Meta::decode(word) {
                    Some(meta) => {
                        assert_eq!(meta.encode(), word);
                        assert!(meta.record_words() <= MAX_RECORD_WORDS);
                        valid += 1;
                    }
                    None => invalid += 1,
                }
            }
        }
        assert!(valid > 100 && invalid > 100, "{valid} valid, {invalid} invalid");
        assert_eq!(Meta::decode(0), None, "cleared memory is no record");
    }
}
