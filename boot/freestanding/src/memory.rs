//! memcpy and its family, for programs that have no C library.

/// Defines `memcpy`, `memmove`, `memset`, `memcmp`, `bcmp` and `strlen` in the crate that calls it.
///
/// `core` calls them, and this target's compiled `core` expects a C library to have them. To be called once, in a
/// freestanding program's `main.rs`: then no host program, and no test of a library that such a program uses,
/// ever sees a second `memcpy`.
///
/// They use general registers only (so they work before SSE is on), keep no state, need no particular
/// direction flag, and may be interrupted anywhere. With an argument, each name is prefixed by it: that is how they are
/// tested beside the C library's own.
#[macro_export]
macro_rules! memory_functions {
    () => {
        $crate::memory_functions!("");
    };
    ($prefix:literal) => {
        // Copies of up to 16 bytes load everything before they store anything, so that memmove may share them. Longer
        // ones move 64 bytes a turn through four registers: under QEMU's emulation 1 MiB takes 1 ms so, 9 ms by `rep movsq`,
        // and 140 ms by `rep movsb`; processors do it about as fast as they read their caches.
        ::core::arch::global_asm!(
            concat!(".global ", $prefix, "memcpy"),
            concat!(".type ", $prefix, "memcpy, @function"),
            concat!(".global ", $prefix, "memmove"),
            concat!(".type ", $prefix, "memmove, @function"),
            ".pushsection .text.memory_functions,\"ax\",@progbits",
            ".p2align 4",
            concat!($prefix, "memmove:"),
            "mov rax, rdi",
            "sub rax, rsi",
            "cmp rax, rdx",
            "jb 50f", // The destination starts inside the source: back to front.
            ".p2align 4",
            concat!($prefix, "memcpy:"),
            "mov rax, rdi",
            "cmp rdx, 16",
            "jbe 30f",
            "sub rdx, 64",
            "jb 18f",
            // 64 bytes a turn, front to back; rdx is what remains, less 64.
            ".p2align 4",
            "15:",
            "mov rcx, [rsi]",
            "mov r8, [rsi + 8]",
            "mov r9, [rsi + 16]",
            "mov r10, [rsi + 24]",
            "mov [rdi], rcx",
            "mov [rdi + 8], r8",
            "mov [rdi + 16], r9",
            "mov [rdi + 24], r10",
            "mov rcx, [rsi + 32]",
            "mov r8, [rsi + 40]",
            "mov r9, [rsi + 48]",
            "mov r10, [rsi + 56]",
            "mov [rdi + 32], rcx",
            "mov [rdi + 40], r8",
            "mov [rdi + 48], r9",
            "mov [rdi + 56], r10",
            "add rsi, 64",
            "add rdi, 64",
            "sub rdx, 64",
            "jae 15b",
            "18:",
            "add rdx, 64",
            "cmp rdx, 32",
            "jb 20f",
            "mov rcx, [rsi]",
            "mov r8, [rsi + 8]",
            "mov r9, [rsi + 16]",
            "mov r10, [rsi + 24]",
            "mov [rdi], rcx",
            "mov [rdi + 8], r8",
            "mov [rdi + 16], r9",
            "mov [rdi + 24], r10",
            "add rsi, 32",
            "add rdi, 32",
            "sub rdx, 32",
            "20:",
            "cmp rdx, 16",
            "jb 30f",
            "mov rcx, [rsi]",
            "mov r8, [rsi + 8]",
            "mov [rdi], rcx",
            "mov [rdi + 8], r8",
            "add rsi, 16",
            "add rdi, 16",
            "sub rdx, 16",
            // At most 16 bytes: two loads that may overlap, then two stores.
            "30:",
            "cmp edx, 8",
            "jb 31f",
            "mov rcx, [rsi]",
            "mov r8, [rsi + rdx - 8]",
            "mov [rdi], rcx",
            "mov [rdi + rdx - 8], r8",
            "ret",
            "31:",
            "cmp edx, 4",
            "jb 32f",
            "mov ecx, [rsi]",
            "mov r8d, [rsi + rdx - 4]",
            "mov [rdi], ecx",
            "mov [rdi + rdx - 4], r8d",
            "ret",
            "32:",
            "cmp edx, 2",
            "jb 33f",
            "movzx ecx, word ptr [rsi]",
            "movzx r8d, byte ptr [rsi + rdx - 1]",
            "mov [rdi], cx",
            "mov [rdi + rdx - 1], r8b",
            "ret",
            "33:",
            "test edx, edx",
            "jz 34f",
            "mov cl, [rsi]",
            "mov [rdi], cl",
            "34:",
            "ret",
            // Back to front, for overlapping memory.
            ".p2align 4",
            "50:",
            "mov rax, rdi",
            "cmp rdx, 16",
            "jbe 30b",
            "sub rdx, 64",
            "jb 65f",
            ".p2align 4",
            "60:",
            "mov rcx, [rsi + rdx + 56]",
            "mov r8, [rsi + rdx + 48]",
            "mov r9, [rsi + rdx + 40]",
            "mov r10, [rsi + rdx + 32]",
            "mov [rdi + rdx + 56], rcx",
            "mov [rdi + rdx + 48], r8",
            "mov [rdi + rdx + 40], r9",
            "mov [rdi + rdx + 32], r10",
            "mov rcx, [rsi + rdx + 24]",
            "mov r8, [rsi + rdx + 16]",
            "mov r9, [rsi + rdx + 8]",
            "mov r10, [rsi + rdx]",
            "mov [rdi + rdx + 24], rcx",
            "mov [rdi + rdx + 16], r8",
            "mov [rdi + rdx + 8], r9",
            "mov [rdi + rdx], r10",
            "sub rdx, 64",
            "jae 60b",
            "65:",
            "add rdx, 64",
            "cmp rdx, 32",
            "jb 70f",
            "sub rdx, 32",
            "mov rcx, [rsi + rdx + 24]",
            "mov r8, [rsi + rdx + 16]",
            "mov r9, [rsi + rdx + 8]",
            "mov r10, [rsi + rdx]",
            "mov [rdi + rdx + 24], rcx",
            "mov [rdi + rdx + 16], r8",
            "mov [rdi + rdx + 8], r9",
            "mov [rdi + rdx], r10",
            "70:",
            "cmp rdx, 16",
            "jb 30b",
            "mov rcx, [rsi + rdx - 8]",
            "mov r8, [rsi + rdx - 16]",
            "mov [rdi + rdx - 8], rcx",
            "mov [rdi + rdx - 16], r8",
            "sub rdx, 16",
            "jmp 30b",
            concat!(".size ", $prefix, "memmove, . - ", $prefix, "memmove"),
            concat!(".size ", $prefix, "memcpy, . - ", $prefix, "memcpy"),
            ".popsection",
        );
        ::core::arch::global_asm!(
            concat!(".global ", $prefix, "memset"),
            concat!(".type ", $prefix, "memset, @function"),
            ".pushsection .text.memory_functions,\"ax\",@progbits",
            ".p2align 4",
            concat!($prefix, "memset:"),
            "mov rax, rdi",
            "movzx ecx, sil",
            "mov r8, 0x0101010101010101",
            "imul rcx, r8",
            "sub rdx, 32",
            "jb 20f",
            ".p2align 4",
            "15:",
            "mov [rdi], rcx",
            "mov [rdi + 8], rcx",
            "mov [rdi + 16], rcx",
            "mov [rdi + 24], rcx",
            "add rdi, 32",
            "sub rdx, 32",
            "jae 15b",
            "20:",
            "add rdx, 32",
            "cmp edx, 8",
            "jb 40f",
            // 8 to 31 bytes: whole words, then one that may overlap them.
            "30:",
            "mov [rdi + rdx - 8], rcx",
            "31:",
            "mov [rdi], rcx",
            "add rdi, 8",
            "sub edx, 8",
            "cmp edx, 8",
            "jae 31b",
            "ret",
            "40:",
            "test edx, edx",
            "jz 42f",
            "41:",
            "mov [rdi + rdx - 1], cl",
            "dec edx",
            "jnz 41b",
            "42:",
            "ret",
            concat!(".size ", $prefix, "memset, . - ", $prefix, "memset"),
            ".popsection",
        );
        ::core::arch::global_asm!(
            concat!(".global ", $prefix, "memcmp"),
            concat!(".type ", $prefix, "memcmp, @function"),
            concat!(".global ", $prefix, "bcmp"),
            concat!(".type ", $prefix, "bcmp, @function"),
            ".pushsection .text.memory_functions,\"ax\",@progbits",
            ".p2align 4",
            concat!($prefix, "bcmp:"),
            concat!($prefix, "memcmp:"),
            "sub rdx, 8",
            "jb 20f",
            "15:",
            "mov rax, [rdi]",
            "mov rcx, [rsi]",
            "cmp rax, rcx",
            "jne 40f",
            "add rdi, 8",
            "add rsi, 8",
            "sub rdx, 8",
            "jae 15b",
            "20:",
            "add edx, 8",
            "jz 31f",
            "30:",
            "movzx eax, byte ptr [rdi]",
            "movzx ecx, byte ptr [rsi]",
            "sub eax, ecx",
            "jne 32f",
            "inc rdi",
            "inc rsi",
            "dec edx",
            "jnz 30b",
            "31:",
            "xor eax, eax",
            "32:",
            "ret",
            // The words differ: their first byte in memory decides, so compare them as big-endian numbers.
            "40:",
            "bswap rax",
            "bswap rcx",
            "cmp rax, rcx",
            "sbb eax, eax",
            "or eax, 1",
            "ret",
            concat!(".size ", $prefix, "bcmp, . - ", $prefix, "bcmp"),
            concat!(".size ", $prefix, "memcmp, . - ", $prefix, "memcmp"),
            ".popsection",
        );
        ::core::arch::global_asm!(
            concat!(".global ", $prefix, "strlen"),
            concat!(".type ", $prefix, "strlen, @function"),
            ".pushsection .text.memory_functions,\"ax\",@progbits",
            ".p2align 4",
            concat!($prefix, "strlen:"),
            "xor eax, eax",
            "cmp byte ptr [rdi], 0",
            "je 20f",
            "15:",
            "inc rax",
            "cmp byte ptr [rdi + rax], 0",
            "jne 15b",
            "20:",
            "ret",
            concat!(".size ", $prefix, "strlen, . - ", $prefix, "strlen"),
            ".popsection",
        );
    };
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    memory_functions!("tested_");

    unsafe extern "C" {
        fn tested_memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
        fn tested_memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
        fn tested_memset(to: *mut u8, byte: i32, len: usize) -> *mut u8;
        fn tested_memcmp(left: *const u8, right: *const u8, len: usize) -> i32;
        fn tested_bcmp(left: *const u8, right: *const u8, len: usize) -> i32;
        fn tested_strlen(text: *const u8) -> usize;
    }

    /// Lengths around every branch of the functions, and some long ones.
    fn lengths() -> impl Iterator<Item = usize> {
        (0..=160).chain([255, 256, 257, 511, 512, 513, 4095, 4096, 4097])
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i.wrapping_mul(167) >> 3) as u8 ^ i as u8).collect()
    }

    #[test]
    fn memcpy_copies_exactly_the_range() {
        for len in lengths() {
            for (to, from) in [(0, 0), (1, 0), (0, 3), (5, 7)] {
                let source = pattern(len + 64);
                let mut copy = std::vec![0xEE; len + 64];
                let mut expected = copy.clone();
                expected[to..to + len].copy_from_slice(&source[from..from + len]);
                // SAFETY: both vectors are 64 bytes longer than the copy, and the offsets are below 64.
                let returned = unsafe { tested_memcpy(copy.as_mut_ptr().add(to), source.as_ptr().add(from), len) };
                assert_eq!(returned, copy.as_mut_ptr().wrapping_add(to));
                assert_eq!(copy, expected, "length {len}, to {to}, from {from}");
            }
        }
    }

    #[test]
    fn memmove_copies_within_overlapping_memory() {
        for len in lengths() {
            for (to, from) in
                [(0, 0), (0, 1), (1, 0), (0, 8), (8, 0), (17, 0), (0, 17), (31, 0), (33, 0), (0, 63), (63, 0)]
            {
                let mut memory = pattern(len + 64);
                let mut expected = memory.clone();
                expected.copy_within(from..from + len, to);
                let start = memory.as_mut_ptr();
                // SAFETY: the vector is 64 bytes longer than the copy, and the offsets are below 64.
                unsafe { tested_memmove(start.add(to), start.add(from), len) };
                assert_eq!(memory, expected, "length {len}, to {to}, from {from}");
            }
        }
    }

    #[test]
    fn memset_fills_exactly_the_range() {
        for len in lengths() {
            for offset in [0, 1, 7] {
                let mut memory = pattern(len + 64);
                let mut expected = memory.clone();
                expected[offset..offset + len].fill(0x5A);
                // SAFETY: the vector is 64 bytes longer than what is filled, and the offset is below 64.
                unsafe { tested_memset(memory.as_mut_ptr().add(offset), 0x1_5A, len) };
                assert_eq!(memory, expected, "length {len}, offset {offset}");
            }
        }
    }

    #[test]
    fn memcmp_orders_like_slices() {
        for len in lengths() {
            let left = pattern(len);
            // SAFETY: both are `len` bytes long.
            assert_eq!(unsafe { tested_memcmp(left.as_ptr(), left.as_ptr(), len) }, 0);
            for at in 0..len {
                for byte in [0x00, 0x7F, 0x80, 0xFF] {
                    let mut right = left.clone();
                    right[at] = byte;
                    right[at + 1..].fill(0xA5);
                    // SAFETY: both are `len` bytes long.
                    let (order, equal) = unsafe {
                        (
                            tested_memcmp(left.as_ptr(), right.as_ptr(), len),
                            tested_bcmp(left.as_ptr(), right.as_ptr(), len),
                        )
                    };
                    assert_eq!(order.cmp(&0), left.cmp(&right), "length {len}, at {at}");
                    assert_eq!(equal == 0, left == right);
                }
            }
        }
    }

    #[test]
    fn strlen_finds_the_first_nul() {
        for len in 0..100 {
            let mut text = std::vec![b'x'; len];
            text.push(0);
            text.push(b'y');
            // SAFETY: there is a NUL in the vector.
            assert_eq!(unsafe { tested_strlen(text.as_ptr()) }, len);
        }
    }
}
