//! Tests of the parser, on good and on hostile files.

use super::*;
use crate::testing::{Header, KernelFile};
use proptest::prelude::*;
use std::vec::Vec;

const BASE: u64 = 0xFFFF_FFFF_8000_0000;

#[test]
fn a_good_file_is_read() {
    let bytes = KernelFile::new(BASE).bytes();
    let elf = Elf::parse(&bytes).unwrap();
    assert!(!elf.is_relocatable());
    assert_eq!(elf.entry(), BASE + 0x1010);
    assert_eq!(elf.pages(), BASE..BASE + 0x4000);
    let segments: Vec<_> = elf.segments().collect();
    assert_eq!(segments.len(), 3);
    assert_eq!(segments[0].access, Access::Read);
    assert_eq!(segments[1].access, Access::ReadExecute);
    assert_eq!(segments[2].access, Access::ReadWrite);
    assert_eq!(segments[1].data, &bytes[0x2000..0x20C8]);
    assert_eq!((segments[2].address, segments[2].size), (BASE + 0x2010, 5300));
    assert_eq!(elf.tls(), None);
    assert_eq!(elf.section(".bootloader-config"), Ok(None));
}

#[test]
fn a_section_is_found_by_its_name() {
    let mut file = KernelFile::new(BASE);
    file.configuration = Some(b"wishes".to_vec());
    let bytes = file.bytes();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.section(".bootloader-config"), Ok(Some(&b"wishes"[..])));
    assert_eq!(elf.section(".bootloader-confi"), Ok(None));
    assert_eq!(elf.section(".text"), Ok(None));
}

/// What parsing says about a file that is good but for one change.
fn fault(change: impl FnOnce(&mut KernelFile)) -> (Place, &'static str) {
    let mut file = KernelFile::new(BASE);
    change(&mut file);
    let error = Elf::parse(&file.bytes()).map(|_| ()).expect_err("the file is bad");
    (error.place, error.field)
}

#[test]
fn faults_in_segments_are_named() {
    use Place::{Header as InHeader, ProgramHeader as In};
    assert_eq!(fault(|f| f.headers[0].offset = u64::MAX), (In(0), "p_filesz"));
    assert_eq!(fault(|f| (f.headers[1].file_size, f.headers[1].memory_size) = (1 << 20, 1 << 20)), (In(1), "p_filesz"));
    assert_eq!(fault(|f| f.headers[2].memory_size = 299), (In(2), "p_memsz"));
    assert_eq!(fault(|f| f.headers[2].memory_size = u64::MAX), (In(2), "p_memsz"));
    assert_eq!(fault(|f| f.headers[1].flags = 7), (In(1), "p_flags"));
    assert_eq!(fault(|f| f.headers[0].address = 0x0000_7FFF_FFFF_FFF0), (In(0), "p_vaddr"));
    assert_eq!(fault(|f| f.headers[2].address = 0u64.wrapping_sub(5300)), (In(2), "p_vaddr"));
    assert_eq!(fault(|f| f.headers[2].address = BASE + 0x1800), (In(2), "p_vaddr"));
    assert_eq!(fault(|f| f.headers[2].address = BASE - 0x8000), (In(2), "p_vaddr"));
    assert_eq!(fault(|f| f.headers[2].address = BASE + MAX_IMAGE), (In(2), "p_vaddr"));
    assert_eq!(fault(|f| f.headers[0].kind = 3), (In(0), "p_type"));
    assert_eq!(fault(|f| f.headers.iter_mut().for_each(|h| h.kind = 0)), (InHeader, "e_phnum"));
    assert_eq!(fault(|f| f.headers.clear()), (InHeader, "e_phnum"));
    assert_eq!(fault(|f| f.entry = BASE), (InHeader, "e_entry"));
    assert_eq!(fault(|f| f.entry = BASE + 0x1000 + 200), (InHeader, "e_entry"));
    let many = |f: &mut KernelFile| {
        f.headers = (0..17).map(|i| Header::load(5, 0x1000, BASE + i * 0x1000, 100, 100)).collect();
    };
    assert_eq!(fault(many), (In(16), "p_type"));
}

