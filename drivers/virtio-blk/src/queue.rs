//! A split virtqueue over DMA words, with a fixed place for each request.
//!
//! Request slot `n` owns descriptors for good, so that there is no free list that a device could confuse:
//! `3n`, `3n+1`, `3n+2` where the queue is long enough, or else descriptor `n`, which points to a table of three in the
//! slot's own memory (an indirect descriptor). A chain is always header, data, status:
//!
//! ```text
//!   slot n:  header (16) │ segment (16) │ status (1) │ … │ indirect table (48)
//!              ▲             ▲             ▲
//!   chain:   [read] ──────► [read/write] ─► [write]        data: the request's buffer, or the segment, or none
//! ```
//!
//! Nothing that the device can write is ever read back to decide what to do, but the used ring; and that is checked:
//! the index cannot run ahead of what is in flight, and an id must be that of a request in flight.
//!
//! # Orderings
//! - Q1 (submit): descriptors and ring entry are written before the available index: a release fence.
//! - Q2 (submit): the available index is written before the device's "do not notify" flag is read: a full fence, since x86 lets
//!   a load pass an earlier store. It pairs with the device's own: it clears the flag, then looks at the index once more. Without
//!   it both can miss each other, and the request would lie there until the next one.
//! - Q3 (completion): the used index is read before the entry, the status and the data: a full fence.

use core::sync::atomic::{Ordering, fence};

use platform::{Platform, SharedMemory, dma::barrier};

use crate::crash::points;
use crate::spec::{request, ring};
use crate::watch::{self, Watch};

/// Most requests in flight.
pub const SLOTS: usize = 64;
/// Entries with which a queue takes [`SLOTS`] requests without indirect descriptors. More are not asked for.
const ENTRIES: u32 = 256;
/// Longest queue that a legacy device may insist on.
const LEGACY_ENTRIES: u32 = 4096;
/// What a status byte holds until the device writes it. No status of the specification.
const POISON: u8 = 0xFF;

/// Bytes of a slot, and where things are in it.
const SLOT_LEN: usize = 128;
const SEGMENT: usize = 16;
const STATUS: usize = 32;
const TABLE: usize = 48;
const _: () = assert!(TABLE + 3 * ring::DESCRIPTOR_LEN <= SLOT_LEN);

/// How many entries a queue has and how they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) entries: u16,
    pub(crate) slots: u16,
    pub(crate) indirect: bool,
}

impl Shape {
    /// The shape for a device that offers `max` entries; `None` if that is too few for a single request, or, on a legacy device,
    /// no power of two.
    pub(crate) fn choose(max: u32, legacy: bool, indirect: bool) -> Option<Self> {
        let entries = if legacy {
            // The legacy interface has no way to ask for fewer.
            (max.is_power_of_two() && max <= LEGACY_ENTRIES).then_some(max)?
        } else {
            let max = max.min(ENTRIES);
            if max == 0 {
                return None;
            }
            1 << max.ilog2()
        } as u16;
        let direct = usize::from(entries / 3).min(SLOTS) as u16;
        if indirect && usize::from(direct) < SLOTS {
            return Some(Self { entries, slots: entries.min(SLOTS as u16), indirect: true });
        }
        (direct > 0).then_some(Self { entries, slots: direct, indirect: false })
    }

    /// The most entries that [`choose`](Self::choose) may come to.
    pub(crate) fn room_for(max: u32, legacy: bool) -> u16 {
        if legacy && max <= LEGACY_ENTRIES { max.max(ENTRIES) as u16 } else { ENTRIES as u16 }
    }

    const fn head(self, slot: u16) -> u16 {
        if self.indirect { slot } else { slot * 3 }
    }

    fn slot(self, head: u32) -> Option<u16> {
        let head = u16::try_from(head).ok()?;
        let slot = match self.indirect {
            true => head,
            false if head.is_multiple_of(3) => head / 3,
            false => return None,
        };
        (slot < self.slots).then_some(slot)
    }
}

/// Where the parts of a queue of some size begin in its memory: the legacy layout, which suits the other as well.
#[derive(Clone, Copy, Debug)]
struct Layout {
    available: usize,
    used: usize,
    slots: usize,
    end: usize,
}

impl Layout {
    const fn new(entries: u16) -> Self {
        let entries = entries as usize;
        let available = entries * ring::DESCRIPTOR_LEN;
        let available_end = available + ring::AVAILABLE_ENTRIES + 2 * entries + 2;
        let used = available_end.next_multiple_of(ring::LEGACY_ALIGN);
        let used_end = used + ring::USED_ENTRIES + 8 * entries + 2;
        let slots = used_end.next_multiple_of(SLOT_LEN);
        Self { available, used, slots, end: slots + SLOTS * SLOT_LEN }
    }
}

