//! Hands the linker's arguments on.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", freestanding::link::SCRIPT);
    for argument in freestanding::link::FIXED {
        println!("cargo::rustc-link-arg-bin=loader-pvh={argument}");
    }
    println!("cargo::rustc-link-arg-bin=loader-pvh=-Wl,--defsym=IMAGE_BASE=0x100000");
}
