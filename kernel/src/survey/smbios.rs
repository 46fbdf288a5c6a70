//! SMBIOS: who made the machine (DMTF DSP0134, 3.7).
//!
//! The entry point is where the boot loader was told by UEFI, or else where a BIOS leaves it: from F0000h on.

use super::TARGET;
use super::bytes::{Quoted, number, sums_to_zero};
use crate::arch::acpi::Memory;
use log::info;

/// Where the entry point is, at a multiple of 16 (5.2.1).
const AREA: core::ops::Range<u64> = 0xF_0000..0x10_0000;
/// Longest list of structures that is read.
const MAX_LEN: u64 = 256 << 10;
/// Most structures that are looked at.
const MAX_STRUCTURES: usize = 1024;

/// The list of structures, and the version: major, minor.
pub fn find<M: Memory + ?Sized>(memory: &M, told: Option<u64>) -> Option<(&[u8], (u8, u8))> {
    told.into_iter().chain(AREA.step_by(16)).find_map(|address| {
        // The shorter one has 24 bytes, the longer one 31, rounded up.
        let start = memory.bytes(address, 32)?;
        let (table, len, version) = if start.starts_with(b"_SM3_") && sums_to_zero(start.get(..24)?) {
            (number(start, 16, 8)?, number(start, 12, 4)?, (start[7], start[8]))
        } else if start.starts_with(b"_SM_")
            && start.get(16..)?.starts_with(b"_DMI_")
            && sums_to_zero(start.get(16..31)?)
        {
            (number(start, 24, 4)?, number(start, 22, 2)?, (start[6], start[7]))
        } else {
            return None;
        };
        let len = usize::try_from(len.min(MAX_LEN)).ok()?;
        Some((memory.bytes(table, len)?, version))
    })
}

/// A structure: its formatted part, and the strings behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure<'t> {
    /// Type, length, handle, and what the type says.
    pub formatted: &'t [u8],
    strings: &'t [u8],
}

impl<'t> Structure<'t> {
    /// What it is about.
    pub fn kind(&self) -> u8 {
        self.formatted.first().copied().unwrap_or(127)
    }

    /// The string whose number stands at an offset of the formatted part; empty where there is none.
    pub fn string(&self, offset: usize) -> &'t [u8] {
        let number = self.formatted.get(offset).copied().unwrap_or(0);
        let index = usize::from(number).checked_sub(1);
        index.and_then(|index| self.strings.split(|byte| *byte == 0).nth(index)).unwrap_or_default()
    }
}

/// The structures of a list. It ends where one makes no sense.
pub fn structures(mut table: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    let next = move || {
        let len = usize::from(*table.get(1)?);
        let formatted = table.get(..len).filter(|_| len >= 4)?;
        let rest = table.get(len..)?;
        let end = rest.windows(2).position(|pair| pair == [0, 0])?;
        table = rest.get(end + 2..)?;
        Some(Structure { formatted, strings: rest.get(..end)? })
    };
    // Type 127 ends the list.
    core::iter::from_fn(next).take_while(|structure| structure.kind() != 127).take(MAX_STRUCTURES)
}

pub(super) fn describe<M: Memory + ?Sized>(memory: &M, told: Option<u64>) {
    let Some((table, (major, minor))) = find(memory, told) else {
        info!(target: TARGET, "smbios: none");
        return;
    };
    info!(target: TARGET, "smbios: version={major}.{minor} size={}", table.len());
    for structure in structures(table) {
        let text = |offset| Quoted(structure.string(offset));
        match structure.kind() {
            0 => info!(target: TARGET, "smbios: bios vendor={} version={} date={}", text(4), text(5), text(8)),
            1 => info!(
                target: TARGET,
                "smbios: system maker={} product={} version={} serial={}",
                text(4),
                text(5),
                text(6),
                text(7)
            ),
            2 => {
                info!(target: TARGET, "smbios: board maker={} product={} version={} serial={}", text(4), text(5), text(6), text(7))
            }
            4 => info!(target: TARGET, "smbios: processor socket={} maker={} version={}", text(4), text(7), text(16)),
            17 => describe_memory(&structure),
            _ => {}
        }
    }
}

