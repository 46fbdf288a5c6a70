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

/// Where text stood before it was drawn together: runs of it, by where they stand now and where they stood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moves(Vec<(usize, usize)>);

impl Moves {
    /// Where the byte stood that is at this place of the buffer now. What was put in to end a line counts as standing where
    /// that line's text ended.
    pub(crate) fn source(&self, at: usize) -> usize {
        let after = self.0.partition_point(|&(to, _)| to <= at);
        let last = after.checked_sub(1).and_then(|index| self.0.get(index));
        last.map_or(at, |&(to, from)| from + (at - to))
    }

    fn push(&mut self, to: usize, from: usize) {
        while self.0.pop_if(|&mut (later, _)| later >= to).is_some() {}
        self.0.push((to, from));
    }
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
pub(crate) fn clean(bytes: &mut [u8], from: usize, in_line: bool, moves: &mut Moves) -> Text {
    moves.0.clear();
    let mut draft = Draft { bytes, start: from, end: from, in_line, moves };
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
    moves: &'a mut Moves,
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
        if from != self.end && to > from {
            self.moves.push(self.end, from);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_known_to_end_where_it_did() {
        let mut bytes = vec![0; 8 * SECTOR];
        for (at, text) in [(0, "one\ntwo\n"), (SECTOR, "three"), (2 * SECTOR, "four\n"), (4 * SECTOR, "five\n\nsix\n")]
        {
            bytes[at..at + SECTOR - 1].fill(b' ');
            bytes[at + SECTOR - 1] = b'\n';
            bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        let before = bytes.clone();
        let mut moves = Moves::default();
        let Text { start, end, .. } = clean(&mut bytes, 0, false, &mut moves);
        let text = &bytes[start..end];
        assert_eq!(text, b"one\ntwo\nthree\nfour\nfive\n\nsix\n");
        for (at, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            let source = moves.source(start + at);
            assert!(matches!(before[source], b'\n' | b' '), "at {at}");
            assert!(at == 0 || text[at - 1] == b'\n' || before[source - 1] == text[at - 1], "at {at}");
        }
    }
}
