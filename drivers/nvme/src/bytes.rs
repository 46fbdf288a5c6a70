//! Little-endian words and padded text out of what a device wrote.

use core::fmt;

/// `N` bytes at `offset`; zeroes where there are none.
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let found = offset.checked_add(N).and_then(|end| bytes.get(offset..end));
    found.and_then(|slice| slice.try_into().ok()).unwrap_or([0; N])
}

/// 8 bits at `offset`.
pub(crate) fn le8(bytes: &[u8], offset: usize) -> u8 {
    array::<1>(bytes, offset)[0]
}

/// 16 bits at `offset`.
pub(crate) fn le16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array(bytes, offset))
}

/// 32 bits at `offset`.
pub(crate) fn le32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array(bytes, offset))
}

/// 64 bits at `offset`.
pub(crate) fn le64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array(bytes, offset))
}

/// 128 bits at `offset`.
pub(crate) fn le128(bytes: &[u8], offset: usize) -> u128 {
    u128::from_le_bytes(array(bytes, offset))
}

/// Text that a device gave in a field of fixed length. Shown without its padding, and with
/// whatever is not printable ASCII as `?`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let padding = |byte: &u8| matches!(byte, b' ' | 0);
        let end = self.0.iter().rposition(|byte| !padding(byte)).map_or(0, |last| last + 1);
        let start = self.0.iter().position(|byte| !padding(byte)).unwrap_or(end);
        for byte in self.0.get(start..end).unwrap_or_default() {
            let shown = if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
            fmt::Write::write_char(f, shown)?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn text_loses_its_padding_and_cannot_harm_a_terminal() {
        assert_eq!(Text(*b"  ab c \0 ").to_string(), "ab c");
        assert_eq!(Text(*b"a\x1b[2J\xff").to_string(), "a?[2J?");
        assert_eq!(Text([0; 8]).to_string(), "");
        assert_eq!(Text(*b"        ").to_string(), "");
    }

    #[test]
    fn words_beyond_the_end_are_zero() {
        assert_eq!(le16(&[1, 2], 0), 0x0201);
        assert_eq!(le16(&[1, 2], 1), 0);
        assert_eq!(le64(&[1; 8], usize::MAX), 0);
        assert_eq!(le128(&[1; 16], 0), u128::from_le_bytes([1; 16]));
    }
}
