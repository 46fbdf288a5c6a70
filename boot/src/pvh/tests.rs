//! Tests of the start information, on good and on hostile blocks.

use super::*;
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;

/// Memory from address 0x1000 on.
struct Bytes(Vec<u8>);

impl Memory for Bytes {
    fn read(&self, range: Range<u64>) -> Option<&[u8]> {
        self.0.get(
            usize::try_from(range.start.checked_sub(0x1000)?).ok()?
                ..usize::try_from(range.end.checked_sub(0x1000)?).ok()?,
        )
    }
}

/// A block at 0x1000, two modules, two memory map entries.
fn good() -> Bytes {
    let mut bytes = std::vec![0; 0x1000];
    let mut put =
        |at: usize, value: u64, size: usize| bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    put(0, MAGIC.into(), 4);
    put(4, 1, 4);
    put(12, 2, 4);
    put(16, 0x1080, 8);
    put(24, 0x1180, 8);
    put(32, 0xF_59E0, 8);
    put(40, 0x1100, 8);
    put(48, 2, 4);
    for (at, start, size) in [(0x80, 0x40_0000, 0x1234), (0xA0, 0x50_0000, 5)] {
        put(at, start, 8);
        put(at + 8, size, 8);
    }
    for (at, start, size, kind) in [(0x100, 0, 0x9_FC00, 1), (0x118, 0x9_FC00, 0x400, 2)] {
        put(at, start, 8);
        put(at + 8, size, 8);
        put(at + 16, kind, 4);
    }
    Bytes(bytes)
}

#[test]
fn a_good_block_is_read() {
    let memory = good();
    let info = StartInfo::read(&memory, 0x1000).unwrap();
    assert_eq!(info.modules(), [0x40_0000..0x40_1234, 0x50_0000..0x50_0005]);
    assert_eq!((info.rsdp, info.version), (Some(0xF_59E0), 1));
    let map: Vec<_> = info.memory_map().collect();
    let expected = [(0, 0x9_FC00, MemoryRegionKind::Usable), (0x9_FC00, 0x400, MemoryRegionKind::UnknownBios(2))];
    assert_eq!(map, expected);
}

#[test]
fn the_second_module_comes_before_the_command_line_of_the_block() {
    let command_line = |change: fn(&mut Vec<u8>)| {
        let mut memory = good();
        memory.0[0xA0..0xA8].copy_from_slice(&0x11C0_u64.to_le_bytes());
        memory.0[0x180..0x187].copy_from_slice(b"a=1 b=2");
        memory.0[0x1C0..0x1C5].copy_from_slice(b"c=3\n\n");
        change(&mut memory.0);
        let info = StartInfo::read(&memory, 0x1000).unwrap();
        let mut out = [0; MAX_COMMAND_LINE];
        let len = info.command_line(&memory, &mut out);
        String::from_utf8(out[..len].to_vec()).unwrap()
    };
    assert_eq!(command_line(|_| ()), "c=3");
    assert_eq!(command_line(|memory| memory[0x1C0..0x1C5].fill(b' ')), "a=1 b=2");
    assert_eq!(command_line(|memory| memory[12] = 1), "a=1 b=2");
    assert_eq!(command_line(|memory| memory[0xA7] = 0xFF), "a=1 b=2");
    assert_eq!(command_line(|memory| (memory[12], memory[24], memory[25]) = (1, 0, 0)), "");
    assert_eq!(command_line(|memory| (memory[12], memory[31]) = (1, 0xFF)), "");
}

#[test]
fn faults_are_named() {
    let fault = |at: usize, value: u32| {
        let mut memory = good();
        memory.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
        StartInfo::read(&memory, 0x1000).map(|_| ()).unwrap_err()
    };
    assert_eq!(fault(0, 0x2BAD_B002), StartInfoError::Magic(0x2BAD_B002));
    assert_eq!(fault(4, 0), StartInfoError::Version(0));
    assert_eq!(fault(48, 0), StartInfoError::MemoryMap(0));
    assert_eq!(fault(48, 257), StartInfoError::MemoryMap(257));
    assert_eq!(fault(40, 0xFFFF), StartInfoError::Unreachable("memory map", 0xFFFF));
    assert_eq!(fault(16, 0), StartInfoError::Unreachable("module list", 0));
    let error = StartInfo::read(&good(), 0x800).map(|_| ()).unwrap_err();
    assert_eq!(error, StartInfoError::Unreachable("start information", 0x800));
}

proptest! {
    #[test]
    fn damaged_blocks_never_panic(damage in proptest::collection::vec((0_usize..0x140, any::<u8>()), 0..20)) {
        let mut memory = good();
        for (at, byte) in damage {
            memory.0[at] = byte;
        }
        if let Ok(info) = StartInfo::read(&memory, 0x1000) {
            prop_assert!(info.modules().len() <= MAX_MODULES);
            prop_assert!(info.memory_map().count() <= MAX_MEMORY_MAP);
        }
    }
}
