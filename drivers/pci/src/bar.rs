//! Base address registers: what a device's registers lie at.

use core::fmt;

use crate::spec::{Command, bar, header};
use crate::{ConfigSpace, Function};

/// A base address register that is implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its number, 0 to 5. A 64-bit one takes the next number too.
    pub index: u8,
    /// What address space it is in.
    pub kind: BarKind,
    /// Where the region starts, on the bus. Meaningful only if [`is_assigned`](Self::is_assigned).
    pub address: u64,
    /// How long the region is, in bytes: a power of two.
    pub size: u64,
}

/// The address space of a base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory.
    Memory {
        /// The register is 64 bits wide.
        wide: bool,
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// I/O ports.
    Io,
}

/// Why there is no usable base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarError {
    /// The function has no register of this number, or it is the upper half of another.
    Absent,
    /// The register's contents make no sense: a reserved type, a size that is no power of two, an end beyond the address space.
    Malformed,
    /// Nobody gave it an address. Firmware does so as a rule.
    Unassigned,
}

impl fmt::Display for BarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "the base address register does not exist",
            Self::Malformed => "the base address register makes no sense",
            Self::Unassigned => "the base address register was given no address",
        })
    }
}

impl core::error::Error for BarError {}

impl Bar {
    /// Whether somebody, firmware as a rule, gave it an address.
    pub const fn is_assigned(&self) -> bool {
        self.address != 0
    }

    /// The bus address of `len` bytes at `offset`; `None` if they do not lie wholly inside or the register is unassigned.
    pub fn region(&self, offset: u64, len: u64) -> Option<u64> {
        let end = offset.checked_add(len)?;
        (self.is_assigned() && end <= self.size).then(|| self.address + offset)
    }
}

impl<C: ConfigSpace + ?Sized> Function<'_, C> {
    /// Reads and sizes a base address register, with the function's decoding switched off for the moment: nothing
    /// may use the function's registers meanwhile.
    ///
    /// # Errors
    /// [`BarError::Absent`] and [`BarError::Malformed`]; one without an address is no error here.
    pub fn bar(&self, index: u8) -> Result<Bar, BarError> {
        let bars = self.header().bars();
        if index >= bars || self.is_upper_half(index) {
            return Err(BarError::Absent);
        }
        let command = self.command();
        self.set_command(command & !(Command::MEMORY | Command::IO));
        let bar = self.size_bar(index, bars);
        self.set_command(command);
        bar
    }

    /// As [`bar`](Self::bar), for a memory region that can be used right away.
    ///
    /// # Errors
    /// Also [`BarError::Unassigned`]; an I/O region counts as [`BarError::Absent`].
    pub fn memory_bar(&self, index: u8) -> Result<Bar, BarError> {
        match self.bar(index)? {
            bar @ Bar { kind: BarKind::Memory { .. }, .. } if bar.is_assigned() => Ok(bar),
            Bar { kind: BarKind::Memory { .. }, .. } => Err(BarError::Unassigned),
            Bar { kind: BarKind::Io, .. } => Err(BarError::Absent),
        }
    }

    /// Every implemented register. Those that make no sense are left out.
    pub fn bars(&self) -> impl Iterator<Item = Bar> {
        let function = *self;
        let mut next = 0;
        core::iter::from_fn(move || {
            while next < function.header().bars() {
                let index = next;
                next += 1;
                if let Ok(bar) = function.bar(index) {
                    if matches!(bar.kind, BarKind::Memory { wide: true, .. }) {
                        next += 1;
                    }
                    return Some(bar);
                }
            }
            None
        })
    }

    /// Whether a register is the upper half of the one before it, which the registers before that decide.
    fn is_upper_half(&self, index: u8) -> bool {
        (0..index).fold(false, |is_upper_half, before| {
            let register = self.read32(header::BAR0 + 4 * u16::from(before));
            !is_upper_half && register & bar::IO == 0 && register & bar::TYPE_MASK == bar::TYPE_64
        })
    }

    /// Writes all ones, reads back which bits stuck, and restores the old value.
    fn probe_word(&self, offset: u16) -> (u32, u32) {
        let value = self.read32(offset);
        self.write32(offset, !0);
        let mask = self.read32(offset);
        self.write32(offset, value);
        (value, mask)
    }

    fn size_bar(&self, index: u8, bars: u8) -> Result<Bar, BarError> {
        let offset = header::BAR0 + 4 * u16::from(index);
        let (low, low_mask) = self.probe_word(offset);
        if low_mask == 0 || (low == !0 && low_mask == !0) {
            return Err(BarError::Absent);
        }
        if low & bar::IO != 0 {
            let mask = low_mask & bar::IO_MASK;
            // Decoders of only 16 bits are allowed, and show as zeroes above.
            let mask = if mask >> 16 == 0 { mask | 0xFFFF_0000 } else { mask };
            let size = size_of_mask(u64::from(mask) | !0 << 32)?;
            return checked(Bar { index, kind: BarKind::Io, address: u64::from(low & bar::IO_MASK), size }, 1 << 32);
        }
        let prefetchable = low & bar::PREFETCHABLE != 0;
        match low & bar::TYPE_MASK {
            bar::TYPE_32 | bar::TYPE_BELOW_1M => {
                let size = size_of_mask(u64::from(low_mask & bar::MEMORY_MASK) | !0 << 32)?;
                let kind = BarKind::Memory { wide: false, prefetchable };
                checked(Bar { index, kind, address: u64::from(low & bar::MEMORY_MASK), size }, 1 << 32)
            }
            bar::TYPE_64 if index + 1 < bars => {
                let (high, high_mask) = self.probe_word(offset + 4);
                let size = size_of_mask(u64::from(high_mask) << 32 | u64::from(low_mask & bar::MEMORY_MASK))?;
                let kind = BarKind::Memory { wide: true, prefetchable };
                let address = u64::from(high) << 32 | u64::from(low & bar::MEMORY_MASK);
                checked(Bar { index, kind, address, size }, u64::MAX)
            }
            _ => Err(BarError::Malformed),
        }
    }
}

/// The size that a mask of writable address bits tells: they must be one run up to bit 63.
fn size_of_mask(mask: u64) -> Result<u64, BarError> {
    let size = mask.wrapping_neg();
    if size.is_power_of_two() { Ok(size) } else { Err(BarError::Malformed) }
}

/// Refuses a register whose region is not aligned to its size or passes the end of its address space.
fn checked(bar: Bar, limit: u64) -> Result<Bar, BarError> {
    let aligned = bar.address.is_multiple_of(bar.size);
    match bar.address.checked_add(bar.size) {
        Some(end) if aligned && end <= limit => Ok(bar),
        _ => Err(BarError::Malformed),
    }
}
