//! The heap: `linked_list_allocator`, in pages that are mapped as it grows.

use super::MEMORY;
use super::paging::HEAP_LIMIT;
use crate::crash;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use linked_list_allocator::Heap;
use spin::{Mutex, MutexGuard};

/// Least growth, in bytes.
const STEP: u64 = 64 << 10;
/// Room for the allocator's own rounding and alignment when it grows for one request.
const SLACK: u64 = 64;

/// The program's `#[global_allocator]`; all of them are the same heap.
///
/// Allocation is not for interrupt handlers: whoever is interrupted may hold the lock. The crash path itself does not allocate, but what a
/// panic's message calls may. There, who crashed may hold the lock for ever: allocation fails then, and what is freed is leaked.
pub struct GlobalHeap;

static HEAP: Mutex<Heap> = Mutex::new(Heap::empty());

// SAFETY: `alloc` hands out what `linked_list_allocator` does, which keeps the contract; what is mapped for it is never
// unmapped. Failure is a null pointer. Nothing here unwinds.
unsafe impl GlobalAlloc for GlobalHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(mut heap) = lock(&HEAP) else { return null_mut() };
        if let Ok(start) = heap.allocate_first_fit(layout) {
            return start.as_ptr();
        }
        if !grow(&mut heap, layout) {
            return null_mut();
        }
        heap.allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if let Some(start) = NonNull::new(start)
            && let Some(mut heap) = lock(&HEAP)
        {
            // SAFETY: the caller got `start` from `alloc` with this layout.
            unsafe { heap.deallocate(start, layout) };
        }
    }
}

/// Takes a lock; after a crash only if it is free.
fn lock<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    if crash::has_begun() { lock.try_lock() } else { Some(lock.lock()) }
}

/// Takes the lock for ever: for crashes on purpose.
pub(super) fn hold_lock() {
    core::mem::forget(HEAP.try_lock());
}

/// Bytes in use, and bytes mapped.
pub fn usage() -> (usize, usize) {
    let heap = HEAP.lock();
    (heap.used(), if heap.bottom().is_null() { 0 } else { heap.size() })
}

fn grow(heap: &mut Heap, layout: Layout) -> bool {
    let wanted = (layout.size() as u64)
        .checked_add(layout.align() as u64)
        .and_then(|bytes| bytes.checked_add(SLACK))
        .and_then(|bytes| bytes.checked_next_multiple_of(STEP));
    let Some(wanted) = wanted else { return false };
    let Some(mut memory) = lock(&MEMORY) else { return false };
    let Some(memory) = memory.as_mut() else { return false };
    let bottom = memory.space.heap_start();
    let size = if heap.bottom().is_null() { 0 } else { heap.top() as u64 - bottom };
    if wanted > HEAP_LIMIT - size || wanted > memory.frames.free() {
        return false;
    }
    let mapped = memory.space.map_memory(bottom + size, wanted, &mut memory.frames);
    if mapped == 0 {
        return false;
    }
    // SAFETY: the pages from `bottom + size` on were just mapped, belong to nobody else and stay mapped; the heap ended just
    // there.
    unsafe {
        match size {
            0 => heap.init(bottom as *mut u8, mapped as usize),
            _ => heap.extend(mapped as usize),
        }
    }
    mapped == wanted
}
