//! What the processor is, and small services of it.

use core::arch::x86_64::{__cpuid, _rdtsc};
use core::sync::atomic::{AtomicU8, Ordering};
use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr0, Cr2, Cr3, Cr4};
use x86_64::registers::model_specific::{Efer, EferFlags};

/// The time stamp counter.
#[inline]
pub fn time_stamp() -> u64 {
    // SAFETY: every 64-bit processor has the counter, and reading it has no effect on memory.
    unsafe { _rdtsc() }
}

/// Tells the processor that it is in a polling loop that waits for a device.
///
/// Not in a virtual machine: there the instruction for it leaves the guest, and whoever runs the guest may need just the time, or the lock,
/// that this costs to carry the request out that is waited for. (QEMU's emulation takes its global lock each time:
/// small writes, one at a time, then take 1.4 times as long on NVMe and 4 times as long on virtio.)
#[inline]
pub fn relax() {
    match KIND.load(Ordering::Relaxed) {
        VIRTUAL => {}
        REAL => core::hint::spin_loop(),
        _ => KIND.store(if is_virtual() { VIRTUAL } else { REAL }, Ordering::Relaxed),
    }
}

/// Lets a little time pass.
pub fn pause() {
    core::hint::spin_loop();
}

/// What [`relax`] has found the machine to be. Asking the processor leaves the guest as well.
static KIND: AtomicU8 = AtomicU8::new(0);
const REAL: u8 = 1;
const VIRTUAL: u8 = 2;

/// Lets interrupts in.
pub fn enable_interrupts() {
    interrupts::enable();
}

/// Keeps interrupts out.
pub fn disable_interrupts() {
    interrupts::disable();
}

/// Sleeps until the next interrupt; returns at once when interrupts are off, since nothing would end the sleep.
pub fn wait_for_interrupt() {
    if interrupts::are_enabled() {
        x86_64::instructions::hlt();
    } else {
        relax();
    }
}

/// Stops for good. Only a reset, or a non-maskable interrupt's handler, does anything after this.
pub fn halt() -> ! {
    loop {
        interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// Page tables may say "do not execute". A no-op where the boot loader has seen to it.
pub fn enable_no_execute() {
    // SAFETY: the bit changes nothing for pages that do not have it, and every x86_64 processor of the last 15 years knows it.
    unsafe { Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE)) };
}

/// Physical address of the page tables in use.
pub fn page_table_root() -> u64 {
    Cr3::read().0.start_address().as_u64()
}

/// The address of the last page fault, as the processor noted it.
pub fn fault_address() -> u64 {
    Cr2::read_raw()
}

/// Control registers, as far as a reader of a crash record may want to know them.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are registers, named as the processor's manual names them")]
pub struct Control {
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
}

/// The control registers.
pub fn control() -> Control {
    let (frame, flags) = Cr3::read_raw();
    Control { cr0: Cr0::read_raw(), cr3: frame.start_address().as_u64() | u64::from(flags), cr4: Cr4::read_raw() }
}

/// Whether a hypervisor runs this machine (CPUID 1, ECX bit 31).
pub fn is_virtual() -> bool {
    __cpuid(1).ecx & 1 << 31 != 0
}

/// The highest CPUID leaf in the range that starts at `base`.
pub(super) fn highest_leaf(base: u32) -> u32 {
    __cpuid(base).eax
}

/// One CPUID leaf; zeroes where the processor does not have it.
pub(super) fn leaf(number: u32) -> [u32; 4] {
    let base = number & 0xFFFF_0000;
    if highest_leaf(base) < number {
        return [0; 4];
    }
    let registers = __cpuid(number);
    [registers.eax, registers.ebx, registers.ecx, registers.edx]
}

/// Bits of a physical address (CPUID 80000008h); the least that a 64-bit processor has where it does not say.
pub fn physical_address_bits() -> u8 {
    const LEAST: u8 = 36;
    /// What a page table's entry has room for.
    const MOST: u8 = 52;
    (leaf(0x8000_0008)[0] as u8).clamp(LEAST, MOST)
}

/// A short text that CPUID gives.
#[derive(Clone, Copy)]
pub struct Text<const LEN: usize>([u8; LEN]);

impl<const LEN: usize> Text<LEN> {
    /// The text without padding; empty where it is not ASCII.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(LEN);
        let text = self.0.get(..end).unwrap_or_default();
        match core::str::from_utf8(text) {
            Ok(text) if text.is_ascii() => text.trim(),
            _ => "",
        }
    }
}

/// The processor's name, such as `QEMU Virtual CPU version 2.5+`.
pub fn brand() -> Text<48> {
    let mut text = [0; 48];
    let words = (0x8000_0002..=0x8000_0004).flat_map(leaf);
    for (out, word) in text.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *out = word.to_le_bytes();
    }
    Text(text)
}

/// The revision of the microcode; `None` where the maker is not known to tell.
pub fn microcode(vendor: &str) -> Option<u64> {
    /// IA32_BIOS_SIGN_ID (SDM vol. 4, 2.1), and AMD's patch level in its lower half (AMD vol. 2, A.4).
    const SIGNATURE: u32 = 0x8B;
    let mut register = x86_64::registers::model_specific::Msr::new(SIGNATURE);
    match vendor {
        "GenuineIntel" if is_virtual() => {
            // SAFETY: all processors of this maker have the register, and reading it has no effect; hypervisors know that.
            Some(unsafe { register.read() } >> 32)
        }
        "GenuineIntel" => {
            // The processor fills it in when CPUID is used after a zero was written (SDM vol. 3, 10.11.7.1).
            // SAFETY: as above; the write has no other effect.
            unsafe { register.write(0) };
            let _ = __cpuid(1);
            // SAFETY: as above.
            Some(unsafe { register.read() } >> 32)
        }
        // SAFETY: as above.
        "AuthenticAMD" => Some(unsafe { register.read() } & 0xFFFF_FFFF),
        _ => None,
    }
}

/// The hypervisor's signature, such as `TCGTCGTCGTCG`; empty on a real machine.
pub fn hypervisor() -> Text<12> {
    let mut text = [0; 12];
    if is_virtual() {
        let [_, words @ ..] = leaf(0x4000_0000);
        for (out, word) in text.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *out = word.to_le_bytes();
        }
    }
    Text(text)
}
