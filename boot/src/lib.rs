//! The loader: brings a kernel into memory, and starts it.
//!
//! Front doors are the programs under `src/bin`; each learns from its firmware what there is (kernel file, command
//! line, memory map, ACPI root pointer, framebuffer), and the rest is common:
//!
//! ```text
//!   loader-pvh  ─┐
//!   loader-uefi ─┼─► Frames, MemoryMap ─► load() ─► Loaded::finish() ─► machine::bridge::enter()
//!   loader-bios ─┘                          │
//!                  Elf, relocate, Places, AddressSpace, hand_over
//! ```
//!
//! The contract with the kernel is `bootloader_api`: entry point, [`bootloader_api::BootInfo`], and the wishes that
//! `entry_point!` leaves in the kernel's file. What that leaves open is said here:
//!
//! - **State at entry**: long mode, interrupts off, SSE on, no-execute and write protection on; selector 0x08 is 64-bit code, 0x10 data;
//!   no task register. The stack is aligned as the System V ABI has it, with a zero return address; above, at its very
//!   top, lie interrupt descriptors that lead back to the loader's code.
//! - **Command line and loader's log**: see [`hand_over`].
//! - **Physical memory** from 32 MiB to 34 MiB is neither used nor cleared: [`memory_map::KEPT_MEMORY`]. Memory below
//!   1 MiB is not handed out. `Bootloader` regions hold the kernel's segments, stack, page tables, boot information and
//!   command line, and the kernel's file.
//! - **Failure**: one line on the serial port (and the screen, where firmware has one) that begins with `boot: ERROR`, after all that
//!   the loader logged; the loaders for UEFI and BIOS then write their log to the console of the medium that they were started
//!   from, if it has one: [`last_words`]. The line, too, for an exception in the kernel before it loads interrupt descriptors of its own. Then, under a hypervisor, QEMU's isa-debug-exit gets one of the values in [`machine::exit`].
#![no_std]

#[cfg(test)]
#[macro_use]
extern crate std;

pub mod disk;
pub mod elf;
mod error;
mod frames;
pub mod hand_over;
pub mod image_layout;
pub mod last_words;
mod load;
pub mod log;
pub mod machine;
pub mod memory_map;
pub mod paging;
mod place;
pub mod pvh;
mod relocate;
pub mod rsdp;
#[cfg(test)]
mod testing;

pub use error::Error;
pub use frames::Frames;
pub use load::{Entry, Job, Loaded, load, memory_needed};
