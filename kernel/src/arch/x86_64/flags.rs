//! Processor flags and SSE state as they must not be, for crashes on purpose.

use core::arch::asm;

/// RFLAGS.DF: string instructions count downwards.
pub const DIRECTION: u64 = 1 << 10;
/// RFLAGS.NT: an interrupt return faults.
pub const NESTED_TASK: u64 = 1 << 14;
/// RFLAGS.AC.
pub const ALIGNMENT_CHECK: u64 = 1 << 18;

/// Sets flags, and leaves the others as they are.
///
/// With [`DIRECTION`], compiled code may misbehave from here on; the caller is about to crash.
#[inline(always)]
pub fn set(flags: u64) {
    // SAFETY: the flags have no effect on memory by themselves. That of the direction flag is what the caller wants: the crash path
    // clears it before anything else.
    unsafe { asm!("pushfq", "or [rsp], {0}", "popfq", in(reg) flags) };
}

/// Unmasks all floating-point exceptions of SSE, fills the x87 register stack, and puts signalling patterns into SSE registers.
pub fn dirty_sse() {
    let control: u32 = 0;
    // SAFETY: changes nothing but floating-point state, on which the integer code that follows does not depend; the SSE
    // registers are named as clobbered.
    unsafe {
        asm!(
            "ldmxcsr [{control}]",
            "fldz", "fldz", "fldz", "fldz", "fldz", "fldz", "fldz", "fldz",
            "pcmpeqd xmm0, xmm0",
            "movaps xmm1, xmm0",
            "movaps xmm15, xmm0",
            control = in(reg) &raw const control,
            out("xmm0") _,
            out("xmm1") _,
            out("xmm15") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
        );
    }
}
