//! Calls into BIOS: from long mode down to real mode, and back.

use core::arch::global_asm;

/// Low memory that nobody else uses: behind BIOS's data area, in front of the master boot record. Real-mode code and stack
/// lie in it, and what BIOS is given to read or write.
const STATE: usize = 0x600;
/// Where the real-mode part of the code is copied to: a page on which nothing is written, or else an emulator would translate it
/// anew for each call.
const CODE: usize = 0x7000;
/// The first address above the real-mode stack, which reaches down to [`BUFFERS_END`].
const STACK_TOP: u16 = 0x7000;
/// Memory for what BIOS reads and writes, in the first 64 KiB.
pub(crate) const BUFFERS: usize = 0x1000;
/// Where that ends.
pub(crate) const BUFFERS_END: usize = 0x4000;

/// The processor's registers, as BIOS takes and returns them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Registers {
    pub(crate) eax: u32,
    pub(crate) ebx: u32,
    pub(crate) ecx: u32,
    pub(crate) edx: u32,
    pub(crate) esi: u32,
    pub(crate) edi: u32,
    pub(crate) es: u16,
    pub(crate) flags: u16,
}

impl Registers {
    /// Whether BIOS says that it failed.
    pub(crate) fn carry(&self) -> bool {
        self.flags & 1 != 0
    }

    pub(crate) fn ah(&self) -> u8 {
        (self.eax >> 8) as u8
    }
}

// In: edi the vector. Registers go in and out by STATE; the interrupt's address is put behind them. Real-mode parts run with all
// segments 0, at CODE.
global_asm!(
    ".pushsection .text.call,\"ax\",@progbits",
    ".global bios_call",
    ".global call_low",
    ".global call_low_end",
    "bios_call:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "pushfq",
    "cli",
    "sgdt [call_saved_gdt]",
    "sidt [call_saved_idt]",
    "mov [call_saved_rsp], rsp",
    "mov rax, cr4",
    "mov [call_saved_cr4], rax",
    "mov eax, [rdi * 4]", // Real mode's interrupt table lies at 0.
    "mov [{state} + 28], eax",
    "lgdt [call_descriptor_pointer]",
    "push 0x18",
    "lea rax, [rip + call_compatibility]",
    "push rax",
    "retfq",
    ".code32",
    "call_compatibility:",
    "mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov eax, cr0",
    "and eax, 0x7FFFFFFF",
    "mov cr0, eax",
    "mov ecx, 0xC0000080",
    "rdmsr",
    "and eax, 0xFFFFFEFF",
    "wrmsr",
    "xor eax, eax",
    "mov cr4, eax",
    "lidt [call_real_idt]",
    ".byte 0xEA",
    ".long {code} + call_16_bit - call_low",
    ".word 0x20",
    // From here to `call_low_end`: runs in its copy at CODE.
    ".code16",
    "call_low:",
    "call_16_bit:",
    "mov ax, 0x28",
    "mov ds, ax",
    "mov es, ax",
    "mov ss, ax",
    "mov fs, ax",
    "mov gs, ax",
    "mov eax, cr0",
    "and al, 0xFE",
    "mov cr0, eax",
    ".byte 0xEA",
    ".word {code} + call_real - call_low, 0",
    "call_real:",
    "xor ax, ax",
    "mov ds, ax",
    "mov ss, ax",
    "mov fs, ax",
    "mov gs, ax",
    "mov sp, {stack}",
    "mov es, [{state} + 24]",
    "mov eax, [{state}]",
    "mov ebx, [{state} + 4]",
    "mov ecx, [{state} + 8]",
    "mov edx, [{state} + 12]",
    "mov esi, [{state} + 16]",
    "mov edi, [{state} + 20]",
    "sti",
    "pushf",
    ".byte 0xFF, 0x1E", // call far [..]
    ".word {state} + 28",
    "cli",
    "cld",
    "pushf",
    "push ds",
    "push 0",
    "pop ds",
    "mov [{state}], eax",
    "mov [{state} + 4], ebx",
    "mov [{state} + 8], ecx",
    "mov [{state} + 12], edx",
    "mov [{state} + 16], esi",
    "mov [{state} + 20], edi",
    "mov [{state} + 24], es",
    "pop ax",
    "pop ax",
    "mov [{state} + 26], ax",
    ".byte 0x66, 0x0F, 0x01, 0x16", // lgdt [..], with 32 bits of address.
    ".word {code} + call_low_descriptor_pointer - call_low",
    "mov eax, cr0",
    "or al, 1",
    "mov cr0, eax",
    ".byte 0x66, 0xEA",
    ".long call_protected",
    ".word 0x18",
    "call_low_descriptor_pointer:",
    ".word 47",
    ".long call_descriptors",
    "call_low_end:",
    ".code32",
    "call_protected:",
    "mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov eax, [call_saved_cr4]",
    "mov cr4, eax",
    "mov ecx, 0xC0000080",
    "rdmsr",
    "or eax, 0x100",
    "wrmsr",
    "mov eax, cr0",
    "or eax, 0x80000000",
    "mov cr0, eax",
    ".byte 0xEA",
    ".long call_long",
    ".word 0x08",
    ".code64",
    "call_long:",
    "mov rsp, [call_saved_rsp]",
    "lgdt [call_saved_gdt]",
    "lidt [call_saved_idt]",
    "mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "xor eax, eax",
    "mov fs, eax",
    "mov gs, eax",
    "popfq",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".popsection",
    ".pushsection .rodata.call,\"a\",@progbits",
    ".p2align 3",
    "call_descriptors:",
    ".quad 0",
    ".quad 0x00AF9B000000FFFF", // 0x08: 64-bit code.
    ".quad 0x00CF93000000FFFF", // 0x10: data.
    ".quad 0x00CF9B000000FFFF", // 0x18: 32-bit code.
    ".quad 0x00009B000000FFFF", // 0x20: 16-bit code.
    ".quad 0x000093000000FFFF", // 0x28: 16-bit data.
    "call_descriptor_pointer:",
    ".word 47",
    ".quad call_descriptors",
    "call_real_idt:",
    ".word 0x3FF",
    ".long 0",
    ".popsection",
    ".pushsection .bss.call,\"aw\",@nobits",
    ".p2align 3",
    "call_saved_rsp: .skip 8",
    "call_saved_cr4: .skip 8",
    "call_saved_gdt: .skip 16",
    "call_saved_idt: .skip 16",
    ".popsection",
    state = const STATE,
    code = const CODE,
    stack = const STACK_TOP,
);

