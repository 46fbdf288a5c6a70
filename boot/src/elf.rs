//! Parser for kernel images: static ELF64 programs for x86-64.
//!
//! The file is hostile: every offset, size and count is checked before use, and what does
//! not fit is an [`ElfError`] that names the field. After [`Elf::parse`] these hold:
//!
//! - 1 to [`MAX_SEGMENTS`] loadable segments in ascending order, on pages of their own, each inside the file, each inside one half of
//!   the canonical address space, none both writable and executable, at most [`MAX_IMAGE`] from the first byte to the last;
//! - the entry point lies in an executable segment.
//!
//! Source: System V ABI, chapters 4 and 5 (ELF-64), and its AMD64 supplement, section 4.4 (relocation types).

mod error;

pub use error::{ElfError, Place};

use core::ops::Range;

/// Size of the smallest page, in bytes.
pub const PAGE: u64 = 4096;
/// Most loadable segments that a kernel may have.
pub const MAX_SEGMENTS: usize = 16;
/// Most bytes of virtual memory that a kernel may span: 1 GiB.
pub const MAX_IMAGE: u64 = 1 << 30;

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: usize = 56;
const SECTION_HEADER_SIZE: usize = 64;
const MAX_PROGRAM_HEADERS: u16 = 64;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_TLS: u32 = 7;
const PT_GNU_RELRO: u32 = 0x6474_E552;
const PF_X: u32 = 1;
const PF_W: u32 = 2;

/// What the pages of a segment may be used for. There is no way to say "writable and executable".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and executing.
    ReadExecute,
    /// Reading and writing.
    ReadWrite,
}

/// A loadable segment. Addresses are those in the file, before relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Virtual address of the first byte, not necessarily page-aligned.
    pub address: u64,
    /// Size in memory, in bytes; what `data` does not cover is zero.
    pub size: u64,
    /// The segment's bytes in the file.
    pub data: &'a [u8],
    /// Permissions.
    pub access: Access,
}

impl Segment<'_> {
    /// The pages that the segment touches: addresses of the first and of the one after the last.
    pub fn pages(&self) -> Range<u64> {
        // Does not overflow: `parse` keeps segments a page away from the top.
        self.address & !(PAGE - 1)..(self.address + self.size).next_multiple_of(PAGE)
    }
}

/// The template of thread-local storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Virtual address of the initialised part, before relocation.
    pub address: u64,
    /// Bytes of the initialised part.
    pub file_size: u64,
    /// Bytes in all.
    pub memory_size: u64,
}

/// A checked kernel file.
#[derive(Clone)]
pub struct Elf<'a> {
    bytes: &'a [u8],
    relocatable: bool,
    entry: u64,
    segments: [Option<Segment<'a>>; MAX_SEGMENTS],
    dynamic: &'a [u8],
    tls: Option<Tls>,
    read_only: Option<Range<u64>>,
}

/// A little-endian number in `bytes` at `at`, if it lies inside.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

/// A little-endian number in `bytes` at `at`, if it lies inside.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

/// A little-endian number in `bytes` at `at`, if it lies inside.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}

/// `count` table entries of `size` bytes from `offset` on.
fn table(bytes: &[u8], offset: u64, count: u64, size: usize) -> Option<&[u8]> {
    slice(bytes, offset, count.checked_mul(size as u64)?)
}

fn slice(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(len)?).ok()?;
    bytes.get(start..end)
}

struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
}

impl ProgramHeader {
    fn read(entry: &[u8]) -> Option<Self> {
        Some(Self {
            kind: u32_at(entry, 0)?,
            flags: u32_at(entry, 4)?,
            offset: u64_at(entry, 8)?,
            address: u64_at(entry, 16)?,
            file_size: u64_at(entry, 32)?,
            memory_size: u64_at(entry, 40)?,
        })
    }
}

