//! Hands the linker's arguments on.

use freestanding::link::{FIXED, RELOCATABLE, SCRIPT};

/// Programs, how they are linked, and the address of their first byte.
const PROGRAMS: [(&str, &[&str], u64); 3] = [
    // Where virtual machine monitors put kernels.
    ("loader-pvh", FIXED, 0x10_0000),
    // `boot::image_layout::STAGE2_ADDRESS`.
    ("loader-bios", FIXED, 0x1_0000),
    // Firmware relocates it; its headers go below.
    ("loader-uefi", RELOCATABLE, 0x1000),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SCRIPT}");
    for (program, arguments, base) in PROGRAMS {
        for argument in arguments {
            println!("cargo::rustc-link-arg-bin={program}={argument}");
        }
        println!("cargo::rustc-link-arg-bin={program}=-Wl,--defsym=IMAGE_BASE={base:#x}");
    }
}
