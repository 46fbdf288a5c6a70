//! Sets of request slots.

use crate::config::MAX_DEPTH;

/// A set of slots, a bit each. As an iterator it gives them in order, and takes them out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots(u64);

impl Slots {
    /// None at all.
    pub(crate) const NONE: Self = Self(0);

    /// The first `count` slots.
    pub(crate) const fn first(count: u16) -> Self {
        Self(if count >= 64 { u64::MAX } else { (1 << count) - 1 })
    }

    /// Whether there is none in it.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a slot is in it.
    pub(crate) const fn contains(self, index: usize) -> bool {
        index < 64 && self.0 >> index & 1 != 0
    }

    /// Adds one.
    pub(crate) fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, index: usize) {
        self.0 &= !(1 << index);
    }

    /// Those that are in either.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Iterator for Slots {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let index = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.remove(index);
        Some(index)
    }
}

const _: () = assert!(MAX_DEPTH as u32 == u64::BITS);

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_set_gives_its_slots_in_order() {
        let mut set = Slots::first(3);
        set.insert(63);
        set.remove(1);
        assert!(set.contains(63) && !set.contains(1) && !set.contains(64) && !set.contains(usize::MAX));
        assert_eq!(set.union(Slots::first(2)).collect::<Vec<_>>(), [0, 1, 2, 63]);
        assert_eq!(Slots::first(64).count(), 64);
        assert!(Slots::first(0).is_empty() && Slots::NONE.is_empty());
    }
}
