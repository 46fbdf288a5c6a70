//! What the loader asks of the processor.
//!
//! Source: Intel SDM volume 2A (CPUID), volume 3A sections 2.5 (control registers) and 4.1 (paging modes), volume 4 (EFER).

use crate::error::Error;
use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

const EFER: u32 = 0xC000_0080;
const EFER_NO_EXECUTE: u32 = 1 << 11;
const CR0_MONITOR_COPROCESSOR: u64 = 1 << 1;
const CR0_EMULATION: u64 = 1 << 2;
const CR0_TASK_SWITCHED: u64 = 1 << 3;
const CR0_NUMERIC_ERROR: u64 = 1 << 5;
const CR0_WRITE_PROTECT: u64 = 1 << 16;
const CR4_GLOBAL_PAGES: u64 = 1 << 7;
const CR4_FXSAVE: u64 = 1 << 9;
const CR4_SIMD_EXCEPTIONS: u64 = 1 << 10;
const CR4_LA57: u64 = 1 << 12;
const CR4_PROCESS_CONTEXT: u64 = 1 << 17;
const CR4_CONTROL_FLOW: u64 = 1 << 23;

/// What the processor can do.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// No-execute pages.
    pub no_execute: bool,
    /// Pages of 1 GiB.
    pub gib_pages: bool,
}

impl Features {
    /// Asks the processor.
    pub fn read() -> Self {
        if __cpuid(0x8000_0000).eax < 0x8000_0001 {
            return Self { no_execute: false, gib_pages: false };
        }
        let extended = __cpuid(0x8000_0001);
        Self { no_execute: extended.edx & 1 << 20 != 0, gib_pages: extended.edx & 1 << 26 != 0 }
    }
}

/// Whether this is a virtual machine that says so.
pub fn is_virtual() -> bool {
    __cpuid_count(1, 0).ecx & 1 << 31 != 0
}

/// Checks that the processor can do what the kernel's address space needs, and what [`prepare`] switches on.
///
/// # Errors
/// If the processor has no no-execute pages, or runs with five-level page tables.
pub fn check(features: Features) -> Result<(), Error> {
    if !features.no_execute {
        return Err(Error::Processor("no-execute pages (NX)"));
    }
    if control_registers().1 & CR4_LA57 != 0 {
        return Err(Error::Processor("four-level paging switched on by its firmware (it uses five levels)"));
    }
    Ok(())
}

fn control_registers() -> (u64, u64) {
    let (cr0, cr4): (u64, u64);
    // SAFETY: reading control registers has no effect; we run in kernel mode.
    unsafe { asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4, options(nomem, nostack, preserves_flags)) };
    (cr0, cr4)
}

/// Switches on what the kernel's address space needs, and what compiled code expects: no-execute pages, write
/// protection in kernel mode, SSE; and off what would be in the way: global pages, process-context identifiers, and the
/// control-flow enforcement that code without its markers would run into.
///
/// # Safety
/// [`check`] must have succeeded. Nobody may rely on writing to pages that are read-only, nor on what is switched off.
pub unsafe fn prepare() {
    let (mut cr0, mut cr4) = control_registers();
    cr0 &= !(CR0_EMULATION | CR0_TASK_SWITCHED);
    cr0 |= CR0_MONITOR_COPROCESSOR | CR0_NUMERIC_ERROR | CR0_WRITE_PROTECT;
    cr4 &= !(CR4_GLOBAL_PAGES | CR4_PROCESS_CONTEXT | CR4_CONTROL_FLOW);
    cr4 |= CR4_FXSAVE | CR4_SIMD_EXCEPTIONS;
    // SAFETY: every 64-bit processor has SSE and these bits, and `check` found the no-execute bit; clearing global pages flushes
    // the TLB and changes no translation. The caller vouches for the write protection.
    unsafe {
        asm!(
            "mov cr0, {cr0}",
            "mov cr4, {cr4}",
            "rdmsr",
            "or eax, {no_execute}",
            "wrmsr",
            cr0 = in(reg) cr0,
            cr4 = in(reg) cr4,
            no_execute = const EFER_NO_EXECUTE,
            in("ecx") EFER,
            out("eax") _,
            out("edx") _,
            options(nostack),
        );
    }
}

/// Physical address of the top page table in use.
pub fn page_table() -> u64 {
    let cr3: u64;
    // SAFETY: reading it has no effect; we run in kernel mode.
    unsafe { asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack, preserves_flags)) };
    cr3 & 0x000F_FFFF_FFFF_F000
}

/// Stops the processor for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off only an NMI or SMI wakes it, and then it is stopped again.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
