//! The I/O queue pair and the requests that are in it.
//!
//! A request has a slot from its submission until its owner has taken its completion:
//!
//! ```text
//!   free ──► flying ──► done ──► free
//!              │  ▲
//!              ▼  │ the device failed it, and allows another try
//!            waiting
//! ```
//!
//! Only a flying request is with the device. A command id is the slot's number and a generation that grows with each
//! use, so that a second completion of the same command is told from the completion of the slot's next one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use block::{Completion, Error, ErrorKind, Request, Tag};
use platform::dma::PAGE_SIZE;
use platform::{DmaBuffer, Platform};

use crate::command::{self, List};
use crate::config::{MAX_DEPTH, Timeouts};
use crate::event::CommandName;
use crate::queue::QueuePair;
use crate::slots::Slots;
use crate::spec::{Command, sgl};
use crate::{checkpoint, prp};

/// Bits of a command id that are the slot's number.
const INDEX_BITS: u32 = MAX_DEPTH.trailing_zeros();
/// Generations: command ids stay below 8000h, far from FFFFh, which the error log uses for "none".
const GENERATIONS: u16 = (1 << (15 - INDEX_BITS)) - 1;

/// The I/O queue pair, its requests, and their PRP lists.
pub(crate) struct Io {
    queue: QueuePair,
    lists: DmaBuffer,
    list_bytes: usize,
    slots: Box<[Slot]>,
    free: Slots,
    flying: Slots,
    waiting: Slots,
    done: Slots,
    /// Buffers of requests that were given up without them.
    orphans: Vec<Orphan>,
    /// The controller has stopped since, so that they are ours again.
    are_orphans_free: bool,
    /// When the device last completed a command.
    last_progress: u64,
}

/// A buffer that a request was given up without.
struct Orphan {
    owner: usize,
    tag: Tag,
    buffer: DmaBuffer,
}

/// A place for a request.
struct Slot {
    generation: u16,
    owner: usize,
    tag: Tag,
    request: Option<Request<DmaBuffer>>,
    submitted: u64,
    issued: u64,
    retry_at: u64,
    attempts: u8,
    /// It was late at least once.
    overdue: bool,
    /// It was late, but the controller is alive: only its limit counts.
    spared: bool,
    /// Its data pointer is a scatter gather list descriptor.
    is_segment: bool,
    result: Result<(), Error>,
}

impl Io {
    /// Sets aside memory for the requests of a queue pair, `depth` at a time; `None` if there is not enough.
    pub(crate) fn new<P: Platform>(platform: &P, queue: QueuePair, depth: u16, max_transfer: u32) -> Option<Self> {
        // One entry of a queue always stays empty.
        let depth = depth.clamp(1, MAX_DEPTH).min(queue.entries().saturating_sub(1).max(1));
        let list_bytes = prp::list_bytes(max_transfer);
        let lists = (usize::from(depth) * list_bytes).next_multiple_of(PAGE_SIZE);
        Some(Self {
            queue,
            lists: platform.allocate_dma(lists, PAGE_SIZE)?,
            list_bytes,
            slots: (0..depth).map(|_| Slot::new()).collect(),
            free: Slots::first(depth),
            flying: Slots::NONE,
            waiting: Slots::NONE,
            done: Slots::NONE,
            orphans: Vec::with_capacity(depth.into()),
            are_orphans_free: false,
            last_progress: 0,
        })
    }

    /// The queue pair.
    pub(crate) const fn queue(&self) -> &QueuePair {
        &self.queue
    }

    /// The queue pair.
    pub(crate) const fn queue_mut(&mut self) -> &mut QueuePair {
        &mut self.queue
    }

    /// Whether the completion queue's entries should be given back.
    pub(crate) fn owes_room(&self) -> bool {
        self.queue.owes_room(self.depth())
    }

    /// Requests that can be in flight.
    pub(crate) fn depth(&self) -> u16 {
        self.slots.len() as u16
    }

    /// Requests that the device has.
    pub(crate) const fn flying(&self) -> Slots {
        self.flying
    }

    /// Whether no request is with the device or is going to be.
    pub(crate) const fn is_idle(&self) -> bool {
        self.flying.is_empty() && self.waiting.is_empty()
    }

