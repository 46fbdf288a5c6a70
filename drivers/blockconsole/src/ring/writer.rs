//! The writer's side.

use super::Ring;
use super::checksum::Checksum;
use super::draft::{Draft, DraftWords};
use super::layout::Slot;
use super::record::{Meta, Record, RecordHeader};
use crate::sync::{AtomicU64, Ordering, fence};
use arrayvec::ArrayVec;
use core::fmt::{self, Write};

/// Ties the checksum of a record's data to what it is and where.
pub(super) fn bind(mut data: Checksum, meta: Meta, position: u64, sequence: u64) -> u64 {
    data.push(meta.encode());
    data.push(position);
    data.push(sequence);
    data.finish()
}

fn store(cells: &[AtomicU64], words: &[u64]) {
    for (cell, word) in cells.iter().zip(words) {
        cell.store(*word, Ordering::Relaxed);
    }
}

impl Ring<'_> {
    /// Writes one record, and returns its sequence number.
    ///
    /// Takes a bounded number of steps, allocates nothing, and may be called from anywhere at any time: also from an
    /// NMI in the middle of another call. Needs about 3 KiB of stack. Text beyond [`MAX_TEXT`](super::MAX_TEXT) bytes
    /// is cut off and the record marked as truncated; so it is if formatting fails. The formatting is done before
    /// anything is reserved, so that a `Display` that panics leaves no trace, and one that logs gets its record in
    /// first.
    pub fn write(&self, header: RecordHeader, target: &str, text: fmt::Arguments<'_>) -> u64 {
        let mut words = ArrayVec::new();
        let mut draft = self.draft(&mut words, header.time_ns, target);
        let result = match text.as_str() {
            Some(text) => draft.write_str(text),
            None => draft.write_fmt(text),
        };
        if result.is_err() {
            draft.truncate();
        }
        self.publish(header, draft)
    }

    /// Writes a record that was read from another ring, such as an adopted one, with the time, CPU and level it has
    /// there.
    pub fn write_again(&self, record: &Record<'_>) -> u64 {
        let Record { time_ns, cpu, level, target, text, truncated, .. } = *record;
        let mut words = ArrayVec::new();
        let mut draft = self.draft(&mut words, time_ns, target);
        if draft.write_str(text).is_err() || truncated {
            draft.truncate();
        }
        self.publish(RecordHeader { time_ns, cpu, level }, draft)
    }

    fn draft<'d>(&self, words: &'d mut DraftWords, time_ns: u64, target: &str) -> Draft<'d> {
        Draft::begin(words, Checksum::new(self.key), time_ns, target, self.layout.max_record_words())
    }

    /// Reserves a place, and puts the record there. Everything slow is over by now: between the reservation and the
    /// commit there are only stores.
    fn publish(&self, header: RecordHeader, draft: Draft<'_>) -> u64 {
        let (words, meta, checksum) = draft.finish(header.cpu, header.level);
        let sequence = self.layout.begun.fetch_add(1, Ordering::Relaxed);
        let position = self.layout.reserved.fetch_add(words.len() as u64, Ordering::Relaxed);
        // lap: whoever sees one of the stores below also sees the counters beyond what they replace.
        fence(Ordering::Release);
        let Some(slot) = self.layout.slot(sequence) else { return sequence };
        // reuse
        let found = slot.state.load(Ordering::Acquire);
        if self.is_newer(found, sequence.wrapping_add(1)) {
            // Interrupted for a whole lap right after the reservation: nothing of this record could be read any more.
            return sequence;
        }
        let (straight, wrapped) = self.layout.data(position);
        let (before, after) = words.split_at_checked(straight.len()).unwrap_or((words, &[]));
        store(straight, before);
        store(wrapped, after);
        slot.position.store(position, Ordering::Relaxed);
        slot.meta.store(meta.encode(), Ordering::Relaxed);
        slot.checksum.store(bind(checksum, meta, position, sequence), Ordering::Relaxed);
        self.commit(&slot, found, sequence);
        sequence
    }

    /// Marks the slot as holding this record, unless it holds a newer one.
    fn commit(&self, slot: &Slot<'_>, mut found: u64, sequence: u64) {
        let ours = sequence.wrapping_add(1);
        while !self.is_newer(found, ours) {
            // commit, reuse
            match slot.state.compare_exchange(found, ours, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => found = now,
            }
        }
    }

    /// Whether a slot's state is that of a record which replaces `ours`. What is no possible state, because something
    /// else wrote there, is not.
    fn is_newer(&self, found: u64, ours: u64) -> bool {
        found > ours
            && found <= self.layout.begun.load(Ordering::Relaxed)
            && (found - ours).is_multiple_of(self.layout.slot_count())
    }
}
