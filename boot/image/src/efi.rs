//! Makes an EFI application of a relocatable ELF program.
//!
//! The program is linked as `ET_DYN` (`-static-pie`) to a base of at least 4096, which leaves room for the headers
//! of the new file. Every loadable segment becomes a section at the same address, with the same permissions; every
//! `R_X86_64_RELATIVE` becomes a base relocation of 64 bits, its addend written where firmware adds the load address.
//!
//! Sources: Microsoft, "PE Format"; UEFI 2.10, section 2.1 (images).

use crate::Error;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::write::pe::{NtHeaders, Writer};
use object::{LittleEndian, Object, elf, pe};

/// Alignment of sections in memory, and the least address of the first.
const SECTION_ALIGNMENT: u32 = 4096;
/// Alignment of sections in the file.
const FILE_ALIGNMENT: u32 = 512;
/// Entries of the data directory: all that there are.
const DIRECTORIES: usize = 16;
/// Largest program: 64 MiB.
const MAX_SIZE: u64 = 64 << 20;

/// What errors call the program.
const PROGRAM: &str = "the UEFI loader";

fn problem<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Program(PROGRAM, text.into()))
}

fn unreadable(error: object::Error) -> Error {
    Error::Object(PROGRAM, error)
}

/// A section in the making.
struct Section {
    name: [u8; 8],
    flags: pe::SectionFlags,
    address: u32,
    size: u32,
    data: Vec<u8>,
}

impl Section {
    fn end(&self) -> u32 {
        self.address + self.size
    }
}

/// Makes an EFI application of the program in an ELF file.
///
/// # Errors
/// If it is not a static, relocatable program for x86-64 without writable and executable segments.
pub fn application(program: &[u8]) -> Result<Vec<u8>, Error> {
    let file = ElfFile64::<LittleEndian>::parse(program).map_err(unreadable)?;
    let header = file.elf_header();
    if header.e_machine(LittleEndian) != elf::EM_X86_64 || header.e_type(LittleEndian) != elf::ET_DYN {
        return problem("it is not a position-independent program for x86-64");
    }
    let mut sections = Vec::new();
    for segment in file.elf_program_headers() {
        match segment.p_type(LittleEndian) {
            elf::PT_LOAD => sections.push(section(segment, program, sections.last())?),
            elf::PT_INTERP => return problem("it is dynamically linked"),
            _ => {}
        }
    }
    let relocations = relocate(&file, &mut sections)?;
    let entry = file.entry();
    let inside = |s: &Section| {
        s.flags.contains(pe::IMAGE_SCN_MEM_EXECUTE) && entry >= s.address.into() && entry < s.end().into()
    };
    if !sections.iter().any(inside) {
        return problem(format!("its entry point {entry:#x} is not in an executable segment"));
    }
    Ok(write(entry as u32, &sections, &relocations))
}

/// Makes a section of a segment.
fn section(
    segment: &elf::ProgramHeader64<LittleEndian>,
    program: &[u8],
    previous: Option<&Section>,
) -> Result<Section, Error> {
    let (address, size) = (segment.p_vaddr(LittleEndian), segment.p_memsz(LittleEndian));
    let Ok(data) = segment.data(LittleEndian, program) else { return problem("a segment lies outside the file") };
    if address.checked_add(size).is_none_or(|end| end > MAX_SIZE) || data.len() as u64 > size {
        return problem(format!("a segment of {size:#x} bytes at {address:#x} is too large"));
    }
    let (address, size) = (address as u32, size as u32);
    let lowest = previous.map_or(SECTION_ALIGNMENT, |previous| previous.end().next_multiple_of(SECTION_ALIGNMENT));
    if !address.is_multiple_of(SECTION_ALIGNMENT) || address < lowest {
        return problem(format!("its segment at {address:#x} is not on pages of its own above {lowest:#x}"));
    }
    let initialized = pe::IMAGE_SCN_CNT_INITIALIZED_DATA | pe::IMAGE_SCN_MEM_READ;
    let (name, flags) = match segment.p_flags(LittleEndian).0 & (elf::PF_W | elf::PF_X).0 {
        0 => (*b".rdata\0\0", initialized),
        flags if flags == elf::PF_X.0 => {
            (*b".text\0\0\0", pe::IMAGE_SCN_CNT_CODE | pe::IMAGE_SCN_MEM_READ | pe::IMAGE_SCN_MEM_EXECUTE)
        }
        flags if flags == elf::PF_W.0 => (*b".data\0\0\0", initialized | pe::IMAGE_SCN_MEM_WRITE),
        _ => return problem(format!("its segment at {address:#x} is both writable and executable")),
    };
    Ok(Section { name, flags, address, size, data: data.to_vec() })
}

