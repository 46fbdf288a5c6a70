//! ACPI tables: names, sizes, checksums (ACPI 6.5, 5.2).

use super::bytes::{Quoted, number, sums_to_zero};
use super::{TARGET, finding};
use crate::arch::acpi::Memory;
use log::info;

/// Common header of a table.
const HEADER: usize = 36;
/// Longest table that is summed up.
const MAX_TABLE: usize = 4 << 20;
/// Most tables that are listed.
const MAX_TABLES: usize = 128;

/// A table, or what its root table says is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'m> {
    /// Where it is said to be.
    pub address: u64,
    /// Its bytes, if they can be read; a header alone if its length makes no sense.
    pub bytes: &'m [u8],
    /// What is wrong with it.
    pub problem: Option<&'static str>,
}

impl Table<'_> {
    /// Four characters.
    pub fn signature(&self) -> &[u8] {
        self.bytes.get(..4).unwrap_or_default()
    }
}

fn read<M: Memory + ?Sized>(memory: &M, address: u64) -> Table<'_> {
    let bad = |bytes, problem| Table { address, bytes, problem: Some(problem) };
    let Some(header) = memory.bytes(address, HEADER) else { return bad(&[], "it lies outside of memory") };
    let len = number(header, 4, 4).unwrap_or(0) as usize;
    if !(HEADER..=MAX_TABLE).contains(&len) {
        return bad(header, "its length makes no sense");
    }
    match memory.bytes(address, len) {
        None => bad(header, "it does not lie in memory as a whole"),
        Some(bytes) if !sums_to_zero(bytes) => bad(bytes, "its checksum is wrong"),
        Some(bytes) => Table { address, bytes, problem: None },
    }
}

/// Calls `each` with every table that can be reached from the root pointer, root tables included, sound or not. Returns what is
/// wrong with the root pointer itself, if anything is.
pub fn tables<'m, M: Memory + ?Sized>(
    memory: &'m M,
    root_pointer: u64,
    mut each: impl FnMut(Table<'m>),
) -> Option<&'static str> {
    let Some(pointer) = memory.bytes(root_pointer, 20) else { return Some("the root pointer lies outside of memory") };
    if !pointer.starts_with(b"RSD PTR ") {
        return Some("the root pointer has no signature");
    }
    let mut problem = (!sums_to_zero(pointer)).then_some("the root pointer's checksum is wrong");
    let mut root = (number(pointer, 16, 4), 4);
    if pointer.get(15).is_some_and(|revision| *revision >= 2)
        && let Some(extended) = memory.bytes(root_pointer, 36)
    {
        if !sums_to_zero(extended) {
            problem = Some("the extended root pointer's checksum is wrong");
        }
        if number(extended, 24, 8).is_some_and(|address| address != 0) {
            root = (number(extended, 24, 8), 8);
        }
    }
    let (Some(address), entry) = root else { return Some("the root pointer leads nowhere") };
    let root = read(memory, address);
    each(root);
    let entries = root.bytes.get(HEADER..).unwrap_or_default().chunks_exact(entry);
    for address in entries.filter_map(|bytes| number(bytes, 0, entry)).filter(|address| *address != 0).take(MAX_TABLES)
    {
        let table = read(memory, address);
        each(table);
        if table.signature() == b"FACP" {
            // The 64-bit field counts if it is set (5.2.9).
            let wide = number(table.bytes, 140, 8).filter(|address| *address != 0);
            if let Some(address) = wide.or_else(|| number(table.bytes, 40, 4)).filter(|address| *address != 0) {
                each(read(memory, address));
            }
        }
    }
    problem
}

/// Processors that the interrupt table lists as usable, and all it lists (5.2.12).
pub fn processors(table: &[u8]) -> (u32, u32) {
    let (mut enabled, mut all) = (0, 0);
    let mut rest = table.get(HEADER + 8..).unwrap_or_default();
    // The shortest entry has two bytes, so that this ends.
    while let Some((&kind, &len)) = rest.first().zip(rest.get(1)).filter(|(_, len)| **len >= 2) {
        let flags = match kind {
            0 => number(rest, 4, 4),
            9 => number(rest, 8, 4),
            _ => None,
        };
        if let Some(flags) = flags {
            all += 1;
            enabled += u32::from(flags & 1 != 0);
        }
        rest = rest.get(usize::from(len)..).unwrap_or_default();
    }
    (enabled, all)
}

