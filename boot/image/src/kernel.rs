//! Takes out of a kernel's file what is not loaded: names, debugging information.

use crate::Error;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, elf};

/// What errors call the file.
const PROGRAM: &str = "the kernel";
/// Where the ELF header has the section table's place, and the number of sections (System V ABI, figure 4-3).
const SECTION_TABLE: usize = 40;
const SECTION_COUNT: usize = 60;
/// Bytes of a section header, and where it has the name, the section's offset and its size (figure 4-8).
const SECTION: usize = 64;
const NAME: usize = 0;
const TYPE: usize = 4;
const OFFSET: usize = 24;
const SIZE: usize = 32;

/// Makes the file that a loader needs, out of the one that a linker made: segments, build id, and the headers of
/// the sections that lie in segments. The kernel itself is the same, so that the other file still names its addresses.
///
/// # Errors
/// If it is no ELF file for 64 bits, or is cut short.
pub fn strip(file: &[u8]) -> Result<Vec<u8>, Error> {
    let unreadable = |error| Error::Object(PROGRAM, error);
    let problem = |text: &str| Error::Program(PROGRAM, text.to_owned());
    let parsed = ElfFile64::<LittleEndian>::parse(file).map_err(unreadable)?;
    let sections = parsed.elf_header().sections(LittleEndian, file).map_err(unreadable)?;
    let ends = parsed.elf_program_headers().iter().map(|s| s.p_offset(LittleEndian) + s.p_filesz(LittleEndian));
    let table_end = parsed.elf_header().e_phoff(LittleEndian) + size_of_val(parsed.elf_program_headers()) as u64;
    let end = ends.chain([table_end, SECTION as u64]).max().unwrap_or(0);
    let mut out = file.get(..end as usize).ok_or_else(|| problem("its segments lie outside the file"))?.to_vec();

    let mut names = vec![0];
    let mut headers = vec![[0; SECTION]];
    for section in sections.iter().filter(|s| s.sh_flags(LittleEndian).contains(elf::SHF_ALLOC)) {
        let name = sections.section_name(LittleEndian, section).map_err(unreadable)?;
        let bytes = object::bytes_of(section);
        let mut header = [0; SECTION];
        header.copy_from_slice(bytes);
        put32(&mut header, NAME, names.len() as u32);
        headers.push(header);
        names.extend(name);
        names.push(0);
    }
    let mut own = [0; SECTION];
    put32(&mut own, NAME, names.len() as u32);
    put32(&mut own, TYPE, elf::SHT_STRTAB.0);
    names.extend(b".shstrtab\0");
    put64(&mut own, OFFSET, out.len() as u64);
    put64(&mut own, SIZE, names.len() as u64);
    headers.push(own);
    out.extend(names);
    out.resize(out.len().next_multiple_of(8), 0);

    let table = out.len() as u64;
    out.extend(headers.iter().flatten());
    let count = u16::try_from(headers.len()).map_err(|_| problem("it has too many sections"))?;
    put64(&mut out, SECTION_TABLE, table);
    // Behind it: the index of the names' section.
    put32(&mut out, SECTION_COUNT, u32::from(count) | u32::from(count - 1) << 16);
    Ok(out)
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object, ObjectSection};

    /// This test's own program: the only ELF file that is surely there.
    fn program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn what_is_loaded_stays_and_the_rest_goes() {
        let program = program();
        let stripped = strip(&program).unwrap();
        assert!(stripped.len() < program.len() / 2, "{} of {}", stripped.len(), program.len());
        let (before, after) =
            [&program, &stripped].map(|file| ElfFile64::<LittleEndian>::parse(&**file).unwrap()).into();
        assert_eq!(before.entry(), after.entry());
        assert_eq!(before.build_id().unwrap(), after.build_id().unwrap());
        for (old, new) in before.elf_program_headers().iter().zip(after.elf_program_headers()) {
            let (old, new) = (old.data(LittleEndian, &*program), new.data(LittleEndian, &*stripped));
            // But for the file's own header, which may lie in a segment.
            let from = if old.unwrap().starts_with(b"\x7FELF") { 64 } else { 0 };
            assert!(old.unwrap()[from..] == new.unwrap()[from..]);
        }
        assert!(before.section_by_name(".symtab").is_some() && after.section_by_name(".symtab").is_none());
        let text = |file: &ElfFile64<'_, LittleEndian>| file.section_by_name(".text").unwrap().data().unwrap().to_vec();
        assert!(text(&before) == text(&after));
    }

    #[test]
    fn it_can_be_done_twice() {
        let once = strip(&program()).unwrap();
        assert!(strip(&once).unwrap() == once);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let program = program();
        for length in [0, 3, 63, 1000, program.len() / 2] {
            assert!(strip(&program[..length]).is_err(), "{length}");
        }
        assert!(strip(&[7; 9999]).is_err());
    }
}
