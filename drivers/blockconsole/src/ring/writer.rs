//! The writer's side.

use super::Ring;
use super::checksum::Checksum;
use super::layout::Slot;
use super::record::{Draft, Meta, Record, RecordHeader};
use crate::sync::{AtomicU64, Ordering, fence};
use core::fmt::{self, Write};

impl Ring<'_> {
    /// Writes one record, and returns its sequence number.
    ///
    /// Takes a bounded number of steps, allocates nothing, and may be called from anywhere at any time: also from an NMI in the
    /// middle of another call. Needs about 3 KiB of stack. Text beyond [`MAX_TEXT`](super::MAX_TEXT) bytes
    /// is cut off and the record marked as truncated; so it is if formatting fails. The formatting is done before anything is
    /// reserved, so that a `Display` that panics leaves no trace, and one that logs gets its record in first.
    pub fn write(&self, header: RecordHeader, target: &str, text: fmt::Arguments<'_>) -> u64 {
        let mut draft = self.draft(target);
        let result = match text.as_str() {
            Some(text) => draft.write_str(text),
            None => draft.write_fmt(text),
        };
        if result.is_err() {
            draft.truncate();
        }
        self.publish(header, &draft)
    }

    /// Writes a record that was read from another ring, such as an adopted one, with the time, CPU and level it has there.
    pub fn write_again(&self, record: &Record<'_>) -> u64 {
        let Record { time_ns, cpu, level, target, text, truncated, .. } = *record;
        let mut draft = self.draft(target);
        if draft.write_str(text).is_err() || truncated {
            draft.truncate();
        }
        self.publish(RecordHeader { time_ns, cpu, level }, &draft)
    }

    fn draft(&self, target: &str) -> Draft {
        Draft::new(target, (self.layout.max_record_words() - 1) * 8)
    }

    fn publish(&self, header: RecordHeader, draft: &Draft) -> u64 {
        let meta = draft.meta(header.cpu, header.level);
        let sequence = self.layout.begun.fetch_add(1, Ordering::Relaxed);
        let position = self.layout.reserved.fetch_add(meta.record_words() as u64, Ordering::Relaxed);
        // R1: whoever sees one of the stores below also sees the counters beyond what they overwrite.
        fence(Ordering::Release);
        if let Some(slot) = self.layout.slot(sequence) {
            let checksum = self.fill(sequence, position, meta, header.time_ns, draft.bytes());
            slot.position.store(position, Ordering::Relaxed);
            slot.meta.store(meta.encode(), Ordering::Relaxed);
            slot.checksum.store(checksum, Ordering::Relaxed);
            self.commit(&slot, sequence);
        }
        sequence
    }

    /// Stores a record's data words, and returns its checksum.
    fn fill(&self, sequence: u64, position: u64, meta: Meta, time_ns: u64, bytes: &[u8]) -> u64 {
        let mut checksum = self.record_checksum(sequence, position, meta.encode());
        let (whole, rest) = bytes.as_chunks();
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let last = (!rest.is_empty()).then_some(last);
        let mut words = [time_ns].into_iter().chain(whole.iter().copied().chain(last).map(u64::from_le_bytes));
        let mut put = |cells: &[AtomicU64]| {
            for (cell, word) in cells.iter().zip(words.by_ref()) {
                cell.store(word, Ordering::Relaxed);
                checksum.push(word);
            }
        };
        let (straight, wrapped) = self.layout.data(position);
        let count = meta.record_words();
        let (straight, missing) = match straight.get(..count) {
            Some(all) => (all, 0),
            None => (straight, count - straight.len()),
        };
        put(straight);
        put(wrapped.get(..missing).unwrap_or_default());
        checksum.finish()
    }

    pub(super) fn record_checksum(&self, sequence: u64, position: u64, meta: u64) -> Checksum {
        let mut checksum = Checksum::new(self.key);
        checksum.push(sequence);
        checksum.push(position);
        checksum.push(meta);
        checksum
    }

    /// Marks the slot as holding this record, unless it holds a newer one.
    fn commit(&self, slot: &Slot<'_>, sequence: u64) {
        let ours = sequence.wrapping_add(1);
        let mut found = slot.state.load(Ordering::Relaxed);
        // Each turn that fails means that a writer whole laps older has just committed here. There are as many of
        // those as were interrupted or delayed for so long, and each does so once.
        while !self.is_newer(found, ours) {
            match slot.state.compare_exchange_weak(found, ours, Ordering::Release, Ordering::Relaxed) {
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
