//! The way from the loader's address space into the kernel's.
//!
//! No address need mean the same in both, so there is a third one: the loader's top page table with one more entry, that of the
//! kernel's top table under which the *bridge* lies, a page of code that thus has one address in both:
//!
//! ```text
//!   loader's tables ──► loader's tables + bridge ──► (in the bridge) kernel's tables ──► kernel
//! ```
//!
//! That needs no address of the loader to be free in the kernel's address space, nor the other way round.

use crate::elf::PAGE;
use crate::error::Error;
use crate::frames::Frames;
use crate::load::{Entry, Loaded};
use crate::machine::exit::{DEBUG_EXIT, Reason};
use crate::machine::serial;
use core::arch::{asm, global_asm};

// Position-independent, and never written to: its page is read-only. In: rdi boot information, rsi kernel's entry
// point, rdx top of stack, rcx kernel's page table. The descriptors' accessed bits are set, so that the processor does not try
// to set them. What the kernel does wrong before it handles exceptions itself comes back here, to be told on the serial port: the
// interrupt descriptors for that lie at the stack's top.
global_asm!(
    ".pushsection .text.bridge,\"ax\",@progbits",
    ".global bridge_start",
    ".global bridge_end",
    "bridge_start:",
    "mov cr3, rcx",
    "lea rsp, [rdx - {gates_size}]",
    "mov rbx, rsp",
    "sub rsp, 16",
    "lea rax, [rip + bridge_descriptors]",
    "mov word ptr [rsp], 23",
    "mov [rsp + 2], rax",
    "lgdt [rsp]",
    "mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "xor eax, eax",
    "mov fs, eax",
    "mov gs, eax",
    "lea rax, [rip + 2f]",
    "push 0x08",
    "push rax",
    "retfq",
    "2:",
    // 32 interrupt gates for selector 0x08, whose stubs are 16 bytes apart.
    "lea rax, [rip + bridge_stubs]",
    "mov r8, rbx",
    "mov ecx, 32",
    "3:",
    "mov [r8], ax",
    "mov dword ptr [r8 + 2], 0x08",
    "mov byte ptr [r8 + 5], 0x8E",
    "mov r9, rax",
    "shr r9, 16",
    "mov [r8 + 6], r9w",
    "shr r9, 16",
    "mov [r8 + 8], r9",
    "add rax, 16",
    "add r8, 16",
    "dec ecx",
    "jnz 3b",
    "mov word ptr [rsp], {gates_size} - 1",
    "mov [rsp + 2], rbx",
    "lidt [rsp]",
    "mov rsp, rbx",
    "push 0", // Where backtraces end, and what makes rsp what the ABI wants it to be at a function's start.
    "mov rax, rsi",
    "xor ebx, ebx",
    "xor ecx, ecx",
    "xor edx, edx",
    "xor esi, esi",
    "xor ebp, ebp",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "xor r10d, r10d",
    "xor r11d, r11d",
    "xor r12d, r12d",
    "xor r13d, r13d",
    "xor r14d, r14d",
    "xor r15d, r15d",
    "cld",
    "jmp rax",
    ".p2align 3",
    "bridge_descriptors:",
    ".quad 0",
    ".quad 0x00AF9B000000FFFF", // 0x08: 64-bit code.
    ".quad 0x00CF93000000FFFF", // 0x10: data.
    "bridge_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".p2align 4",
    ".if (0x60227D00 >> vector) & 1", // Those with an error code: 8, 10 to 14, 17, 21, 29, 30.
    ".else",
    "push 0",
    ".endif",
    "push vector",
    "jmp 10f",
    ".set vector, vector + 1",
    ".endr",
    // On the stack: vector, error code, instruction pointer. Prints them between words, and CR2.
    "10:",
    "cld",
    "lea rsi, [rip + 21f]",
    "call 30f",
    "pop rbx",
    "call 40f",
    "lea rsi, [rip + 22f]",
    "call 30f",
    "pop rbx",
    "call 40f",
    "lea rsi, [rip + 23f]",
    "call 30f",
    "pop rbx",
    "call 40f",
    "lea rsi, [rip + 24f]",
    "call 30f",
    "mov rbx, cr2",
    "call 40f",
    "lea rsi, [rip + 25f]",
    "call 30f",
    "mov eax, 1",
    "cpuid",
    "bt ecx, 31",
    "jnc 12f",
    "mov eax, {exit}",
    "out {debug_exit}, al",
    "12:",
    "cli",
    "hlt",
    "jmp 12b",
    "21: .asciz \"\\r\\nboot: ERROR the kernel failed before it handled exceptions itself: exception \"",
    "22: .asciz \", error code \"",
    "23: .asciz \", at \"",
    "24: .asciz \", cr2 \"",
    "25: .asciz \"\\r\\n\"",
    // Prints the text at rsi.
    "30:",
    "lodsb",
    "test al, al",
    "jz 31f",
    "call 50f",
    "jmp 30b",
    "31:",
    "ret",
    // Prints rbx in hexadecimal.
    "40:",
    "mov ebp, 16",
    "41:",
    "rol rbx, 4",
    "mov eax, ebx",
    "and eax, 15",
    "add eax, '0'",
    "cmp eax, '9'",
    "jbe 42f",
    "add eax, 'a' - '9' - 1",
    "42:",
    "call 50f",
    "dec ebp",
    "jnz 41b",
    "ret",
    // Prints al, when the transmitter is empty or patience is at an end.
    "50:",
    "mov edi, eax",
    "mov edx, {line_status}",
    "mov ecx, 100000",
    "51:",
    "in al, dx",
    "test al, 0x20",
    "jnz 52f",
    "dec ecx",
    "jnz 51b",
    "52:",
    "mov eax, edi",
    "mov edx, {data}",
    "out dx, al",
    "ret",
    "bridge_end:",
    ".popsection",
    gates_size = const GATES_SIZE,
    exit = const Reason::EarlyKernel as u32,
    debug_exit = const DEBUG_EXIT,
    line_status = const serial::LINE_STATUS,
    data = const serial::DATA,
);

