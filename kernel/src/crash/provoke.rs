//! Crashes on purpose, one function a kind.

use super::kinds::Kind;
use crate::arch::{cpu, descriptors, exit};
use crate::{image, tick};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::asm;
use core::fmt;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// An address that nothing is mapped at.
const UNMAPPED: u64 = 0x0DEA_DBEE_F000;
/// An address that no processor takes.
const NON_CANONICAL: u64 = 0x8000_0000_0000_0000;
/// Lines of a log storm before its panic.
const STORM: u64 = 20_000;

/// The crash record's making is to panic, or to overflow its stack.
static PANIC_AGAIN: AtomicBool = AtomicBool::new(false);
static OVERFLOW_AGAIN: AtomicBool = AtomicBool::new(false);
/// The handler of non-maskable interrupts is to panic, or to overflow its stack.
static PANIC_IN_NMI: AtomicBool = AtomicBool::new(false);
static OVERFLOW_IN_NMI: AtomicBool = AtomicBool::new(false);

/// Crashes. `Kind::PanicInDriver` has no step to wait for here, and panics at once: for a step there is
/// [`plan::at_step`](super::plan::at_step).
pub fn crash(kind: Kind) -> ! {
    match kind {
        Kind::Panic | Kind::PanicInDriver => panic!("provoked by crash={}", kind.name()),
        Kind::Assert => assert_eq!(black_box(1), 2, "provoked by crash=assert"),
        Kind::Unwrap => drop(black_box(None::<Box<u32>>).unwrap()),
        Kind::Index => drop(black_box([1, 2, 3])[black_box(7)]),
        Kind::Overflow => drop(black_box(black_box(u32::MAX).strict_add(1))),
        Kind::NullRead => read(0),
        Kind::NullWrite => write(0),
        Kind::NullCall => call(0),
        Kind::PageFault => read(UNMAPPED),
        Kind::WriteRodata => write(image::read_only().start),
        Kind::ExecData => call(&raw const PANIC_AGAIN as u64),
        Kind::GpFault => read(NON_CANONICAL),
        Kind::InvalidOpcode => invalid_opcode(),
        Kind::DivZero => divide_by_zero(),
        Kind::Breakpoint => breakpoint(),
        Kind::Unaligned => load_unaligned(),
        Kind::DoubleFault => {
            descriptors::disable_page_fault_gate();
            read(UNMAPPED);
        }
        Kind::StackOverflow => drop(overflow_stack(0)),
        Kind::StackSmash => smash_stack(),
        Kind::TripleFault => exit::triple_fault(),
        Kind::Oom => exhaust_memory(),
        Kind::HeapCorrupt => corrupt_heap(),
        Kind::Deadlock => lock_twice(),
        Kind::Hang => hang(),
        Kind::HardHang => {
            cpu::disable_interrupts();
            hang();
        }
        Kind::Nmi => tick::send_nmi_to_self(),
        Kind::MachineCheck => machine_check(),
        Kind::PanicInPanic => {
            PANIC_AGAIN.store(true, Ordering::Relaxed);
            panic!("provoked by crash=panic-in-panic");
        }
        Kind::OverflowInPanic => {
            OVERFLOW_AGAIN.store(true, Ordering::Relaxed);
            panic!("provoked by crash=overflow-in-panic");
        }
        Kind::PanicInDisplay => panic!("provoked by crash=panic-in-display: {Bomb}"),
        Kind::PanicAllocating => panic!("provoked by crash=panic-allocating: {Allocating}"),
        Kind::PanicLocking => {
            let _held = LOCK.lock();
            panic!("provoked by crash=panic-locking: {Locking}")
        }
        Kind::PanicInLog => log::info!("provoked by crash=panic-in-log: {Bomb}"),
        Kind::PanicInNmi => {
            PANIC_IN_NMI.store(true, Ordering::Relaxed);
            tick::send_nmi_to_self();
        }
        Kind::OverflowInNmi => {
            OVERFLOW_IN_NMI.store(true, Ordering::Relaxed);
            tick::send_nmi_to_self();
        }
        Kind::LogStorm => storm(),
    }
    panic!("crash={} did not crash", kind.name())
}

/// The crash path calls this while it makes the record.
pub(super) fn in_record() {
    if PANIC_AGAIN.swap(false, Ordering::Relaxed) {
        panic!("provoked in the crash path");
    }
    if OVERFLOW_AGAIN.swap(false, Ordering::Relaxed) {
        overflow_stack(0);
    }
}

