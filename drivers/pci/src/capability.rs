//! Capability lists, walked so that a list that loops ends all the same.

use crate::spec::{CONFIG_SIZE, EXTENDED_CONFIG_SIZE, header};
use crate::{ConfigSpace, Function};

/// An entry of a capability list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is ([`capability_id`](crate::spec::capability_id)).
    pub id: u8,
    /// Where it starts in configuration space: a multiple of 4, from 40h to FCh.
    pub offset: u16,
}

/// The capabilities of a function, in list order.
///
/// Ends at the first entry that was there before, or that lies inside the header.
pub struct Capabilities<'c, C: ?Sized> {
    function: Function<'c, C>,
    next: u16,
    /// One bit for each of the 64 words that an entry can start at.
    seen: u64,
}

impl<'c, C: ConfigSpace + ?Sized> Capabilities<'c, C> {
    pub(crate) fn new(function: Function<'c, C>) -> Self {
        let status = function.read16(header::COMMAND_STATUS + 2);
        let listed = status & header::STATUS_CAPABILITIES != 0;
        let next = if listed { u16::from(function.read8(header::CAPABILITIES)) } else { 0 };
        Self { function, next, seen: 0 }
    }
}

impl<C: ConfigSpace + ?Sized> Iterator for Capabilities<'_, C> {
    type Item = Capability;

    fn next(&mut self) -> Option<Capability> {
        // The lowest two bits are reserved and to be masked (PCI 3.0, 6.7).
        let offset = self.next & !3;
        if !(header::FIRST_CAPABILITY..CONFIG_SIZE).contains(&offset) {
            return None;
        }
        let bit = 1 << (offset / 4);
        if self.seen & bit != 0 {
            return None;
        }
        self.seen |= bit;
        let word = self.function.read32(offset);
        if word == !0 {
            return None;
        }
        self.next = (word >> 8) as u16 & 0xFF;
        Some(Capability { id: word as u8, offset })
    }
}

/// The extended capabilities of a PCI Express function: id, version and offset.
pub struct ExtendedCapabilities<'c, C: ?Sized> {
    function: Function<'c, C>,
    next: u16,
    /// No list is longer than the words of extended space.
    left: u16,
}

impl<'c, C: ConfigSpace + ?Sized> ExtendedCapabilities<'c, C> {
    pub(crate) fn new(function: Function<'c, C>) -> Self {
        Self { function, next: CONFIG_SIZE, left: (EXTENDED_CONFIG_SIZE - CONFIG_SIZE) / 4 }
    }
}

impl<C: ConfigSpace + ?Sized> Iterator for ExtendedCapabilities<'_, C> {
    type Item = (u16, u8, u16);

    fn next(&mut self) -> Option<(u16, u8, u16)> {
        let offset = self.next & !3;
        if !(CONFIG_SIZE..EXTENDED_CONFIG_SIZE).contains(&offset) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let word = self.function.read32(offset);
        if word == 0 || word == !0 {
            return None;
        }
        self.next = (word >> 20) as u16;
        Some((word as u16, (word >> 16) as u8 & 0xF, offset))
    }
}