unsafe extern "C" {
    static call_low: [u8; 0];
    static call_low_end: [u8; 0];
    fn bios_call(vector: u32);
}

/// Right to call BIOS. There is one, so that calls and their buffers do not get in each other's way.
pub(crate) struct Bios(());

impl Bios {
    /// Puts the real-mode code in its place.
    ///
    /// # Safety
    /// Called once, in a machine that a BIOS has started, with memory mapped at its own addresses and nothing of
    /// value from [`STATE`] to the second stage.
    pub(crate) unsafe fn new() -> Self {
        let (start, end) = (&raw const call_low, &raw const call_low_end);
        // SAFETY: both symbols delimit one piece of this program's code; the place it goes to is free, says the caller.
        unsafe { low(CODE).copy_from_nonoverlapping(start.cast(), end.addr() - start.addr()) };
        Self(())
    }

    /// Calls an interrupt. What it says about the flags and registers is returned.
    ///
    /// # Safety
    /// The call must not write to memory other than BIOS's own and [`BUFFERS`], nor to a buffer that is in use.
    pub(crate) unsafe fn call(&mut self, vector: u8, registers: Registers) -> Registers {
        let state = low(STATE).cast::<Registers>();
        // SAFETY: the state's place is aligned, and ours alone; `new` has put the code in its place; the code saves and restores all that
        // a function must. What BIOS does is the caller's promise.
        unsafe {
            state.write_volatile(registers);
            bios_call(vector.into());
            state.read_volatile()
        }
    }

    /// A buffer that BIOS can reach. `N` bytes from [`BUFFERS`] + `offset` on.
    pub(crate) fn buffer<const N: usize>(&mut self, offset: usize) -> &mut [u8; N] {
        assert!(offset + N <= BUFFERS_END - BUFFERS, "buffer too large");
        // SAFETY: the place is ours alone (see `new`), any bytes are valid, and the borrow of `self` makes it the only reference and keeps
        // BIOS from being called.
        unsafe { &mut *low(BUFFERS + offset).cast() }
    }
}

fn low(address: usize) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address)
}
