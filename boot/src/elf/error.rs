//! What can be wrong with a kernel file.

use core::fmt;

/// What is wrong with a kernel file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElfError {
    /// In which structure.
    pub place: Place,
    /// The field, as the specification spells it.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Where in a kernel file a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The ELF header.
    Header,
    /// The program header with this number.
    ProgramHeader(usize),
    /// The section header with this number.
    SectionHeader(usize),
    /// The dynamic section.
    Dynamic,
    /// The relocation with this number.
    Relocation(u64),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Header => f.write_str("ELF header")?,
            Place::ProgramHeader(number) => write!(f, "program header {number}")?,
            Place::SectionHeader(number) => write!(f, "section header {number}")?,
            Place::Dynamic => f.write_str("dynamic section")?,
            Place::Relocation(number) => write!(f, "relocation {number}")?,
        }
        write!(f, ": {} is {:#x}: {}", self.field, self.value, self.problem)
    }
}

impl core::error::Error for ElfError {}