impl<'a> Elf<'a> {
    /// Checks a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let header = |field, value, problem| ElfError { place: Place::Header, field, value, problem };
        let cut_short =
            header("file size", bytes.len() as u64, "too short for an ELF file: not a kernel, or cut short");
        if bytes.len() < HEADER_SIZE {
            return Err(cut_short);
        }
        let magic = u32_at(bytes, 0).ok_or(cut_short)?;
        if magic.to_le_bytes() != *b"\x7FELF" {
            return Err(header("e_ident[EI_MAG]", magic.into(), "not an ELF file"));
        }
        for (at, field, wanted, problem) in [
            (4, "e_ident[EI_CLASS]", 2, "not a 64-bit ELF file"),
            (5, "e_ident[EI_DATA]", 1, "not little-endian"),
            (6, "e_ident[EI_VERSION]", 1, "unknown version of ELF"),
        ] {
            if bytes[at] != wanted {
                return Err(header(field, bytes[at].into(), problem));
            }
        }
        let kind = u16_at(bytes, 16).ok_or(cut_short)?;
        if kind != ET_EXEC && kind != ET_DYN {
            return Err(header("e_type", kind.into(), "neither a program (2) nor a position-independent one (3)"));
        }
        let machine = u16_at(bytes, 18).ok_or(cut_short)?;
        if machine != EM_X86_64 {
            return Err(header("e_machine", machine.into(), "not a program for x86-64 (0x3e)"));
        }
        let mut elf = Self {
            bytes,
            relocatable: kind == ET_DYN,
            entry: u64_at(bytes, 24).ok_or(cut_short)?,
            segments: [None; MAX_SEGMENTS],
            dynamic: &[],
            tls: None,
            read_only: None,
        };
        elf.read_program_headers()?;
        let entry = elf.entry;
        let executable = |s: Segment<'_>| {
            s.access == Access::ReadExecute && entry.checked_sub(s.address).is_some_and(|offset| offset < s.size)
        };
        if !elf.segments().any(executable) {
            return Err(header("e_entry", entry, "not in an executable segment"));
        }
        Ok(elf)
    }

    fn read_program_headers(&mut self) -> Result<(), ElfError> {
        let header = |field, value, problem| ElfError { place: Place::Header, field, value, problem };
        let field16 = |at| u16_at(self.bytes, at).unwrap_or(0);
        let offset = u64_at(self.bytes, 32).unwrap_or(0);
        let (entry_size, count) = (field16(54), field16(56));
        if usize::from(entry_size) != PROGRAM_HEADER_SIZE {
            return Err(header("e_phentsize", entry_size.into(), "must be 56"));
        }
        if count == 0 || count > MAX_PROGRAM_HEADERS {
            return Err(header("e_phnum", count.into(), "must be 1 to 64"));
        }
        let table = table(self.bytes, offset, count.into(), PROGRAM_HEADER_SIZE).ok_or(header(
            "e_phoff",
            offset,
            "program headers lie outside the file: cut short?",
        ))?;
        let mut loaded: usize = 0;
        for (number, entry) in table.chunks_exact(PROGRAM_HEADER_SIZE).enumerate() {
            let fault = |field, value, problem| ElfError { place: Place::ProgramHeader(number), field, value, problem };
            let Some(program) = ProgramHeader::read(entry) else { break };
            let data = slice(self.bytes, program.offset, program.file_size);
            let outside = fault("p_filesz", program.file_size, "reaches beyond the end of the file: cut short?");
            match program.kind {
                PT_LOAD if program.memory_size == 0 => {}
                PT_LOAD => {
                    let previous = loaded.checked_sub(1).and_then(|last| self.segments[last]);
                    let segment = segment(number, &program, data.ok_or(outside)?, previous, self.first_page())?;
                    let free = self.segments.get_mut(loaded);
                    *free.ok_or(fault("p_type", PT_LOAD.into(), "more than 16 loadable segments"))? = Some(segment);
                    loaded += 1;
                }
                PT_DYNAMIC if self.relocatable => self.dynamic = data.ok_or(outside)?,
                PT_INTERP => {
                    return Err(fault(
                        "p_type",
                        PT_INTERP.into(),
                        "dynamically linked: link with -static or -static-pie",
                    ));
                }
                PT_TLS => {
                    let (address, file_size, memory_size) = (program.address, program.file_size, program.memory_size);
                    self.tls = Some(Tls { address, file_size, memory_size });
                }
                PT_GNU_RELRO => {
                    let end = program.address.checked_add(program.memory_size);
                    let end = end.ok_or(fault("p_memsz", program.memory_size, "ends beyond the address space"))?;
                    self.read_only = Some(program.address & !(PAGE - 1)..end & !(PAGE - 1));
                }
                _ => {}
            }
        }
        if loaded == 0 {
            return Err(header("e_phnum", count.into(), "no loadable segment among them"));
        }
        Ok(())
    }

    fn first_page(&self) -> Option<u64> {
        self.segments().next().map(|first| first.pages().start)
    }

    /// Whether the program can be put anywhere (`ET_DYN`).
    pub fn is_relocatable(&self) -> bool {
        self.relocatable
    }

    /// Address of the first instruction, before relocation.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Loadable segments, in ascending order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        self.segments.into_iter().flatten()
    }

    /// All the pages from the first segment to the last, before relocation.
    pub fn pages(&self) -> Range<u64> {
        let start = self.first_page().unwrap_or(0);
        start..self.segments().last().map_or(start, |last| last.pages().end)
    }

    /// The template of thread-local storage, if there is one.
    pub fn tls(&self) -> Option<Tls> {
        self.tls
    }

    /// The pieces of a segment's pages that have permissions of their own: a writable segment may have pages that nobody
    /// writes to after relocation.
    pub fn pieces(&self, segment: &Segment<'_>) -> impl Iterator<Item = (Range<u64>, Access)> + use<> {
        let pages = segment.pages();
        let fixed = match &self.read_only {
            Some(range) if segment.access == Access::ReadWrite => {
                range.start.clamp(pages.start, pages.end)..range.end.clamp(pages.start, pages.end)
            }
            _ => pages.start..pages.start,
        };
        let (start, end) = (fixed.start, fixed.end.max(fixed.start));
        let pieces =
            [(pages.start..start, segment.access), (start..end, Access::Read), (end..pages.end, segment.access)];
        pieces.into_iter().filter(|(range, _)| !range.is_empty())
    }

    /// The dynamic section of a relocatable program; empty if it has none.
    pub(crate) fn dynamic(&self) -> &'a [u8] {
        self.dynamic
    }

    /// The file's bytes for `len` bytes of memory at a virtual address, before relocation.
    pub(crate) fn data_at(&self, address: u64, len: u64) -> Option<&'a [u8]> {
        let contains = |s: &Segment<'_>| address.checked_sub(s.address).is_some_and(|offset| offset < s.size);
        let segment = self.segments().find(contains)?;
        slice(segment.data, address - segment.address, len)
    }

    /// The contents of a section; `None` if there is none of that name.
    ///
    /// # Errors
    /// If the section headers lie outside the file. Their absence is not an error.
    pub fn section(&self, name: &str) -> Result<Option<&'a [u8]>, ElfError> {
        let header = |field, value, problem| ElfError { place: Place::Header, field, value, problem };
        let field16 = |at| u16_at(self.bytes, at).unwrap_or(0);
        let offset = u64_at(self.bytes, 40).unwrap_or(0);
        let (entry_size, count, names) = (field16(58), field16(60), field16(62));
        if count == 0 {
            return Ok(None);
        }
        if usize::from(entry_size) != SECTION_HEADER_SIZE {
            return Err(header("e_shentsize", entry_size.into(), "must be 64"));
        }
        let table = table(self.bytes, offset, count.into(), SECTION_HEADER_SIZE).ok_or(header(
            "e_shoff",
            offset,
            "section headers lie outside the file: cut short?",
        ))?;
        let contents = |number: usize| {
            let entry = table.chunks_exact(SECTION_HEADER_SIZE).nth(number)?;
            slice(self.bytes, u64_at(entry, 24)?, u64_at(entry, 32)?)
        };
        let names = contents(names.into()).ok_or(header("e_shstrndx", names.into(), "no such section in the file"))?;
        for (number, entry) in table.chunks_exact(SECTION_HEADER_SIZE).enumerate() {
            let start = u32_at(entry, 0).unwrap_or(0) as usize;
            let found = names.get(start..).and_then(|names| names.split(|byte| *byte == 0).next());
            if found == Some(name.as_bytes()) {
                let outside = ElfError {
                    place: Place::SectionHeader(number),
                    field: "sh_offset",
                    value: u64_at(entry, 24).unwrap_or(0),
                    problem: "section lies outside the file: cut short?",
                };
                return contents(number).ok_or(outside).map(Some);
            }
        }
        Ok(None)
    }
}

