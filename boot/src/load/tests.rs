//! Tests of loading: what a kernel would find, seen through its own page tables.

use super::*;
use crate::memory_map::KEPT_MEMORY;
use crate::testing::{Header, KernelFile, Machine};
use bootloader_api::info::MemoryRegion;
use core::mem::offset_of;
use proptest::prelude::*;
use std::vec::Vec;

const BASE: u64 = 0xFFFF_FFFF_8000_0000;
const FILE_AT: u64 = 0x3_0000_0000;

fn configured(change: impl FnOnce(&mut BootloaderConfig)) -> Option<Vec<u8>> {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config.kernel_stack_size = 64 * 1024;
    change(&mut config);
    Some(config.serialize().to_vec())
}

fn kernel(change: impl FnOnce(&mut BootloaderConfig)) -> KernelFile {
    KernelFile { configuration: configured(change), ..KernelFile::new(BASE) }
}

fn job(kernel: &[u8]) -> Job<'_> {
    Job {
        kernel,
        kernel_physical: FILE_AT,
        command_line: b"app=diag",
        rsdp: Some(0xE_0000),
        smbios: Some(0xABC0),
        framebuffer: None,
        gib_pages: true,
        bridge: b"bridge",
    }
}

/// A kernel's address space, after loading.
struct Space {
    machine: Machine,
    space: AddressSpace,
    entry: Entry,
}

impl Space {
    fn load(job: Job<'_>) -> Result<Self, Error> {
        let mut machine = Machine::new(32 << 20);
        let loaded = load(job, &mut machine.frames, &machine.map)?;
        let space = AddressSpace::from_root(loaded.space.root());
        let entry = loaded.finish(&mut machine.frames, &mut machine.map)?;
        Ok(Self { machine, space, entry })
    }

    fn access(&self, address: u64) -> Option<Access> {
        self.space.translate(&self.machine.frames, address).map(|(_, access)| access)
    }

    fn read(&self, address: u64, len: u64) -> Vec<u8> {
        let byte = |at| {
            let (physical, _) = self.space.translate(&self.machine.frames, at)?;
            self.machine.frames.bytes(physical..physical + 1).map(|bytes| bytes[0])
        };
        (address..address + len).map(|at| byte(at).expect("mapped, and allocated by the loader")).collect()
    }

    fn word(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.read(address, 8).try_into().unwrap())
    }

    /// A field of the boot information at its offset.
    fn info(&self, offset: usize) -> u64 {
        self.word(self.entry.boot_info + offset as u64)
    }

    /// An optional field: its tag comes first.
    fn optional(&self, offset: usize) -> Option<u64> {
        let words = [self.info(offset), self.info(offset + 8)];
        // SAFETY: `Optional<u64>` is `repr(C)`: a tag, padding, and a word.
        unsafe { core::mem::transmute::<[u64; 2], Optional<u64>>(words) }.into_option()
    }
}

#[test]
fn segments_are_where_they_are_linked_with_their_permissions() {
    let file = kernel(|_| {}).bytes();
    let space = Space::load(job(&file)).unwrap();
    assert_eq!(space.read(BASE, 100), &file[0x1000..0x1064]);
    assert_eq!(space.read(BASE + 100, 4096 - 100), [0; 4096 - 100]);
    assert_eq!(space.read(BASE + 0x1000, 200), &file[0x2000..0x20C8]);
    assert_eq!(space.read(BASE + 0x2010, 300), &file[0x3010..0x3010 + 300]);
    assert_eq!(space.read(BASE + 0x2010 + 300, 5000), [0; 5000]);
    assert_eq!(space.access(BASE), Some(Access::Read));
    assert_eq!(space.access(BASE + 0x1000), Some(Access::ReadExecute));
    assert_eq!(space.access(BASE + 0x2000), Some(Access::ReadWrite));
    assert_eq!(space.access(BASE + 0x3FFF), Some(Access::ReadWrite));
    assert_eq!(space.access(BASE + 0x4000), None);
    assert_eq!(space.access(BASE - 1), None);
    assert_eq!(space.access(0), None);
    assert_eq!(space.entry.address, BASE + 0x1010);
}

#[test]
fn pages_that_only_relocation_writes_to_become_read_only() {
    let read_only = |address, memory_size| {
        let mut file = kernel(|_| {});
        file.headers[2].memory_size = 0x4000;
        let kind = 0x6474_E552;
        file.headers.push(Header { kind, flags: 4, offset: 0, address, file_size: 0, memory_size });
        let space = Space::load(job(&file.bytes())).unwrap();
        assert_eq!(space.access(BASE + 0x1000), Some(Access::ReadExecute));
        (BASE + 0x2000..BASE + 0x7000)
            .step_by(0x1000)
            .map(|at| space.access(at) == Some(Access::Read))
            .collect::<Vec<_>>()
    };
    assert_eq!(read_only(BASE + 0x2010, 0x1FF0), [true, true, false, false, false]);
    assert_eq!(read_only(BASE + 0x3000, 0x2FFF), [false, true, true, false, false]);
    assert_eq!(read_only(0, BASE + 0x3000), [true, false, false, false, false]);
    assert_eq!(read_only(BASE + 0x1000, 0x1000), [false; 5]);
    assert_eq!(read_only(BASE, 0x10_0000), [true; 5]);
    assert_eq!(read_only(0, 0x1000), [false; 5]);
}