/// Where a queue is, as the device is told. Plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueMemory {
    start: u64,
    /// The longest queue that fits.
    pub(crate) room: u16,
}

impl QueueMemory {
    /// Bus addresses of descriptors, available ring, used ring.
    pub(crate) const fn addresses(self, entries: u16) -> [u64; 3] {
        let layout = Layout::new(entries);
        [self.start, self.start + layout.available as u64, self.start + layout.used as u64]
    }
}

/// What a request's data are, to the device.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Data {
    /// None: a flush.
    None,
    /// The device reads them.
    Out { bus_address: u64, len: u32 },
    /// The device writes them.
    In { bus_address: u64, len: u32 },
    /// A range of sectors: discard, write zeroes.
    Segment { sectors: u32 },
}

/// A completion as the device reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) slot: u16,
    /// Bytes that the device says it wrote.
    pub(crate) len: u32,
    /// The status byte; `None` if the device wrote none.
    pub(crate) status: Option<u8>,
}

/// A split virtqueue and the memory of its requests.
pub(crate) struct SplitQueue {
    memory: SharedMemory,
    room: u16,
    shape: Shape,
    layout: Layout,
    /// The available index; only ever written to memory, never read back.
    available: u16,
    /// The used index up to which completions were taken.
    used: u16,
    /// One bit for each slot that the device has.
    in_flight: u64,
}

impl SplitQueue {
    /// Sets aside memory for a queue of up to `room` entries.
    pub(crate) fn allocate<P: Platform>(platform: &P, room: u16) -> Option<Self> {
        let layout = Layout::new(room);
        let memory = platform.allocate_dma(layout.end + watch::WORD, ring::LEGACY_ALIGN)?.into();
        Watch::new(SharedMemory::clone(&memory)).retire();
        let shape = Shape { entries: 1, slots: 0, indirect: false };
        Some(Self { memory, room, shape, layout, available: 0, used: 0, in_flight: 0 })
    }

    /// A look at it, for somebody else.
    pub(crate) fn watch(&self) -> Watch {
        Watch::new(self.memory.clone())
    }

    /// Where it is.
    pub(crate) fn memory(&self) -> QueueMemory {
        QueueMemory { start: self.memory.bus_address(), room: self.room }
    }

    /// Empties the queue and gives it a shape. The device must not be using it.
    pub(crate) fn reset(&mut self, shape: Shape) {
        self.shape = shape;
        self.layout = Layout::new(shape.entries.min(self.room));
        (self.available, self.used, self.in_flight) = (0, 0, 0);
        self.put(self.layout.available + ring::AVAILABLE_FLAGS, ring::NO_INTERRUPT);
        self.put(self.layout.available + ring::AVAILABLE_INDEX, 0_u16);
        self.put(self.layout.used + ring::USED_FLAGS, 0_u16);
        self.put(self.layout.used + ring::USED_INDEX, 0_u16);
        self.note_progress();
        barrier();
    }

    /// Takes nothing in flight for granted any more: the device was reset, or is dead.
    pub(crate) const fn forget(&mut self) {
        self.in_flight = 0;
    }

    /// Says how many requests there were to answer since the queue was made, before the device can see that.
    fn note_progress(&self) {
        watch::note(&self.memory, self.layout.used + ring::USED_INDEX, self.available);
    }

    /// Whether the device has answered everything that it was ever given since the queue was made, also what was
    /// forgotten since. What it says decides nothing but whether a reset is worth a try.
    pub(crate) fn is_all_answered(&self) -> bool {
        self.get::<u16>(self.layout.used + ring::USED_INDEX) == self.available
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// How many requests the device has.
    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight.count_ones()
    }

