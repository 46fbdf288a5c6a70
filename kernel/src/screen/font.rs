//! The glyphs: Spleen 8x16, the printable ASCII characters of it.

/// Pixels of a glyph.
pub(super) const WIDTH: usize = 8;
/// Rows of a glyph.
pub(super) const HEIGHT: usize = 16;

/// Characters from space to tilde, and one that stands for all others.
const FIRST: usize = b' ' as usize;
const COUNT: usize = 96;

/// A row is a byte, whose highest bit is the leftmost pixel. Copied from the font's file at compile time, so that the rest
/// of the file is not linked.
static GLYPHS: [[u8; HEIGHT]; COUNT] = {
    const FILE: &[u8] = spleen_font::FONT_8X16;
    // PC Screen Font, version 1: two bytes that tell it, a mode, the height of a glyph; then the glyphs, in the order
    // of code page 437, which has ASCII where it belongs.
    assert!(FILE[0] == 0x36 && FILE[1] == 0x04 && FILE[3] as usize == HEIGHT);
    let mut glyphs = [[0; HEIGHT]; COUNT];
    let mut at = 0;
    while at < COUNT * HEIGHT {
        glyphs[at / HEIGHT][at % HEIGHT] = FILE[4 + FIRST * HEIGHT + at];
        at += 1;
    }
    // What stands for all others: a box.
    glyphs[COUNT - 1] = [0, 0, 0, 0x7E, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x7E, 0, 0, 0, 0];
    glyphs
};

/// The rows of a character's glyph, from the top.
pub(super) fn glyph(character: u8) -> &'static [u8; HEIGHT] {
    let index = usize::from(character).checked_sub(FIRST).filter(|index| *index < COUNT);
    &GLYPHS[index.unwrap_or(COUNT - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_is_where_it_belongs() {
        assert_eq!(glyph(b' '), &[0; HEIGHT]);
        // A bar is the same in most of its rows, an underscore has one line at the bottom, a hyphen one in the middle.
        let bar = glyph(b'|');
        assert!(bar[4] != 0 && bar[4..11].iter().all(|row| *row == bar[4]));
        let lines = |character| glyph(character).iter().filter(|row| **row != 0).count();
        assert!(lines(b'_') <= 2 && lines(b'-') <= 2 && lines(b'A') >= 8);
        assert!(glyph(b'_')[12..].iter().any(|row| *row != 0));
        for character in b'!'..b'~' {
            assert_ne!(glyph(character), glyph(character + 1));
            assert_ne!(glyph(character), glyph(0));
        }
        assert_eq!(glyph(0), glyph(0xFF));
    }
}