#[test]
fn what_is_read_only_is_so_in_the_map_of_physical_memory_too() {
    for gib_pages in [false, true] {
        let file = kernel(|_| {}).bytes();
        let space = Space::load(Job { gib_pages, ..job(&file) }).unwrap();
        let offset = space.optional(offset_of!(BootInfo, physical_memory_offset)).unwrap();
        let physical = |address| space.space.translate(&space.machine.frames, address).unwrap().0;
        for (address, access) in
            [(BASE, Access::Read), (BASE + 0x1000, Access::Read), (BASE + 0x2000, Access::ReadWrite)]
        {
            let alias = offset + physical(address);
            assert_eq!((space.access(alias), physical(alias)), (Some(access), physical(address)), "{address:#x}");
        }
        let code = physical(BASE + 0x1000);
        for at in [0, code - 2 * PAGE, code + PAGE, 1 << 30, (4 << 30) - 1] {
            assert_eq!((space.access(offset + at), physical(offset + at)), (Some(Access::ReadWrite), at));
        }
    }
}

#[test]
fn boot_information_is_complete() {
    let file = kernel(|_| {}).bytes();
    let space = Space::load(job(&file)).unwrap();
    assert_eq!(space.optional(offset_of!(BootInfo, rsdp_addr)), Some(0xE_0000));
    assert_eq!(space.optional(offset_of!(BootInfo, physical_memory_offset)), Some(0xFFFF_8000_0000_0000));
    assert_eq!(space.info(offset_of!(BootInfo, kernel_addr)), FILE_AT);
    assert_eq!(space.info(offset_of!(BootInfo, kernel_len)), file.len() as u64);
    assert_eq!(space.info(offset_of!(BootInfo, kernel_image_offset)), 0);
    let ramdisk = space.optional(offset_of!(BootInfo, ramdisk_addr)).unwrap();
    let text = space.read(ramdisk, space.info(offset_of!(BootInfo, ramdisk_len)));
    let (command_line, log) = text.split_at(8);
    assert_eq!((command_line, log[0]), (&b"app=diag"[..], 0));
    let (log, words) = log[1..].split_at(log[1..].iter().position(|byte| *byte == 0).unwrap());
    assert!(log.is_empty() || log.ends_with(b"\n"));
    assert_eq!(words, b"\0smbios=0xabc0");
    let regions = space.info(offset_of!(BootInfo, memory_regions));
    let count = space.info(offset_of!(BootInfo, memory_regions) + 8);
    let map = space.machine.map.regions();
    assert_eq!(count, map.len() as u64);
    for (number, region) in map.iter().enumerate() {
        let at = regions + (number * size_of::<MemoryRegion>()) as u64;
        assert_eq!((space.word(at), space.word(at + 8)), (region.start, region.end));
    }
}

#[test]
fn two_words_are_what_memory_regions_are_made_of() {
    let regions: &'static mut [MemoryRegion] = std::boxed::Box::leak(std::boxed::Box::new([MemoryRegion::empty(); 3]));
    let start = regions.as_ptr().addr();
    // SAFETY: both have the size of two words (else this does not compile), and any words are valid.
    let words = unsafe { core::mem::transmute::<MemoryRegions, [usize; 2]>(MemoryRegions::from(regions)) };
    assert_eq!(words, [start, 3]);
}

#[test]
fn the_stack_has_an_unmapped_page_below() {
    let file = kernel(|config| config.kernel_stack_size = 50_000).bytes();
    let space = Space::load(job(&file)).unwrap();
    let bottom = space.info(offset_of!(BootInfo, kernel_stack_bottom));
    assert_eq!(space.info(offset_of!(BootInfo, kernel_stack_len)), 53_248);
    assert_eq!(space.entry.stack_top, bottom + 53_248);
    assert!((bottom..space.entry.stack_top).step_by(4096).all(|at| space.access(at) == Some(Access::ReadWrite)));
    assert_eq!((space.access(bottom - 1), space.access(space.entry.stack_top)), (None, None));
}