    /// Whether requests wait to be tried again.
    pub(crate) const fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a slot for a request.
    ///
    /// # Errors
    /// Gives the request back when all slots are in use.
    pub(crate) fn take(
        &mut self,
        owner: usize,
        tag: Tag,
        request: Request<DmaBuffer>,
        now: u64,
    ) -> Result<usize, Request<DmaBuffer>> {
        let Some(index) = self.free.next() else { return Err(request) };
        let Some(slot) = self.slots.get_mut(index) else { return Err(request) };
        *slot = Slot {
            generation: slot.generation,
            owner,
            tag,
            request: Some(request),
            submitted: now,
            issued: now,
            retry_at: 0,
            attempts: 0,
            overdue: false,
            spared: false,
            is_segment: false,
            // Poison: a completion that was not set by an answer of the device is an error.
            result: Err(Error::new(ErrorKind::Protocol)),
        };
        Ok(index)
    }

    /// Takes a request out again that was not issued.
    pub(crate) fn untake(&mut self, index: usize) -> Option<Request<DmaBuffer>> {
        let request = self.slots.get_mut(index)?.request.take();
        self.free.insert(index);
        request
    }

    /// Makes the command of a slot, with its PRP list; `None` if its data cannot be described. With `segments`
    /// the device takes a scatter gather list instead.
    pub(crate) fn command(&mut self, index: usize, nsid: u32, block_size: u32, segments: bool) -> Option<Command> {
        let slot = self.slots.get_mut(index)?;
        slot.generation = (slot.generation + 1) & GENERATIONS;
        let base = Command { command_id: slot.generation << INDEX_BITS | index as u16, nsid, ..Command::default() };
        let list = List { memory: &mut self.lists, offset: index * self.list_bytes, room: self.list_bytes };
        let command = command::build(base, slot.request.as_ref()?, block_size, segments, list)?;
        slot.is_segment = command.flags & sgl::DATA_POINTER != 0;
        Some(command)
    }

