//! What a crash record says: plain data out of the scene, made into text.

use super::backtrace::{self, Backtrace, STACK_BYTES};
use super::{Cause, Scene, provoke};
use crate::arch::stacks;
use crate::arch::trap::{self, Frame};
use crate::{image, tick};
use blockconsole::crash::{Place, Report, Stack, Trap};
use core::fmt::{self, Write};

/// Text of fixed size; what does not fit is cut off.
pub(super) struct Text<const SIZE: usize> {
    bytes: [u8; SIZE],
    len: usize,
}

impl<const SIZE: usize> Text<SIZE> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; SIZE], len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            // Cut off in the middle of a character.
            Err(error) => core::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or(""),
        }
    }
}

impl<const SIZE: usize> Write for Text<SIZE> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = SIZE - self.len;
        let taken = text.as_bytes().get(..room).unwrap_or(text.as_bytes());
        if let Some(out) = self.bytes.get_mut(self.len..self.len + taken.len()) {
            out.copy_from_slice(taken);
            self.len += taken.len();
        }
        Ok(())
    }
}

/// What happened, in a word.
pub(super) fn kind(scene: &Scene) -> &'static str {
    match scene.cause {
        Cause::Panic(_) => "panic",
        Cause::Nmi => "non-maskable interrupt",
        Cause::Hang => "hang",
        Cause::Trap if overflown_stack(scene).is_some() => "stack overflow",
        Cause::Trap => trap_name(scene.frame.number()),
    }
}

/// The processor's exceptions (SDM vol. 3, 7.15; AMD vol. 2, 8.2).
fn trap_name(vector: u8) -> &'static str {
    const NAMES: [&str; 32] = [
        "divide error",
        "debug exception",
        "non-maskable interrupt",
        "breakpoint",
        "overflow",
        "bound range exceeded",
        "invalid opcode",
        "device not available",
        "double fault",
        "coprocessor segment overrun",
        "invalid task state segment",
        "segment not present",
        "stack-segment fault",
        "general protection fault",
        "page fault",
        "reserved exception 15",
        "x87 floating-point error",
        "alignment check",
        "machine check",
        "SIMD floating-point error",
        "virtualization exception",
        "control protection exception",
        "reserved exception 22",
        "reserved exception 23",
        "reserved exception 24",
        "reserved exception 25",
        "reserved exception 26",
        "reserved exception 27",
        "hypervisor injection exception",
        "VMM communication exception",
        "security exception",
        "reserved exception 31",
    ];
    NAMES.get(usize::from(vector)).copied().unwrap_or("interrupt")
}

/// Exceptions with an error code.
fn error_code(frame: &Frame) -> Option<u64> {
    matches!(frame.number(), 8 | 10..=14 | 17 | 21 | 29 | 30).then_some(frame.error_code)
}

/// The end of the stack whose guard page was hit.
fn overflown_stack(scene: &Scene) -> Option<u64> {
    if !matches!(scene.frame.number(), trap::PAGE_FAULT | trap::DOUBLE_FAULT) {
        return None;
    }
    let guard = scene.fault_address;
    stacks::containing(guard.checked_add(stacks::GUARD as u64)?)
        .filter(|stack| !stack.contains(&guard))
        .map(|stack| stack.end)
}

/// How long a panic's message may take to be made.
const MESSAGE_NS: u64 = 2_000_000_000;

/// Writes in a sentence what happened. May panic, as a panic's message may: that is a crash in the crash path then.
pub(super) fn write_reason(scene: &Scene, is_in_crash: bool, out: &mut impl Write) {
    // The text is in memory, so only a message's own `Display` can fail; what it said so far is kept.
    let _ = match scene.cause {
        Cause::Panic(info) => {
            // SAFETY: the pointer was made of a reference by `from_panic`, whose caller's stack nobody has touched since.
            let info = unsafe { &*info };
            // It may call anything, also what waits for ever for what crashed.
            let mut result = Ok(());
            tick::run_limited(MESSAGE_NS, || result = write!(out, "{}", info.message()));
            result
        }
        Cause::Nmi => out.write_str("from a watchdog, or somebody who pressed the button"),
        Cause::Hang if is_in_crash => out.write_str("no sign of life from the crash path; this is where it is"),
        Cause::Hang => out.write_str("no sign of life from the program; this is where it is"),
        Cause::Trap => write_trap_reason(scene, out),
    };
}

