//! Numbers and texts out of bytes that others made.

use core::fmt;

/// A little-endian number of up to eight bytes; `None` beyond the end.
pub(super) fn number(bytes: &[u8], offset: usize, len: usize) -> Option<u64> {
    let mut word = [0; 8];
    word.get_mut(..len)?.copy_from_slice(bytes.get(offset..offset.checked_add(len)?)?);
    Some(u64::from_le_bytes(word))
}

/// Whether the bytes add up to 0, as firmware's tables must.
pub(super) fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

/// Text that others made: without padding, quoted, and whatever is not printable ASCII as a dot.
pub(super) struct Quoted<'a>(pub(super) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = self.0.get(..end).unwrap_or_default().trim_ascii();
        f.write_str("\"")?;
        for &byte in text {
            let shown = match byte {
                b'"' | b'\\' => '\'',
                b' '..=b'~' => char::from(byte),
                _ => '.',
            };
            fmt::Write::write_char(f, shown)?;
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn numbers_end_where_the_bytes_do() {
        let bytes = [1, 2, 3, 4, 5];
        assert_eq!(number(&bytes, 1, 2), Some(0x0302));
        assert_eq!(number(&bytes, 4, 2), None);
        assert_eq!(number(&bytes, usize::MAX, 2), None);
        assert_eq!(number(&bytes, 0, 9), None);
    }

    #[test]
    fn texts_are_harmless() {
        assert_eq!(Quoted(b"  a \"b\"\x1b[31m\xFF \0 rest").to_string(), "\"a 'b'.[31m.\"");
        assert_eq!(Quoted(b"").to_string(), "\"\"");
    }
}
