//! NVM Express as its specification has it: registers, commands, structures.
//!
//! Numbers and layouts only, no policy. Section numbers are of the NVM Express Base Specification 2.0
//! ("base"), the NVM Command Set Specification 1.0 ("nvm") and the PCIe Transport Specification 1.0 ("pcie").
//! Everything on the wire is little-endian; the structures here are layouts whose offsets are taken with
//! `offset_of!`, and are never cast from memory.

pub mod identify;
pub mod log_page;
pub mod register;
pub mod status;

/// The memory page size that the driver uses: 2^12 bytes (`CC.MPS` = 0), whatever else the controller offers.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in such a page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// The namespace id that means all of them (base 3.2.1).
pub const ALL_NAMESPACES: u32 = 0xFFFF_FFFF;
/// The highest number of entries of an admin queue (base 3.1.3.8, AQA).
pub const MAX_ADMIN_ENTRIES: u16 = 4096;

/// A submission queue entry (base 3.3.3.1, Common Command Format).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Command {
    /// What to do: [`admin`] or [`io`].
    pub opcode: u8,
    /// Fused operation and data pointer kind; 0 = not fused, PRPs. [`sgl::DATA_POINTER`] is the other kind.
    pub flags: u8,
    /// Identifies the command among those of its queue.
    pub command_id: u16,
    /// Namespace.
    pub nsid: u32,
    /// Command dword 2.
    pub cdw2: u32,
    /// Command dword 3.
    pub cdw3: u32,
    /// Metadata pointer.
    pub metadata: u64,
    /// First data page, with an offset into it.
    pub prp1: u64,
    /// Second data page, or a list of the pages from the second on (base 4.1.1).
    pub prp2: u64,
    /// Command dwords 10 to 15.
    pub cdw10: u32,
    /// Command dword 11.
    pub cdw11: u32,
    /// Command dword 12.
    pub cdw12: u32,
    /// Command dword 13.
    pub cdw13: u32,
    /// Command dword 14.
    pub cdw14: u32,
    /// Command dword 15.
    pub cdw15: u32,
}
const _: () = assert!(size_of::<Command>() == 64);
const _: () = assert!(core::mem::offset_of!(Command, metadata) == 16);
const _: () = assert!(core::mem::offset_of!(Command, prp1) == 24);
const _: () = assert!(core::mem::offset_of!(Command, cdw10) == 40);

impl Command {
    /// The entry as it stands in memory, in 64-bit words.
    pub const fn words(&self) -> [u64; 8] {
        [
            join((self.command_id as u32) << 16 | (self.flags as u32) << 8 | self.opcode as u32, self.nsid),
            join(self.cdw2, self.cdw3),
            self.metadata,
            self.prp1,
            self.prp2,
            join(self.cdw10, self.cdw11),
            join(self.cdw12, self.cdw13),
            join(self.cdw14, self.cdw15),
        ]
    }
}

const fn join(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// A completion queue entry (base 3.3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CompletionEntry {
    /// Command-specific result.
    pub result: u32,
    /// Command-specific, or reserved.
    pub dword1: u32,
    /// How far the controller has taken entries from the submission queue.
    pub sq_head: u16,
    /// The submission queue that the command came from.
    pub sq_id: u16,
    /// The command.
    pub command_id: u16,
    /// Bit 0: phase tag. The rest: [`status`].
    pub status: u16,
}
const _: () = assert!(size_of::<CompletionEntry>() == 16);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, status) == 14);

impl CompletionEntry {
    /// In the fourth dword: the phase tag, which tells new entries from old ones.
    pub const PHASE: u32 = 1 << 16;
}

/// Scatter gather list descriptors (base 4.1.2).
pub mod sgl {
    /// In a command's flags: its data pointer is a scatter gather list descriptor, and no metadata pointer is one.
    pub const DATA_POINTER: u8 = 0b01 << 6;

    /// The second word of a data block descriptor: `len` contiguous bytes, whose address is the first word.
    pub const fn data_block(len: u32) -> u64 {
        // Descriptor type and subtype in the last byte are both 0: a data block, at an address.
        len as u64
    }
}

/// Opcodes and fields of admin commands (base 5).
pub mod admin {
    /// Delete I/O Submission Queue (base 5.7).
    pub const DELETE_SUBMISSION_QUEUE: u8 = 0x00;
    /// Create I/O Submission Queue (base 5.5).
    pub const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    /// Get Log Page (base 5.16).
    pub const GET_LOG_PAGE: u8 = 0x02;
    /// Delete I/O Completion Queue (base 5.6).
    pub const DELETE_COMPLETION_QUEUE: u8 = 0x04;
    /// Create I/O Completion Queue (base 5.4).
    pub const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    /// Identify (base 5.17).
    pub const IDENTIFY: u8 = 0x06;
    /// Abort (base 5.1).
    pub const ABORT: u8 = 0x08;
    /// Set Features (base 5.27).
    pub const SET_FEATURES: u8 = 0x09;
    /// Get Features (base 5.15).
    pub const GET_FEATURES: u8 = 0x0A;

    /// Create a queue: it is physically contiguous (CDW11).
    pub const QUEUE_CONTIGUOUS: u32 = 1;
    /// Feature: volatile write cache (base 5.27.1.4); bit 0 of its value: enabled.
    pub const FEATURE_WRITE_CACHE: u32 = 0x06;
    /// Feature: number of queues (base 5.27.1.5).
    pub const FEATURE_QUEUE_COUNT: u32 = 0x07;
    /// Abort's result, bit 0: the command was *not* aborted.
    pub const NOT_ABORTED: u32 = 1;
}

/// Opcodes and fields of I/O commands (base 7, nvm 3.2).
pub mod io {
    /// Flush (base 7.1).
    pub const FLUSH: u8 = 0x00;
    /// Write (nvm 3.2.6).
    pub const WRITE: u8 = 0x01;
    /// Read (nvm 3.2.4).
    pub const READ: u8 = 0x02;
    /// Write Zeroes (nvm 3.2.8).
    pub const WRITE_ZEROES: u8 = 0x08;

    /// In CDW12: force unit access.
    pub const FORCE_UNIT_ACCESS: u32 = 1 << 30;
    /// The most blocks that one command can name: its count is 16 bits and starts from 0.
    pub const MAX_BLOCKS: u32 = 1 << 16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stands_in_memory_as_its_layout_says() {
        let command = Command {
            opcode: 0x11,
            flags: 0x22,
            command_id: 0x4433,
            nsid: 0x8877_6655,
            prp1: 0x0102_0304_0506_0708,
            cdw10: 0xAAAA_BBBB,
            cdw15: 0xCCCC_DDDD,
            ..Command::default()
        };
        let words = command.words();
        assert_eq!(words[0], 0x8877_6655_4433_2211);
        assert_eq!(words[3], 0x0102_0304_0506_0708);
        assert_eq!(words[5], 0xAAAA_BBBB);
        assert_eq!(words[7], 0xCCCC_DDDD_0000_0000);
    }
}
