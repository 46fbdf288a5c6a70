//! What the crash path needs of each disk and console, set aside for it.
//!
//! ```text
//! STATIONS ─► Station: a disk's crash port ─┬─► Post: a console's target, buffers, room for the console that takes over
//!                                           └─► Post …
//! ```
//! Stations are made on the heap and never given back, and the list of them is made of atomic pointers. So the crash path finds
//! each whole, or not at all, without a lock.

use crate::devices::disk::{Disk, Name};
use crate::devices::find::Controller;
use crate::devices::platform::Machine;
use alloc::boxed::Box;
use blockconsole::console::{self, BadTarget, Console, Crash, Pending, Target, TargetCell};
use blockconsole::place::Place;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use platform::{DmaBuffer, Platform};

/// Most disks, with consoles or without: servers have up to 24 bays. Each costs a few words on the crash path's stack.
pub const MAX_DISKS: usize = 48;
/// Most consoles of a disk.
pub const MAX_CONSOLES: usize = 8;
/// Size of each buffer of a console that takes over: all that there is to write fits one, as a rule.
const BUFFER_BYTES: usize = 64 << 10;

/// A console that takes over.
pub(super) type Successor = Console<'static, DmaBuffer, BUFFERS>;
/// As many buffers as those have that log: both are the same code.
pub(crate) const BUFFERS: usize = 4;

static STATIONS: [AtomicPtr<Station>; MAX_DISKS] = [const { AtomicPtr::new(null_mut()) }; MAX_DISKS];

/// A disk, as the crash path has it.
pub struct Station {
    pub(super) name: Name,
    pub(super) controller: Controller,
    port: UnsafeCell<Disk>,
    /// The port is being changed at this moment, and must not be trusted without a reset.
    arming: AtomicBool,
    /// When the disk was asked last for answers, and when it last had some, or nothing to answer, on the kernel's clock.
    asked_ns: AtomicU64,
    answered_ns: AtomicU64,
    /// Requests of its consoles that were with it when they were pumped last, or [`PUMPING`].
    requests: AtomicU32,
    /// Requests of its consoles that failed.
    errors: AtomicU32,
    posts: [AtomicPtr<Post>; MAX_CONSOLES],
}

/// The consoles are being pumped: there may be requests.
const PUMPING: u32 = u32::MAX;

// SAFETY: the port is touched by `arm`, which is called under the consoles' lock, and by the crash path, after which nobody else
// runs any more; everything else is atomic.
unsafe impl Sync for Station {}

/// A console, as the crash path has it.
pub(super) struct Post {
    pub(super) name: console::Name,
    pub(super) cell: TargetCell,
    buffers: [RawBuffer; BUFFERS],
    successor: UnsafeCell<MaybeUninit<Successor>>,
}

// SAFETY: the successor's memory is used by the crash path only; the rest is not changed, or atomic.
unsafe impl Sync for Post {}

/// A DMA buffer that can be made again for each level of crash.
pub(super) struct RawBuffer {
    start: NonNull<u8>,
    bus_address: u64,
    len: usize,
}

// SAFETY: plain numbers; the memory behind them is used by what `make` makes only.
unsafe impl Send for RawBuffer {}
// SAFETY: as for `Send`.
unsafe impl Sync for RawBuffer {}

impl RawBuffer {
    pub(super) fn allocate(len: usize) -> Option<Self> {
        let mut buffer = Machine.allocate_dma(len, platform::dma::PAGE_SIZE)?;
        let start = NonNull::new(buffer.as_mut().as_mut_ptr())?;
        Some(Self { start, bus_address: buffer.bus_address(), len: buffer.len() })
    }

    /// All the buffers of a console.
    pub(super) fn allocate_all(len: usize) -> Option<[Self; BUFFERS]> {
        Some([Self::allocate(len)?, Self::allocate(len)?, Self::allocate(len)?, Self::allocate(len)?])
    }