fn write_trap_reason(scene: &Scene, out: &mut impl Write) -> fmt::Result {
    let (frame, address) = (&scene.frame, scene.fault_address);
    if let Some(end) = overflown_stack(scene) {
        return write!(out, "the guard page below the stack that ends at {end:#x} was hit at {address:#x}");
    }
    match frame.number() {
        trap::PAGE_FAULT => {
            let code = frame.error_code;
            let what = match (code >> 4 & 1, code >> 1 & 1) {
                (1, _) => "instruction fetch from",
                (_, 1) => "write to",
                _ => "read from",
            };
            let why = match code & 1 {
                0 if address < stacks::GUARD as u64 => "a null pointer",
                0 => "nothing is mapped there",
                _ => "the page does not allow it",
            };
            write!(out, "{what} {address:#x}: {why}")
        }
        trap::MACHINE_CHECK => write!(out, "at {:#x}: {}", frame.rip, scene.machine_check),
        _ => write!(out, "at {:#x}", frame.rip),
    }
}

/// Where in the source, if the cause knows.
pub(super) fn place(scene: &Scene) -> Option<Place<'_>> {
    let Cause::Panic(info) = scene.cause else { return None };
    // SAFETY: as in `write_reason`.
    let location = unsafe { &*info }.location()?;
    Some(Place { file: location.file(), line: location.line(), column: location.column() })
}

/// Most registers in a record.
const REGISTERS: usize = 24;

/// The registers that are known, in the first places, and their number.
fn registers(scene: &Scene) -> ([(&'static str, u64); REGISTERS], usize) {
    let frame = &scene.frame;
    // Calls do not preserve these, and a panic is a call.
    let scratch = !matches!(scene.cause, Cause::Panic(_));
    let all = [
        ("rip", frame.rip, true),
        ("rsp", frame.rsp, true),
        ("rbp", frame.rbp, true),
        ("rflags", frame.rflags, true),
        ("rax", frame.rax, scratch),
        ("rbx", frame.rbx, true),
        ("rcx", frame.rcx, scratch),
        ("rdx", frame.rdx, scratch),
        ("rsi", frame.rsi, scratch),
        ("rdi", frame.rdi, scratch),
        ("r8", frame.r8, scratch),
        ("r9", frame.r9, scratch),
        ("r10", frame.r10, scratch),
        ("r11", frame.r11, scratch),
        ("r12", frame.r12, true),
        ("r13", frame.r13, true),
        ("r14", frame.r14, true),
        ("r15", frame.r15, true),
        ("cs", frame.cs, true),
        ("ss", frame.ss, true),
        ("cr0", scene.control.cr0, true),
        ("cr2", scene.fault_address, true),
        ("cr3", scene.control.cr3, true),
        ("cr4", scene.control.cr4, true),
    ];
    let mut known = [("", 0); REGISTERS];
    let mut count = 0;
    for (slot, (name, value, _)) in known.iter_mut().zip(all.into_iter().filter(|(.., is_known)| *is_known)) {
        *slot = (name, value);
        count += 1;
    }
    (known, count)
}

/// What the record's maker is told beside the scene.
pub(super) struct Circumstances<'a> {
    /// Tells this crash from others.
    pub id: u64,
    /// What happened, in a sentence.
    pub reason: &'a str,
    /// The boot's number, if it is the same on all consoles.
    pub boot: Option<u32>,
    /// Names and states of consoles.
    pub devices: &'a [(&'a str, &'a str)],
    /// Whether to leave out what takes looking around in memory.
    pub short: bool,
    /// Whether raw bytes of the stack may be shown.
    pub show_stack: bool,
}

/// Makes the record's text, and returns its length.
pub(super) fn make(scene: &Scene, circumstances: &Circumstances<'_>, out: &mut [u8]) -> usize {
    let (registers, known) = registers(scene);
    let build_id = image::build_id();
    let frame = &scene.frame;
    let trap = matches!(scene.cause, Cause::Trap | Cause::Nmi).then(|| Trap {
        vector: frame.number(),
        name: trap_name(frame.number()),
        error_code: error_code(frame),
    });
    let mut report = Report {
        id: circumstances.id,
        kind: kind(scene),
        reason: circumstances.reason,
        place: place(scene),
        version: env!("CARGO_PKG_VERSION"),
        build_id: &build_id,
        boot: circumstances.boot,
        uptime_ns: scene.time_ns,
        cpu: 0,
        trap,
        registers: registers.get(..known).unwrap_or_default(),
        devices: circumstances.devices,
        backtrace: &[],
        stack: None,
    };
    if circumstances.short {
        return blockconsole::crash::write(&report, out);
    }
    provoke::in_record();
    let trace = Backtrace::of(frame);
    report.backtrace = trace.addresses();
    let mut bytes = [0; STACK_BYTES];
    if circumstances.show_stack {
        let range = backtrace::stack_bytes(frame.rsp, &mut bytes);
        let len = (range.end - range.start) as usize;
        let shown = bytes.get(..len).filter(|bytes| !bytes.is_empty());
        report.stack = shown.map(|bytes| Stack { address: range.start, bytes });
    }
    blockconsole::crash::write(&report, out)
}
