//! What goes wrong.

use block::ErrorKind;
use std::ops::Range;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A read.
    Read,
    /// A write from a buffer.
    Write,
    /// A write-zeroes.
    WriteZeroes,
    /// A flush.
    Flush,
}

/// What happens to a request that a fault applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It fails, and nothing was done.
    Fail(ErrorKind),
    /// A write fails after so many blocks were written.
    FailAfter(ErrorKind, u32),
    /// It takes so many polls more.
    Delay(u32),
    /// It never completes, until a reset.
    Hang,
    /// A flush says that it is done, and is not.
    Lie,
    /// A flush fails, and what it was to make durable is gone, so that the next one succeeds without it: as with hosts that
    /// report an error of their disk once, and drop the pages that they could not write.
    Forget(ErrorKind),
}

/// Something that goes wrong: which requests, and what happens to them.
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    kind: Option<Kind>,
    blocks: Option<Range<u64>>,
    skip: u64,
    times: u64,
}

impl Fault {
    /// Every request.
    pub fn new(effect: Effect) -> Self {
        Self { effect, kind: None, blocks: None, skip: 0, times: u64::MAX }
    }

    /// Only requests of this kind.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only requests that touch these blocks.
    #[must_use]
    pub fn blocks(mut self, blocks: Range<u64>) -> Self {
        self.blocks = Some(blocks);
        self
    }

    /// Not the first so many.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Only so many.
    #[must_use]
    pub fn times(mut self, requests: u64) -> Self {
        self.times = requests;
        self
    }

    pub(crate) fn arm(self) -> Armed {
        Armed { fault: self, seen: 0 }
    }
}

/// A fault that counts.
pub(crate) struct Armed {
    fault: Fault,
    seen: u64,
}

impl Armed {
    /// What happens to this request.
    pub(crate) fn apply(&mut self, kind: Kind, blocks: &Range<u64>) -> Option<Effect> {
        let Fault { effect, kind: of, blocks: within, skip, times } = &self.fault;
        let is_kind = of.is_none_or(|of| of == kind);
        let is_there = within.as_ref().is_none_or(|within| within.start < blocks.end && blocks.start < within.end);
        if !is_kind || !is_there {
            return None;
        }
        let number = self.seen;
        self.seen += 1;
        (number >= *skip && number - skip < *times).then_some(*effect)
    }
}
