//! Ways to crash on purpose: what `crash=KIND` on the command line does.

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)+) => {
        /// A way to crash.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// What it does to the machine.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!($($doc,)+),)+
                }
            }
        }
    };
}

kinds! {
    /// Calls `panic!`.
    Panic = "panic",
    /// An assertion that does not hold.
    Assert = "assert",
    /// Unwraps a `None`.
    Unwrap = "unwrap",
    /// An index beyond the end of a slice.
    Index = "index",
    /// An addition that overflows, with the check that development builds make.
    Overflow = "overflow",
    /// Reads address 0.
    NullRead = "null-read",
    /// Writes to address 0.
    NullWrite = "null-write",
    /// Calls address 0.
    NullCall = "null-call",
    /// Reads an address that nothing is mapped at.
    PageFault = "page-fault",
    /// Writes to the kernel's read-only data.
    WriteRodata = "write-rodata",
    /// Jumps to the kernel's data.
    ExecData = "exec-data",
    /// Reads a non-canonical address.
    GpFault = "gp-fault",
    /// Executes `ud2`.
    InvalidOpcode = "invalid-opcode",
    /// Divides by zero with the processor's own instruction.
    DivZero = "div-zero",
    /// Executes `int3`.
    Breakpoint = "breakpoint",
    /// Loads a vector from an address that is not aligned for it.
    Unaligned = "unaligned",
    /// A page fault whose delivery faults again.
    DoubleFault = "double-fault",
    /// Calls itself until the stack's guard page is hit.
    StackOverflow = "stack-overflow",
    /// Overwrites its own return address and returns.
    StackSmash = "stack-smash",
    /// Takes the exception handlers away and faults: the processor resets, without a crash record.
    TripleFault = "triple-fault",
    /// Allocates until there is no memory left.
    Oom = "oom",
    /// Overwrites the heap's list of free memory, and allocates.
    HeapCorrupt = "heap-corrupt",
    /// Takes a lock twice, with interrupts off: a watchdog's NMI ends it.
    Deadlock = "deadlock",
    /// Loops for ever with interrupts on: the timer tick notices.
    Hang = "hang",
    /// Loops for ever with interrupts off: a watchdog's NMI ends it.
    HardHang = "hard-hang",
    /// Raises a non-maskable interrupt on its own processor, as a watchdog or a button would.
    Nmi = "nmi",
    /// Raises a machine check, as far as software can: by its vector.
    MachineCheck = "machine-check",
    /// Panics, and panics again while the crash record is being made.
    PanicInPanic = "panic-in-panic",
    /// Panics, and overflows the stack while the crash record is being made.
    OverflowInPanic = "overflow-in-panic",
    /// Panics with a message whose `Display` panics.
    PanicInDisplay = "panic-in-display",
    /// Panics with a message whose `Display` allocates.
    PanicAllocating = "panic-allocating",
    /// Panics with a message whose `Display` waits for a lock that is held.
    PanicLocking = "panic-locking",
    /// Panics in the `Display` of something that is being logged.
    PanicInLog = "panic-in-log",
    /// Panics at a named step of a driver or of the console.
    PanicInDriver = "panic-in-driver",
    /// Panics in the handler of a non-maskable interrupt that it raises.
    PanicInNmi = "panic-in-nmi",
    /// Overflows the stack of the handler of a non-maskable interrupt that it raises.
    OverflowInNmi = "overflow-in-nmi",
    /// Logs for ever, and panics in the midst of it.
    LogStorm = "log-storm",
}

impl Kind {
    /// Finds one by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_described_in_one_line() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert!(kind.description().ends_with('.') && kind.description().len() < 120);
        }
        assert_eq!(Kind::from_name("pani"), None);
        assert_eq!(Kind::ALL.len(), 37);
    }
}