    /// Makes a request available to the device in a free slot. Says whether the device wants to be notified.
    pub(crate) fn submit<P: Platform>(&mut self, platform: &P, slot: u16, kind: u32, sector: u64, data: Data) -> bool {
        let start = self.layout.slots + usize::from(slot) * SLOT_LEN;
        self.put(start + STATUS, POISON);
        self.put(start, u64::from(kind));
        self.put(start + 8, sector);
        platform.checkpoint(points::SUBMIT_POISONED);

        let base = self.memory.bus_address() + start as u64;
        let (bus_address, len, flags) = match data {
            Data::None => (0, 0, 0),
            Data::Out { bus_address, len } => (bus_address, len, 0),
            Data::In { bus_address, len } => (bus_address, len, ring::WRITE),
            Data::Segment { sectors } => {
                self.put(start + SEGMENT, sector);
                self.put(start + SEGMENT + 8, u64::from(sectors));
                (base + SEGMENT as u64, request::SEGMENT_LEN, 0)
            }
        };
        let head = self.shape.head(slot);
        // An indirect table counts its own descriptors from 0.
        let (table, first) = match self.shape.indirect {
            true => (start + TABLE, 0),
            false => (usize::from(head) * ring::DESCRIPTOR_LEN, head),
        };
        let with_data = len > 0;
        let status = if with_data { 2 } else { 1 };
        self.put_descriptor(table, 0, base, request::HEADER_LEN, ring::NEXT, first + 1);
        if with_data {
            self.put_descriptor(table, 1, bus_address, len, flags | ring::NEXT, first + 2);
        }
        self.put_descriptor(table, status, base + STATUS as u64, request::STATUS_LEN, ring::WRITE, 0);
        if self.shape.indirect {
            let len = (status as u32 + 1) * ring::DESCRIPTOR_LEN as u32;
            self.put_descriptor(0, head.into(), base + TABLE as u64, len, ring::INDIRECT, 0);
        }
        platform.checkpoint(points::SUBMIT_DESCRIBED);
        self.publish(platform, slot, head)
    }

    fn publish<P: Platform>(&mut self, platform: &P, slot: u16, head: u16) -> bool {
        let entry = usize::from(self.available & (self.shape.entries - 1));
        self.put(self.layout.available + ring::AVAILABLE_ENTRIES + 2 * entry, head);
        platform.checkpoint(points::SUBMIT_LISTED);
        fence(Ordering::Release); // Q1
        self.available = self.available.wrapping_add(1);
        self.in_flight |= 1 << slot;
        self.note_progress();
        self.put(self.layout.available + ring::AVAILABLE_INDEX, self.available);
        barrier(); // Q2
        platform.checkpoint(points::SUBMIT_PUBLISHED);
        self.get::<u16>(self.layout.used + ring::USED_FLAGS) & ring::NO_NOTIFY == 0
    }

    /// Takes one completion.
    ///
    /// # Errors
    /// What the device did that no device may do. The queue is of no use then until the device was reset.
    pub(crate) fn take_used(&mut self) -> Result<Option<Used>, &'static str> {
        let index: u16 = self.get(self.layout.used + ring::USED_INDEX);
        let pending = index.wrapping_sub(self.used);
        if pending == 0 {
            return Ok(None);
        }
        if u32::from(pending) > self.in_flight() {
            return Err("the used index ran ahead of the requests in flight");
        }
        barrier(); // Q3
        let entry = usize::from(self.used & (self.shape.entries - 1));
        let element: u64 = self.get_element(self.layout.used + ring::USED_ENTRIES + 8 * entry);
        let slot = self.shape.slot(element as u32).filter(|slot| self.in_flight & 1 << slot != 0);
        let slot = slot.ok_or("a used id belongs to no request in flight")?;
        self.used = self.used.wrapping_add(1);
        self.in_flight &= !(1 << slot);
        let status: u8 = self.get(self.layout.slots + usize::from(slot) * SLOT_LEN + STATUS);
        Ok(Some(Used { slot, len: (element >> 32) as u32, status: (status != POISON).then_some(status) }))
    }

    /// Writes descriptor `index` of the table that begins at `table`.
    fn put_descriptor(&mut self, table: usize, index: usize, bus_address: u64, len: u32, flags: u16, next: u16) {
        let place = table + index * ring::DESCRIPTOR_LEN;
        self.put(place, bus_address);
        self.put(place + 8, u64::from(next) << 48 | u64::from(flags) << 32 | u64::from(len));
    }

    /// Used entries are aligned to 4 only, so the two halves are read one by one.
    fn get_element(&self, offset: usize) -> u64 {
        u64::from(self.get::<u32>(offset + 4)) << 32 | u64::from(self.get::<u32>(offset))
    }

    /// Reads a word; all offsets lie inside by the layout.
    fn get<W: platform::dma::Word + Default>(&self, offset: usize) -> W {
        self.memory.read(offset).unwrap_or_default()
    }

    fn put<W: platform::dma::Word>(&mut self, offset: usize, value: W) {
        self.memory.write(offset, value);
    }
}
