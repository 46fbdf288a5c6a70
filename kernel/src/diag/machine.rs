//! `app=diag`: says what the machine is.

use kernel::Kernel;

/// Logs processor, memory, PCI functions, disks and consoles.
pub(crate) fn describe(kernel: &Kernel) {
    kernel.describe();
}