#[test]
fn faults_in_the_header_are_named() {
    let good = KernelFile::new(BASE).bytes();
    for (at, value, field) in [
        (0, 0x7E, "e_ident[EI_MAG]"),
        (4, 1, "e_ident[EI_CLASS]"),
        (5, 2, "e_ident[EI_DATA]"),
        (6, 0, "e_ident[EI_VERSION]"),
        (16, 1, "e_type"),
        (18, 183, "e_machine"),
        (54, 57, "e_phentsize"),
        (57, 1, "e_phnum"),
        (39, 1, "e_phoff"),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let error = Elf::parse(&bytes).map(|_| ()).unwrap_err();
        assert_eq!((error.place, error.field), (Place::Header, field));
    }
    for len in 0..64 {
        assert_eq!(Elf::parse(&good[..len]).map(|_| ()).unwrap_err().field, "file size");
    }
    assert_eq!(Elf::parse(&good[..100]).map(|_| ()).unwrap_err().field, "e_phoff");
}

#[test]
fn an_error_names_place_field_value_and_problem() {
    let error = Elf::parse(&[0; 64]).map(|_| ()).unwrap_err();
    assert_eq!(std::format!("{error}"), "ELF header: e_ident[EI_MAG] is 0x0: not an ELF file");
}

#[test]
fn a_file_cut_short_is_never_taken() {
    let file = KernelFile::new(BASE).bytes();
    // The last byte that any segment has in the file.
    let needed = 0x3010 + 300;
    assert!(Elf::parse(&file[..needed]).is_ok());
    for len in 0..needed {
        assert!(Elf::parse(&file[..len]).is_err(), "{len} bytes");
    }
}

/// What the parser promises about whatever it takes.
fn check_promises(elf: &Elf<'_>) {
    let pages = elf.pages();
    let mut end = pages.start;
    let mut entered = false;
    let mut count = 0;
    for segment in elf.segments() {
        assert!(segment.size > 0 && segment.data.len() as u64 <= segment.size);
        assert!(segment.pages().start >= end && segment.pages().end > segment.pages().start);
        assert!(is_canonical(segment.pages().start) && is_canonical(segment.pages().end - 1));
        end = segment.pages().end;
        let inside = elf.entry() >= segment.address && elf.entry() - segment.address < segment.size;
        entered |= segment.access == Access::ReadExecute && inside;
        count += 1;
    }
    assert!((1..=MAX_SEGMENTS).contains(&count));
    assert!(entered && end == pages.end && end - pages.start <= MAX_IMAGE);
    let _ = elf.section(".bootloader-config");
}

proptest! {
    #[test]
    fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = bytes;
        for (byte, wanted) in bytes.iter_mut().zip(b"\x7FELF\x02\x01\x01") {
            *byte = *wanted;
        }
        if let Ok(elf) = Elf::parse(&bytes) {
            check_promises(&elf);
        }
    }

    #[test]
    fn a_damaged_file_keeps_the_promises_or_is_refused(
        damage in proptest::collection::vec((0_usize..64 + 56 * 5, any::<u8>()), 1..6),
        tail in proptest::collection::vec((0_usize..300, any::<u8>()), 0..4),
        words in proptest::collection::vec((0_usize..29, prop_oneof![
            Just(0), Just(u64::MAX), Just(1 << 63), Just(0xFFFF_8000_0000_0000), Just(0x1000), any::<u64>()
        ]), 0..2),
        relocatable in any::<bool>(),
    ) {
        let mut file = if relocatable { KernelFile::relocatable(&[(0x2010, 8, 4)]) } else { KernelFile::new(BASE) };
        file.configuration = Some(std::vec![1; 133]);
        let mut bytes = file.bytes();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        for (word, value) in words {
            let at = 24 + word * 8;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let len = bytes.len();
        for (at, byte) in tail {
            bytes[len - 1 - at] = byte;
        }
        if let Ok(elf) = Elf::parse(&bytes) {
            check_promises(&elf);
        }
    }
}