#[test]
fn physical_memory_is_mapped_with_pages_of_any_size() {
    for gib_pages in [false, true] {
        let file = kernel(|_| {}).bytes();
        let space = Space::load(Job { gib_pages, ..job(&file) }).unwrap();
        let offset = 0xFFFF_8000_0000_0000;
        for physical in [0, 0x1234_5678, 0xFEE0_0000, 0xFFFF_FFFF] {
            let found = space.space.translate(&space.machine.frames, offset + physical);
            assert_eq!(found, Some((physical, Access::ReadWrite)));
        }
        assert_eq!(space.access(offset + (4 << 30)), None);
    }
}

#[test]
fn memory_far_up_is_mapped_but_not_the_hole_below_it() {
    let mut map = MemoryMap::new();
    map.mark(0..0x9_F000, MemoryRegionKind::Usable).unwrap();
    map.mark(0x80_4000_0000..0x80_8000_1000, MemoryRegionKind::Usable).unwrap();
    map.mark(0xFD_0000_0000..0x100_0000_0000, MemoryRegionKind::UnknownBios(2)).unwrap();
    let pieces: Vec<_> = memory_gib(&map).collect();
    assert_eq!(pieces, [0..4 << 30, 0x80_4000_0000..0x80_C000_0000]);
}

#[test]
fn what_the_kernel_must_not_use_is_marked() {
    let file = kernel(|_| {}).bytes();
    let space = Space::load(job(&file)).unwrap();
    let map = &space.machine.map;
    for address in [BASE, BASE + 0x1000, space.entry.boot_info, space.entry.bridge, space.entry.stack_top - 1] {
        let (physical, _) = space.space.translate(&space.machine.frames, address).unwrap();
        assert!(map.is_all(physical..physical + 1, MemoryRegionKind::Bootloader), "{address:#x}");
    }
    let end = (FILE_AT + file.len() as u64).next_multiple_of(4096);
    assert!(map.is_all(FILE_AT..end, MemoryRegionKind::Bootloader));
    assert!(map.is_all(space.entry.page_table..space.entry.page_table + 4096, MemoryRegionKind::Bootloader));
}

#[test]
fn memory_that_is_kept_across_resets_is_never_allocated() {
    let mut machine = Machine::new(32 << 20);
    while let Some(range) = machine.frames.allocate(64 * 1024) {
        assert!(range.end <= KEPT_MEMORY.start || range.start >= KEPT_MEMORY.end);
        assert!(machine.frames.bytes(range).unwrap().iter().all(|byte| *byte == 0));
    }
    assert_eq!(machine.frames.free(), 0);
    assert!(machine.frames.bytes_mut(KEPT_MEMORY.start..KEPT_MEMORY.start + 1).is_none());
}

#[test]
fn a_relocatable_kernel_is_relocated() {
    // The last one straddles a page.
    let mut file = KernelFile::relocatable(&[(0x2010, 8, 0x1010), (0x2018, 0, 7), (0x10, 8, 0), (0x2FFC, 8, 0x55)]);
    file.configuration = configured(|_| {});
    let bytes = file.bytes();
    let space = Space::load(job(&bytes)).unwrap();
    let base = space.info(offset_of!(BootInfo, kernel_image_offset));
    assert_ne!(base, 0);
    assert_eq!(space.entry.address, base + 0x1010);
    assert_eq!(space.word(base + 0x2010), base + 0x1010);
    assert_eq!(space.word(base + 0x10), base);
    assert_eq!(space.word(base + 0x2FFC), base + 0x55);
    assert_eq!(space.read(base + 0x2018, 8), &bytes[0x3018..0x3020]);
    assert_eq!(space.optional(offset_of!(BootInfo, physical_memory_offset)), Some(0xFFFF_8000_0000_0000));
}

#[test]
fn a_relocatable_kernel_goes_where_it_wants() {
    let mut file = KernelFile::relocatable(&[(0x2010, 8, 0)]);
    file.configuration = configured(|config| config.mappings.kernel_base = Mapping::FixedAddress(0x40_0000));
    let space = Space::load(job(&file.bytes())).unwrap();
    assert_eq!(space.word(0x40_2010), 0x40_0000);
}

#[test]
fn bad_relocations_are_refused() {
    for (relocation, field) in [
        ((0x2010, 6, 0), "r_info"),
        ((0x2010, 1 << 32 | 8, 0), "r_info"),
        ((0x4000, 8, 0), "r_offset"),
        ((u64::MAX - 3, 8, 0), "r_offset"),
        ((0x3FFC, 8, 0), "r_offset"),
    ] {
        let mut file = KernelFile::relocatable(&[relocation]);
        file.configuration = configured(|_| {});
        match Space::load(job(&file.bytes())).map(|_| ()) {
            Err(Error::Elf(error)) => assert_eq!(error.field, field),
            other => panic!("{relocation:?}: {other:?}"),
        }
    }
}

