//! The page tables: those of the boot loader, and a window of our own in them.

use super::Error;
use super::frames::{FRAME, Frames};
use core::ops::Range;
use core::ptr::NonNull;
use x86_64::structures::paging::mapper::TranslateResult;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB, Translate,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::arch::cpu;

/// Size of the window: one entry of the top-level table.
const WINDOW: u64 = 1 << 39;
/// The heap's part of it; device registers have the rest.
pub const HEAP_LIMIT: u64 = WINDOW / 2;
/// Entries of the top-level table that can be the window: the upper half.
const UPPER_HALF: core::ops::Range<u16> = 256..512;

const DATA: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).union(PageTableFlags::NO_EXECUTE);
const REGISTERS: PageTableFlags = DATA.union(PageTableFlags::NO_CACHE).union(PageTableFlags::WRITE_THROUGH);

const TABLES: PageTableFlags =
    PageTableFlags::PRESENT.union(PageTableFlags::NO_EXECUTE).union(PageTableFlags::NO_CACHE);

/// Most pieces of firmware's memory that are mapped.
const MAX_TABLES: usize = 64;
const UNUSED: MappedTables = MappedTables { physical: 0..0, start: 0 };

/// The page tables in use.
pub struct AddressSpace {
    tables: OffsetPageTable<'static>,
    window: u64,
    /// Where the next registers go.
    next_registers: u64,
    /// End of the processor's physical addresses.
    physical_end: u64,
    /// Firmware's tables that were mapped here. Unused places have an empty range.
    tables_mapped: [MappedTables; MAX_TABLES],
}

/// Memory of firmware's, and where it is seen.
struct MappedTables {
    physical: Range<u64>,
    start: u64,
}

impl AddressSpace {
    /// Takes over the page tables in use.
    ///
    /// # Errors
    /// [`Error::NoWindow`] when no entry of the top-level table is free.
    ///
    /// # Safety
    /// All physical memory must be mapped at `offset`, and nobody else may change the tables from here on.
    pub unsafe fn take_over(offset: u64, recursive: Option<u16>) -> Result<Self, Error> {
        cpu::enable_no_execute();
        let root = (offset + cpu::page_table_root()) as *mut PageTable;
        // SAFETY: the processor's own root points to a valid table, which the caller leaves to us and which is mapped at `offset`.
        let tables = unsafe { OffsetPageTable::new(&mut *root, VirtAddr::new(offset)) };
        let free = |index: &u16| Some(*index) != recursive && tables.level_4_table()[usize::from(*index)].is_unused();
        let index = UPPER_HALF.rev().find(free).ok_or(Error::NoWindow)?;
        let window = VirtAddr::new_truncate(u64::from(index) * WINDOW).as_u64();
        let physical_end = 1 << cpu::physical_address_bits();
        let tables_mapped = [UNUSED; MAX_TABLES];
        Ok(Self { tables, window, next_registers: window + HEAP_LIMIT, physical_end, tables_mapped })
    }

    /// Where the heap starts; it may grow to [`HEAP_LIMIT`] bytes.
    pub fn heap_start(&self) -> u64 {
        self.window
    }

    /// Takes a page's mapping away. Returns whether it had one of its own.
    pub fn unmap_page(&mut self, address: u64) -> bool {
        let Ok(page) = Page::<Size4KiB>::from_start_address(VirtAddr::new_truncate(address)) else { return false };
        match self.tables.unmap(page) {
            Ok((_, flush)) => {
                flush.flush();
                true
            }
            Err(_) => false,
        }
    }

    /// Maps fresh frames at `start`, readable and writable. Returns how many bytes were mapped: less than `len` when memory ran out.
    pub fn map_memory(&mut self, start: u64, len: u64, frames: &mut Frames) -> u64 {
        for offset in (0..len).step_by(FRAME as usize) {
            let Some(frame) = frames.take(FRAME, FRAME) else { return offset };
            if !self.map(start + offset, frame, DATA, frames) {
                return offset;
            }
        }
        len
    }

