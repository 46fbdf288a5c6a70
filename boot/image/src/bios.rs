//! Master boot record and second stage, out of the program `loader-bios`.

use crate::Error;
use boot::image_layout::{MBR_CODE_SIZE, MBR_STAGE2, STAGE2_ADDRESS, STAGE2_END, STAGE2_MAX_SECTORS};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection, elf};

/// What errors call the program.
const PROGRAM: &str = "the BIOS loader";

/// What a BIOS boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages {
    mbr: [u8; MBR_CODE_SIZE],
    stage2: Vec<u8>,
}

impl Stages {
    /// The stages out of files that [`boot_record`](Self::boot_record) and [`stage2`](Self::stage2) were kept in.
    ///
    /// # Errors
    /// If they are not of the right size.
    pub fn new(boot_record: &[u8], stage2: Vec<u8>) -> Result<Self, Error> {
        let Ok(mbr) = boot_record.try_into() else {
            return problem(format!("its boot record has {} bytes, not {MBR_CODE_SIZE}", boot_record.len()));
        };
        let sectors = 1..=usize::from(STAGE2_MAX_SECTORS);
        if !stage2.len().is_multiple_of(512) || !sectors.contains(&(stage2.len() / 512)) {
            return problem(format!("its second stage has {} bytes: whole sectors, and not so many", stage2.len()));
        }
        Ok(Self { mbr, stage2 })
    }

    /// The master boot record's code, without the second stage's place.
    pub fn boot_record(&self) -> &[u8] {
        &self.mbr
    }

    /// The second stage: whole sectors.
    pub fn stage2(&self) -> &[u8] {
        &self.stage2
    }

    /// The master boot record's code for a second stage that starts at a sector.
    pub fn mbr(&self, stage2_sector: u64) -> [u8; MBR_CODE_SIZE] {
        let mut mbr = self.mbr;
        mbr[MBR_STAGE2..MBR_STAGE2 + 8].copy_from_slice(&stage2_sector.to_le_bytes());
        // `new` checked that it has fewer than 65,536.
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
    match section {
        Some(mbr) => Stages::new(mbr, stage2),
        None => problem("it has no section .mbr"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A program such as `loader-bios`, of one segment of 0x900 bytes, with a section `.mbr`.
    pub(crate) fn program() -> Vec<u8> {
        let mut file = vec![0; 0x900];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7FELF\x02\x01\x01");
        put(16, &2_u16.to_le_bytes());
        put(18, &62_u16.to_le_bytes());
        put(20, &1_u32.to_le_bytes());
        put(24, &(STAGE2_ADDRESS + 0x400).to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(40, &0x900_u64.to_le_bytes());
        put(52, &[64, 0, 56, 0, 1, 0, 64, 0, 3, 0, 2, 0]);
        put(64, &[1, 0, 0, 0, 7, 0, 0, 0]);
        for (at, word) in (72..).step_by(8).zip([0, STAGE2_ADDRESS, STAGE2_ADDRESS, 0x900, 0x2000, 4096]) {
            put(at, &word.to_le_bytes());
        }
        put(0x400, b"second stage");
        put(0x600, &[0xC0; MBR_CODE_SIZE]);
        put(0x800, b"\0.mbr\0.shstrtab\0");
        let mut section = |name: u32, kind: u32, offset: u64, size: u64| {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&offset.to_le_bytes());
            header[32..40].copy_from_slice(&size.to_le_bytes());
            file.extend(header);
        };
        section(0, 0, 0, 0);
        section(1, 1, 0x600, MBR_CODE_SIZE as u64);
        section(6, 3, 0x800, 16);
        file
    }

    #[test]
    fn the_second_stage_is_the_file_as_far_as_it_is_loaded() {
        let program = program();
        let stages = stages(&program).unwrap();
        assert_eq!(stages.stage2.len(), 5 * 512);
        assert_eq!(stages.stage2[..0x900], program[..0x900]);
        assert!(stages.stage2[0x900..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_boot_record_knows_where_the_second_stage_is() {
        let mbr = stages(&program()).unwrap().mbr(0x1122_3344_5566_7788);
        assert_eq!(mbr[..MBR_STAGE2], [0xC0; MBR_STAGE2]);
        assert_eq!(mbr[MBR_STAGE2..MBR_STAGE2 + 8], 0x1122_3344_5566_7788_u64.to_le_bytes());
        assert_eq!(mbr[MBR_STAGE2 + 8..MBR_STAGE2 + 10], 5_u16.to_le_bytes());
    }

    #[test]
    fn stages_can_be_kept_in_files() {
        let stages = stages(&program()).unwrap();
        assert_eq!(Stages::new(stages.boot_record(), stages.stage2().to_vec()).unwrap(), stages);
        for (boot_record, stage2) in [(439, 512), (440, 0), (440, 511), (440, 512 * 1025)] {
            assert!(Stages::new(&vec![0; boot_record], vec![0; stage2]).is_err(), "{boot_record}, {stage2}");
        }
    }

    #[test]
    fn programs_that_are_linked_otherwise_are_refused_with_the_reason() {
        let reason = |at: usize, bytes: &[u8]| {
            let mut program = program();
            program[at..at + bytes.len()].copy_from_slice(bytes);
            stages(&program).unwrap_err().to_string()
        };
        assert!(reason(16, &[3]).contains("fixed addresses"));
        assert!(reason(82, &[2]).contains("not at the same place"));
        assert!(reason(106, &[0x10]).contains("ends beyond"));
        assert!(reason(24, &[0, 9]).contains("entry point"));
        assert!(reason(97, &[0xF0]).contains("outside the file"));
        assert!(reason(0x801, b".mbx").contains(".mbr"));
        assert!(reason(0x900 + 64 + 32, &[1]).contains("boot record has"));
        assert!(reason(0, b"\x7FELG").contains("cannot read"));
    }
}
