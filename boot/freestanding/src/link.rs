//! Arguments with which a freestanding program is linked.
//!
//! A program's `build.rs` has this crate as a build dependency, and says:
//!
//! ```no_run
//! // In a program that is linked to fixed addresses, from 2 MiB below the top of the address space on:
//! for argument in freestanding::link::FIXED {
//!     println!("cargo::rustc-link-arg-bin=program={argument}");
//! }
//! println!("cargo::rustc-link-arg-bin=program=-Wl,--defsym=IMAGE_BASE=0xffffffff80000000");
//! println!("cargo::rerun-if-changed={}", freestanding::link::SCRIPT);
//! ```

/// The linker script that [`FIXED`] and [`RELOCATABLE`] name: its path. What it defines is written in it.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/program.ld");

/// For a program that is linked to the addresses it runs at (`ET_EXEC`). It also needs
/// `-Wl,--defsym=IMAGE_BASE=<address>`, a multiple of 4096.
pub const FIXED: &[&str] = &["-static", "-no-pie", COMMON[0], COMMON[1], COMMON[2], COMMON[3], COMMON[4], COMMON[5]];

/// For a program that its loader puts anywhere (`ET_DYN`), and relocates: only `R_X86_64_RELATIVE` is left to do. It also needs
/// `-Wl,--defsym=IMAGE_BASE=0`.
pub const RELOCATABLE: &[&str] =
    &["-static-pie", "-Wl,--no-dynamic-linker", COMMON[0], COMMON[1], COMMON[2], COMMON[3], COMMON[4], COMMON[5]];

const COMMON: [&str; 6] = [
    "-nostartfiles",
    "-nostdlib",
    "-Wl,--build-id=sha1",
    // Segments are page-aligned by the script. The loader makes read-only what -z relro marks.
    "-Wl,-z,max-page-size=4096,-z,relro,-z,now,-z,noexecstack",
    "-Wl,--fatal-warnings,--orphan-handling=warn",
    concat!("-Wl,-T,", env!("CARGO_MANIFEST_DIR"), "/program.ld"),
];
