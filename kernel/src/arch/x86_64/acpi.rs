//! The little of ACPI that is needed: PCI Express, and how to switch off.
//!
//! Everything in the tables is checked: length, checksum, bounds. A table that is not right is not there.

use super::port;
use core::sync::atomic::{AtomicU64, Ordering};

/// How physical memory is read.
pub trait Memory {
    /// Bytes at a physical address; `None` where they cannot be read.
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]>;
}

/// The tables that the root table lists.
pub struct Tables<'m, M: ?Sized> {
    memory: &'m M,
    root: &'m [u8],
    /// Bytes of an entry of the root table: 4 or 8.
    entry: usize,
}

/// Common header of a table (ACPI 6.5, 5.2.6).
const HEADER: usize = 36;
/// Longest table that is looked at.
const MAX_TABLE: usize = 1 << 20;

fn number(bytes: &[u8], offset: usize, len: usize) -> Option<u64> {
    let mut word = [0; 8];
    word.get_mut(..len)?.copy_from_slice(bytes.get(offset..offset.checked_add(len)?)?);
    Some(u64::from_le_bytes(word))
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

fn table<M: Memory + ?Sized>(memory: &M, address: u64) -> Option<&[u8]> {
    let header = memory.bytes(address, HEADER)?;
    let len = number(header, 4, 4)? as usize;
    if !(HEADER..=MAX_TABLE).contains(&len) {
        return None;
    }
    memory.bytes(address, len).filter(|bytes| sums_to_zero(bytes))
}

impl<'m, M: Memory + ?Sized> Tables<'m, M> {
    /// Follows the root pointer (ACPI 6.5, 5.2.5.3).
    pub fn find(memory: &'m M, root_pointer: u64) -> Option<Self> {
        let pointer = memory.bytes(root_pointer, 20)?;
        if !pointer.starts_with(b"RSD PTR ") || !sums_to_zero(pointer) {
            return None;
        }
        let revision = number(pointer, 15, 1)?;
        if revision >= 2
            && let Some(extended) = memory.bytes(root_pointer, 36).filter(|bytes| sums_to_zero(bytes))
            && let Some(root) = table(memory, number(extended, 24, 8)?).filter(|root| root.starts_with(b"XSDT"))
        {
            return Some(Self { memory, root, entry: 8 });
        }
        let root = table(memory, number(pointer, 16, 4)?).filter(|root| root.starts_with(b"RSDT"))?;
        Some(Self { memory, root, entry: 4 })
    }

    /// The first table with this signature.
    pub fn table(&self, signature: &[u8; 4]) -> Option<&'m [u8]> {
        let entries = self.root.get(HEADER..)?.chunks_exact(self.entry);
        entries
            .filter_map(|entry| table(self.memory, number(entry, 0, self.entry)?))
            .find(|table| table.starts_with(signature))
    }

    /// Where configuration space is mapped (PCI Firmware 3.2, 4.1.2).
    pub fn pci_express(&self) -> impl Iterator<Item = PciExpress> + use<'m, M> {
        let entries = self.table(b"MCFG").and_then(|table| table.get(HEADER + 8..)).unwrap_or_default();
        entries.chunks_exact(16).filter_map(|entry| {
            let (first, last) = (*entry.get(10)?, *entry.get(11)?);
            let segment = number(entry, 8, 2)? as u16;
            (first <= last).then_some(PciExpress { address: number(entry, 0, 8)?, segment, first, last })
        })
    }

    /// The firmware's byte code, which declares the devices that nothing else does (ACPI 6.5, 5.2.11.1).
    pub fn program(&self) -> Option<&'m [u8]> {
        table(self.memory, number(self.table(b"FACP")?, 40, 4)?)
    }

    /// The port and the value that switch the machine off: PM1a control (ACPI 6.5, 5.2.9) with the sleep type of state S5.
    pub fn power_off(&self) -> Option<(u16, u16)> {
        let fixed = self.table(b"FACP")?;
        let control = u16::try_from(number(fixed, 64, 4)?).ok().filter(|&port| port != 0)?;
        let sleep_type = sleep_type_5(self.program()?)?;
        Some((control, u16::from(sleep_type & 7) << 10 | SLEEP_ENABLE))
    }
}

