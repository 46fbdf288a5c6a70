//! What a console is told at its beginning.

use crate::marks::BootFacts;
use crate::place::Place;
use core::fmt;

/// What a console is told at its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The console's number among those of its device, from 0 to 254: it stands in the tags of its requests.
    pub index: u8,
    /// The name of its device, for messages.
    pub name: Name,
    /// Where it lies.
    pub place: Place,
    /// The uuid that must be there; `None` for any.
    pub expected: Option<u32>,
    /// What the boot line says.
    pub facts: BootFacts<'a>,
    /// Nanoseconds after which text is written even if it does not fill a block, counted from the oldest of it.
    pub pad_ns: u64,
}

/// The default of [`Config::pad_ns`]: one second.
pub const PAD_NS: u64 = 1_000_000_000;

/// A device's name: text without control characters, cut to 31 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; 31],
    len: u8,
}

impl Name {
    /// Takes a name over.
    pub fn new(name: &str) -> Self {
        let mut own = Self { bytes: [0; 31], len: 0 };
        for c in name.chars().map(|c| if c.is_control() { '?' } else { c }) {
            let end = usize::from(own.len) + c.len_utf8();
            let Some(place) = own.bytes.get_mut(usize::from(own.len)..end) else { break };
            c.encode_utf8(place);
            own.len = end as u8;
        }
        own
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// As it stands in a [target](super::target).
    pub(super) fn to_words(self) -> [u64; 4] {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.bytes.iter().chain([&self.len])) {
            *to = *from;
        }
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }

    pub(super) fn from_words(words: [u64; 4]) -> Self {
        let mut bytes = [0; 32];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        let len = usize::from(bytes[31]);
        Self::new(bytes.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters_and_survive_as_words() {
        for (given, expected) in [
            ("", ""),
            ("vda", "vda"),
            ("nvme0n1p\n2", "nvme0n1p?2"),
            ("0123456789012345678901234567890123", "0123456789012345678901234567890"),
            ("012345678901234567890123456789ö", "012345678901234567890123456789"),
        ] {
            let name = Name::new(given);
            assert_eq!(name.as_str(), expected);
            assert_eq!(Name::from_words(name.to_words()), name);
        }
        assert_eq!(Name::from_words([u64::MAX; 4]).as_str(), "");
    }
}
