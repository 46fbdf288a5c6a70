//! x86_64, and the devices that every PC has.

pub mod acpi;
pub mod apic;
pub mod clock;
pub mod cpu;
pub mod descriptors;
pub mod entry;
pub mod exit;
pub mod flags;
pub mod machine_check;
pub mod pit;
pub mod port;
pub mod rtc;
pub mod serial;
pub mod single_step;
pub mod stacks;
pub mod switch;
pub mod trap;
pub mod watchdog;
