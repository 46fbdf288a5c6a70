//! `app=diag`: says what the machine is.

use kernel::arch::cpu;
use kernel::{Kernel, consoles, memory};
use log::info;

/// Logs processor, memory, PCI functions, and consoles.
pub(crate) fn describe(kernel: &Kernel) {
    info!("processor: {}", cpu::brand().as_str());
    if cpu::is_virtual() {
        info!("hypervisor: \"{}\"", cpu::hypervisor().as_str());
    }
    let (free, total) = memory::usage();
    let (heap_used, heap_mapped) = memory::heap::usage();
    info!("memory: {} KiB free of {} KiB; heap: {heap_used} of {heap_mapped} bytes", free / 1024, total / 1024);
    for function in pci::scan(kernel.pci(), 0) {
        let identity = function.identity();
        let (base, sub, interface) = identity.class.code();
        info!(
            "PCI {}: {:04x}:{:04x}, class {base:02x}{sub:02x}{interface:02x}",
            function.address(),
            identity.vendor,
            identity.device
        );
    }
    consoles::describe();
}
