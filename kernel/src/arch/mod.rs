//! The processor and its platform devices; one module an architecture.

mod x86_64;

pub use x86_64::{
    acpi, apic, clock, cpu, descriptors, entry, exit, flags, machine_check, pit, port, rtc, serial, single_step,
    stacks, switch, trap, watchdog,
};