/// A range of PCI buses whose configuration space is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciExpress {
    /// Of the first bus of the segment, in it or not.
    pub address: u64,
    /// The segment.
    pub segment: u16,
    /// The first bus.
    pub first: u8,
    /// The last bus.
    pub last: u8,
}

/// The buses that host bridges begin, as far as the firmware's byte code spells them out: `Name(_BBN, bus)` (ACPI 6.5, 6.5.5 and 20.2).
pub fn root_buses(program: &[u8]) -> impl Iterator<Item = u8> + '_ {
    const NAME: &[u8; 5] = b"\x08_BBN";
    const BYTE: u8 = 0x0A;
    const WORD: u8 = 0x0B;
    program.windows(NAME.len() + 3).filter_map(|window| match window.strip_prefix(NAME)? {
        // The constants Zero and One.
        [constant @ (0 | 1), ..] => Some(*constant),
        [BYTE, bus, _] | [WORD, bus, 0] => Some(*bus),
        _ => None,
    })
}

/// PM1 control, bit 13.
const SLEEP_ENABLE: u16 = 1 << 13;

/// Finds `Name(_S5_, Package(){type, ...})` in the firmware's byte code, without an interpreter for it (ACPI 6.5, 20.2).
fn sleep_type_5(program: &[u8]) -> Option<u8> {
    const NAME: u8 = 0x08;
    const PACKAGE: u8 = 0x12;
    const BYTE: u8 = 0x0A;
    let at = program.windows(4).position(|window| window == b"_S5_")?;
    let before = program.get(at.checked_sub(2)?..at)?;
    if before[1] != NAME && before != [NAME, b'\\'] {
        return None;
    }
    let package = program.get(at + 4..)?;
    if *package.first()? != PACKAGE {
        return None;
    }
    // The package's length takes 1 to 4 bytes, as its first one says; one byte follows it, the number of elements.
    let length_bytes = 1 + usize::from(*package.get(1)? >> 6);
    match *package.get(2 + length_bytes)? {
        BYTE => package.get(3 + length_bytes).copied(),
        // The constants Zero and One.
        constant @ (0 | 1) => Some(constant),
        _ => None,
    }
}

/// What [`power_off_register`] found, kept for the crash path: port << 16 | value; 0: unknown.
static POWER_OFF: AtomicU64 = AtomicU64::new(0);

/// Remembers how to switch off.
pub fn set_power_off_register(control: u16, value: u16) {
    POWER_OFF.store(u64::from(control) << 16 | u64::from(value), Ordering::Relaxed);
}

/// The port and the value that switch the machine off, if the firmware said so.
pub fn power_off_register() -> Option<(u16, u16)> {
    let word = POWER_OFF.load(Ordering::Relaxed);
    (word != 0).then_some(((word >> 16) as u16, word as u16))
}

/// The root pointer, where a boot loader did not give it: in the firmware's memory (ACPI 6.5, 5.2.5.1).
pub fn search_root_pointer<M: Memory + ?Sized>(memory: &M) -> Option<u64> {
    const AREA: core::ops::Range<u64> = 0xE_0000..0x10_0000;
    AREA.step_by(16).find(|&address| {
        memory.bytes(address, 20).is_some_and(|bytes| bytes.starts_with(b"RSD PTR ") && sums_to_zero(bytes))
    })
}

/// Takes power management over from the firmware: without it, the power-off register may do nothing.
pub fn enable_acpi_mode<M: Memory + ?Sized>(tables: &Tables<'_, M>) {
    let Some(fixed) = tables.table(b"FACP") else { return };
    let command = number(fixed, 48, 4).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
    let enable = fixed.get(52).copied().filter(|&value| value != 0);
    if let (Some(command), Some(enable)) = (command, enable) {
        // SAFETY: the firmware's tables name this port and value as what hands power management to the system.
        unsafe { port::write(command, enable) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_buses_are_those_that_are_spelt_out() {
        let program = b"PCI0\x08_BBN\x00xx\x08_BBN\x0A\x40..\x08_BBN\x0B\x80\x00..\x08_BBN\x0B\x80\x01..\x14\x10_BBN\x00\xA4\x08_BBN\x0A";
        assert!(root_buses(program).eq([0, 0x40, 0x80]));
        assert_eq!(root_buses(b"").count(), 0);
    }
}
