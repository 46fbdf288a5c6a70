//! Base45 (RFC 9285): bytes in the alphabet of a QR code's dense text mode.

/// Values 0 to 44.
const ALPHABET: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// Characters of so many bytes.
pub const fn encoded_len(bytes: usize) -> usize {
    bytes / 2 * 3 + bytes % 2 * 2
}

/// Most bytes of so many characters.
pub const fn decoded_len(characters: usize) -> usize {
    characters / 3 * 2 + characters % 3 / 2
}

/// Writes bytes as characters; returns how many, or `None` if `out` is too small.
pub fn encode(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let out = out.get_mut(..encoded_len(bytes.len()))?;
    for (pair, out) in bytes.chunks(2).zip(out.chunks_mut(3)) {
        let mut value = pair.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
        for out in out {
            *out = ALPHABET[value % 45];
            value /= 45;
        }
    }
    Some(encoded_len(bytes.len()))
}

/// Reads characters as bytes; returns how many, or `None` if this is not Base45 or `out` is too small.
pub fn decode(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = decoded_len(text.len());
    let out = out.get_mut(..len)?;
    for (group, out) in text.chunks(3).zip(out.chunks_mut(2)) {
        let value = group
            .iter()
            .rev()
            .try_fold(0, |value, character| Some(value * 45 + ALPHABET.iter().position(|known| known == character)?))?;
        if group.len() == 1 || value >> (8 * out.len()) != 0 {
            return None;
        }
        for (index, byte) in out.iter_mut().rev().enumerate() {
            *byte = (value >> (8 * index)) as u8;
        }
    }
    (text.len() % 3 != 1).then_some(len)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn to_text(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; encoded_len(bytes.len())];
        assert_eq!(encode(bytes, &mut out), Some(out.len()));
        out
    }

    #[test]
    fn the_published_examples_come_out() {
        // RFC 9285, 4.3 and 4.4.
        for (bytes, text) in
            [(&b"AB"[..], &b"BB8"[..]), (b"Hello!!", b"%69 VD92EX0"), (b"base-45", b"UJCLQE7W581"), (b"", b"")]
        {
            assert_eq!(to_text(bytes), text);
        }
        assert_eq!(decode(b"QED8WEX0", &mut [0; 4]), None);
        let mut out = [0; 5];
        assert_eq!(decode(b"QED8WEX0", &mut out), Some(5));
        assert_eq!(&out, b"ietf!");
    }

    #[test]
    fn what_no_bytes_give_is_refused() {
        // 65,536 in three characters, 256 in two, one character alone, a character that is none.
        for text in [&b"GGW"[..], b":::", b"::", b"A", b"ABCA", b"aBC", b"AB\n"] {
            assert_eq!(decode(text, &mut [0; 8]), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let text = to_text(&bytes);
            let mut out = vec![0; decoded_len(text.len())];
            prop_assert_eq!(decode(&text, &mut out), Some(bytes.len()));
            prop_assert_eq!(out, bytes);
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..50), room in 0..40_usize) {
            let _ = decode(&text, &mut vec![0; room]);
        }
    }
}
