//! Texts that prove what they are: whose, which, how long, and every byte.
#![allow(dead_code, reason = "each test program uses its own part of this")]

/// A generator of numbers that look random and depend on the seed alone (SplitMix64).
#[derive(Clone)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What a text proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Proof {
    pub(crate) seed: u64,
    pub(crate) writer: u64,
    pub(crate) index: u64,
    pub(crate) len: usize,
}

impl Proof {
    /// The text. `len` counts what follows the colon.
    pub(crate) fn text(&self) -> String {
        let Self { seed, writer, index, len } = *self;
        let mut numbers = Numbers(seed ^ writer << 48 ^ index << 8 ^ len as u64);
        let mut text = format!("{seed:x} {writer} {index} {len}:");
        text.extend((0..len).map(|_| char::from(b'!' + numbers.below(94) as u8)));
        text
    }

    /// Checks a text that was read, which is only the beginning if it was truncated.
    pub(crate) fn check(text: &str, truncated: bool) -> Result<Self, String> {
        let complaint = || format!("not whole: {text:?}");
        let (words, _) = text.split_once(':').ok_or_else(complaint)?;
        let words: Vec<&str> = words.split(' ').collect();
        let [seed, writer, index, len] = words[..] else { return Err(complaint()) };
        let proof = Self {
            seed: u64::from_str_radix(seed, 16).map_err(|_| complaint())?,
            writer: writer.parse().map_err(|_| complaint())?,
            index: index.parse().map_err(|_| complaint())?,
            len: len.parse().map_err(|_| complaint())?,
        };
        let expected = proof.text();
        let whole =
            if truncated { expected.len() > text.len() && expected.starts_with(text) } else { expected == text };
        if whole { Ok(proof) } else { Err(complaint()) }
    }
}

#[test]
fn a_changed_text_is_found_out() {
    let proof = Proof { seed: 77, writer: 3, index: 1234, len: 50 };
    let text = proof.text();
    assert_eq!(Proof::check(&text, false), Ok(proof));
    for i in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[i] ^= 1;
        assert!(Proof::check(str::from_utf8(&bytes).unwrap(), false) != Ok(proof), "byte {i}");
        assert!(Proof::check(&text[..i], false).is_err(), "{i} bytes");
    }
    // The beginning of one text and the end of another.
    let other = Proof { index: 1235, ..proof }.text();
    assert!(Proof::check(&[&text[..40], &other[40..]].concat(), false).is_err());
}
