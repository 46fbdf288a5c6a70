//! The stacks of traps and of the crash path, and what counts as a stack.
//!
//! Each one has a guard page below it, which lies in the kernel's image and is unmapped once paging is ours.

use core::cell::UnsafeCell;
use core::ops::Range;
use spin::Mutex;

/// Size of a guard page.
pub const GUARD: usize = 4096;

/// How many levels of crash (a crash in the crash path, a crash in that) have a stack of their own.
pub const CRASH_LEVELS: usize = 3;

/// A stack and the guard page below it.
#[repr(C, align(4096))]
pub struct Stack<const SIZE: usize> {
    guard: UnsafeCell<[u8; GUARD]>,
    body: UnsafeCell<[u8; SIZE]>,
}

// SAFETY: nothing but the processor, running on the stack, touches the bytes.
unsafe impl<const SIZE: usize> Sync for Stack<SIZE> {}

impl<const SIZE: usize> Stack<SIZE> {
    const fn new() -> Self {
        assert!(SIZE.is_multiple_of(GUARD));
        Self { guard: UnsafeCell::new([0; GUARD]), body: UnsafeCell::new([0; SIZE]) }
    }

    /// The addresses of the stack without its guard page.
    pub fn range(&self) -> Range<u64> {
        let start = self.body.get() as u64;
        start..start + SIZE as u64
    }

    /// The address that a stack pointer starts at: aligned to 16 bytes.
    pub fn top(&self) -> u64 {
        self.range().end
    }

    /// Where the guard page is.
    pub fn guard(&self) -> u64 {
        self.guard.get() as u64
    }
}

/// For exceptions that end in a crash: only registers are saved here, then the crash stack is taken.
pub static FAULT: Stack<{ 8 << 10 }> = Stack::new();
/// For double faults, so that one that a fault's own delivery caused does not overwrite that fault's frame.
pub static DOUBLE_FAULT: Stack<{ 8 << 10 }> = Stack::new();
/// For machine checks.
pub static MACHINE_CHECK: Stack<{ 8 << 10 }> = Stack::new();
/// For non-maskable interrupts, which may log and return.
pub static NMI: Stack<{ 32 << 10 }> = Stack::new();
/// For debug exceptions, in which a crash on purpose may be made.
pub static DEBUG: Stack<{ 32 << 10 }> = Stack::new();
/// For interrupts: the timer tick writes out logs.
pub static INTERRUPT: Stack<{ 32 << 10 }> = Stack::new();
/// For interrupts and non-maskable ones once a crash has begun: what crashed may lie on the stacks above, and is not overwritten.
pub static CRASH_INTERRUPT: Stack<{ 8 << 10 }> = Stack::new();
/// See [`CRASH_INTERRUPT`].
pub static CRASH_NMI: Stack<{ 8 << 10 }> = Stack::new();
/// One for each level of crash.
pub static CRASH: [Stack<{ 64 << 10 }>; CRASH_LEVELS] = [const { Stack::new() }; CRASH_LEVELS];

/// How many stacks the kernel has of its own.
const OWN: usize = 8 + CRASH_LEVELS;

/// Names and places of all stacks of the kernel's own.
pub fn own() -> [(&'static str, Range<u64>); OWN] {
    [
        ("fault", FAULT.range()),
        ("double fault", DOUBLE_FAULT.range()),
        ("machine check", MACHINE_CHECK.range()),
        ("nmi", NMI.range()),
        ("debug", DEBUG.range()),
        ("interrupt", INTERRUPT.range()),
        ("interrupt in crash", CRASH_INTERRUPT.range()),
        ("nmi in crash", CRASH_NMI.range()),
        ("crash", CRASH[0].range()),
        ("second crash", CRASH[1].range()),
        ("third crash", CRASH[2].range()),
    ]
}

/// The guard pages of all stacks of the kernel's own.
pub fn guards() -> [u64; OWN] {
    own().map(|(_, range)| range.start - GUARD as u64)
}

/// Stacks that others made: the boot loader's, and those of a program's own threads.
static REGISTERED: Mutex<[Range<u64>; 16]> = Mutex::new([const { 0..0 }; 16]);

/// Tells the crash path about a stack, so that it follows frame pointers there and shows its
/// bytes. The memory must stay mapped. Returns `false` when there are too many (16).
pub fn register(range: Range<u64>) -> bool {
    let mut stacks = REGISTERED.lock();
    match stacks.iter_mut().find(|slot| slot.is_empty()) {
        Some(slot) => {
            *slot = range;
            true
        }
        None => false,
    }
}

/// The stack that an address lies in, if it is one that is known. Takes no lock that can be held by whoever crashed for
/// longer than [`register`] runs: registered stacks are passed over then.
pub fn containing(address: u64) -> Option<Range<u64>> {
    if let Some((_, range)) = own().into_iter().find(|(_, range)| range.contains(&address)) {
        return Some(range);
    }
    REGISTERED.try_lock()?.iter().find(|range| range.contains(&address)).cloned()
}
