//! The model's queues: what the host writes, and what it is to find.

use super::{Device, Entry};

pub(super) struct SubmissionQueue {
    pub(super) base: u64,
    pub(super) entries: u32,
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) completions: u16,
}

pub(super) struct CompletionQueue {
    pub(super) base: u64,
    pub(super) entries: u32,
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) phase: bool,
}

impl Device {
    pub(super) fn create_submission(&mut self, id: u16, base: u64, entries: u32, completions: u16) {
        self.submission.insert(id, SubmissionQueue { base, entries, head: 0, tail: 0, completions });
    }

    pub(super) fn create_completion(&mut self, id: u16, base: u64, entries: u32) {
        self.completion.insert(id, CompletionQueue { base, entries, head: 0, tail: 0, phase: true });
    }

    pub(super) fn doorbell(&mut self, offset: usize, value: u32) {
        let stride = 4usize << self.options.doorbell_shift;
        if !offset.is_multiple_of(stride) {
            return self.violation(format!("write between doorbells, at {offset:#x}"));
        }
        let index = offset / stride;
        let (id, is_completion) = ((index / 2) as u16, index % 2 == 1);
        if !self.ready {
            return self.violation(format!("doorbell of queue {id} while not ready"));
        }
        let result = if is_completion {
            self.completion.get_mut(&id).ok_or("no such queue").and_then(|queue| queue.set_head(value))
        } else {
            self.submission.get_mut(&id).ok_or("no such queue").and_then(|queue| queue.set_tail(value))
        };
        if let Err(what) = result {
            self.violation(format!("doorbell {index} of queue {id} set to {value}: {what}"));
        }
    }

    pub(super) fn complete(&mut self, entry: &Entry, id: u16, queue: u16, head: Option<u16>, status: u16, result: u32) {
        let Some(submission) = self.submission.get(&entry.queue) else { return };
        let head = head.unwrap_or(submission.head as u16);
        let target = submission.completions;
        let Some(completion) = self.completion.get_mut(&target) else { return };
        let next = (completion.tail + 1) % completion.entries;
        if next == completion.head {
            self.violation(format!("completion queue {target} is full"));
            return;
        }
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&result.to_le_bytes());
        bytes[8..10].copy_from_slice(&head.to_le_bytes());
        bytes[10..12].copy_from_slice(&queue.to_le_bytes());
        bytes[12..14].copy_from_slice(&id.to_le_bytes());
        bytes[14..].copy_from_slice(&(status << 1 | u16::from(completion.phase)).to_le_bytes());
        let at = completion.base + 16 * u64::from(completion.tail);
        completion.tail = next;
        if next == 0 {
            completion.phase = !completion.phase;
        }
        // The device may be seen to write the entry in two pieces, the phase tag last.
        let _ = self.bus.write(at, &bytes[..12]);
        let _ = self.bus.write(at + 12, &bytes[12..]);
        self.in_flight.remove(&(entry.queue, id));
    }

    /// Writes raw bytes into the next completion entry of a queue, phase tag as expected or not.
    pub(crate) fn forge_completion(&mut self, queue: u16, id: u16, status: u16, right_phase: bool) {
        let Some(completion) = self.completion.get_mut(&queue) else { return };
        let phase = completion.phase == right_phase;
        let mut bytes = [0; 16];
        bytes[10..12].copy_from_slice(&queue.to_le_bytes());
        bytes[12..14].copy_from_slice(&id.to_le_bytes());
        bytes[14..].copy_from_slice(&(status << 1 | u16::from(phase)).to_le_bytes());
        let at = completion.base + 16 * u64::from(completion.tail);
        if right_phase {
            completion.tail = (completion.tail + 1) % completion.entries;
            if completion.tail == 0 {
                completion.phase = !completion.phase;
            }
        }
        let _ = self.bus.write(at, &bytes);
    }
}

impl SubmissionQueue {
    fn set_tail(&mut self, tail: u32) -> Result<(), &'static str> {
        if tail >= self.entries {
            return Err("beyond the queue");
        }
        let distance = |to: u32| (to + self.entries - self.head) % self.entries;
        // A tail that moves backwards has run over entries that were not taken.
        if distance(tail) < distance(self.tail) {
            return Err("entries overwritten");
        }
        self.tail = tail;
        Ok(())
    }
}

impl CompletionQueue {
    fn set_head(&mut self, head: u32) -> Result<(), &'static str> {
        if head >= self.entries {
            return Err("beyond the queue");
        }
        let distance = |to: u32| (to + self.entries - self.head) % self.entries;
        if distance(head) > distance(self.tail) {
            return Err("beyond what was completed");
        }
        self.head = head;
        Ok(())
    }
}
