//! Memory: the firmware's map, and a quick test of what is free.

use super::{TARGET, finding};
use crate::arch::{clock, cpu};
use crate::memory;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use log::info;

/// How long the test may take: on a real machine, and on a virtual one, whose memory its host answers for.
const TEST_NS: u64 = 1_000_000_000;
const VIRTUAL_TEST_NS: u64 = 20_000_000;
/// Bytes that are tested at a time, without anybody else getting memory.
const PIECE: u64 = 16 << 10;
/// Errors that are named each.
const NAMED_ERRORS: u64 = 4;

/// Logs the memory map, adjoining regions of a kind as one.
pub(super) fn describe(regions: &[MemoryRegion]) {
    let mut totals: [u64; 4] = [0; 4];
    let mut regions = regions.iter().copied().peekable();
    let mut count = 0;
    while let Some(mut region) = regions.next() {
        while let Some(next) = regions.next_if(|next| next.start == region.end && next.kind == region.kind) {
            region.end = next.end;
        }
        let (name, code, class) = kind(region.kind);
        let size = region.end.saturating_sub(region.start);
        info!(
            target: TARGET,
            "memory: start={:#014x} end={:#014x} size_kib={} kind={name} firmware_type={code}",
            region.start,
            region.end,
            size / 1024
        );
        count += 1;
        if let Some(total) = totals.get_mut(class) {
            *total = total.saturating_add(size);
        }
    }
    let (free, at_first) = memory::usage();
    let (heap_used, heap_mapped) = memory::heap::usage();
    let [usable, loader, _, _] = totals.map(|total| total / 1024);
    info!(target: TARGET, "memory: regions={count} usable_kib={usable} loader_kib={loader} free_kib={} of_kib={} heap={heap_used} heap_mapped={heap_mapped}", free / 1024, at_first / 1024);
}

fn kind(kind: MemoryRegionKind) -> (&'static str, u32, usize) {
    match kind {
        MemoryRegionKind::Usable => ("usable", 0, 0),
        MemoryRegionKind::Bootloader => ("loader", 0, 1),
        MemoryRegionKind::UnknownUefi(code) => ("uefi", code, 2),
        MemoryRegionKind::UnknownBios(code) => ("bios", code, 2),
        _ => ("other", 0, 3),
    }
}

/// Tests samples of free memory, evenly spread, for a bounded time.
pub(super) fn test() {
    let limit = if cpu::is_virtual() { VIRTUAL_TEST_NS } else { TEST_NS };
    let until = clock::now_ns().saturating_add(limit);
    let (free, _) = memory::usage();
    // In several rounds, each with other pieces, so that the time's end leaves no part of memory out.
    const ROUNDS: u64 = 64;
    let (mut tested, mut errors) = (0_u64, 0_u64);
    'rounds: for round in 0..ROUNDS {
        for index in 0..free / PIECE / ROUNDS {
            if clock::now_ns() > until {
                break 'rounds;
            }
            let offset = (index * ROUNDS + round) * PIECE;
            let found = memory::with_free(offset, PIECE, |address, words| {
                let fault = check(words, address);
                (address, fault)
            });
            let Some((address, fault)) = found else { continue };
            tested += PIECE;
            let Some(fault) = fault else { continue };
            errors += fault.words;
            if errors <= NAMED_ERRORS {
                finding(format_args!(
                    "memory: {} words of the {PIECE} bytes at {address:#x} do not keep what is written; the first at {:#x}, bits {:#x}",
                    fault.words, fault.address, fault.bits
                ));
            }
        }
    }
    info!(target: TARGET, "memtest: tested_kib={} free_kib={} word_errors={errors}", tested / 1024, free / 1024);
    if errors > NAMED_ERRORS {
        finding(format_args!("memory: {errors} words in all do not keep what is written"));
    }
}

/// Memory that is tested, word by word.
pub trait Words {
    /// Number of words.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Writes one.
    fn write(&mut self, index: usize, value: u64);
    /// Reads one.
    fn read(&self, index: usize) -> u64;
    /// Sees to it that reads come from memory itself, not from a cache.
    fn forget(&mut self);
}

/// What is wrong with a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Words that are wrong, counted once for each pattern.
    pub words: u64,
    /// The first one's address.
    pub address: u64,
    /// Bits that are wrong in any of them.
    pub bits: u64,
}

/// Writes patterns and reads them back: each word's own address scrambled, so that lines which are swapped show, and
/// its complement, so that each bit is both.
pub fn check(memory: &mut (impl Words + ?Sized), start: u64) -> Option<Fault> {
    let mut fault = Fault { words: 0, address: 0, bits: 0 };
    for invert in [0, u64::MAX] {
        let pattern = |index: usize| (start + index as u64 * 8).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ invert;
        for index in 0..memory.len() {
            memory.write(index, pattern(index));
        }
        memory.forget();
        for index in 0..memory.len() {
            let wrong = memory.read(index) ^ pattern(index);
            if wrong != 0 {
                if fault.words == 0 {
                    fault.address = start + index as u64 * 8;
                }
                fault.words += 1;
                fault.bits |= wrong;
            }
        }
    }
    (fault.words > 0).then_some(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Memory of which a word has bits that are stuck, or two words are one.
    struct Faulty {
        words: Vec<u64>,
        stuck: Option<(usize, u64)>,
        alias: Option<(usize, usize)>,
    }

    impl Faulty {
        fn place(&self, index: usize) -> usize {
            self.alias.map_or(index, |(from, to)| if index == from { to } else { index })
        }
    }

    impl Words for Faulty {
        fn len(&self) -> usize {
            self.words.len()
        }
        fn write(&mut self, index: usize, value: u64) {
            let place = self.place(index);
            self.words[place] = value;
        }
        fn read(&self, index: usize) -> u64 {
            let stuck = self.stuck.filter(|(at, _)| *at == index).map_or(0, |(_, bits)| bits);
            self.words[self.place(index)] | stuck
        }
        fn forget(&mut self) {}
    }

    fn faulty(stuck: Option<(usize, u64)>, alias: Option<(usize, usize)>) -> Option<Fault> {
        check(&mut Faulty { words: vec![0; 512], stuck, alias }, 0x10_0000)
    }

    #[test]
    fn sound_memory_passes() {
        assert_eq!(faulty(None, None), None);
    }

    #[test]
    fn a_stuck_bit_shows() {
        for bit in 0..64 {
            let fault = faulty(Some((7, 1 << bit)), None).expect("a fault");
            assert_eq!(fault, Fault { words: 1, address: 0x10_0038, bits: 1 << bit });
        }
    }

    #[test]
    fn addresses_that_are_the_same_show() {
        let fault = faulty(None, Some((3, 300))).expect("a fault");
        assert_eq!((fault.address, fault.words), (0x10_0018, 2));
    }
}
