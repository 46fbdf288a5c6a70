//! How far a queue pair is, for whoever cannot ask its owner.
//!
//! The owner writes one word whenever it hands over a command or takes a completion. Together with the completion queue it tells,
//! at any instruction at which the owner may have been interrupted, how many commands the controller has not answered.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use platform::SharedMemory;

use crate::queue;

/// The word: a mark, by which memory gone wild does not look like one, and how far the owner is.
pub(crate) struct Progress(Arc<AtomicU64>);

/// How far the owner of a queue pair is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// Where the next completion will be, and its phase tag.
    pub(crate) head: u16,
    pub(crate) phase: bool,
    /// Commands that the controller was told of, and completions that were taken; both wrap around.
    pub(crate) submitted: u16,
    pub(crate) completed: u16,
}

const MARK: u64 = 0x4E56_0000_0000_0000;
const MARK_MASK: u64 = 0xFFFE_0000_0000_0000;
const PHASE: u64 = 0x0001_0000_0000_0000;

impl Position {
    /// Of a pair that a controller has just been given.
    pub(crate) const START: Self = Self { head: 0, phase: true, submitted: 0, completed: 0 };

    fn encode(self) -> u64 {
        let phase = if self.phase { PHASE } else { 0 };
        MARK | phase | u64::from(self.head) << 32 | u64::from(self.submitted) << 16 | u64::from(self.completed)
    }

    fn decode(word: u64) -> Option<Self> {
        (word & MARK_MASK == MARK).then_some(Self {
            head: (word >> 32) as u16,
            phase: word & PHASE != 0,
            submitted: (word >> 16) as u16,
            completed: word as u16,
        })
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// Notes how far the owner is. What it does next, the controller sees after this.
    #[inline]
    pub(crate) fn set(&self, position: Position) {
        self.0.store(position.encode(), Ordering::Release);
        compiler_fence(Ordering::SeqCst);
    }
}

/// A look at somebody else's queue pair.
#[derive(Clone)]
pub(crate) struct Watch {
    progress: Arc<AtomicU64>,
    completions: SharedMemory,
    entries: u16,
}

impl Watch {
    pub(crate) fn new(progress: &Progress, completions: &SharedMemory, entries: u16) -> Self {
        Self { progress: progress.0.clone(), completions: completions.clone(), entries }
    }

    /// How many commands the controller was told of, or is told of at this moment, and has not answered; `None` if the word was
    /// overwritten.
    pub(crate) fn unanswered(&self) -> Option<u16> {
        let word = self.progress.load(Ordering::Acquire);
        if word == 0 {
            return Some(0);
        }
        let position = Position::decode(word)?;
        let waiting = position.submitted.wrapping_sub(position.completed);
        if position.head >= self.entries || waiting >= self.entries {
            return None;
        }
        let (mut head, mut phase) = (position.head, position.phase);
        for answered in 0..waiting {
            if !queue::is_posted(&self.completions, head, phase) {
                return Some(waiting - answered);
            }
            (head, phase) = queue::after(head, phase, self.entries);
        }
        Some(0)
    }

    /// The controller was stopped, and knows nothing of the pair any more. Only when its owner never runs again.
    pub(crate) fn retire(&self) {
        self.progress.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_its_word_and_other_words_are_none() {
        let position = Position { head: 0xFFFF, phase: false, submitted: 1, completed: 0xFFFE };
        for position in [Position::START, position, Position { phase: true, ..position }] {
            assert_eq!(Position::decode(position.encode()), Some(position));
            assert_ne!(position.encode(), 0);
        }
        for word in [1, u64::MAX, 0x5A5A_5A5A_5A5A_5A5A, 0xA5A5_A5A5_A5A5_A5A5] {
            assert_eq!(Position::decode(word), None);
        }
    }
}
