//! What the machine is, and what looks wrong with it, as lines of the log.
//!
//! Every line is `diag: <section>: key=value key="text" …`, so that `bcon cat --target diag --grep '^.*pci:'` finds what one wants to
//! know. Sections: `cpu`, `memory`, `memtest`, `acpi`, `smbios`, `pci`, `nvme`, `virtio`, `disk`, `partition`, `console`, `timing`, and last `finding` (warnings)
//! and `summary`. All that firmware and devices say is taken for hostile: it is read within bounds, and what makes no sense is said so.

pub mod acpi;
mod bytes;
mod cpu;
mod disks;
mod firmware;
pub mod memory;
mod nvme;
mod pci;
pub mod smbios;
mod timing;

pub use disks::{describe_virtio, look_at};
pub use firmware::{note as note_firmware, regions as firmware_regions};
pub use nvme::{describe_namespace, keep as keep_controller};
pub use timing::{Phase, reached};

use crate::arch::clock;
use crate::memory::FirmwareMemory;
use crate::{Kernel, consoles};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use log::{info, warn};
use spin::Mutex;

/// What all lines are logged as.
pub const TARGET: &str = "diag";
/// Most findings that are kept for the end.
const MAX_FINDINGS: usize = 100;

/// Whether disks are described as they come up.
static ON: AtomicBool = AtomicBool::new(false);
static FINDINGS: Mutex<Findings> = Mutex::new(Findings { texts: Vec::new(), left_out: 0 });

struct Findings {
    texts: Vec<String>,
    left_out: usize,
}

/// Something looks wrong: kept for the end of the survey.
fn finding(text: fmt::Arguments<'_>) {
    let mut findings = FINDINGS.lock();
    if findings.texts.len() < MAX_FINDINGS {
        findings.texts.push(alloc::fmt::format(text));
    } else {
        findings.left_out += 1;
    }
}

/// Warns of something that looks wrong, and keeps it for the end of the survey, too.
pub fn warning(text: fmt::Arguments<'_>) {
    warn!(target: "kernel::devices", "{text}");
    finding(text);
}

/// Describes disks when they come up. To be called before they are looked for.
pub fn enable() {
    ON.store(true, Ordering::Relaxed);
}

fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Logs what the machine is, and a summary of what looks wrong.
pub fn run(kernel: &mut Kernel) {
    let begun = clock::now_ns();
    cpu::describe();
    memory::describe(firmware::regions());
    kernel.pump();
    memory::test();
    kernel.pump();
    static MEMORY: FirmwareMemory = FirmwareMemory;
    acpi::describe(&MEMORY, firmware::root_pointer());
    smbios::describe(&MEMORY, firmware::smbios());
    kernel.pump();
    pci::describe(kernel.pci());
    kernel.pump();
    nvme::describe(|| kernel.pump());
    describe_previous(kernel);
    consoles::describe();
    timing::describe(begun);
    summarize();
}

/// How the boot before ended, as memory still tells.
fn describe_previous(kernel: &Kernel) {
    match &kernel.previous {
        Some(previous) => info!(target: TARGET, "console: previous boot {previous}: {}", previous.ended),
        None => info!(target: TARGET, "console: previous boot: memory does not tell"),
    }
}

fn summarize() {
    let findings = FINDINGS.lock();
    for text in &findings.texts {
        warn!(target: TARGET, "finding: {text}");
    }
    let count = findings.texts.len() + findings.left_out;
    match count {
        0 => info!(target: TARGET, "summary: findings=0: nothing looks wrong"),
        _ => warn!(target: TARGET, "summary: findings={count}"),
    }
}
