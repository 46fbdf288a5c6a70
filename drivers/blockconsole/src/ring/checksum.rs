//! A fast 64-bit checksum over words.

/// Odd, with well spread bits: the fractional part of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Checksum of a sequence of words, seeded.
///
/// Each step maps its lane one-to-one for a given word and each word one-to-one for a given lane, and so does the
/// end. Two sequences of the same length that differ in one word therefore *always* differ in their checksum; any
/// others, with a probability of about 2^-64 that they do not. Two lanes, of which each word goes to the older, so
/// that two multiplications are under way at a time.
#[derive(Clone, Copy)]
pub(crate) struct Checksum {
    next: u64,
    after: u64,
}

impl Checksum {
    pub(super) const fn new(seed: u64) -> Self {
        Self { next: seed, after: !seed.rotate_left(32) }
    }

    #[inline(always)]
    pub(super) const fn push(&mut self, word: u64) {
        let lane = (self.next ^ word).wrapping_mul(FACTOR).rotate_left(29);
        self.next = self.after;
        self.after = lane;
    }

    pub(super) const fn finish(self) -> u64 {
        let mut sum = self.next.wrapping_mul(FACTOR) ^ self.after.rotate_left(17);
        sum = (sum ^ sum >> 32).wrapping_mul(FACTOR);
        sum ^ sum >> 29
    }

    /// The checksum of a few words.
    pub(crate) fn of(seed: u64, words: &[u64]) -> u64 {
        let mut checksum = Self::new(seed);
        for word in words {
            checksum.push(*word);
        }
        checksum.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_bit_always_shows() {
        for len in [1, 2, 3, 8, 21] {
            let words: [u64; 21] = core::array::from_fn(|i| (i as u64).wrapping_mul(0x1234_5678_9abc_def1));
            let words = &words[..len];
            let whole = Checksum::of(7, words);
            assert_ne!(whole, Checksum::of(8, words), "the seed counts");
            for bit in 0..len * 64 {
                let mut changed = [0; 21];
                changed[..len].copy_from_slice(words);
                changed[bit / 64] ^= 1 << (bit % 64);
                assert_ne!(whole, Checksum::of(7, &changed[..len]), "bit {bit} of {len} words");
            }
        }
    }

    #[test]
    fn order_and_length_count() {
        assert_ne!(Checksum::of(0, &[1, 2, 3]), Checksum::of(0, &[2, 1, 3]));
        assert_ne!(Checksum::of(0, &[1, 2, 3]), Checksum::of(0, &[3, 2, 1]));
        assert_ne!(Checksum::of(0, &[]), Checksum::of(0, &[0]));
        assert_ne!(Checksum::of(0, &[0]), Checksum::of(0, &[0, 0]));
    }
}
