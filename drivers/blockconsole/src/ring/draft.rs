//! A record in the making, on its writer's stack.

use super::checksum::Checksum;
use super::record::{MAX_RECORD_WORDS, MAX_TARGET, MAX_TEXT, Meta};
use crate::level::Level;
use arrayvec::ArrayVec;
use core::fmt;

/// Memory for a draft: not initialised before it is written to, since zeroing 2 KiB takes longer than a usual line.
pub(super) type DraftWords = ArrayVec<u64, MAX_RECORD_WORDS>;

/// A record's data words, put together and summed up as the text is formatted.
///
/// Text arrives in many small pieces. They are shifted into words here, eight bytes at a time: faster than copying each
/// as bytes, above all with a kernel's own `memcpy`.
pub(super) struct Draft<'d> {
    /// Whole words so far.
    words: &'d mut DraftWords,
    /// Their checksum.
    checksum: Checksum,
    /// Bytes that do not fill a word yet, and 8 times their number: less than 64.
    tail: u64,
    tail_bits: u32,
    target_len: usize,
    text_len: usize,
    /// Bytes of text that still fit.
    room: usize,
    truncated: bool,
}

impl<'d> Draft<'d> {
    /// An empty text to this target. The record will take at most `max_words` words.
    #[inline]
    pub(super) fn begin(
        words: &'d mut DraftWords,
        checksum: Checksum,
        time_ns: u64,
        target: &str,
        max_words: usize,
    ) -> Self {
        let room = (max_words.min(MAX_RECORD_WORDS) - 1) * 8;
        let target = cut(target, MAX_TARGET.min(room));
        let room = MAX_TEXT.min(room - target.len());
        let (tail, tail_bits, target_len, text_len) = (0, 0, target.len(), 0);
        let mut draft = Self { words, checksum, tail, tail_bits, target_len, text_len, room, truncated: false };
        draft.push(time_ns);
        draft.append(target.as_bytes());
        draft
    }

    /// Notes that the text is not all that was to be said.
    pub(super) fn truncate(&mut self) {
        self.truncated = true;
    }

    /// The record's data words, its meta word's contents, and the checksum of the data.
    #[inline]
    pub(super) fn finish(mut self, cpu: u16, level: Level) -> (&'d [u64], Meta, Checksum) {
        if self.tail_bits > 0 {
            self.push(self.tail);
        }
        let Self { target_len, text_len, truncated, .. } = self;
        (self.words, Meta { text_len, target_len, level, truncated, cpu }, self.checksum)
    }

    #[inline(always)]
    fn push(&mut self, word: u64) {
        // Never full: `room` was computed from the capacity.
        if self.words.try_push(word).is_ok() {
            self.checksum.push(word);
        }
    }

    #[inline(always)]
    fn append(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.append_bits(u64::from_le_bytes(*word), 64);
        }
        self.append_bits(few(rest), rest.len() as u32 * 8);
    }

    /// Appends the lowest `bits` bits of a word, of which all others are zero.
    #[inline(always)]
    fn append_bits(&mut self, word: u64, bits: u32) {
        let joined = self.tail | word << self.tail_bits;
        let all = self.tail_bits + bits;
        if all < 64 {
            (self.tail, self.tail_bits) = (joined, all);
        } else {
            self.push(joined);
            // Shifted by 64 - tail_bits, which may be 64.
            self.tail = word >> 1 >> (63 - self.tail_bits);
            self.tail_bits = all - 64;
        }
    }
}

impl fmt::Write for Draft<'_> {
    /// Fails once the text is truncated, so that whoever is formatting something huge may stop.
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fitting = if text.len() <= self.room { text } else { cut(text, self.room) };
        self.append(fitting.as_bytes());
        self.text_len += fitting.len();
        self.room -= fitting.len();
        if fitting.len() < text.len() {
            // Nothing more, even if it would fit where this character did not.
            self.room = 0;
            self.truncated = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// Up to seven bytes as the lowest bytes of a word.
#[inline(always)]
fn few(bytes: &[u8]) -> u64 {
    let shift = bytes.len() as u32 * 8;
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // Four to seven, by two pieces that overlap and agree where they do.
        u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (shift - 32)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        u64::from(u16::from_le_bytes(*first)) | u64::from(u16::from_le_bytes(*last)) << (shift - 16)
    } else {
        u64::from(bytes.first().copied().unwrap_or(0))
    }
}

/// The longest beginning of a string that has at most `room` bytes.
fn cut(text: &str, room: usize) -> &str {
    text.get(..text.floor_char_boundary(room)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::fmt::Write;
    use std::vec::Vec;

    #[test]
    fn pieces_of_any_length_are_packed_as_one() {
        let text: Vec<u8> = (b' '..b'~').cycle().take(300).collect();
        let text = str::from_utf8(&text).unwrap();
        for target_len in 0..20 {
            for piece in 1..30 {
                let mut words = ArrayVec::new();
                let mut draft = Draft::begin(&mut words, Checksum::new(5), 99, &text[..target_len], usize::MAX);
                for piece in text.as_bytes().chunks(piece) {
                    draft.write_str(str::from_utf8(piece).unwrap()).unwrap();
                }
                let (words, meta, checksum) = draft.finish(1, Level::Warn);
                assert_eq!((words.len(), words[0]), (meta.record_words(), 99));
                assert_eq!((meta.target_len, meta.text_len, meta.truncated), (target_len, 300, false));
                assert_eq!(checksum.finish(), Checksum::of(5, words));
                let bytes: Vec<u8> = words[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
                let (bytes, fill) = bytes.split_at(target_len + 300);
                assert_eq!(bytes, [&text[..target_len], text].concat().as_bytes());
                assert!(fill.len() < 8 && fill.iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_at_a_character_and_marked() {
        for len in [MAX_TEXT - 1, MAX_TEXT, MAX_TEXT + 1] {
            let mut words = ArrayVec::new();
            let mut draft = Draft::begin(&mut words, Checksum::new(0), 0, "é".repeat(40).as_str(), usize::MAX);
            draft.write_str(&"x".repeat(len - 1)).unwrap();
            let fits = len < MAX_TEXT;
            assert_eq!(draft.write_str("ß").is_ok(), fits);
            // Nothing is added after the cut, whether it would fit or not.
            assert!(draft.write_str("y").is_err());
            let (words, meta, _) = draft.finish(0, Level::Info);
            assert_eq!((meta.target_len, meta.truncated), (MAX_TARGET, true));
            assert_eq!(meta.text_len, len - 1 + if fits { 2 } else { 0 });
            assert!(words.len() <= MAX_RECORD_WORDS);
        }
    }
}
