//! All that was done to a medium, and what a power cut could leave of it.
//!
//! A write becomes *pending* when it is submitted: from then on it may be on the medium, in whole, in part, or not at all. It
//! becomes *durable* when a flush succeeds that was submitted after the write had completed; on a disk without a
//! volatile cache, when it completes. A cut leaves everything durable, and of what is pending any subset, each of it whole or
//! torn between blocks (a block itself is never torn). Where two pending writes overlap, the later one wins if both are there.

use crate::medium::Medium;
use std::sync::Arc;

/// Something that happened to the medium.
#[derive(Clone, Debug)]
pub enum Event {
    /// A write was submitted. Write-zeroes are writes of zeroes.
    Submitted(Pending),
    /// The write with this id completed; it may have failed, and is pending all the same.
    Completed(u64),
    /// A write was made void by a reset: as much of it as is on the medium by now stays.
    Void {
        /// Its number.
        id: u64,
        /// How many of its first blocks are on the medium.
        blocks: usize,
    },
    /// A flush succeeded that was submitted when so many events had happened.
    Flushed(usize),
    /// What had completed and was not durable is gone.
    Forgotten,
}

/// A write that may or may not be on the medium.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its number.
    pub id: u64,
    /// Its first block.
    pub first_block: u64,
    /// Its blocks.
    pub blocks: Vec<Arc<[u8]>>,
    /// Completed, when so many events had happened.
    completed: Option<usize>,
}

impl Pending {
    pub(crate) fn new(id: u64, first_block: u64, blocks: Vec<Arc<[u8]>>) -> Self {
        Self { id, first_block, blocks, completed: None }
    }

    /// Puts the blocks that `choose` picks, by their index in the write, on a medium.
    pub fn apply(&self, medium: &mut Medium, choose: impl Fn(usize) -> bool) {
        for (i, block) in self.blocks.iter().enumerate().filter(|(i, _)| choose(*i)) {
            medium.set_block(self.first_block + i as u64, block.clone());
        }
    }
}

/// All that was done to a medium.
#[derive(Clone, Debug)]
pub struct History {
    start: Medium,
    events: Vec<Event>,
    /// Whether completed means durable.
    pub(crate) is_write_through: bool,
}

impl History {
    pub(crate) fn new(start: Medium) -> Self {
        Self { start, events: Vec::new(), is_write_through: false }
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The number of events: a cut may come before each of them, and after the last.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether a completed write is durable without a flush.
    pub fn is_write_through(&self) -> bool {
        self.is_write_through
    }

    /// The events in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What is durable at the end of it.
    pub fn durable(&self) -> Medium {
        let mut walk = self.walk();
        while walk.step() {}
        walk.durable
    }

    /// Goes through the history from the beginning: see [`Walk`].
    pub fn walk(&self) -> Walk<'_> {
        Walk { history: self, at: 0, durable: self.start.clone(), pending: Vec::new() }
    }

    /// What a cut after `cut` events leaves, if of the pending writes each block is there that `choose` picks, by the write's
    /// index among the pending ones and the block's index in the write.
    pub fn image_after(&self, cut: usize, choose: impl Fn(usize, usize) -> bool) -> Medium {
        let mut walk = self.walk();
        while walk.at() < cut && walk.step() {}
        walk.image(choose)
    }
}

/// A walk through a history, from one possible power cut to the next.
pub struct Walk<'h> {
    history: &'h History,
    at: usize,
    durable: Medium,
    pending: Vec<Pending>,
}

impl Walk<'_> {
    /// How many events have happened.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Lets one more event happen; `false` if that was all of them.
    pub fn step(&mut self) -> bool {
        let Some(event) = self.history.events.get(self.at) else { return false };
        match event {
            Event::Submitted(write) => self.pending.push(write.clone()),
            Event::Completed(id) => self.complete(*id, usize::MAX),
            Event::Void { id, blocks } => self.complete(*id, *blocks),
            Event::Flushed(submitted) => self.settle(*submitted),
            Event::Forgotten => self.pending.retain(|write| write.completed.is_none()),
        }
        self.at += 1;
        true
    }

    fn complete(&mut self, id: u64, blocks: usize) {
        for write in self.pending.iter_mut().filter(|write| write.id == id) {
            write.completed = Some(self.at);
            write.blocks.truncate(blocks);
        }
        if self.history.is_write_through {
            self.settle(usize::MAX);
        }
    }

    /// Makes durable what had completed by then.
    fn settle(&mut self, by: usize) {
        let durable = &mut self.durable;
        self.pending.retain(|write| {
            let is_durable = write.completed.is_some_and(|completed| completed < by);
            if is_durable {
                write.apply(durable, |_| true);
            }
            !is_durable
        });
    }

    /// What is there for certain.
    pub fn durable(&self) -> &Medium {
        &self.durable
    }

    /// What may be there besides, in the order in which it was submitted.
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// What a cut at this moment leaves: see [`History::image_after`].
    pub fn image(&self, choose: impl Fn(usize, usize) -> bool) -> Medium {
        let mut image = self.durable.clone();
        for (i, write) in self.pending.iter().enumerate() {
            write.apply(&mut image, |block| choose(i, block));
        }
        image
    }
}
