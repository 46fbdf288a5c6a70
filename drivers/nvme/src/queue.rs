//! A submission queue and its completion queue (base 3.3.1).
//!
//! ```text
//!      tail ──► we write commands here, then ring the submission doorbell
//!   ┌──┬──┬──┬──┬──┬──┬──┬──┐ submission queue
//!   └──┴──┴──┴──┴──┴──┴──┴──┘
//!   ┌──┬──┬──┬──┬──┬──┬──┬──┐ completion queue
//!   └──┴──┴──┴──┴──┴──┴──┴──┘
//!      head ──► we read here, as long as the phase tag is ours, then ring the completion doorbell
//! ```
//!
//! The phase tag of new completions changes each time that the queue wraps, so no entry has
//! to be cleared between rounds. The last dword of an entry has the tag and is read first; a barrier
//! keeps the reads of the others after it.
//!
//! The submission queue's head is not tracked: the owner never has more commands in flight
//! than entries - 1, and a completed command's entry has been taken.
//!
//! A doorbell costs as much as a small request does on a virtual machine. So the completion doorbell, which only
//! gives room back, is rung when some room is due, not for each completion; see [`QueuePair::owes_room`].

use platform::dma::{PAGE_SIZE, barrier};
use platform::{DmaBuffer, Platform, Registers, SharedMemory};

use crate::spec::register::Capabilities;
use crate::spec::{Command, CompletionEntry};
use crate::watch::{Position, Progress, Watch};

/// A queue pair, with its memory.
pub(crate) struct QueuePair {
    id: u16,
    entries: u16,
    submissions: DmaBuffer,
    completions: SharedMemory,
    tail: u16,
    position: Position,
    progress: Progress,
    /// Entries before the head that were not given back yet.
    unacknowledged: u16,
    submission_doorbell: usize,
    completion_doorbell: usize,
}

impl QueuePair {
    /// Sets aside memory for a pair with `entries` entries on both sides; `None` if there is not enough.
    pub(crate) fn new<P: Platform>(platform: &P, id: u16, entries: u16, capabilities: Capabilities) -> Option<Self> {
        let bytes = |entry: usize| (usize::from(entries) * entry).next_multiple_of(PAGE_SIZE);
        let mut pair = Self {
            id,
            entries,
            submissions: platform.allocate_dma(bytes(size_of::<Command>()), PAGE_SIZE)?,
            completions: platform.allocate_dma(bytes(size_of::<CompletionEntry>()), PAGE_SIZE)?.into(),
            tail: 0,
            position: Position::START,
            progress: Progress::new(),
            unacknowledged: 0,
            submission_doorbell: capabilities.submission_doorbell(id),
            completion_doorbell: capabilities.completion_doorbell(id),
        };
        pair.clear();
        Some(pair)
    }

    /// Makes the pair as a controller expects a new one. Only while no controller knows of it.
    pub(crate) fn clear(&mut self) {
        (self.tail, self.position, self.unacknowledged) = (0, Position::START, 0);
        self.submissions.as_mut().fill(0);
        // Poison: all ones but for the phase tag. If only the tag gets written, what there is names no command of ours.
        for start in (0..self.completions.len()).step_by(size_of::<CompletionEntry>()) {
            self.completions.write::<u64>(start, u64::MAX);
            self.completions.write::<u32>(start + 8, u32::MAX);
            self.completions.write::<u32>(start + TAGGED, !CompletionEntry::PHASE);
        }
        self.progress.set(self.position);
    }

    /// A look at it, for somebody else.
    pub(crate) fn watch(&self) -> Watch {
        Watch::new(&self.progress, &self.completions, self.entries)
    }

    /// Gives the pair another id, and so other doorbells. Only while no controller knows of it.
    pub(crate) const fn rename(&mut self, id: u16, capabilities: Capabilities) {
        self.id = id;
        self.submission_doorbell = capabilities.submission_doorbell(id);
        self.completion_doorbell = capabilities.completion_doorbell(id);
    }

    /// Its queue id.
    pub(crate) const fn id(&self) -> u16 {
        self.id
    }

    /// Entries on each side.
    pub(crate) const fn entries(&self) -> u16 {
        self.entries
    }

