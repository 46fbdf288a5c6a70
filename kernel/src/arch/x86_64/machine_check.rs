//! Machine checks: what the processor notices of its own and the memory's failures.
//!
//! Without CR4.MCE an uncorrected failure shuts the processor down: a reset without a word.

use super::cpu;
use core::fmt;
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

/// CPUID 1, EDX: machine check exception, machine check architecture (SDM vol. 2, CPUID).
const HAS_EXCEPTION: u32 = 1 << 7;
const HAS_BANKS: u32 = 1 << 14;
/// IA32_MCG_CAP: number of banks, and whether there is IA32_MCG_CTL (SDM vol. 3, 16.3.1).
const CAPABILITY: u32 = 0x179;
const BANKS: u64 = 0xFF;
const HAS_CONTROL: u64 = 1 << 8;
/// IA32_MCG_STATUS, IA32_MCG_CTL.
const STATUS: u32 = 0x17A;
const CONTROL: u32 = 0x17B;
/// The first bank's registers IA32_MC0_CTL, IA32_MC0_STATUS and IA32_MC0_ADDR; each bank has four (SDM vol. 3, 16.3.2).
const BANK_CONTROL: u32 = 0x400;
const BANK_STATUS: u32 = 0x401;
const BANK_ADDRESS: u32 = 0x402;
const REGISTERS_A_BANK: u32 = 4;
/// Bank status: it tells of a failure; there is an address.
const VALID: u64 = 1 << 63;
const HAS_ADDRESS: u64 = 1 << 58;
/// Most banks that are looked at, and most failures that are kept.
const MAX_BANKS: u32 = 32;
const MAX_FAILURES: usize = 4;

/// What the processor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// IA32_MCG_STATUS; `None` if there are no such registers.
    status: Option<u64>,
    failures: [Option<Failure>; MAX_FAILURES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    bank: u32,
    status: u64,
    address: Option<u64>,
}

impl Report {
    /// There is nothing to say.
    pub const NOTHING: Self = Self { status: None, failures: [None; MAX_FAILURES] };

    /// Whether any bank tells of a failure.
    pub fn has_failures(&self) -> bool {
        self.failures.iter().any(Option::is_some)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.status else { return f.write_str("the processor does not say why") };
        write!(f, "global status {status:#x}")?;
        for failure in self.failures.iter().flatten() {
            write!(f, ", bank {} status {:#x}", failure.bank, failure.status)?;
            if let Some(address) = failure.address {
                write!(f, " address {address:#x}")?;
            }
        }
        Ok(())
    }
}

/// Switches machine checks on, and returns what is left of failures before this boot. To be called once their vector has its
/// handler.
pub fn enable() -> Report {
    if cpu::leaf(1)[3] & HAS_EXCEPTION == 0 {
        return Report::NOTHING;
    }
    let report = report();
    if banks() > 0 && read(CAPABILITY) & HAS_CONTROL != 0 {
        // SAFETY: the processor says that it has the register; all ones switch all banks on.
        unsafe { write(CONTROL, u64::MAX) };
    }
    for bank in 0..banks() {
        // SAFETY: the processor has so many banks. All failures are to be reported, and what was is forgotten (SDM vol. 3, 16.8).
        unsafe {
            write(BANK_CONTROL + bank * REGISTERS_A_BANK, u64::MAX);
            write(BANK_STATUS + bank * REGISTERS_A_BANK, 0);
        }
    }
    // SAFETY: the processor has machine checks, and their vector has a handler and a stack.
    unsafe { Cr4::update(|flags| flags.insert(Cr4Flags::MACHINE_CHECK_EXCEPTION)) };
    report
}

/// What the processor says at this moment. Only reads.
pub fn report() -> Report {
    let banks = banks();
    if banks == 0 {
        return Report::NOTHING;
    }
    let mut report = Report { status: Some(read(STATUS)), ..Report::NOTHING };
    let failures = (0..banks).filter_map(|bank| {
        let status = read(BANK_STATUS + bank * REGISTERS_A_BANK);
        let address = (status & HAS_ADDRESS != 0).then(|| read(BANK_ADDRESS + bank * REGISTERS_A_BANK));
        (status & VALID != 0).then_some(Failure { bank, status, address })
    });
    for (slot, failure) in report.failures.iter_mut().zip(failures) {
        *slot = Some(failure);
    }
    report
}

/// Number of banks.
fn banks() -> u32 {
    if cpu::leaf(1)[3] & HAS_BANKS == 0 { 0 } else { ((read(CAPABILITY) & BANKS) as u32).min(MAX_BANKS) }
}

fn read(register: u32) -> u64 {
    // SAFETY: called for registers that the processor says it has; reading them has no effect.
    unsafe { Msr::new(register).read() }
}

/// # Safety
/// The register must be there, and take the value.
unsafe fn write(register: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(register).write(value) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn failures_are_told_by_bank() {
        assert_eq!(Report::NOTHING.to_string(), "the processor does not say why");
        let mut report = Report { status: Some(5), ..Report::NOTHING };
        assert_eq!(report.to_string(), "global status 0x5");
        report.failures[0] = Some(Failure { bank: 1, status: VALID, address: None });
        report.failures[2] = Some(Failure { bank: 7, status: VALID | 9, address: Some(0x1000) });
        assert!(report.has_failures());
        assert_eq!(
            report.to_string(),
            "global status 0x5, bank 1 status 0x8000000000000000, bank 7 status 0x8000000000000009 address 0x1000"
        );
    }
}
