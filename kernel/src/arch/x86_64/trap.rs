//! Where exceptions and interrupts enter: stubs that save a whole frame.
//!
//! ```text
//! gate n ─► stub n: error code (or 0), vector ─┬─ most exceptions ─► trap_fault ──► Hooks::fault (never returns)
//!                                              ├─ debug, NMI     ─► trap_return ─► Hooks::debug, Hooks::nmi
//!                                              └─ 32 and up      ─► trap_return ─► Hooks::interrupt
//! ```
//! Most exceptions never return, and may come from code that left the processor in any state: before Rust runs, SSE is
//! usable again and all flags are clear. Debug exceptions, NMIs and interrupts return, so they save the SSE state of what they
//! interrupted. No `x86-interrupt` ABI: it is not stable, and does not give the registers.

use core::arch::global_asm;
use core::mem::offset_of;
use spin::Once;

/// Divide error.
pub const DIVIDE_ERROR: u8 = 0;
/// Debug exception.
pub const DEBUG: u8 = 1;
/// Non-maskable interrupt.
pub const NMI: u8 = 2;
/// Breakpoint.
pub const BREAKPOINT: u8 = 3;
/// Invalid opcode.
pub const INVALID_OPCODE: u8 = 6;
/// Double fault.
pub const DOUBLE_FAULT: u8 = 8;
/// General protection.
pub const GENERAL_PROTECTION: u8 = 13;
/// Page fault.
pub const PAGE_FAULT: u8 = 14;
/// Machine check.
pub const MACHINE_CHECK: u8 = 18;
/// First vector that is not an exception.
pub const FIRST_INTERRUPT: u8 = 32;

/// The registers of what was interrupted, in the order in which the stubs push them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are registers, named as the processor's manual names them")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// What the processor pushes at least, and what the stubs add.
const _: () = assert!(offset_of!(Frame, vector) == 15 * 8 && size_of::<Frame>() == 22 * 8);
/// The processor aligns an interrupt stack to 16 before it pushes, so the frame starts aligned.
const _: () = assert!(size_of::<Frame>().is_multiple_of(16));

impl Frame {
    /// No registers at all.
    pub const ZERO: Self = Self {
        r15: 0,
        r14: 0,
        r13: 0,
        r12: 0,
        r11: 0,
        r10: 0,
        r9: 0,
        r8: 0,
        rbp: 0,
        rdi: 0,
        rsi: 0,
        rdx: 0,
        rcx: 0,
        rbx: 0,
        rax: 0,
        vector: 0,
        error_code: 0,
        rip: 0,
        cs: 0,
        rflags: 0,
        rsp: 0,
        ss: 0,
    };

    /// The vector as the processor counts them.
    pub fn number(&self) -> u8 {
        self.vector as u8
    }
}

/// Whom traps are handed to.
pub struct Hooks {
    /// An exception. The frame lies on a small stack that the next exception may use again: copy it, and change stacks.
    pub fault: fn(&Frame) -> !,
    /// A debug exception.
    pub debug: fn(&Frame),
    /// A non-maskable interrupt; it may come at any instruction of the kernel but in itself.
    pub nmi: fn(&Frame),
    /// An interrupt, with interrupts off.
    pub interrupt: fn(&Frame),
}

static HOOKS: Once<Hooks> = Once::new();

/// Says whom traps are handed to. The first call counts.
pub fn set_hooks(hooks: Hooks) {
    HOOKS.call_once(|| hooks);
}

/// The address of a vector's stub.
pub fn stub(vector: u8) -> u64 {
    unsafe extern "C" {
        static trap_stubs: [u8; 256 * STUB_SIZE];
    }
    // Only the address is taken, so that no byte of the code is read.
    (&raw const trap_stubs) as u64 + u64::from(vector) * STUB_SIZE as u64
}

/// Bytes from one stub to the next.
const STUB_SIZE: usize = 16;

extern "C" fn fault_entry(frame: &Frame) -> ! {
    match HOOKS.get() {
        Some(hooks) => (hooks.fault)(frame),
        // Nobody to tell yet; a reset would hide even that.
        None => loop {
            x86_64::instructions::hlt();
        },
    }
}

extern "C" fn return_entry(frame: &Frame) {
    if let Some(hooks) = HOOKS.get() {
        match frame.number() {
            DEBUG => (hooks.debug)(frame),
            NMI => (hooks.nmi)(frame),
            _ => (hooks.interrupt)(frame),
        }
    }
}

global_asm!(
    ".pushsection .text.trap, \"ax\", @progbits",
    // Vectors whose exception has an error code (SDM vol. 3, 7.15): 8, 10 to 14, 17, 21, 29, 30.
    ".balign 16",
    ".global trap_stubs",
    ".hidden trap_stubs",
    "trap_stubs:",
    ".set trap_vector, 0",
    ".rept 256",
    ".balign {stub_size}",
    ".if !(trap_vector == 8 || (trap_vector >= 10 && trap_vector <= 14) || trap_vector == 17 \
        || trap_vector == 21 || trap_vector == 29 || trap_vector == 30)",
    "push 0",
    ".endif",
    "push trap_vector",
    ".if trap_vector == {debug} || trap_vector == {nmi} || trap_vector >= {first_interrupt}",
    "jmp trap_return",
    ".else",
    "jmp trap_fault",
    ".endif",
    ".set trap_vector, trap_vector + 1",
    ".endr",
    ".balign {stub_size}",
    "",
    ".macro trap_push",
    ".irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
    "push \\register",
    ".endr",
    ".endm",
    "",
    "trap_fault:",
    "cld",
    "trap_push",
    "mov rax, cr0",
    "and rax, ~{cr0_off}",
    "or rax, {cr0_on}",
    "mov cr0, rax",
    "mov rax, cr4",
    "or rax, {cr4_on}",
    "mov cr4, rax",
    "fninit",
    "ldmxcsr [rip + {mxcsr}]",
    "mov rdi, rsp",
    "push 2", // all flags clear
    "popfq",
    "xor ebp, ebp",
    "call {fault_entry}",
    "ud2",
    "",
    "trap_return:",
    "cld",
    "trap_push",
    "mov rdi, rsp",
    "sub rsp, 512",
    "fxsave [rsp]",
    "fninit",
    "ldmxcsr [rip + {mxcsr}]",
    // A return address and frame pointer, so that a backtrace goes on into what was interrupted.
    "mov rax, [rdi + {rip}]",
    "sub rsp, 8",
    "push rax",
    "push rbp",
    "push 2",
    "popfq",
    "mov rbp, rsp",
    "sub rsp, 8",
    "call {return_entry}",
    "add rsp, 32",
    "fxrstor [rsp]",
    "add rsp, 512",
    ".irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax",
    "pop \\register",
    ".endr",
    "add rsp, 16",
    "iretq",
    ".popsection",
    stub_size = const STUB_SIZE,
    debug = const DEBUG,
    nmi = const NMI,
    first_interrupt = const FIRST_INTERRUPT,
    cr0_off = const super::entry::CR0_OFF,
    cr0_on = const super::entry::CR0_ON,
    cr4_on = const super::entry::CR4_ON,
    mxcsr = sym super::entry::MXCSR_DEFAULT,
    fault_entry = sym fault_entry,
    return_entry = sym return_entry,
    rip = const offset_of!(Frame, rip),
);
