//! A place in the log's text, from which the text can be made again.

/// A place in the log's text: everything that is needed to make the text from here on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// The line that the next byte belongs to.
    pub(super) line: LineKind,
    /// Bytes of that line before this point.
    pub(super) skip: u32,
    /// What that line says, for marks: the number in it.
    pub(super) value: u64,
    /// The time of the last record before this line, which is that of marks.
    pub(super) time_ns: u64,
    /// The record that comes next: for [`LineKind::Record`] the line's own.
    pub(super) sequence: u64,
    /// Every record before this one is dealt with in the text before this point.
    pub(super) complete: u64,
    /// What has yet to be said.
    pub(super) due: Due,
}

/// Lines that are yet to come, besides records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// A line feed, before anything else: the line before was left unfinished.
    pub(super) feed: bool,
    /// The boot line.
    pub(super) boot: bool,
    /// The tile line.
    pub(super) tile: bool,
    /// The crash record.
    pub(super) trailer: bool,
}

/// What a line is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum LineKind {
    /// Not chosen yet: the point lies between two lines.
    Between = 0,
    /// The boot line.
    Boot = 1,
    /// The tile line.
    Tile = 2,
    /// `*** n lines lost ***`
    Lost = 3,
    /// `*** record n was never finished ***`
    Unfinished = 4,
    /// A record of the ring.
    Record = 5,
    /// The crash record, all of it.
    Trailer = 6,
}

impl LineKind {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        use LineKind::{Between, Boot, Lost, Record, Tile, Trailer, Unfinished};
        [Between, Boot, Tile, Lost, Unfinished, Record, Trailer].get(usize::from(number)).copied()
    }
}

impl Point {
    /// The beginning of a boot's log: nothing is written yet.
    pub(super) const START: Self = Self {
        line: LineKind::Between,
        skip: 0,
        value: 0,
        time_ns: 0,
        sequence: 0,
        complete: 0,
        due: Due { feed: false, boot: true, tile: true, trailer: false },
    };

    /// The point so many bytes further on in the same line.
    #[must_use]
    pub(super) fn further(&self, bytes: usize) -> Self {
        Self { skip: self.skip.saturating_add(bytes as u32), ..*self }
    }

    /// The beginning of the line that this point lies in, on a line of its own.
    #[must_use]
    pub(super) fn restart(&self) -> Self {
        let feed = self.due.feed || self.skip > 0;
        let mut due = Due { feed, ..self.due };
        let line = match self.line {
            LineKind::Boot => {
                due.boot = true;
                LineKind::Between
            }
            LineKind::Tile => {
                due.tile = true;
                LineKind::Between
            }
            LineKind::Trailer => {
                due.trailer = true;
                LineKind::Between
            }
            LineKind::Between | LineKind::Record => LineKind::Between,
            mark @ (LineKind::Lost | LineKind::Unfinished) => mark,
        };
        Self { line, skip: 0, due, ..*self }
    }
}