#[test]
fn wishes_are_granted() {
    let file = kernel(|config| {
        config.mappings.kernel_stack = Mapping::FixedAddress(0xFFFF_A000_0000_0000);
        config.mappings.boot_info = Mapping::FixedAddress(0x1_0000_0000);
        config.mappings.ramdisk_memory = Mapping::FixedAddress(0x2_0000_0000);
        config.mappings.physical_memory = Some(Mapping::FixedAddress(0xFFFF_B000_0000_0000));
        config.mappings.page_table_recursive = Some(Mapping::FixedAddress(0xFFFF_FF00_0000_0000));
        config.mappings.dynamic_range_start = Some(0);
    })
    .bytes();
    let space = Space::load(job(&file)).unwrap();
    assert_eq!(space.info(offset_of!(BootInfo, kernel_stack_bottom)), 0xFFFF_A000_0000_1000);
    assert_eq!(space.entry.boot_info, 0x1_0000_0000);
    assert_eq!(space.optional(offset_of!(BootInfo, ramdisk_addr)), Some(0x2_0000_0000));
    assert_eq!(space.optional(offset_of!(BootInfo, physical_memory_offset)), Some(0xFFFF_B000_0000_0000));
    assert!(space.entry.bridge >= 0xFFFF_8000_0000_0000);
    // Entry 510 of the top table leads to the tables: through it four times is the top table itself.
    let top = 0xFFFF_FF7F_BFDF_E000;
    let found = space.space.translate(&space.machine.frames, top).unwrap();
    assert_eq!(found, (space.entry.page_table, Access::ReadWrite));
}

#[test]
fn impossible_wishes_are_refused() {
    type Change = fn(&mut BootloaderConfig);
    let wishes: [(Change, &str); 6] = [
        (|c| c.mappings.kernel_stack = Mapping::FixedAddress(BASE + 0x2000), "the kernel's stack"),
        (|c| c.mappings.boot_info = Mapping::FixedAddress(0x1234), "boot information"),
        (|c| c.mappings.boot_info = Mapping::FixedAddress(0x0000_8000_0000_0000), "boot information"),
        (|c| c.mappings.physical_memory = Some(Mapping::FixedAddress(BASE)), "physical memory"),
        (|c| c.mappings.page_table_recursive = Some(Mapping::FixedAddress(0x1000)), "recursive page tables"),
        (
            |c| (c.mappings.dynamic_range_start, c.mappings.dynamic_range_end) = (Some(BASE), Some(BASE)),
            "physical memory",
        ),
    ];
    for (wish, what) in wishes {
        match Space::load(job(&kernel(wish).bytes())).map(|_| ()) {
            Err(Error::NoRoom { purpose, .. }) => assert_eq!(purpose, what),
            other => panic!("{what}: {other:?}"),
        }
    }
    let mut file = kernel(|_| {});
    file.configuration = Some(std::vec![0; 133]);
    assert_eq!(Space::load(job(&file.bytes())).map(|_| ()), Err(Error::Configuration("invalid UUID")));
}

#[test]
fn what_is_needed_is_enough() {
    for (gib_pages, stack) in [(false, 1), (true, 5 << 20)] {
        let mut file = kernel(|config| config.kernel_stack_size = stack);
        file.headers[2].memory_size = 6 << 20;
        let bytes = file.bytes();
        let mut map = MemoryMap::new();
        map.mark(0..0x200_0000_0000, MemoryRegionKind::Usable).unwrap();
        let job = Job { gib_pages, ..job(&bytes) };
        let needed = memory_needed(&job, &map).unwrap();
        let mut machine = Machine::new(needed);
        assert!(load(job, &mut machine.frames, &map).is_ok());
        assert!(machine.frames.free() < needed / 2);
    }
}

#[test]
fn too_little_memory_is_told() {
    for size in (0..30).map(|pages| pages * 4096) {
        let mut machine = Machine::new(size);
        let file = kernel(|_| {}).bytes();
        let error = load(job(&file), &mut machine.frames, &machine.map).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, Error::OutOfMemory { .. } | Error::Map(crate::paging::MapError::OutOfMemory)),
            "{error:?}"
        );
        assert!(error.advice().contains("memory"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_kernels_never_panic(
        damage in proptest::collection::vec((0_usize..64 + 56 * 5, any::<u8>()), 0..4),
        tail in proptest::collection::vec((0_usize..640, any::<u8>()), 0..6),
    ) {
        let mut file = KernelFile::relocatable(&[(0x2010, 8, 0x1010), (0x10, 8, 0)]);
        file.configuration = configured(|_| {});
        let mut bytes = file.bytes();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        let len = bytes.len();
        for (at, byte) in tail {
            bytes[len - 1 - at] = byte;
        }
        if let Ok(space) = Space::load(job(&bytes)) {
            prop_assert_eq!(space.access(space.entry.address), Some(Access::ReadExecute));
        }
    }
}
