//! Master boot record and second stage, out of the program `loader-bios`.

use crate::Error;
use boot::image_layout::{MBR_CODE_SIZE, MBR_STAGE2, STAGE2_ADDRESS, STAGE2_END};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection, elf};

/// What errors call the program.
const PROGRAM: &str = "the BIOS loader";

/// What a BIOS boots.
#[derive(Debug)]
pub struct Stages {
    mbr: [u8; MBR_CODE_SIZE],
    /// The second stage: whole sectors.
    pub stage2: Vec<u8>,
}

impl Stages {
    /// The master boot record's code for a second stage that starts at a sector.
    pub fn mbr(&self, stage2_sector: u64) -> [u8; MBR_CODE_SIZE] {
        let mut mbr = self.mbr;
        mbr[MBR_STAGE2..MBR_STAGE2 + 8].copy_from_slice(&stage2_sector.to_le_bytes());
        // `stages` checked that it has fewer than 65,536.
        let sectors = (self.stage2.len() / 512) as u16;
        mbr[MBR_STAGE2 + 8..MBR_STAGE2 + 10].copy_from_slice(&sectors.to_le_bytes());
        mbr
    }
}

fn problem<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Program(PROGRAM, text.into()))
}

/// Takes the stages out of the program in an ELF file.
///
/// # Errors
/// If the program is not linked as `boot::image_layout` says.
pub fn stages(program: &[u8]) -> Result<Stages, Error> {
    let unreadable = |error| Error::Object(PROGRAM, error);
    let file = ElfFile64::<LittleEndian>::parse(program).map_err(unreadable)?;
    if file.elf_header().e_type(LittleEndian) != elf::ET_EXEC {
        return problem("it is not linked to fixed addresses");
    }
    let mut end = 0;
    for segment in file.elf_program_headers().iter().filter(|s| s.p_type(LittleEndian) == elf::PT_LOAD) {
        let (address, offset) = (segment.p_vaddr(LittleEndian), segment.p_offset(LittleEndian));
        let (size, memory) = (segment.p_filesz(LittleEndian), segment.p_memsz(LittleEndian));
        if address.checked_sub(STAGE2_ADDRESS) != Some(offset) {
            return problem(format!("its segment at {address:#x} is not at the same place in the file"));
        }
        if address.checked_add(memory.max(size)).is_none_or(|end| end > STAGE2_END) {
            return problem(format!("its segment at {address:#x} ends beyond {STAGE2_END:#x}: build it for release"));
        }
        end = end.max(offset + size);
    }
    let Some(stage2) = program.get(..end as usize).filter(|stage2| !stage2.is_empty()) else {
        return problem("its segments lie outside the file");
    };
    let entry = file.entry().checked_sub(STAGE2_ADDRESS);
    if entry.is_none_or(|entry| entry >= end) {
        return problem("its entry point is not in the second stage");
    }
    let mut stage2 = stage2.to_vec();
    stage2.resize(stage2.len().next_multiple_of(512), 0);
    let section = file.section_by_name(".mbr").map(|section| section.data()).transpose().map_err(unreadable)?;
    match section.and_then(|bytes| bytes.try_into().ok()) {
        Some(mbr) => Ok(Stages { mbr, stage2 }),
        None => problem(format!("it has no section .mbr of {MBR_CODE_SIZE} bytes")),
    }
}
