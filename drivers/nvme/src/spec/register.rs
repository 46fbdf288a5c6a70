//! Controller registers (base 3.1.3) and doorbells (pcie 3.1.2).

/// Controller capabilities, 64 bits; see [`Capabilities`].
pub const CAP: usize = 0x00;
/// Version, 32 bits: major << 16 | minor << 8 | tertiary.
pub const VS: usize = 0x08;
/// Controller configuration, 32 bits: [`cc`].
pub const CC: usize = 0x14;
/// Controller status, 32 bits: [`csts`].
pub const CSTS: usize = 0x1C;
/// Admin queue attributes, 32 bits: completion entries - 1 << 16 | submission entries - 1.
pub const AQA: usize = 0x24;
/// Admin submission queue base address, 64 bits.
pub const ASQ: usize = 0x28;
/// Admin completion queue base address, 64 bits.
pub const ACQ: usize = 0x30;
/// Controller ready timeouts, 32 bits: CRIMT << 16 | CRWMT, in units of 500 ms.
pub const CRTO: usize = 0x68;
/// The first doorbell.
pub const DOORBELLS: usize = 0x1000;

/// What a register reads as whose device is no longer there.
pub const ALL_ONES: u32 = u32::MAX;
/// The unit of the time-outs in `CAP` and `CRTO`.
pub const TIMEOUT_UNIT_NS: u64 = 500_000_000;

/// Versions as they stand in `VS`.
pub mod version {
    /// From 1.1 on there is a list of active namespaces (Identify, CNS 02h).
    pub const V1_1: u32 = 0x0001_0100;
    /// From 1.3 on a namespace has a list of descriptors (Identify, CNS 03h).
    pub const V1_3: u32 = 0x0001_0300;
}

/// Bits of [`CC`] (base 3.1.3.5).
pub mod cc {
    /// Enable.
    pub const ENABLE: u32 = 1;
    /// I/O command set selected: all that the controller supports.
    pub const CSS_ALL: u32 = 0b110 << 4;
    /// Shutdown notification.
    pub const SHUTDOWN_MASK: u32 = 0b11 << 14;
    /// Shutdown notification: normal.
    pub const SHUTDOWN_NORMAL: u32 = 0b01 << 14;
    /// I/O submission queue entries have 2^6 bytes.
    pub const SUBMISSION_ENTRY_64: u32 = 6 << 16;
    /// I/O completion queue entries have 2^4 bytes.
    pub const COMPLETION_ENTRY_16: u32 = 4 << 20;
}

/// Bits of [`CSTS`] (base 3.1.3.6).
pub mod csts {
    /// Ready.
    pub const READY: u32 = 1;
    /// Controller fatal status.
    pub const FATAL: u32 = 1 << 1;
    /// Shutdown status.
    pub const SHUTDOWN_MASK: u32 = 0b11 << 2;
    /// Shutdown status: complete.
    pub const SHUTDOWN_COMPLETE: u32 = 0b10 << 2;
}

/// Controller capabilities (base 3.1.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// MQES: the most entries that an I/O queue may have.
    pub const fn max_queue_entries(self) -> u32 {
        (self.0 & 0xFFFF) as u32 + 1
    }

    /// TO: how long becoming ready or idle may take, in units of 500 ms.
    pub const fn timeout_units(self) -> u64 {
        self.0 >> 24 & 0xFF
    }

    /// DSTRD: bytes from one doorbell to the next.
    pub const fn doorbell_stride(self) -> usize {
        4 << (self.0 >> 32 & 0xF)
    }

    /// CSS: the NVM command set can be selected alone.
    pub const fn has_nvm_command_set(self) -> bool {
        self.0 >> 37 & 1 != 0
    }

    /// CSS: several command sets can be selected at once.
    pub const fn has_command_set_choice(self) -> bool {
        self.0 >> 43 & 1 != 0
    }

    /// MPSMIN: the smallest memory page, as a power of two.
    pub const fn min_page_shift(self) -> u32 {
        12 + (self.0 >> 48 & 0xF) as u32
    }

    /// MPSMAX: the largest memory page, as a power of two.
    pub const fn max_page_shift(self) -> u32 {
        12 + (self.0 >> 52 & 0xF) as u32
    }

    /// CRMS: `CRTO` says how long becoming ready with media may take.
    pub const fn has_ready_timeouts(self) -> bool {
        self.0 >> 59 & 1 != 0
    }

    /// Where queue `id`'s submission tail doorbell is.
    pub const fn submission_doorbell(self, id: u16) -> usize {
        DOORBELLS + 2 * id as usize * self.doorbell_stride()
    }

    /// Where queue `id`'s completion head doorbell is.
    pub const fn completion_doorbell(self, id: u16) -> usize {
        self.submission_doorbell(id) + self.doorbell_stride()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_decode() {
        // What QEMU's controller says: 2048 entries, 7.5 s, stride 4, NVM and several sets, pages of 4 to 64 KiB.
        let qemu = Capabilities(0x0040_00E1_0F03_07FF | 1 << 43);
        assert_eq!(qemu.max_queue_entries(), 2048);
        assert_eq!(qemu.timeout_units(), 15);
        assert_eq!(qemu.doorbell_stride(), 8);
        assert!(qemu.has_nvm_command_set() && qemu.has_command_set_choice());
        assert_eq!((qemu.min_page_shift(), qemu.max_page_shift()), (12, 16));
        assert!(!qemu.has_ready_timeouts());
    }

    #[test]
    fn doorbells_interleave_with_the_stride() {
        let stride_16 = Capabilities(2 << 32);
        assert_eq!(stride_16.submission_doorbell(0), 0x1000);
        assert_eq!(stride_16.completion_doorbell(0), 0x1010);
        assert_eq!(stride_16.submission_doorbell(2), 0x1040);
        assert_eq!(stride_16.completion_doorbell(2), 0x1050);
        assert!(Capabilities(u64::MAX).completion_doorbell(u16::MAX) > DOORBELLS);
    }
}
