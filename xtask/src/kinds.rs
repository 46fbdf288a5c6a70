//! Ways to crash, as the kernel's `crash=` takes them.

/// The processor resets: there is nobody to write a record.
pub(crate) const TRIPLE_FAULT: &str = "triple-fault";
/// Takes a step of a driver besides.
pub(crate) const IN_DRIVER: &str = "panic-in-driver";

/// All of them.
pub(crate) const KINDS: [&str; 37] = [
    "panic",
    "assert",
    "unwrap",
    "index",
    "overflow",
    "null-read",
    "null-write",
    "null-call",
    "page-fault",
    "write-rodata",
    "exec-data",
    "gp-fault",
    "invalid-opcode",
    "div-zero",
    "breakpoint",
    "unaligned",
    "double-fault",
    "stack-overflow",
    "stack-smash",
    TRIPLE_FAULT,
    "oom",
    "heap-corrupt",
    "deadlock",
    "hang",
    "hard-hang",
    "nmi",
    "machine-check",
    "panic-in-panic",
    "overflow-in-panic",
    "panic-in-display",
    "panic-allocating",
    "panic-locking",
    "panic-in-log",
    IN_DRIVER,
    "panic-in-nmi",
    "overflow-in-nmi",
    "log-storm",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_to_crash_is_left_out() {
        let path = qemu::workspace().join("kernel/src/crash/kinds.rs");
        let text = std::fs::read_to_string(path).unwrap();
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.trim().split_once(" = \"")?.1.strip_suffix("\",")).collect();
        assert_eq!(names, KINDS);
    }
}