/// A memory device (7.18).
fn describe_memory(structure: &Structure<'_>) {
    let field = |offset| number(structure.formatted, offset, 2).unwrap_or(0);
    let size = match field(0x0C) {
        0 => return,
        0x7FFF => number(structure.formatted, 0x1C, 4).unwrap_or(0) & 0x7FFF_FFFF,
        // The highest bit: in KiB, not MiB.
        size if size & 0x8000 != 0 => (size & 0x7FFF) / 1024,
        size => size,
    };
    let text = |offset| Quoted(structure.string(offset));
    info!(
        target: TARGET,
        "smbios: memory slot={} size_mib={size} speed={} maker={} part={}",
        text(0x10),
        field(0x15),
        text(0x17),
        text(0x1A)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn table() -> Vec<u8> {
        let mut system = vec![1, 27, 0, 1, 1, 2, 0, 3];
        system.resize(27, 0);
        [&system[..], b"Maker\0Machine\0SN 1\0\0", &[32, 4, 0, 2, 0, 0], &[127, 4, 0, 3, 0, 0], &[1, 4, 0, 4, 0, 0]]
            .concat()
    }

    #[test]
    fn strings_are_found_by_number() {
        let table = table();
        let list: Vec<_> = structures(&table).collect();
        assert_eq!(list.iter().map(Structure::kind).collect::<Vec<_>>(), [1, 32]);
        assert_eq!(
            (list[0].string(4), list[0].string(5), list[0].string(7)),
            (&b"Maker"[..], &b"Machine"[..], &b"SN 1"[..])
        );
        assert_eq!((list[0].string(6), list[0].string(200)), (&b""[..], &b""[..]));
        assert_eq!(list[1].string(2), b"");
    }

    struct Low(Vec<u8>);

    impl Memory for Low {
        fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
            let start = usize::try_from(address.checked_sub(AREA.start)?).ok()?;
            self.0.get(start..start.checked_add(len)?)
        }
    }

    #[test]
    fn both_entry_points_are_known_and_checked() {
        let table = table();
        let mut memory = vec![0; 0x1_0000];
        memory[0x800..0x800 + table.len()].copy_from_slice(&table);
        let mut wide = memory.clone();
        wide[0x40..0x45].copy_from_slice(b"_SM3_");
        wide[0x47..0x49].copy_from_slice(&[3, 7]);
        wide[0x4C..0x50].copy_from_slice(&(table.len() as u32).to_le_bytes());
        wide[0x50..0x58].copy_from_slice(&(AREA.start + 0x800).to_le_bytes());
        wide[0x45] = wide[0x40..0x58].iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        assert_eq!(
            find(&Low(wide.clone()), None).map(|(found, version)| (found.len(), version)),
            Some((table.len(), (3, 7)))
        );
        // Where the loader says it is, even if that is no multiple of 16.
        let mut elsewhere = vec![0; 0x1_0000];
        elsewhere[0x800..].copy_from_slice(&memory[0x800..]);
        elsewhere[0x1008..0x1028].copy_from_slice(&wide[0x40..0x60]);
        assert!(find(&Low(elsewhere.clone()), None).is_none());
        assert!(find(&Low(elsewhere.clone()), Some(AREA.start + 0x1008)).is_some());
        assert!(find(&Low(elsewhere), Some(u64::MAX - 8)).is_none());
        wide[0x4C] ^= 1;
        assert_eq!(find(&Low(wide), None), None);

        let mut narrow = memory;
        narrow[0x40..0x44].copy_from_slice(b"_SM_");
        narrow[0x46..0x48].copy_from_slice(&[2, 8]);
        narrow[0x50..0x55].copy_from_slice(b"_DMI_");
        narrow[0x56..0x58].copy_from_slice(&(table.len() as u16).to_le_bytes());
        narrow[0x58..0x5C].copy_from_slice(&(AREA.start as u32 + 0x800).to_le_bytes());
        narrow[0x55] = narrow[0x50..0x5F].iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        assert_eq!(find(&Low(narrow), None).map(|(_, version)| version), Some((2, 8)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_table_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for structure in structures(&bytes) {
                structure.string(4);
                describe_memory(&structure);
            }
        }

        #[test]
        fn no_damage_does_harm(changes in proptest::collection::vec((0..60_usize, any::<u8>()), 0..10), end in 0..60_usize) {
            let mut table = table();
            for (at, byte) in changes {
                if let Some(place) = table.get_mut(at) {
                    *place = byte;
                }
            }
            table.truncate(end);
            prop_assert!(structures(&table).count() <= 16);
        }
    }
}