    /// Where the controller finds the submission queue.
    pub(crate) const fn submission_address(&self) -> u64 {
        self.submissions.bus_address()
    }

    /// Where the controller finds the completion queue.
    pub(crate) const fn completion_address(&self) -> u64 {
        self.completions.bus_address()
    }

    /// Whether both doorbells lie within a register window.
    pub(crate) fn doorbells_fit(&self, registers: &impl Registers) -> bool {
        self.completion_doorbell.checked_add(4).is_some_and(|end| end <= registers.len())
    }

    /// Writes a command at the tail. The controller does not look before [`Self::ring`].
    pub(crate) fn push<P: Platform>(&mut self, platform: &P, command: &Command, half: &'static str) {
        let start = usize::from(self.tail) * size_of::<Command>();
        for (index, word) in command.words().into_iter().enumerate() {
            if index == 4 {
                platform.checkpoint(half);
            }
            self.submissions.write::<u64>(start + 8 * index, word);
        }
        self.tail = if self.tail + 1 >= self.entries { 0 } else { self.tail + 1 };
        self.position.submitted = self.position.submitted.wrapping_add(1);
    }

    /// Tells the controller of the commands up to the tail.
    pub(crate) fn ring(&self, registers: &impl Registers) {
        self.progress.set(self.position);
        registers.write32(self.submission_doorbell, u32::from(self.tail));
    }

    /// The next completion, if there is one. It stays until [`Self::advance`].
    pub(crate) fn peek(&self) -> Option<CompletionEntry> {
        let start = usize::from(self.position.head) * size_of::<CompletionEntry>();
        let last = self.completions.read::<u32>(start + TAGGED)?;
        if (last & CompletionEntry::PHASE != 0) != self.position.phase {
            return None;
        }
        barrier();
        let queues = self.completions.read::<u32>(start + 8)?;
        Some(CompletionEntry {
            result: self.completions.read(start)?,
            dword1: self.completions.read(start + 4)?,
            sq_head: queues as u16,
            sq_id: (queues >> 16) as u16,
            command_id: last as u16,
            status: (last >> 16) as u16,
        })
    }

    /// Moves on to the next completion.
    pub(crate) fn advance(&mut self) {
        let Position { head, phase, completed, .. } = self.position;
        let (head, phase) = after(head, phase, self.entries);
        self.position = Position { head, phase, completed: completed.wrapping_add(1), ..self.position };
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        self.progress.set(self.position);
    }

    /// Whether entries should be given back, with at most `depth` commands in flight: the controller must find
    /// room for all of their completions.
    pub(crate) fn owes_room(&self, depth: u16) -> bool {
        const ENOUGH: u16 = 8;
        let to_spare = self.entries.saturating_sub(1).saturating_sub(depth);
        self.unacknowledged > to_spare.min(ENOUGH)
    }

    /// Gives the entries before the head back to the controller.
    pub(crate) fn acknowledge(&mut self, registers: &impl Registers) {
        self.unacknowledged = 0;
        registers.write32(self.completion_doorbell, u32::from(self.position.head));
    }

    /// Whether a completion can be one of this queue's: from its submission queue, with a head inside it.
    pub(crate) const fn is_sane(&self, entry: &CompletionEntry) -> bool {
        entry.sq_id == self.id && entry.sq_head < self.entries
    }
}

/// Where a completion entry has the dword with its phase tag.
const TAGGED: usize = 12;
const _: () = assert!(core::mem::offset_of!(CompletionEntry, status) == TAGGED + 2);

/// Whether the controller has written a completion at this place of a completion queue.
pub(crate) fn is_posted(completions: &SharedMemory, head: u16, phase: bool) -> bool {
    let tagged = completions.read::<u32>(usize::from(head) * size_of::<CompletionEntry>() + TAGGED);
    tagged.is_some_and(|tagged| (tagged & CompletionEntry::PHASE != 0) == phase)
}

/// The place after that in a completion queue, with the phase tag that new entries have there.
pub(crate) const fn after(head: u16, phase: bool, entries: u16) -> (u16, bool) {
    if head + 1 >= entries { (0, !phase) } else { (head + 1, phase) }
}