/// Bytes at the stack's top for 32 interrupt gates. A multiple of 16.
const GATES_SIZE: u64 = 32 * 16;

unsafe extern "C" {
    static bridge_start: [u8; 0];
    static bridge_end: [u8; 0];
}

/// The bridge's bytes, for [`Job::bridge`](crate::Job::bridge).
pub fn code() -> &'static [u8] {
    let (start, end) = (&raw const bridge_start, &raw const bridge_end);
    // SAFETY: both symbols delimit one piece of this program's code, which nothing ever changes.
    unsafe { core::slice::from_raw_parts(start.cast(), end.addr() - start.addr()) }
}

/// Copies the page table in use, adds the way to the bridge, and returns the copy's physical address.
///
/// # Errors
/// If there is no frame left.
///
/// # Safety
/// The processor uses four-level page tables, and the top one can be read at its physical address.
pub unsafe fn build(frames: &mut Frames, loaded: &Loaded<'_>) -> Result<u64, Error> {
    let Entry { page_table, bridge, .. } = loaded.entry();
    let refused = Error::OutOfMemory { purpose: "page tables", wanted: PAGE, free: frames.free() };
    let range = frames.allocate(PAGE).ok_or(refused)?;
    let slot = (bridge >> 39 & 511) * 8;
    let entry_at = page_table + slot;
    let mut entry = [0; 8];
    entry.copy_from_slice(frames.bytes(entry_at..entry_at + 8).ok_or(refused)?);
    let current = core::ptr::with_exposed_provenance::<u64>(super::cpu::page_table() as usize);
    let table = frames.bytes_mut(range.clone()).ok_or(refused)?;
    for (number, to) in table.chunks_exact_mut(8).enumerate() {
        // SAFETY: the caller vouches that the table in use can be read there; a page has 512 entries. Volatile, because the processor
        // may set accessed bits meanwhile.
        to.copy_from_slice(&unsafe { current.add(number).read_volatile() }.to_le_bytes());
    }
    table[slot as usize..][..8].copy_from_slice(&entry);
    Ok(range.start)
}

/// Starts the kernel.
///
/// # Safety
/// `bridge_table` comes from [`build`] for the same entry, whose address space has been finished; the loader's code and stack lie in the
/// lower half; [`super::cpu::prepare`] has been called; nothing of the loader is needed any more.
pub unsafe fn enter(entry: Entry, bridge_table: u64) -> ! {
    // SAFETY: the loader's lower half is mapped in the bridge's table as it is now, so that the jump is still executed; the rest is
    // the caller's promise.
    unsafe {
        asm!(
            "cli",
            "mov cr3, {table}",
            "jmp {bridge}",
            table = in(reg) bridge_table,
            bridge = in(reg) entry.bridge,
            in("rdi") entry.boot_info,
            in("rsi") entry.address,
            in("rdx") entry.stack_top,
            in("rcx") entry.page_table,
            options(noreturn),
        )
    }
}