/// The handler of non-maskable interrupts calls this.
pub(super) fn in_nmi() {
    if PANIC_IN_NMI.swap(false, Ordering::Relaxed) {
        panic!("provoked by crash=panic-in-nmi");
    }
    if OVERFLOW_IN_NMI.swap(false, Ordering::Relaxed) {
        overflow_stack(0);
    }
}

/// A lock that those take who never give it back.
static LOCK: Mutex<()> = Mutex::new(());

/// Allocates when it is displayed.
struct Allocating;

impl fmt::Display for Allocating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloc::format!("{} bytes", black_box(4096)))
    }
}

/// Takes a lock when it is displayed.
struct Locking;

impl fmt::Display for Locking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _guard = LOCK.lock();
        f.write_str("it was free")
    }
}

/// Panics when it is displayed.
struct Bomb;

impl fmt::Display for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("provoked in a Display")
    }
}

#[inline(never)]
fn read(address: u64) {
    // SAFETY: none of the addresses given can be read, so that the instruction faults and the crash path takes over.
    unsafe { asm!("mov {0}, [{0}]", inout(reg) address => _) };
}

#[inline(never)]
fn write(address: u64) {
    // SAFETY: none of the addresses given can be written, so that the instruction faults and the crash path takes over.
    unsafe { asm!("mov qword ptr [{0}], 0x5A", in(reg) address) };
}

#[inline(never)]
fn call(address: u64) {
    // SAFETY: none of the addresses given can be executed, so that the call faults and the crash path takes over.
    unsafe { asm!("call {0}", in(reg) address, clobber_abi("C")) };
}

#[inline(never)]
fn invalid_opcode() {
    // SAFETY: the instruction faults, and the crash path takes over.
    unsafe { asm!("ud2") };
}

#[inline(never)]
fn divide_by_zero() {
    // SAFETY: the instruction faults, and the crash path takes over.
    unsafe { asm!("xor edx, edx", "mov eax, 1", "xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _) };
}

#[inline(never)]
fn breakpoint() {
    // SAFETY: the instruction traps, and the crash path takes over.
    unsafe { asm!("int3") };
}

#[inline(never)]
fn machine_check() {
    // SAFETY: the crash path takes over; a real machine check differs in nothing that it looks at.
    unsafe { asm!("int 18") };
}

#[inline(never)]
fn load_unaligned() {
    let words = [0u64; 4];
    let misaligned = (words.as_ptr() as u64 & !15) + 9;
    // SAFETY: the instruction faults because the address is no multiple of 16, and the crash path takes over.
    unsafe { asm!("movaps xmm0, [{0}]", in(reg) misaligned, out("xmm0") _) };
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the point")]
fn overflow_stack(depth: u64) -> u64 {
    let filler = black_box([depth; 16]);
    overflow_stack(depth + 1).wrapping_add(filler[15])
}

#[inline(never)]
fn smash_stack() {
    // SAFETY: the address popped by `ret` is not canonical, so that the instruction faults and the crash path takes over.
    unsafe { asm!("push {0}", "ret", in(reg) 0x5A5A_5A5A_5A5A_5A5A_u64, options(noreturn)) };
}

fn exhaust_memory() {
    loop {
        // Leaked: the point is that nothing comes back.
        black_box(Vec::<u8>::with_capacity(1 << 20).leak());
    }
}

fn corrupt_heap() {
    let freed = {
        let boxed = Box::new([0u64; 16]);
        boxed.as_ptr().cast_mut()
    };
    // SAFETY: deliberately none: this is the bug that is to be shown. The memory is mapped, and was just given back, so that it
    // holds the allocator's list: size, next.
    unsafe {
        freed.write_volatile(16);
        freed.add(1).write_volatile(0x5A5A_5A5A_5A5A_5A5A);
    }
    for _ in 0..16 {
        black_box(Vec::<u8>::with_capacity(4096).leak());
    }
}

fn lock_twice() {
    cpu::disable_interrupts();
    let _first = LOCK.lock();
    let _second = LOCK.lock();
}

fn hang() {
    loop {
        cpu::relax();
    }
}

fn storm() {
    for number in 0.. {
        log::info!("storm {number}");
        if number == STORM {
            panic!("provoked by crash=log-storm");
        }
    }
}
