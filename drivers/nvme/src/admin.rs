//! The admin queue: one command at a time, and a page for what it returns.

use platform::dma::PAGE_SIZE;
use platform::{DmaBuffer, Platform};

use crate::checkpoint;
use crate::queue::QueuePair;
use crate::spec::register::Capabilities;
use crate::spec::{self, Command, admin, identify::cns};
use crate::status::Status;

/// Entries of the admin queues: more than one command at a time is never in flight.
const ENTRIES: u16 = 16;
const _: () = assert!(ENTRIES <= spec::MAX_ADMIN_ENTRIES);
/// Bits of a command id that count generations; kept well below 0xFFFF, which the error log uses for "none".
const GENERATIONS: u16 = 0x7FFF;

/// The admin queue pair.
pub(crate) struct Admin {
    queue: QueuePair,
    page: DmaBuffer,
    generation: u16,
    current: Option<Current>,
}

/// The command in flight.
#[derive(Clone, Copy)]
struct Current {
    id: u16,
    deadline: u64,
}

/// What a look at the admin queue found.
pub(crate) enum Answer {
    /// Nothing.
    None,
    /// The command in flight has completed, with its first result dword.
    Done(Result<u32, Status>),
    /// A completion of no command in flight.
    Stray,
}

impl Admin {
    /// Sets aside its memory; `None` if there is not enough.
    pub(crate) fn new<P: Platform>(platform: &P, capabilities: Capabilities) -> Option<Self> {
        Some(Self {
            queue: QueuePair::new(platform, 0, ENTRIES, capabilities)?,
            page: platform.allocate_dma(PAGE_SIZE, PAGE_SIZE)?,
            generation: 0,
            current: None,
        })
    }

    /// Forgets the command in flight and empties the queues. Only while the controller is stopped.
    pub(crate) fn clear(&mut self) {
        self.current = None;
        self.queue.clear();
    }

    /// The queue pair.
    pub(crate) const fn queue(&self) -> &QueuePair {
        &self.queue
    }

    /// What the last command returned. Only while none is in flight.
    pub(crate) fn data(&self) -> &[u8] {
        self.page.as_ref()
    }

    /// Whether a command is in flight.
    pub(crate) const fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// Whether the command in flight has not been answered in time.
    pub(crate) fn is_late(&self, now: u64) -> bool {
        self.current.is_some_and(|current| now >= current.deadline)
    }

    /// Sends a command. The page is wiped first, so that an answer that was never written is not mistaken for
    /// the one before.
    pub(crate) fn send<P: Platform>(
        &mut self,
        platform: &P,
        registers: &P::Registers,
        command: Command,
        deadline: u64,
    ) {
        self.page.as_mut().fill(0);
        self.generation = (self.generation + 1) & GENERATIONS;
        let command = Command { command_id: self.generation, ..command };
        self.queue.push(platform, &command, checkpoint::ADMIN_ENTRY_HALF);
        self.current = Some(Current { id: command.command_id, deadline });
        platform.checkpoint(checkpoint::ADMIN_BEFORE_DOORBELL);
        self.queue.ring(registers);
        platform.checkpoint(checkpoint::ADMIN_AFTER_DOORBELL);
    }

    /// Takes one completion.
    pub(crate) fn poll<P: Platform>(&mut self, platform: &P, registers: &P::Registers) -> Answer {
        let Some(entry) = self.queue.peek() else { return Answer::None };
        platform.checkpoint(checkpoint::ADMIN_COMPLETED);
        self.queue.advance();
        self.queue.acknowledge(registers);
        match self.current {
            Some(current) if current.id == entry.command_id && self.queue.is_sane(&entry) => {
                self.current = None;
                let status = Status::from_completion(entry.status);
                Answer::Done(if status.is_success() { Ok(entry.result) } else { Err(status) })
            }
            _ => Answer::Stray,
        }
    }

    /// Identify, into the page (base 5.17).
    pub(crate) fn identify(&self, structure: u32, nsid: u32) -> Command {
        Command {
            opcode: admin::IDENTIFY,
            nsid: if structure == cns::CONTROLLER { 0 } else { nsid },
            prp1: self.page.bus_address(),
            cdw10: structure,
            ..Command::default()
        }
    }

    /// Get Log Page, into the page (base 5.16). Asynchronous events stay as they are.
    pub(crate) fn log_page(&self, id: u32, bytes: u32) -> Command {
        const RETAIN_EVENT: u32 = 1 << 15;
        let dwords = (bytes.min(PAGE_SIZE as u32) / 4).saturating_sub(1);
        Command {
            opcode: admin::GET_LOG_PAGE,
            nsid: spec::ALL_NAMESPACES,
            prp1: self.page.bus_address(),
            cdw10: dwords << 16 | RETAIN_EVENT | id,
            ..Command::default()
        }
    }
}

/// Get Features: whether the write cache is on (base 5.27.1.4).
pub(crate) fn get_write_cache() -> Command {
    Command { opcode: admin::GET_FEATURES, cdw10: admin::FEATURE_WRITE_CACHE, ..Command::default() }
}

/// Set Features: how many I/O queue pairs to allow (base 5.27.1.5).
pub(crate) fn set_queue_count(pairs: u16) -> Command {
    let from_zero = u32::from(pairs.saturating_sub(1));
    Command {
        opcode: admin::SET_FEATURES,
        cdw10: admin::FEATURE_QUEUE_COUNT,
        cdw11: from_zero << 16 | from_zero,
        ..Command::default()
    }
}

/// Where a queue pair is, for a controller to create it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuePlace {
    pub(crate) id: u16,
    pub(crate) entries: u16,
    pub(crate) submissions: u64,
    pub(crate) completions: u64,
}

impl QueuePlace {
    pub(crate) const fn of(queue: &QueuePair) -> Self {
        Self {
            id: queue.id(),
            entries: queue.entries(),
            submissions: queue.submission_address(),
            completions: queue.completion_address(),
        }
    }

    const fn size_and_id(&self) -> u32 {
        (self.entries.saturating_sub(1) as u32) << 16 | self.id as u32
    }

    /// Create I/O Completion Queue, without interrupts (base 5.4).
    pub(crate) fn create_completion_queue(&self) -> Command {
        Command {
            opcode: admin::CREATE_COMPLETION_QUEUE,
            prp1: self.completions,
            cdw10: self.size_and_id(),
            cdw11: admin::QUEUE_CONTIGUOUS,
            ..Command::default()
        }
    }

    /// Create I/O Submission Queue, for the completion queue of the same id (base 5.5).
    pub(crate) fn create_submission_queue(&self) -> Command {
        Command {
            opcode: admin::CREATE_SUBMISSION_QUEUE,
            prp1: self.submissions,
            cdw10: self.size_and_id(),
            cdw11: u32::from(self.id) << 16 | admin::QUEUE_CONTIGUOUS,
            ..Command::default()
        }
    }
}

/// Abort a command of an I/O queue (base 5.1).
pub(crate) fn abort(queue: u16, command_id: u16) -> Command {
    Command { opcode: admin::ABORT, cdw10: u32::from(command_id) << 16 | u32::from(queue), ..Command::default() }
}