    /// Hands a slot's command to the device.
    pub(crate) fn issue<P: Platform>(
        &mut self,
        platform: &P,
        registers: &P::Registers,
        index: usize,
        command: &Command,
        now: u64,
    ) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.issued = now;
        slot.attempts = slot.attempts.saturating_add(1);
        self.waiting.remove(index);
        // Flying from here on: what is interrupted below may or may not be known to the device.
        self.flying.insert(index);
        self.queue.push(platform, command, checkpoint::SUBMIT_ENTRY_HALF);
        platform.checkpoint(checkpoint::SUBMIT_BEFORE_DOORBELL);
        self.queue.ring(registers);
        platform.checkpoint(checkpoint::SUBMIT_AFTER_DOORBELL);
    }

    /// The flying request that a command id names.
    pub(crate) fn find(&self, command_id: u16) -> Option<usize> {
        let index = usize::from(command_id & ((1 << INDEX_BITS) - 1));
        let slot = self.slots.get(index)?;
        (self.flying.contains(index) && slot.generation == command_id >> INDEX_BITS).then_some(index)
    }

    /// The id of the command that a slot's request was last made as.
    pub(crate) fn command_id(&self, index: usize) -> Option<u16> {
        Some(self.slots.get(index)?.generation << INDEX_BITS | index as u16)
    }

    /// The device is alive: it has completed something.
    pub(crate) const fn note_progress(&mut self, now: u64) {
        self.last_progress = now;
    }

    /// Ends a request that the device is done with.
    pub(crate) fn finish(&mut self, index: usize, result: Result<(), Error>) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.result = result;
            self.flying.remove(index);
            self.waiting.remove(index);
            self.done.insert(index);
        }
    }

    /// Has a request that the device failed wait for another try.
    pub(crate) fn wait(&mut self, index: usize, retry_at: u64) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.retry_at = retry_at;
            self.flying.remove(index);
            self.waiting.insert(index);
        }
    }

    /// Requests whose time for another try has come.
    pub(crate) fn due(&self, now: u64) -> Slots {
        self.select(self.waiting, |slot| slot.retry_at <= now)
    }

    /// Flying requests that are late.
    pub(crate) fn late(&self, now: u64, timeouts: &Timeouts) -> Slots {
        self.select(self.flying, |slot| {
            let since = slot.issued.max(self.last_progress);
            let stalled = !slot.spared && now.saturating_sub(since) >= timeouts.progress_ns;
            stalled || slot.waited(now) >= timeouts.command_ns
        })
    }

    /// The result of a late request, should it be given up, is that it was late.
    pub(crate) fn mark_overdue(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.overdue = true;
        }
    }

    /// Those of these that were not spared before.
    pub(crate) fn not_spared(&self, among: Slots) -> Slots {
        self.select(among, |slot| !slot.spared)
    }

    /// Spares every flying request that was late.
    pub(crate) fn spare_overdue(&mut self) {
        for index in self.flying {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.spared = slot.overdue;
            }
        }
    }

    /// Gives every request up, after the controller was stopped: buffers go back.
    pub(crate) fn give_up(&mut self) {
        self.are_orphans_free = true;
        for index in self.flying.union(self.waiting) {
            let overdue = self.slots.get(index).is_some_and(|slot| slot.overdue);
            let kind = if overdue { ErrorKind::TimedOut } else { ErrorKind::Aborted };
            self.finish(index, Err(kind.into()));
        }
    }

    /// Gives every request up although the device may still be at it: it keeps the buffers of those that are flying, until
    /// [`reclaim`](Self::reclaim).
    pub(crate) fn abandon(&mut self, error: Error) {
        for index in self.flying {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let buffer = slot.request.take().and_then(Request::into_buffer);
            // Beyond the room that was set aside, which takes an owner that never asked for any, they are lost.
            if let Some(buffer) = buffer.filter(|_| self.orphans.len() < self.orphans.capacity()) {
                self.orphans.push(Orphan { owner: slot.owner, tag: slot.tag, buffer });
                self.are_orphans_free = false;
            }
        }
        for index in self.flying.union(self.waiting) {
            self.finish(index, Err(error));
        }
    }

    /// A buffer that a request of an owner's was given up without, and the request's tag, once the controller has been stopped.
    pub(crate) fn reclaim(&mut self, owner: usize) -> Option<(Tag, DmaBuffer)> {
        let index = self.orphans.iter().position(|orphan| orphan.owner == owner).filter(|_| self.are_orphans_free)?;
        let Orphan { tag, buffer, .. } = self.orphans.swap_remove(index);
        Some((tag, buffer))
    }

    /// Takes a completion of an owner's, if there is one.
    pub(crate) fn take_done(&mut self, owner: usize) -> Option<Completion<DmaBuffer>> {
        if self.done.is_empty() {
            return None;
        }
        let index = self.select(self.done, |slot| slot.owner == owner).next()?;
        let slot = self.slots.get_mut(index)?;
        let completion = Completion {
            tag: slot.tag,
            result: slot.result,
            buffer: slot.request.take().and_then(Request::into_buffer),
        };
        self.done.remove(index);
        self.free.insert(index);
        Some(completion)
    }

    /// The owner of a slot's request.
    pub(crate) fn owner(&self, index: usize) -> usize {
        self.slots.get(index).map_or(usize::MAX, |slot| slot.owner)
    }

    /// How often a slot's request was made.
    pub(crate) fn attempts(&self, index: usize) -> u8 {
        self.slots.get(index).map_or(0, |slot| slot.attempts)
    }

    /// Whether a slot's command has a scatter gather list.
    pub(crate) fn is_segment(&self, index: usize) -> bool {
        self.slots.get(index).is_some_and(|slot| slot.is_segment)
    }

    /// How long ago a slot's request was submitted.
    pub(crate) fn waited(&self, index: usize, now: u64) -> u64 {
        self.slots.get(index).map_or(0, |slot| slot.waited(now))
    }

    /// A slot's request in words.
    pub(crate) fn name(&self, index: usize, namespace: u32) -> CommandName {
        let request = self.slots.get(index).and_then(|slot| slot.request.as_ref());
        let (verb, first_block, blocks) = match request {
            Some(Request::Read { first_block, blocks, .. }) => ("read", *first_block, *blocks),
            Some(Request::Write { first_block, blocks, .. }) => ("write", *first_block, *blocks),
            Some(Request::WriteZeroes { first_block, blocks }) => ("write of zeroes", *first_block, *blocks),
            Some(Request::Flush) => ("flush", 0, 0),
            None => ("command", 0, 0),
        };
        CommandName { verb, namespace, first_block, blocks }
    }

    fn select(&self, among: Slots, wanted: impl Fn(&Slot) -> bool) -> Slots {
        let mut found = Slots::NONE;
        for index in among {
            if self.slots.get(index).is_some_and(&wanted) {
                found.insert(index);
            }
        }
        found
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            generation: 0,
            owner: usize::MAX,
            tag: Tag(0),
            request: None,
            submitted: 0,
            issued: 0,
            retry_at: 0,
            attempts: 0,
            overdue: false,
            spared: false,
            is_segment: false,
            result: Ok(()),
        }
    }

    const fn waited(&self, now: u64) -> u64 {
        now.saturating_sub(self.submitted)
    }
}