    /// The buffer.
    ///
    /// # Safety
    /// Whoever got it before never uses it again, and neither does a device.
    pub(super) unsafe fn make(&self) -> DmaBuffer {
        // SAFETY: the memory was set aside by `allocate` for good, and the caller promises that nobody else uses it.
        unsafe { DmaBuffer::from_raw_parts(self.start, self.bus_address, self.len) }
    }
}

/// Sets up a station for a disk. `None` if there are too many.
pub fn open(name: Name, controller: Controller, port: Disk) -> Option<&'static Station> {
    let posts = [const { AtomicPtr::new(null_mut()) }; MAX_CONSOLES];
    let place = STATIONS.iter().find(|place| place.load(Ordering::Relaxed).is_null())?;
    // Suspect until it is armed for the first time.
    let (port, arming) = (UnsafeCell::new(port), AtomicBool::new(true));
    let station: &'static Station = Box::leak(Box::new(Station::new(name, controller, port, arming, posts)));
    place.store((&raw const *station).cast_mut(), Ordering::Release);
    Some(station)
}

/// All stations.
pub(super) fn all() -> impl Iterator<Item = &'static Station> {
    // SAFETY: the pointers are null, or were made of leaked boxes.
    STATIONS.iter().filter_map(|place| unsafe { place.load(Ordering::Acquire).as_ref() })
}

/// Whether a console at this place of this disk is known well enough to be written to, or has been.
pub(super) fn have(disk: &Name, place: &Place) -> bool {
    let posts = all().filter(|station| station.name == *disk).flat_map(Station::posts);
    posts.filter_map(|post| post.cell.load().ok()).any(|target| target.place == *place)
}

/// Overwrites what is known of every console, as a stray pointer might: for tests of what the crash path makes of it.
pub(super) fn corrupt() {
    for post in all().flat_map(Station::posts) {
        let words = (&raw const post.cell).cast::<u64>().cast_mut();
        for index in 0..size_of::<TargetCell>() / 8 {
            // SAFETY: the cell consists of atomic words, of which any value is one, and which may change at any time.
            unsafe { words.add(index).write_volatile(0x5A5A_5A5A_5A5A_5A5A ^ index as u64) };
        }
    }
}

impl Station {
    /// A station that is on no list, for a rehearsal.
    pub(super) fn unlisted(name: Name, port: Disk, post: &'static Post) -> Self {
        let posts = [const { AtomicPtr::new(null_mut()) }; MAX_CONSOLES];
        posts[0].store((&raw const *post).cast_mut(), Ordering::Relaxed);
        Self::new(name, Controller::None, UnsafeCell::new(port), AtomicBool::new(false), posts)
    }

    fn new(
        name: Name,
        controller: Controller,
        port: UnsafeCell<Disk>,
        arming: AtomicBool,
        posts: [AtomicPtr<Post>; MAX_CONSOLES],
    ) -> Self {
        let (asked_ns, answered_ns) = (AtomicU64::new(0), AtomicU64::new(0));
        let (requests, errors) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { name, controller, port, arming, asked_ns, answered_ns, requests, errors, posts }
    }

