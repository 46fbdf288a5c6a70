//! Backtraces by frame pointers, which never fault: only stacks are read.

use crate::arch::stacks;
use crate::arch::trap::Frame;
use crate::image;
use core::ops::Range;

/// Most addresses that are kept.
pub const DEPTH: usize = 48;
/// Most bytes of a stack that [`stack_bytes`] shows.
pub const STACK_BYTES: usize = 512;

/// Return addresses, the innermost first.
#[derive(Clone, Copy, Debug)]
pub struct Backtrace {
    addresses: [u64; DEPTH],
    len: usize,
}

impl Backtrace {
    /// Follows the frame pointers from these registers on.
    ///
    /// The first address is where the processor was. A call to an address outside of the program's code, such as 0, is told
    /// by what lies on top of the stack.
    pub fn of(frame: &Frame) -> Self {
        let mut trace = Self { addresses: [0; DEPTH], len: 0 };
        trace.push(frame.rip);
        let code = image::text();
        if !code.contains(&frame.rip)
            && let Some(caller) = read(frame.rsp).filter(|caller| code.contains(caller))
        {
            trace.push(caller);
        }
        let mut pointer = frame.rbp;
        while trace.len < DEPTH {
            let Some(here) = stacks::containing(pointer) else { break };
            let Some(record) = Record::read(&here, pointer) else { break };
            // On one stack, callers lie higher. A trap's stub leads to another stack once; so does a program's own switch.
            if record.return_address == 0 || (record.caller <= pointer && here.contains(&record.caller)) {
                break;
            }
            trace.push(record.return_address);
            pointer = record.caller;
        }
        trace
    }

    /// The addresses, the innermost first.
    pub fn addresses(&self) -> &[u64] {
        self.addresses.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, address: u64) {
        if let Some(slot) = self.addresses.get_mut(self.len) {
            *slot = address;
            self.len += 1;
        }
    }
}

/// What a frame pointer points to.
struct Record {
    caller: u64,
    return_address: u64,
}

impl Record {
    fn read(stack: &Range<u64>, pointer: u64) -> Option<Self> {
        Some(Self { caller: read_in(stack, pointer)?, return_address: read_in(stack, pointer.checked_add(8)?)? })
    }
}

/// Reads a word of a stack.
fn read(address: u64) -> Option<u64> {
    read_in(&stacks::containing(address)?, address)
}

/// Reads a word of this stack, one that [`stacks::containing`] gave.
fn read_in(stack: &Range<u64>, address: u64) -> Option<u64> {
    if !stack.contains(&address) || !address.is_multiple_of(8) || stack.end - address < 8 {
        return None;
    }
    // SAFETY: the word lies inside a stack, which is mapped, and aligned. Volatile, because whoever runs on the stack writes
    // there without Rust's knowledge.
    Some(unsafe { (address as *const u64).read_volatile() })
}

/// Bytes of the stack from a stack pointer upwards: where they start, and how many were copied to `out`. Of a stack that
/// overflowed, from its lowest byte on.
pub fn stack_bytes(stack_pointer: u64, out: &mut [u8; STACK_BYTES]) -> Range<u64> {
    let overflown = || stacks::containing(stack_pointer.checked_add(stacks::GUARD as u64)?).map(|stack| stack.start);
    let start = match stacks::containing(stack_pointer) {
        None => overflown().unwrap_or(stack_pointer),
        Some(_) => stack_pointer,
    };
    let start = start & !7;
    let stack = stacks::containing(start).unwrap_or_default();
    let mut address = start;
    for word in out.as_chunks_mut::<8>().0 {
        let Some(value) = read_in(&stack, address) else { break };
        *word = value.to_le_bytes();
        address += 8;
    }
    start..address
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A stack made of words, of which the crash path knows.
    fn known_stack(words: usize) -> &'static mut [u64] {
        let words = Vec::leak(std::vec![0; words]);
        let start = words.as_ptr() as u64;
        assert!(stacks::register(start..start + words.len() as u64 * 8));
        words
    }

    fn address(words: &[u64], index: usize) -> u64 {
        &raw const words[index] as u64
    }

    #[test]
    fn callers_are_found_in_order() {
        let stack = known_stack(32);
        stack[4] = address(stack, 10);
        stack[5] = 0x111;
        stack[10] = address(stack, 20);
        stack[11] = 0x222;
        stack[21] = 0x333;
        let frame = Frame { rip: 0x100, rbp: address(stack, 4), ..Frame::default() };
        assert_eq!(Backtrace::of(&frame).addresses(), [0x100, 0x111, 0x222, 0x333]);
    }

    #[test]
    fn it_goes_on_from_a_trap_s_stack_to_the_interrupted_one() {
        let (interrupted, handler) = (known_stack(16), known_stack(16));
        handler[2] = address(interrupted, 3);
        handler[3] = 0x111;
        interrupted[4] = 0x222;
        let frame = Frame { rip: 0x100, rbp: address(handler, 2), ..Frame::default() };
        assert_eq!(Backtrace::of(&frame).addresses(), [0x100, 0x111, 0x222]);
    }

    #[test]
    fn loops_and_wild_pointers_end_it() {
        let stack = known_stack(16);
        stack[4] = address(stack, 4);
        stack[5] = 0x111;
        let of = |rbp| Backtrace::of(&Frame { rip: 1, rbp, ..Frame::default() }).addresses().len();
        assert_eq!(of(address(stack, 4)), 1, "a frame that is its own caller");
        for wild in [0, 1, 7, u64::MAX, u64::MAX - 7, 0xDEAD_BEEF, address(stack, 4) + 1, address(stack, 15)] {
            assert_eq!(of(wild), 1, "{wild:#x}");
        }
        let (one, other) = (known_stack(16), known_stack(16));
        (one[0], one[1]) = (address(other, 0), 0x1);
        (other[0], other[1]) = (address(one, 0), 0x2);
        assert_eq!(of(address(one, 0)), DEPTH, "two stacks that lead to each other");
    }

    #[test]
    fn stack_bytes_end_where_the_stack_does() {
        let stack = known_stack(8);
        stack[6] = 0x0807_0605_0403_0201;
        let mut bytes = [0; STACK_BYTES];
        let start = address(stack, 6);
        assert_eq!(stack_bytes(start + 3, &mut bytes), start..start + 16);
        assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(stack_bytes(0x10, &mut bytes).is_empty());
        let stack = known_stack(1024);
        stack[0] = 7;
        let lowest = address(stack, 0);
        assert_eq!(stack_bytes(lowest - 96, &mut bytes), lowest..lowest + STACK_BYTES as u64);
        assert_eq!(bytes[..8], [7, 0, 0, 0, 0, 0, 0, 0]);
    }
}
