//! Changing stacks for good, and taking the registers of where one is.

use super::trap::Frame;
use core::arch::{asm, naked_asm};

/// Continues in `target(argument)` on another stack, whose callers end there. Non-maskable interrupts are let in
/// again if the switch is made in the handler of one: it is done by an interrupt return.
///
/// # Safety
/// `top` must be the end of a stack that nobody else uses, aligned to 16 bytes. What lies on the present one is never
/// cleaned up.
#[unsafe(naked)]
pub unsafe extern "C" fn to_stack(top: u64, target: extern "C" fn(usize) -> !, argument: usize) -> ! {
    naked_asm!(
        // Whatever state the crashed code left: an interrupt return faults while the nested task flag is set.
        "push 2",
        "popfq",
        "fninit",
        "ldmxcsr [rip + {mxcsr}]",
        "mov r8, rdi",
        "mov rdi, rdx",
        // As after a call: the stack is 8 bytes off, with a return address of 0, at which backtraces end.
        "lea r9, [r8 - 8]",
        "mov qword ptr [r9], 0",
        "xor ebp, ebp",
        "mov rsp, r9",
        "mov eax, ss",
        "push rax",
        "push r9",
        "push 2",
        "mov eax, cs",
        "push rax",
        "push rsi",
        "iretq",
        mxcsr = sym super::entry::MXCSR_DEFAULT,
    )
}

/// The registers of the caller, as far as they mean anything to a reader: those that calls preserve, and where it is.
#[inline(always)]
pub fn here() -> Frame {
    let mut frame = Frame::ZERO;
    // SAFETY: only reads registers, and writes to `frame`'s memory, whose layout is `repr(C)`.
    unsafe {
        asm!(
            "mov [{frame} + {rbx}], rbx",
            "mov [{frame} + {rbp}], rbp",
            "mov [{frame} + {rsp}], rsp",
            "mov [{frame} + {r12}], r12",
            "mov [{frame} + {r13}], r13",
            "mov [{frame} + {r14}], r14",
            "mov [{frame} + {r15}], r15",
            "lea {scratch}, [rip]",
            "mov [{frame} + {rip}], {scratch}",
            "mov {scratch:e}, cs",
            "mov [{frame} + {cs}], {scratch}",
            "mov {scratch:e}, ss",
            "mov [{frame} + {ss}], {scratch}",
            "pushfq",
            "pop [{frame} + {rflags}]",
            frame = in(reg) &raw mut frame,
            scratch = out(reg) _,
            rbx = const core::mem::offset_of!(Frame, rbx),
            rbp = const core::mem::offset_of!(Frame, rbp),
            rsp = const core::mem::offset_of!(Frame, rsp),
            r12 = const core::mem::offset_of!(Frame, r12),
            r13 = const core::mem::offset_of!(Frame, r13),
            r14 = const core::mem::offset_of!(Frame, r14),
            r15 = const core::mem::offset_of!(Frame, r15),
            rip = const core::mem::offset_of!(Frame, rip),
            cs = const core::mem::offset_of!(Frame, cs),
            ss = const core::mem::offset_of!(Frame, ss),
            rflags = const core::mem::offset_of!(Frame, rflags),
        );
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_is_here() {
        let local = 0u8;
        let frame = here();
        assert!(frame.rsp.abs_diff(&raw const local as u64) < 64 << 10);
        assert!(frame.rip.abs_diff(here_is_here as fn() as usize as u64) < 64 << 10);
        assert_ne!(frame.rflags, 0);
    }
}