/// Checks a loadable segment, given the one before it and the image's first page.
fn segment<'a>(
    number: usize,
    program: &ProgramHeader,
    data: &'a [u8],
    previous: Option<Segment<'_>>,
    first_page: Option<u64>,
) -> Result<Segment<'a>, ElfError> {
    let fault = |field, value, problem| ElfError { place: Place::ProgramHeader(number), field, value, problem };
    let ProgramHeader { address, memory_size: size, .. } = *program;
    if program.file_size > size {
        return Err(fault("p_memsz", size, "smaller than p_filesz"));
    }
    let access = match program.flags & (PF_W | PF_X) {
        0 => Access::Read,
        PF_X => Access::ReadExecute,
        PF_W => Access::ReadWrite,
        _ => return Err(fault("p_flags", program.flags.into(), "both writable and executable")),
    };
    if size > MAX_IMAGE {
        return Err(fault("p_memsz", size, "more than 1 GiB"));
    }
    let last = address.checked_add(size - 1);
    let in_one_half =
        last.is_some_and(|last| is_canonical(address) && is_canonical(last) && last >> 47 == address >> 47);
    if !in_one_half || last.is_some_and(|last| last >= u64::MAX - PAGE) {
        return Err(fault("p_vaddr", address, "segment does not lie in the canonical address space"));
    }
    let segment = Segment { address, size, data, access };
    if previous.is_some_and(|previous| previous.pages().end > segment.pages().start) {
        return Err(fault("p_vaddr", address, "segment overlaps, shares a page with, or lies below the one before it"));
    }
    if first_page.is_some_and(|first| segment.pages().end - first > MAX_IMAGE) {
        return Err(fault("p_vaddr", address, "segment ends more than 1 GiB after the first one's start"));
    }
    Ok(segment)
}

/// Whether bits 63 to 47 of a virtual address are all the same (4-level paging).
pub(crate) fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

#[cfg(test)]
mod tests;
