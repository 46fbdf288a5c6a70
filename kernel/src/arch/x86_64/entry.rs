//! The first instructions: SSE on, flags in order, then Rust.

use bootloader_api::BootInfo;
use core::arch::naked_asm;

/// What [`enter`] jumps to.
pub type Main = extern "C" fn(&'static mut BootInfo) -> !;

/// Brings the processor into the state that compiled code expects, and calls `main`.
///
/// The precompiled `core` uses SSE, so this must run before any other Rust code: x87 and SSE on
/// (SDM vol. 3, 11.6 and 14.1.3), direction and alignment-check flags clear, interrupts off. The frame
/// pointer is zeroed, so that backtraces end here.
///
/// # Safety
/// To be called once, by the boot loader's entry point, on the stack that the loader set up.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(boot_info: &'static mut BootInfo, main: Main) -> ! {
    naked_asm!(
        "cli",
        "cld",
        "mov rax, cr0",
        "and rax, ~{cr0_off}",
        "or rax, {cr0_on}",
        "mov cr0, rax",
        "mov rax, cr4",
        "or rax, {cr4_on}",
        "mov cr4, rax",
        "fninit",
        "ldmxcsr [rip + {mxcsr}]",
        "and rsp, -16",
        "push 2",
        "popfq",
        "xor ebp, ebp",
        "call rsi",
        "ud2",
        cr0_off = const CR0_OFF,
        cr0_on = const CR0_ON,
        cr4_on = const CR4_ON,
        mxcsr = sym MXCSR_DEFAULT,
    )
}

/// CR0.EM and CR0.TS: with either of them on, SSE instructions trap.
pub(super) const CR0_OFF: u64 = 1 << 2 | 1 << 3;
/// CR0.MP, CR0.NE and CR0.WP: numeric errors trap as #MF, and read-only pages are so for the kernel too.
pub(super) const CR0_ON: u64 = 1 << 1 | 1 << 5 | 1 << 16;
/// CR4.OSFXSR and CR4.OSXMMEXCPT.
pub(super) const CR4_ON: u64 = 1 << 9 | 1 << 10;
/// MXCSR after a reset: all exceptions masked, round to nearest.
pub(super) static MXCSR_DEFAULT: u32 = 0x1F80;
