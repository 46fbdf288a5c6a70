//! Where things go in the kernel's address space.

use crate::elf::PAGE;
use crate::error::Error;
use bootloader_api::config::Mapping;

/// Most things that can be placed.
const MAX_THINGS: usize = 16;
/// Unmapped bytes that are left around whatever was placed without a fixed address.
const GAP: u64 = 2 << 20;
/// Where dynamic addresses start, unless the kernel says otherwise: the upper half.
const DEFAULT_START: u64 = 0xFFFF_8000_0000_0000;
/// The highest dynamic address, unless the kernel says otherwise.
const DEFAULT_END: u64 = 0xFFFF_FFFF_FFFF_F000;

/// Hands out virtual addresses.
#[derive(Debug)]
pub(crate) struct Places {
    /// Taken addresses, first and last byte, in no order. The first is the hole between the two halves.
    taken: [(u64, u64); MAX_THINGS],
    count: usize,
    start: u64,
    end: u64,
}

impl Places {
    /// An empty address space; dynamic addresses come from a range of the kernel's choice.
    pub(crate) fn new(start: Option<u64>, end: Option<u64>) -> Self {
        let mut taken = [(0, 0); MAX_THINGS];
        taken[0] = (0x0000_8000_0000_0000, 0xFFFF_7FFF_FFFF_FFFF);
        // A null pointer stays one, whatever the kernel allows.
        let start = start.unwrap_or(DEFAULT_START).max(GAP);
        Self { taken, count: 1, start, end: end.unwrap_or(DEFAULT_END) }
    }

    /// Takes `size` bytes at a fixed address.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if any of them is taken, does not exist, or the address is not page-aligned.
    pub(crate) fn take(&mut self, purpose: &'static str, address: u64, size: u64) -> Result<u64, Error> {
        let refused = Error::NoRoom { purpose, fixed: Some(address) };
        let last = size.checked_sub(1).and_then(|size| address.checked_add(size)).ok_or(refused)?;
        if !address.is_multiple_of(PAGE) || self.conflict(address, last, 0).is_some() {
            return Err(refused);
        }
        let free = self.taken.get_mut(self.count).ok_or(refused)?;
        *free = (address, last);
        self.count += 1;
        Ok(address)
    }

    /// Takes `size` bytes where the kernel wants them, or else at the lowest free address; in either case a multiple of
    /// `align` (a power of two).
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn place(
        &mut self,
        purpose: &'static str,
        mapping: Mapping,
        size: u64,
        align: u64,
    ) -> Result<u64, Error> {
        if let Mapping::FixedAddress(address) = mapping {
            if !address.is_multiple_of(align) {
                return Err(Error::NoRoom { purpose, fixed: Some(address) });
            }
            return self.take(purpose, address, size);
        }
        self.find(purpose, size, align, self.start, self.end)
    }

    /// Takes `size` bytes in the upper half, whatever the kernel said.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn place_in_upper_half(&mut self, purpose: &'static str, size: u64) -> Result<u64, Error> {
        self.find(purpose, size, PAGE, DEFAULT_START, DEFAULT_END)
    }

    fn find(&mut self, purpose: &'static str, size: u64, align: u64, start: u64, end: u64) -> Result<u64, Error> {
        let refused = Error::NoRoom { purpose, fixed: None };
        let mut address = start.checked_next_multiple_of(align).ok_or(refused)?;
        // Ends: each turn goes past a thing that is never met again.
        loop {
            let last = size.checked_sub(1).and_then(|size| address.checked_add(size)).ok_or(refused)?;
            if last > end {
                return Err(refused);
            }
            match self.conflict(address, last, GAP) {
                None => return self.take(purpose, address, size),
                Some(conflict) => {
                    let next = conflict.checked_add(1 + GAP).and_then(|next| next.checked_next_multiple_of(align));
                    address = next.ok_or(refused)?;
                }
            }
        }
    }

    /// The last byte of something that overlaps these addresses, or, but for the hole, is less than a gap away from them.
    fn conflict(&self, first: u64, last: u64, gap: u64) -> Option<u64> {
        let (near, far) = (first.saturating_sub(gap), last.saturating_add(gap));
        let hole = self.taken[..1].iter().filter(|(start, end)| *start <= last && first <= *end);
        let things = self.taken[1..self.count].iter().filter(|(start, end)| *start <= far && near <= *end);
        hole.chain(things).map(|(_, end)| *end).max()
    }
}
