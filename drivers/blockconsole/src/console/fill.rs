//! The buffer that is being filled, and where its text comes from.

use super::point::Point;
use super::source::{Feed, Source};
use crate::format::{HEADER_LEN, Header, pad};

/// The buffer that is being filled: the bytes of a tile from [`base`](Self::base) on.
///
/// ```text
///   base               mark           base + len
///    ▼                  ▼              ▼
///    ├─ block ─┼─ block ┼─ text ───────┤
///    └ on disk ┘
///      (clean)
/// ```
pub(super) struct Fill<B> {
    pub(super) buffer: B,
    /// Where in the tile it begins: at a block.
    pub(super) base: u32,
    /// Bytes of it that are filled.
    pub(super) len: usize,
    /// Bytes of it that are on the disk already, with a pad behind them: less than a block.
    pub(super) clean: usize,
    /// Records that are dealt with in those bytes.
    pub(super) clean_complete: u64,
    /// Where its first byte of text comes from.
    pub(super) start: Point,
    /// The last border between blocks that text has reached.
    pub(super) mark: Mark,
    /// When the oldest text came in that is not on the disk.
    pub(super) oldest_ns: Option<u64>,
}

/// A border between blocks.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// Bytes from the buffer's beginning.
    pub(super) at: usize,
    /// Where the text behind it comes from.
    pub(super) point: Point,
    /// When it was reached: the text behind it is not older.
    pub(super) reached_ns: u64,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Fill<B> {
    /// Begins to fill a buffer; at a tile's beginning, with its header.
    pub(super) fn open(mut buffer: B, base: u32, header: &Header, start: Point, now_ns: u64) -> Self {
        let mut len = 0;
        if base == 0
            && let Some(place) = buffer.as_mut().get_mut(..HEADER_LEN)
        {
            place.copy_from_slice(&header.encode());
            len = HEADER_LEN;
        }
        let mark = Mark { at: 0, point: start, reached_ns: now_ns };
        Self { buffer, base, len, clean: 0, clean_complete: 0, start, mark, oldest_ns: None }
    }

    /// Fills in text until `capacity` bytes are full, which is at most the buffer's length. `false` if there is no more text.
    pub(super) fn fill(&mut self, source: &mut Source, feed: &Feed<'_>, capacity: usize, block: usize) -> bool {
        while self.len < capacity {
            let Some(room) = self.buffer.as_mut().get_mut(self.len..capacity) else { return false };
            let poured = source.pour(feed, room);
            if poured == 0 {
                return false;
            }
            self.oldest_ns.get_or_insert(feed.now_ns);
            let end = self.len + poured;
            let border = end / block * block;
            if border > self.len {
                let point =
                    if border == end { source.point() } else { source.poured_from().further(border - self.len) };
                self.mark = Mark { at: border, point, reached_ns: feed.now_ns };
            }
            self.len = end;
        }
        true
    }

    /// Whether there is text that is not on the disk.
    pub(super) fn has_news(&self) -> bool {
        self.len > self.clean && self.oldest_ns.is_some()
    }

    /// Cuts off what follows the last border: whole blocks remain. `next` takes the rest over; it is needed if there is any.
    ///
    /// Gives the rest back as a new fill, and `self` as what is to be written.
    pub(super) fn split(self, next: Option<B>) -> (Self, Option<Self>) {
        let border = self.mark.at;
        let rest = next.map(|buffer| self.rest(buffer, border, 0, 0, Some(self.mark.reached_ns)));
        (Self { len: border, ..self }, rest)
    }

    /// Fills the last block up with a pad. `next` takes over the text of that block, so that it can be written again with
    /// more text behind it: every byte that is on the disk then stays what and where it is.
    pub(super) fn pad(mut self, next: Option<B>, block: usize, complete: u64) -> (Self, Option<Self>) {
        let border = self.mark.at;
        let clean = self.len - border;
        let rest = next.map(|buffer| self.rest(buffer, border, clean, complete, None));
        let end = self.len.next_multiple_of(block);
        if let Some(bytes) = self.buffer.as_mut().get_mut(self.len..end) {
            pad(bytes);
            self.len = end;
        }
        (self, rest)
    }

    fn rest(&self, mut buffer: B, border: usize, clean: usize, complete: u64, oldest_ns: Option<u64>) -> Self {
        let text = self.buffer.as_ref().get(border..self.len).unwrap_or_default();
        let mut len = 0;
        if let Some(place) = buffer.as_mut().get_mut(..text.len()) {
            place.copy_from_slice(text);
            len = text.len();
        }
        let mark = Mark { at: 0, ..self.mark };
        let base = self.base + border as u32;
        Self { buffer, base, len, clean, clean_complete: complete, start: self.mark.point, mark, oldest_ns }
    }
}