/// Writes addends into the sections; returns the addresses of the words that firmware must add the load address to, sorted.
fn relocate(file: &ElfFile64<'_, LittleEndian>, sections: &mut [Section]) -> Result<Vec<u32>, Error> {
    let mut addresses = Vec::new();
    for relocation in relocations(file)? {
        let (address, addend) = (relocation.r_offset.get(LittleEndian), relocation.r_addend.get(LittleEndian));
        let kind = relocation.r_info.get(LittleEndian);
        if kind != u64::from(elf::R_X86_64_RELATIVE.0) {
            return problem(format!("it has a relocation other than R_X86_64_RELATIVE: {kind:#x}"));
        }
        let end = address.saturating_add(8);
        let section = sections.iter_mut().find(|s| address >= s.address.into() && end <= s.end().into());
        let Some(section) = section else {
            return problem(format!("its relocation at {address:#x} lies outside its segments"));
        };
        let start = address as usize - section.address as usize;
        if section.data.len() < start + 8 {
            section.data.resize(start + 8, 0);
        }
        section.data[start..start + 8].copy_from_slice(&addend.to_le_bytes());
        addresses.push(address as u32);
    }
    addresses.sort_unstable();
    Ok(addresses)
}

/// The program's relocations, found by its dynamic section.
fn relocations<'a>(file: &ElfFile64<'a, LittleEndian>) -> Result<&'a [elf::Rela64<LittleEndian>], Error> {
    let data = file.data();
    let (mut address, mut size) = (0, 0);
    for segment in file.elf_program_headers() {
        for entry in segment.dynamic(LittleEndian, data).map_err(unreadable)?.unwrap_or_default() {
            match entry.d_tag(LittleEndian) {
                elf::DT_RELA => address = entry.d_val(LittleEndian),
                elf::DT_RELASZ => size = entry.d_val(LittleEndian),
                elf::DT_REL | elf::DT_RELR | elf::DT_JMPREL | elf::DT_NEEDED => {
                    return problem("it has relocations other than DT_RELA, or needs libraries");
                }
                _ => {}
            }
        }
    }
    if size == 0 {
        return Ok(&[]);
    }
    let table = file.elf_program_headers().iter().find_map(|segment| {
        let loaded = segment.p_type(LittleEndian) == elf::PT_LOAD;
        let offset = address.checked_sub(segment.p_vaddr(LittleEndian)).filter(|_| loaded)?;
        let bytes = segment.data(LittleEndian, data).ok()?;
        let bytes = bytes.get(usize::try_from(offset).ok()?..)?.get(..usize::try_from(size).ok()?)?;
        object::pod::slice_from_all_bytes(bytes).ok()
    });
    table.map_or_else(|| problem("its relocations lie outside its segments"), Ok)
}

fn write(entry: u32, sections: &[Section], relocations: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(true, SECTION_ALIGNMENT, FILE_ALIGNMENT, &mut out);
    writer.reserve_dos_header();
    writer.reserve_nt_headers(DIRECTORIES);
    writer.reserve_section_headers(sections.len() as u16 + 1);
    let mut ranges = Vec::new();
    for section in sections {
        writer.reserve_virtual_until(section.address);
        ranges.push(writer.reserve_section(section.name, section.flags, section.size, section.data.len() as u32));
    }
    for address in relocations {
        writer.add_reloc(*address, pe::IMAGE_REL_BASED_DIR64);
    }
    // Firmware takes a file without this section for one that cannot be moved.
    if relocations.is_empty() {
        writer.add_reloc(SECTION_ALIGNMENT, pe::IMAGE_REL_BASED_ABSOLUTE);
    }
    writer.reserve_reloc_section();

    // Cannot fail: it is the first thing written, into a vector.
    let _ = writer.write_empty_dos_header();
    writer.write_nt_headers(headers(entry));
    writer.write_section_headers();
    for (section, range) in sections.iter().zip(&ranges) {
        writer.write_section(range.file_offset, &section.data);
    }
    writer.write_reloc_section();
    out
}

