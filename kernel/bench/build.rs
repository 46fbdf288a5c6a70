//! Links the benchmark as a freestanding one.

fn main() {
    for argument in freestanding::link::FIXED {
        println!("cargo::rustc-link-arg-bin=bench={argument}");
    }
    // 2 GiB below the top, where addresses fit a sign-extended 32-bit displacement.
    println!("cargo::rustc-link-arg-bin=bench=-Wl,--defsym=IMAGE_BASE=0xffffffff80000000");
    println!("cargo::rerun-if-changed={}", freestanding::link::SCRIPT);
}
