//! What happens when the loader itself fails: exceptions are printed.
//!
//! Every vector has an interrupt stack of its own, so that an exception on a bad stack is still told.
//!
//! Source: Intel SDM volume 3A, sections 6.14 (64-bit mode) and 6.15 (exceptions).

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt;

const VECTORS: usize = 32;
const STACK: usize = 16 * 1024;
const CODE: u16 = 0x08;
const TASK: u16 = 0x18;

/// The state that an exception found, as the stubs push it.
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15.
    pub registers: [u64; 15],
    /// The exception's number.
    pub vector: u64,
    /// Its error code; 0 for those that have none.
    pub error_code: u64,
    /// The instruction that it happened at.
    pub rip: u64,
    /// Code segment.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack segment.
    pub ss: u64,
}

const NAMES: [&str; VECTORS] = [
    "division error",
    "debug",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualization",
    "control protection",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "hypervisor injection",
    "VMM communication",
    "security",
    "reserved",
];

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.get(self.vector as usize).unwrap_or(&"unknown");
        let cr2: u64;
        // SAFETY: reading it has no effect; we run in kernel mode.
        unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack, preserves_flags)) };
        write!(
            f,
            "exception {} ({name}), error code {:#x}, at {:#x}, rsp {:#x}, cr2 {cr2:#x}",
            self.vector, self.error_code, self.rip, self.rsp
        )?;
        let names =
            ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
        names.iter().zip(&self.registers).try_for_each(|(name, value)| write!(f, ", {name} {value:#x}"))
    }
}

// One stub of 16 bytes for each vector. Those whose exception has no error code push a zero.
global_asm!(
    ".pushsection .text.exceptions,\"ax\",@progbits",
    ".global exception_stubs",
    ".p2align 4",
    "exception_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".p2align 4",
    // 8, 10 to 14, 17, 21, 29, 30 have one.
    ".if (0x60227D00 >> vector) & 1",
    ".else",
    "push 0",
    ".endif",
    "push vector",
    "jmp exception_common",
    ".set vector, vector + 1",
    ".endr",
    "exception_common:",
    "push r15",
    "push r14",
    "push r13",
    "push r12",
    "push r11",
    "push r10",
    "push r9",
    "push r8",
    "push rbp",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push rbx",
    "push rax",
    "mov rdi, rsp",
    "cld",
    "mov rax, [rip + exception_handler]",
    "and rsp, -16",
    "call rax",
    "ud2",
    ".popsection",
    ".pushsection .bss.exceptions,\"aw\",@nobits",
    ".global exception_handler",
    ".p2align 3",
    "exception_handler:",
    ".skip 8",
    ".popsection",
);

unsafe extern "C" {
    static exception_stubs: [[u8; 16]; VECTORS];
    static exception_handler: UnsafeCell<u64>;
}

/// The stack on which exceptions are handled.
#[repr(align(16))]
struct Stack(UnsafeCell<[u8; STACK]>);

// SAFETY: only the processor uses it, from `install` on.
unsafe impl Sync for Stack {}

static EXCEPTION_STACK: Stack = Stack(UnsafeCell::new([0; STACK]));

/// Descriptor tables, and the task state that names the exceptions' stack.
#[repr(C, align(16))]
struct Tables {
    gates: [[u64; 2]; VECTORS],
    descriptors: [u64; 5],
    task: [u32; 26],
}

struct Place(UnsafeCell<Tables>);

// SAFETY: only `install` touches it, whose caller promises that there is one processor and one call.
unsafe impl Sync for Place {}

static TABLES: Place = Place(UnsafeCell::new(Tables {
    gates: [[0; 2]; VECTORS],
    descriptors: [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0, 0],
    task: [0; 26],
}));

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Loads descriptor tables in which selector 0x08 is 64-bit code, 0x10 data, and every exception goes to `handler`.
///
/// # Safety
/// Called once, in long mode, with interrupts off, on the only processor that runs.
pub unsafe fn install(handler: extern "C" fn(&Frame) -> !) {
    let tables = TABLES.0.get();
    // SAFETY: the caller makes this the only access. The stubs are code of this program; the tables are static, filled
    // before they are loaded, and have the layout that the processor expects.
    unsafe {
        exception_handler.get().write(handler as usize as u64);
        let stack_top = EXCEPTION_STACK.0.get().add(1).addr() as u64;
        // Interrupt stack 1 is at offset 36 of the task state; the I/O permission map starts behind its end.
        (*tables).task[9] = stack_top as u32;
        (*tables).task[10] = (stack_top >> 32) as u32;
        (*tables).task[25] = (size_of::<[u32; 26]>() as u32) << 16;
        let task = (&raw const (*tables).task).addr() as u64;
        let limit = size_of::<[u32; 26]>() as u64 - 1;
        (*tables).descriptors[3] = limit | (task & 0xFF_FFFF) << 16 | 0x89 << 40 | (task >> 24 & 0xFF) << 56;
        (*tables).descriptors[4] = task >> 32;
        for (gate, stub) in (*tables).gates.iter_mut().zip(&exception_stubs) {
            let stub = stub.as_ptr().addr() as u64;
            // Present, interrupt gate, interrupt stack 1.
            let middle = u64::from(CODE) << 16 | 1 << 32 | 0x8E << 40;
            *gate = [stub & 0xFFFF | middle | (stub >> 16 & 0xFFFF) << 48, stub >> 32];
        }
        let gates = TablePointer {
            limit: size_of::<[[u64; 2]; VECTORS]>() as u16 - 1,
            base: (&raw const (*tables).gates).addr() as u64,
        };
        let descriptors = TablePointer {
            limit: size_of::<[u64; 5]>() as u16 - 1,
            base: (&raw const (*tables).descriptors).addr() as u64,
        };
        asm!(
            "lgdt [{descriptors}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov {scratch:e}, 0x10",
            "mov ds, {scratch:e}",
            "mov es, {scratch:e}",
            "mov ss, {scratch:e}",
            "ltr {task:x}",
            "lidt [{gates}]",
            descriptors = in(reg) &raw const descriptors,
            gates = in(reg) &raw const gates,
            task = in(reg) TASK,
            code = const CODE,
            scratch = out(reg) _,
        );
    }
}
