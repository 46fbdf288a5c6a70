//! A tile's text: without header, pads, and what was never written.

/// The least unit that is written, and that a pad ends with.
pub(crate) const SECTOR: usize = 512;

/// Where a piece's text lies in its buffer, after [`clean`] has drawn it together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether the text ends with the end of a line. A text that does not goes on in the next piece.
    pub(crate) ends_line: bool,
}

/// Draws the text of some sectors together, in place.
///
/// - A sector's end that consists of spaces and a newline is a pad; the spaces may begin in sectors before. It becomes
///   nothing after the end of a line, and a newline elsewhere.
/// - NUL bytes were never written. They become nothing; a line that they cut short gets its newline.
///
/// `from` is where the text begins: after the header, or at a sector up to which it was taken before. `in_line` says whether
/// it begins in the middle of a line. Where there is nothing to leave out, which is the usual
/// case, the bytes are only looked at.
pub(crate) fn clean(bytes: &mut [u8], from: usize, in_line: bool) -> Text {
    let mut draft = Draft { bytes, start: from, end: from, in_line };
    let mut at = from;
    while at < draft.bytes.len() {
        let rest = &draft.bytes[at..];
        let written = memchr::memchr(0, rest).unwrap_or(rest.len());
        draft.take_written(at, at + written);
        at += written;
        let nuls = leading_nuls(&draft.bytes[at..]);
        if nuls > 0 {
            draft.end_line();
            at += nuls;
        }
    }
    Text { start: draft.start, end: draft.end, ends_line: draft.ends_line() }
}

/// How many NUL bytes stand at the beginning; large steps, since it may be a whole piece.
fn leading_nuls(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<64>();
    let skipped = 64 * chunks.iter().take_while(|chunk| **chunk == [0; 64]).count();
    skipped + bytes[skipped..].iter().take_while(|&&byte| byte == 0).count()
}

/// What of the beginning has been drawn together.
struct Draft<'a> {
    bytes: &'a mut [u8],
    start: usize,
    end: usize,
    /// Whether the text before `start` ends in the middle of a line.
    in_line: bool,
}

impl Draft<'_> {
    /// Takes in the bytes from `from` to `to`, of which none is NUL.
    fn take_written(&mut self, from: usize, to: usize) {
        let mut taken = from;
        let mut sector_end = (from / SECTOR + 1) * SECTOR;
        while sector_end <= to {
            if self.bytes[sector_end - 1] == b'\n' && matches!(self.bytes[sector_end - 2], b' ' | b'\n') {
                self.copy(taken, sector_end - 1);
                while self.end > self.start && self.bytes[self.end - 1] == b' ' {
                    self.end -= 1;
                }
                self.end_line();
                taken = sector_end;
            }
            sector_end += SECTOR;
        }
        self.copy(taken, to);
    }

    fn copy(&mut self, from: usize, to: usize) {
        if from != self.end {
            self.bytes.copy_within(from..to, self.end);
        }
        self.end += to - from;
    }

    fn ends_line(&self) -> bool {
        if self.end > self.start { self.bytes[self.end - 1] == b'\n' } else { !self.in_line }
    }

    /// Ends the line, unless it is at an end. There is room: this takes the place of at least one byte that was left out.
    fn end_line(&mut self) {
        if !self.ends_line() {
            self.bytes[self.end] = b'\n';
            self.end += 1;
        }
    }
}
