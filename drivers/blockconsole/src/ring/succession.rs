//! Rings of successive boots that take turns in one piece of memory.
//!
//! The memory is cut in two halves. Each boot looks for its predecessor's ring in both, the one with the higher
//! generation being the newer, and makes its own in the other half:
//!
//! ```text
//!   boot     first half            second half
//!   1        ring, generation 1    –
//!   2        previous              ring, generation 2
//!   3        ring, generation 3    previous
//! ```
//!
//! What the predecessor did not get onto the disk goes into the new ring first of all. There it is like anything that
//! this boot logs: it has sequence numbers, is covered by the durable mark, and if this boot does not get it onto the
//! disk either, then the next one inherits it again. The new ring gets its title only after that, so that a boot
//! which ends before leaves its successor the old ring, untouched, as the newest.

use super::identity::Title;
use super::layout::Layout;
use super::{Adopted, Ring, RingError, RingIdentity};
use crate::sync::AtomicU64;

/// Finds the previous boot's ring in this memory, and makes a new one beside it. Best aligned to 64 bytes.
///
/// If there is a previous one, `inherit` is to write what is worth keeping of it into the new one, usually a line
/// that says what follows, and then [`Adopted::write_again`] from [`Adopted::cursor_durable`].
///
/// # Errors
/// If half the memory is too small for a ring.
pub fn succeed<'a>(
    words: &'a [AtomicU64],
    identity: RingIdentity,
    inherit: impl FnOnce(&Ring<'a>, &Adopted<'a>),
) -> Result<Ring<'a>, RingError> {
    // Whole cache lines.
    let half = (words.len() / 2) & !7;
    let (first, second) = words.split_at_checked(half).unwrap_or((words, &[]));
    let second = second.get(..half).unwrap_or_default();
    let (old, new, generation) = match (generation(first), generation(second)) {
        (Some(first_is), Some(second_is)) if first_is < second_is => (Some(second), first, second_is),
        (Some(first_is), _) => (Some(first), second, first_is),
        (None, Some(second_is)) => (Some(second), first, second_is),
        (None, None) => (None, first, 0),
    };
    let ring = Ring::prepare(new, Title { identity, generation: generation + 1 })?;
    if let Some(Ok(previous)) = old.map(Ring::adopt) {
        inherit(&ring, &previous);
    }
    ring.entitle();
    Ok(ring)
}

/// The generation of the ring in this memory. The last of all has no successor, and is not taken for a ring.
fn generation(words: &[AtomicU64]) -> Option<u64> {
    let title = Title::load(&Layout::new(words)?)?;
    (title.generation < u64::MAX).then_some(title.generation)
}