fn headers(entry: u32) -> NtHeaders {
    NtHeaders {
        machine: pe::IMAGE_FILE_MACHINE_AMD64,
        time_date_stamp: 0,
        characteristics: pe::IMAGE_FILE_EXECUTABLE_IMAGE | pe::IMAGE_FILE_LARGE_ADDRESS_AWARE,
        major_linker_version: 0,
        minor_linker_version: 0,
        address_of_entry_point: entry,
        image_base: 0,
        major_operating_system_version: 0,
        minor_operating_system_version: 0,
        major_image_version: 0,
        minor_image_version: 0,
        major_subsystem_version: 0,
        minor_subsystem_version: 0,
        subsystem: pe::IMAGE_SUBSYSTEM_EFI_APPLICATION,
        dll_characteristics: pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE | pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
        size_of_stack_reserve: 0,
        size_of_stack_commit: 0,
        size_of_heap_reserve: 0,
        size_of_heap_commit: 0,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use object::read::pe::PeFile64;
    use object::{ObjectSection, SectionFlags};

    /// A program: code at 0x1000, data at 0x2000 with 64 zero bytes behind 32 others, and relocations of two words there.
    pub(crate) struct Program {
        kind: u16,
        flags: u32,
        relocations: Vec<[u64; 3]>,
    }

    impl Program {
        pub(crate) fn good() -> Self {
            Self { kind: 3, flags: 5, relocations: vec![[0x2048, 8, 0x1004], [0x2000, 8, 0x2010]] }
        }

        pub(crate) fn bytes(&self) -> Vec<u8> {
            let mut file = vec![0; 0x2000];
            file[..7].copy_from_slice(b"\x7FELF\x02\x01\x01");
            let mut put = |at: usize, bytes: &[u8]| {
                file.resize(file.len().max(at + bytes.len()), 0);
                file[at..at + bytes.len()].copy_from_slice(bytes);
            };
            put(16, &self.kind.to_le_bytes());
            put(18, &62_u16.to_le_bytes());
            put(20, &1_u32.to_le_bytes());
            put(24, &0x1010_u64.to_le_bytes());
            put(32, &64_u64.to_le_bytes());
            put(52, &[64, 0, 56, 0, 3, 0, 64, 0]);
            let table: Vec<u8> = self.relocations.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
            let dynamic: Vec<u8> =
                [7, 0x1400, 8, table.len() as u64, 0, 0].into_iter().flat_map(u64::to_le_bytes).collect();
            put(0x1000, b"code");
            put(0x1400, &table);
            put(0x1800, &dynamic);
            put(0x2000, &[0xDA; 32]);
            let headers: [(u32, u32, [u64; 6]); 3] = [
                (1, self.flags, [0x1000, 0x1000, 0x1000, 0x900, 0x900, 0x1000]),
                (1, 6, [0x2000, 0x2000, 0x2000, 32, 96, 0x1000]),
                (2, 4, [0x1800, 0x1800, 0x1800, 48, 48, 8]),
            ];
            for (at, (kind, flags, words)) in (64..).step_by(56).zip(headers) {
                put(at, &kind.to_le_bytes());
                put(at + 4, &flags.to_le_bytes());
                words.iter().zip(1..).for_each(|(word, i)| put(at + 8 * i, &word.to_le_bytes()));
            }
            file
        }
    }

    #[test]
    fn segments_become_sections_and_relocations_base_relocations() {
        let application = application(&Program::good().bytes()).unwrap();
        let file = PeFile64::parse(&*application).unwrap();
        assert_eq!(file.entry(), 0x1010);
        let headers = file.nt_headers();
        assert_eq!(headers.optional_header.subsystem.get(LittleEndian), pe::IMAGE_SUBSYSTEM_EFI_APPLICATION);
        let sections: Vec<_> = file.sections().map(|s| (s.name().unwrap().to_owned(), s.address())).collect();
        let expected = [(".text".into(), 0x1000), (".data".into(), 0x2000), (".reloc".into(), 0x3000)];
        assert_eq!(sections, expected);
        let data = file.section_by_name(".data").unwrap();
        let SectionFlags::Coff { characteristics } = data.flags() else { panic!("not a PE section") };
        assert!(characteristics.contains(pe::IMAGE_SCN_MEM_WRITE));
        assert!(!characteristics.contains(pe::IMAGE_SCN_MEM_EXECUTE));
        let bytes = data.uncompressed_data().unwrap();
        assert_eq!(bytes[..8], 0x2010_u64.to_le_bytes());
        assert_eq!(bytes[8..32], [0xDA; 24]);
        assert_eq!(bytes[32..0x48], [0; 0x28]);
        assert_eq!(bytes[0x48..0x50], 0x1004_u64.to_le_bytes());
        let mut blocks =
            file.data_directories().relocation_blocks(&*application, &file.section_table()).unwrap().unwrap();
        let block: Vec<_> = blocks.next().unwrap().unwrap().map(|entry| (entry.virtual_address, entry.typ)).collect();
        assert_eq!(block, [(0x2000, pe::IMAGE_REL_BASED_DIR64), (0x2048, pe::IMAGE_REL_BASED_DIR64)]);
        assert!(blocks.next().unwrap().is_none());
    }

    #[test]
    fn a_program_without_relocations_can_still_be_moved() {
        let application = application(&Program { relocations: Vec::new(), ..Program::good() }.bytes()).unwrap();
        let file = PeFile64::parse(&*application).unwrap();
        assert!(file.section_by_name(".reloc").is_some());
    }

    #[test]
    fn other_programs_are_refused_with_the_reason() {
        let reason = |program: Program| application(&program.bytes()).unwrap_err().to_string();
        assert!(reason(Program { kind: 2, ..Program::good() }).contains("position-independent"));
        assert!(reason(Program { flags: 7, ..Program::good() }).contains("writable and executable"));
        assert!(reason(Program { flags: 4, ..Program::good() }).contains("entry point"));
        assert!(reason(Program { relocations: vec![[0x2000, 6, 0]], ..Program::good() }).contains("R_X86_64_RELATIVE"));
        assert!(reason(Program { relocations: vec![[0x2060, 8, 0]], ..Program::good() }).contains("outside"));
        assert!(application(b"text").unwrap_err().to_string().contains("cannot read"));
        let cut = &Program::good().bytes()[..0x1900];
        assert!(application(cut).is_err());
    }
}