    /// Sets up a post for a console, and returns the cell that it publishes its state in. `None` if there are too many,
    /// or not enough memory.
    pub fn add_console(&self, name: console::Name) -> Option<&'static TargetCell> {
        let place = self.posts.iter().find(|place| place.load(Ordering::Relaxed).is_null())?;
        let post: &'static Post = Box::leak(Box::new(Post::new(name, BUFFER_BYTES)?));
        place.store((&raw const *post).cast_mut(), Ordering::Release);
        Some(&post.cell)
    }

    /// The disk has become ready: its crash port learns what was negotiated.
    pub fn arm(&self, disk: &Disk) {
        self.arming.store(true, Ordering::SeqCst);
        // SAFETY: called under the consoles' lock only, so that this is the only reference; should a crash interrupt it, the
        // crash path sees that by `arming`, and this never goes on.
        unsafe { &mut *self.port.get() }.arm(disk);
        self.arming.store(false, Ordering::SeqCst);
    }

    /// The disk has just been asked for answers, and had some, or has nothing to answer.
    pub fn note_poll(&self, now_ns: u64, answers: bool) {
        self.asked_ns.store(now_ns, Ordering::Relaxed);
        if answers {
            self.answered_ns.store(now_ns, Ordering::Relaxed);
        }
    }

    /// Its consoles are about to be pumped, and may give it requests.
    pub fn note_pumping(&self) {
        self.requests.store(PUMPING, Ordering::Relaxed);
    }

    /// Its consoles have been pumped; so many requests of theirs are with it now.
    pub fn note_pumped(&self, requests: usize) {
        self.requests.store(u32::try_from(requests).unwrap_or(PUMPING), Ordering::Relaxed);
    }

    /// A request of its consoles failed.
    pub fn note_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it may have requests of any kind: writes, reads, flushes.
    pub(super) fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) != 0
    }

    /// Requests that are with it, if that is known at this moment.
    pub(super) fn requests(&self) -> Option<u32> {
        Some(self.requests.load(Ordering::Relaxed)).filter(|&requests| requests != PUMPING)
    }

    /// Requests that failed.
    pub(super) fn errors(&self) -> u32 {
        self.errors.load(Ordering::Relaxed)
    }

    /// How long it had not answered when it was last asked.
    pub(super) fn silent_ns(&self) -> u64 {
        self.asked_ns.load(Ordering::Relaxed).saturating_sub(self.answered_ns.load(Ordering::Relaxed))
    }

    /// Whether the port has to be reset before it can be trusted.
    pub(super) fn is_suspect(&self) -> bool {
        self.arming.load(Ordering::SeqCst)
    }

    /// The way to the disk.
    ///
    /// # Safety
    /// For the crash path only, and for one reference at a time: whoever had one before never runs again.
    #[allow(clippy::mut_from_ref, reason = "the crash path is the only user left, as the contract says")]
    pub(super) unsafe fn port(&self) -> &mut Disk {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.port.get() }
    }

    pub(super) fn posts(&self) -> impl Iterator<Item = &'static Post> {
        // SAFETY: the pointers are null, or were made of leaked boxes.
        self.posts.iter().filter_map(|place| unsafe { place.load(Ordering::Acquire).as_ref() })
    }
}

impl Post {
    /// A post with buffers of so many bytes each. `None` if there is not enough memory.
    pub(super) fn new(name: console::Name, buffer_bytes: usize) -> Option<Self> {
        let buffers = RawBuffer::allocate_all(buffer_bytes)?;
        Some(Self { name, cell: TargetCell::new(), buffers, successor: UnsafeCell::new(MaybeUninit::uninit()) })
    }

    /// The buffers for a console that takes over.
    ///
    /// # Safety
    /// For the crash path only, once a level; and when buffers of a level before may still be with the device, that has to be reset
    /// before these are used.
    pub(super) unsafe fn take_buffers(&self) -> [DmaBuffer; BUFFERS] {
        // SAFETY: whoever had it before never runs again, and the device does not use it, as the caller promises.
        self.buffers.each_ref().map(|raw| unsafe { raw.make() })
    }

    /// Lets a console take over, whose device has been reset, or has answered everything.
    ///
    /// # Errors
    /// If there is nothing to take over from.
    ///
    /// # Safety
    /// As for [`take_buffers`](Self::take_buffers), and [`Station::port`].
    #[allow(clippy::mut_from_ref, reason = "the crash path is the only user left, as the contract says")]
    pub(super) unsafe fn resume(
        &'static self,
        target: &Target,
        crash: Crash<'static>,
    ) -> Result<&'static mut Successor, BadTarget> {
        // SAFETY: the caller's promise. One of a level before is overwritten, not dropped: it may be in any state.
        let (place, buffers) = unsafe { (&mut *self.successor.get(), self.take_buffers()) };
        Console::resume(target, Pending::Over, crash, &self.cell, buffers).map(|successor| place.write(successor))
    }
}