    /// Whether these addresses are mapped, to this piece of physical memory.
    pub fn is_mapped_as(&self, start: u64, physical: u64, len: u64) -> bool {
        let first = start & !(FRAME - 1);
        let pages = (first..start.saturating_add(len.max(1))).step_by(FRAME as usize);
        pages.zip((physical & !(FRAME - 1)..).step_by(FRAME as usize)).all(|(page, frame)| {
            let is_canonical = VirtAddr::try_new(page);
            is_canonical.is_ok_and(|page| self.tables.translate_addr(page).is_some_and(|found| found.as_u64() == frame))
        })
    }

    /// Maps memory with firmware's tables somewhere in the window, read-only. What was mapped before is found again.
    pub fn map_tables(&mut self, physical: u64, len: u64, frames: &mut Frames) -> Option<NonNull<u8>> {
        let (first, end) = (physical & !(FRAME - 1), physical.checked_add(len)?.checked_next_multiple_of(FRAME)?);
        if end > self.physical_end {
            return None;
        }
        let found =
            self.tables_mapped.iter().find(|mapped| mapped.physical.start <= first && end <= mapped.physical.end);
        let start = match found {
            Some(mapped) => mapped.start + (first - mapped.physical.start),
            None => {
                let free = self.tables_mapped.iter().position(|mapped| mapped.physical.is_empty())?;
                let start = self.map_in_window(first..end, TABLES, frames)?;
                *self.tables_mapped.get_mut(free)? = MappedTables { physical: first..end, start };
                start
            }
        };
        NonNull::new((start + (physical - first)) as *mut u8)
    }

    /// Maps device registers somewhere in the window, uncached.
    pub fn map_registers(&mut self, physical: u64, len: u64, frames: &mut Frames) -> Option<NonNull<u8>> {
        // Beyond, an entry's bits are reserved: the first access would be a fault.
        let end = physical.checked_add(len).filter(|&end| end <= self.physical_end && len > 0)?;
        if !physical.is_multiple_of(4) {
            return None;
        }
        let (first, end) = (physical & !(FRAME - 1), end.checked_next_multiple_of(FRAME)?);
        let start = self.map_in_window(first..end, REGISTERS, frames)?;
        NonNull::new((start + (physical - first)) as *mut u8)
    }

    /// Maps whole frames in the window; returns where.
    fn map_in_window(&mut self, physical: Range<u64>, flags: PageTableFlags, frames: &mut Frames) -> Option<u64> {
        let (start, len) = (self.next_registers, physical.end - physical.start);
        if len > (self.window + (WINDOW - 1)).checked_sub(start)? {
            return None;
        }
        // One page stays free, so that a stray access beyond it hits nothing. What cannot be mapped as a whole is left half-mapped, and its
        // addresses unused.
        self.next_registers = start + len + FRAME;
        for offset in (0..len).step_by(FRAME as usize) {
            if !self.map(start + offset, physical.start + offset, flags, frames) {
                return None;
            }
        }
        Some(start)
    }

    fn map(&mut self, address: u64, physical: u64, flags: PageTableFlags, frames: &mut Frames) -> bool {
        let Ok(page) = Page::<Size4KiB>::from_start_address(VirtAddr::new_truncate(address)) else { return false };
        let frame = PhysFrame::containing_address(PhysAddr::new_truncate(physical));
        // SAFETY: the page lies in the kernel's own window and is not mapped yet (`map_to` refuses otherwise); the frame is
        // free memory just taken, or device registers, which only their driver gets, or firmware's and read-only.
        match unsafe { self.tables.map_to(page, frame, flags, &mut TableFrames(frames)) } {
            Ok(flush) => {
                flush.flush();
                true
            }
            Err(_) => false,
        }
    }

    /// Whether an address is mapped, and if so, whether it may be written.
    pub fn is_mapped(&self, address: u64) -> Option<bool> {
        match self.tables.translate(VirtAddr::new_truncate(address)) {
            TranslateResult::Mapped { flags, .. } => Some(flags.contains(PageTableFlags::WRITABLE)),
            _ => None,
        }
    }
}

/// Frames for page tables. The mapper zeroes them.
struct TableFrames<'f>(&'f mut Frames);

// SAFETY: `Frames` hands out each frame once, and only free memory.
unsafe impl FrameAllocator<Size4KiB> for TableFrames<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let start = self.0.take(FRAME, FRAME)?;
        Some(PhysFrame::containing_address(PhysAddr::new_truncate(start)))
    }
}
