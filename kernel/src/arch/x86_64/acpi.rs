//! The little of ACPI that is needed: PCI Express, and how to switch off.
//!
//! Everything in the tables is checked: length, checksum, bounds. A table that is not right is not there.

use super::port;
use spin::Once;

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

    /// How to switch the machine off: PM1 control registers (ACPI 6.5, 5.2.9) with the sleep types of state S5.
    pub fn power_off(&self) -> Option<PowerOff> {
        let fixed = self.table(b"FACP")?;
        let port = |offset| number(fixed, offset, 4).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let enable = fixed.get(52).copied().unwrap_or(0);
        let [type_a, type_b] = sleep_types_5(self.program()?)?;
        let value = |sleep_type: u8| u16::from(sleep_type & 7) << 10 | SLEEP_ENABLE;
        let control = [(port(64), value(type_a)), (port(68), value(type_b))];
        Some(PowerOff { control, command: (port(48), enable) }).filter(|power_off| power_off.control[0].0 != 0)
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

/// How to switch a machine off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerOff {
    /// Ports of PM1a and PM1b control, and what is written there. Port 0: there is none.
    pub control: [(u16, u16); 2],
    /// The port and the value with which firmware hands power management over. Port or value 0: there is no need.
    pub command: (u16, u8),
}

/// PM1 control, bit 13.
const SLEEP_ENABLE: u16 = 1 << 13;

/// Finds `Name(_S5_, Package(){type, type, ...})` in the firmware's byte code, without an interpreter for it (ACPI 6.5, 20.2).
fn sleep_types_5(program: &[u8]) -> Option<[u8; 2]> {
    const NAME: u8 = 0x08;
    const PACKAGE: u8 = 0x12;
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
    let (first, rest) = small_number(package.get(2 + length_bytes..)?)?;
    // A package of one element means the same for both.
    let second = small_number(rest).map_or(first, |(second, _)| second);
    Some([first, second])
}

/// A number of one byte at most, and what follows it.
fn small_number(code: &[u8]) -> Option<(u8, &[u8])> {
    const BYTE: u8 = 0x0A;
    match code {
        [BYTE, value, rest @ ..] => Some((*value, rest)),
        // The constants Zero and One.
        [constant @ (0 | 1), rest @ ..] => Some((*constant, rest)),
        _ => None,
    }
}

/// How to switch off, kept for the crash path.
static POWER_OFF: Once<PowerOff> = Once::new();

/// Remembers how to switch off.
pub fn set_power_off(power_off: PowerOff) {
    POWER_OFF.call_once(|| power_off);
}

/// PM1 control, bit 0: power management is the system's, not the firmware's.
const SYSTEM_CONTROLS: u16 = 1 << 0;

/// Switches the machine off, if it is known how. Returns if that does nothing; `wait` lets some time pass.
pub fn power_off(wait: impl Fn()) {
    let Some(PowerOff { control, command: (command, enable) }) = POWER_OFF.get() else { return };
    // SAFETY: the firmware's tables name these ports and values as what switches the machine off, and hands power management over.
    unsafe {
        if *command != 0 && *enable != 0 && port::read::<u16>(control[0].0) & SYSTEM_CONTROLS == 0 {
            port::write(*command, *enable);
            wait();
        }
        for (port, value) in control.iter().filter(|(port, _)| *port != 0) {
            port::write(*port, *value);
        }
    }
    wait();
}

/// The root pointer, where a boot loader did not give it: in the firmware's memory (ACPI 6.5, 5.2.5.1).
pub fn search_root_pointer<M: Memory + ?Sized>(memory: &M) -> Option<u64> {
    const AREA: core::ops::Range<u64> = 0xE_0000..0x10_0000;
    AREA.step_by(16).find(|&address| {
        memory.bytes(address, 20).is_some_and(|bytes| bytes.starts_with(b"RSD PTR ") && sums_to_zero(bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_types_are_found_for_both_registers() {
        let both = *b"x\x08_S5_\x12\x08\x04\x0A\x05\x0A\x06\x00\x00";
        assert_eq!(sleep_types_5(&both), Some([5, 6]));
        assert_eq!(sleep_types_5(b"x\x08_S5_\x12\x06\x04\x00\x01\x00\x00"), Some([0, 1]));
        assert_eq!(sleep_types_5(b"x\x08_S5_\x12\x04\x01\x0A\x07"), Some([7, 7]));
        assert_eq!(sleep_types_5(b"x\x08_S5_\x11"), None);
    }

    #[test]
    fn root_buses_are_those_that_are_spelt_out() {
        let program = b"PCI0\x08_BBN\x00xx\x08_BBN\x0A\x40..\x08_BBN\x0B\x80\x00..\x08_BBN\x0B\x80\x01..\x14\x10_BBN\x00\xA4\x08_BBN\x0A";
        assert!(root_buses(program).eq([0, 0x40, 0x80]));
        assert_eq!(root_buses(b"").count(), 0);
    }
}