pub(super) fn describe<M: Memory + ?Sized>(memory: &M, root_pointer: Option<u64>) {
    let Some(root_pointer) = root_pointer else {
        info!(target: TARGET, "acpi: none");
        return;
    };
    let mut count = 0;
    let problem = tables(memory, root_pointer, |table| {
        count += 1;
        let state = table.problem.unwrap_or("ok");
        let field = |from: usize, len: usize| Quoted(table.bytes.get(from..from + len).unwrap_or_default());
        info!(
            target: TARGET,
            "acpi: table={} address={:#x} size={} revision={} oem={} oem_table={} state=\"{state}\"",
            field(0, 4),
            table.address,
            table.bytes.len(),
            table.bytes.get(8).copied().unwrap_or(0),
            field(10, 6),
            field(16, 8),
        );
        if let Some(problem) = table.problem {
            finding(format_args!("acpi: table {} at {:#x}: {problem}", field(0, 4), table.address));
        }
        if table.signature() == b"APIC" {
            let (enabled, all) = processors(table.bytes);
            info!(target: TARGET, "acpi: processors={enabled} listed={all}");
        }
    });
    info!(target: TARGET, "acpi: root_pointer={root_pointer:#x} tables={count}");
    if let Some(problem) = problem {
        finding(format_args!("acpi: {problem}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    struct Image(Vec<u8>);

    impl Memory for Image {
        fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
            let start = usize::try_from(address).ok()?;
            self.0.get(start..start.checked_add(len)?)
        }
    }

    fn fix_sum(bytes: &mut [u8], at: usize) {
        bytes[at] = 0;
        bytes[at] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    }

    fn put_table(image: &mut [u8], at: usize, signature: &[u8; 4], body: &[u8]) {
        let table = &mut image[at..at + HEADER + body.len()];
        table[..4].copy_from_slice(signature);
        table[4..8].copy_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
        table[10..16].copy_from_slice(b"MAKER ");
        table[HEADER..].copy_from_slice(body);
        fix_sum(table, 9);
    }

    /// A root pointer at 16, and tables behind it: XSDT, FACP, DSDT, APIC with three processors of which two are usable.
    fn image() -> Image {
        let mut image = vec![0; 4096];
        put_table(&mut image, 512, b"DSDT", b"code");
        let mut fixed = [0; 120];
        fixed[40 - HEADER..44 - HEADER].copy_from_slice(&512_u32.to_le_bytes());
        put_table(&mut image, 1024, b"FACP", &fixed);
        let madt = [
            &[0; 8][..],
            &[0, 8, 0, 0, 1, 0, 0, 0],
            &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 8, 1, 1, 0, 0, 0, 0],
            &[9, 16, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0],
        ];
        put_table(&mut image, 2048, b"APIC", &madt.concat());
        let entries = [1024_u64, 2048].map(u64::to_le_bytes).concat();
        put_table(&mut image, 256, b"XSDT", &entries);
        let pointer = &mut image[16..52];
        pointer[..8].copy_from_slice(b"RSD PTR ");
        pointer[15] = 2;
        pointer[24..32].copy_from_slice(&256_u64.to_le_bytes());
        fix_sum(&mut pointer[..20], 8);
        fix_sum(pointer, 32);
        Image(image)
    }

    type Listed = (Vec<u8>, Option<&'static str>);

    /// Signatures and problems of all tables, and the root pointer's problem.
    fn list(image: &Image) -> (Vec<Listed>, Option<&'static str>) {
        let mut found = Vec::new();
        let problem = tables(image, 16, |table| found.push((table.signature().to_vec(), table.problem)));
        (found, problem)
    }

    #[test]
    fn all_tables_are_found() {
        let (found, problem) = list(&image());
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_slice()).collect();
        assert_eq!(names, [b"XSDT", b"FACP", b"DSDT", b"APIC"]);
        assert!(problem.is_none() && found.iter().all(|(_, problem)| problem.is_none()));
        assert_eq!(processors(&image().0[2048..2048 + HEADER + 52]), (2, 3));
    }

    #[test]
    fn each_damage_has_its_name() {
        let mut damaged = image();
        damaged.0[1024 + 60] ^= 1;
        assert_eq!(list(&damaged).0[1].1, Some("its checksum is wrong"));
        let mut damaged = image();
        damaged.0[2048 + 4..2048 + 8].fill(0xFF);
        assert_eq!(list(&damaged).0[3].1, Some("its length makes no sense"));
        let mut damaged = image();
        damaged.0[2048 + 4..2048 + 8].copy_from_slice(&3000_u32.to_le_bytes());
        assert_eq!(list(&damaged).0[3].1, Some("it does not lie in memory as a whole"));
        let mut damaged = image();
        damaged.0[16 + 8] ^= 1;
        assert!(list(&damaged).1.is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_damage_does_harm(changes in proptest::collection::vec((0..4096_usize, any::<u8>()), 0..40), end in 0..4097_usize) {
            let mut image = image();
            for (at, byte) in changes {
                image.0[at] = byte;
            }
            image.0.truncate(end);
            let mut count = 0;
            tables(&image, 16, |table| {
                count += 1;
                processors(table.bytes);
            });
            prop_assert!(count <= 2 * MAX_TABLES + 1);
        }

        #[test]
        fn no_interrupt_table_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            processors(&bytes);
        }
    }
}
