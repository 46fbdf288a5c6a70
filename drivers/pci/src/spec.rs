//! Constants of PCI Local Bus 3.0, PCI-to-PCI Bridge 1.2 and PCI Express 5.0.

use bitflags::bitflags;

/// Devices on a bus (PCI 3.0, 3.2.2.3.2).
pub const DEVICES_PER_BUS: u8 = 32;
/// Functions of a device (PCI 3.0, 3.2.2.3.2).
pub const FUNCTIONS_PER_DEVICE: u8 = 8;
/// Bytes of configuration space that every function has (PCI 3.0, 6.1).
pub const CONFIG_SIZE: u16 = 256;
/// Bytes of configuration space with PCI Express's extension (PCIe 5.0, 7.2.2).
pub const EXTENDED_CONFIG_SIZE: u16 = 4096;

/// Type 0 and 1 headers, common part (PCI 3.0, 6.1).
pub mod header {
    /// Vendor id, device id.
    pub const ID: u16 = 0x00;
    /// Command (low half), status (high half, write one to clear).
    pub const COMMAND_STATUS: u16 = 0x04;
    /// Revision, programming interface, subclass, base class.
    pub const CLASS_REVISION: u16 = 0x08;
    /// Cache line size, latency timer, header type, built-in self-test.
    pub const TYPE: u16 = 0x0C;
    /// The first base address register.
    pub const BAR0: u16 = 0x10;
    /// Bridges: primary, secondary, subordinate bus numbers (Bridge 1.2, 3.2.5).
    pub const BUS_NUMBERS: u16 = 0x18;
    /// Type 0: subsystem vendor id, subsystem id.
    pub const SUBSYSTEM: u16 = 0x2C;
    /// First capability's offset.
    pub const CAPABILITIES: u16 = 0x34;
    /// Interrupt line and pin.
    pub const INTERRUPT: u16 = 0x3C;

    /// Bit of the header type that says a device has several functions.
    pub const MULTI_FUNCTION: u8 = 0x80;
    /// A vendor id that says nobody is here.
    pub const NO_VENDOR: u16 = 0xFFFF;
    /// First offset at which a capability may lie.
    pub const FIRST_CAPABILITY: u16 = 0x40;
    /// Status bit (in the 16-bit status register): there is a capability list.
    pub const STATUS_CAPABILITIES: u16 = 1 << 4;
}

/// Base address registers (PCI 3.0, 6.2.5.1).
pub mod bar {
    /// Set for I/O space, clear for memory space.
    pub const IO: u32 = 1;
    /// Memory: the address bits below this are kind bits.
    pub const MEMORY_MASK: u32 = !0xF;
    /// I/O: the address bits below this are kind bits.
    pub const IO_MASK: u32 = !0x3;
    /// Memory: where the type stands.
    pub const TYPE_MASK: u32 = 0x6;
    /// Memory type: anywhere in 32 bits.
    pub const TYPE_32: u32 = 0x0;
    /// Memory type: below 1 MiB; out of use, to be taken as 32 bits.
    pub const TYPE_BELOW_1M: u32 = 0x2;
    /// Memory type: anywhere in 64 bits, the next register holds the upper half.
    pub const TYPE_64: u32 = 0x4;
    /// Memory: reads have no side effects.
    pub const PREFETCHABLE: u32 = 0x8;
}

/// Capability ids (PCI Code and ID Assignment 1.11, section 2).
pub mod capability_id {
    /// Power management.
    pub const POWER_MANAGEMENT: u8 = 0x01;
    /// Message signalled interrupts.
    pub const MSI: u8 = 0x05;
    /// Vendor specific; virtio's structures are of this kind.
    pub const VENDOR: u8 = 0x09;
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// Message signalled interrupts, extended.
    pub const MSI_X: u8 = 0x11;
}

/// Power management capability (PCI Power Management 1.2, 3.2).
pub mod power {
    /// Control and status register, from the capability's start.
    pub const CONTROL: u16 = 4;
    /// Power state field: 0 is D0, 3 is D3hot.
    pub const STATE_MASK: u32 = 0x3;
    /// From D3hot to D0.
    pub const RECOVERY_NS: u64 = 10_000_000;
    /// Write one to clear: a wake-up event is pending.
    pub const PME_STATUS: u32 = 1 << 15;
}

/// PCI Express capability (PCIe 5.0, 7.5.3).
pub mod express {
    /// Capability header, capabilities register in its high half.
    pub const CAPABILITIES: u16 = 0x00;
    /// Device capabilities.
    pub const DEVICE_CAPABILITIES: u16 = 0x04;
    /// Link capabilities.
    pub const LINK_CAPABILITIES: u16 = 0x0C;
    /// Link control (low half), link status (high half).
    pub const LINK_STATUS: u16 = 0x10;
    /// Slot capabilities.
    pub const SLOT_CAPABILITIES: u16 = 0x14;
    /// Slot control (low half), slot status (high half).
    pub const SLOT_STATUS: u16 = 0x18;

    /// In the capabilities register: a slot belongs to this port.
    pub const SLOT_IMPLEMENTED: u16 = 1 << 8;
    /// In link capabilities: link status says whether the data link layer is active.
    pub const LINK_ACTIVE_REPORTED: u32 = 1 << 20;
    /// In link status: the data link layer is active.
    pub const LINK_ACTIVE: u16 = 1 << 13;
    /// In slot capabilities: there is an attention button, and power can be switched.
    pub const BUTTON_AND_POWER: u32 = 0b11;
    /// In slot status: the attention button was pressed. Write one to clear.
    pub const BUTTON_PRESSED: u16 = 1 << 0;
    /// In slot control: what the power indicator shows.
    pub const POWER_INDICATOR: u16 = 0b11 << 8;
    /// The power indicator blinks: do not touch.
    pub const POWER_INDICATOR_BLINK: u16 = 0b10 << 8;
    /// The power indicator is off: the card can be taken out.
    pub const POWER_INDICATOR_OFF: u16 = 0b11 << 8;
    /// In slot control: the slot has no power.
    pub const POWER_OFF: u16 = 1 << 10;
    /// In slot status: a card is present.
    pub const PRESENCE: u16 = 1 << 6;
}

bitflags! {
    /// Command register (PCI 3.0, 6.2.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answer in I/O space.
        const IO = 1 << 0;
        /// Answer in memory space.
        const MEMORY = 1 << 1;
        /// May start transfers of its own: DMA.
        const BUS_MASTER = 1 << 2;
        /// Report parity errors.
        const PARITY = 1 << 6;
        /// Report system errors.
        const SERR = 1 << 8;
        /// Do not raise the INTx line.
        const INTX_DISABLE = 1 << 10;
        /// Bits that this crate has no name for are kept as they are.
        const _ = !0;
    }
}

/// Class codes (PCI Code and ID Assignment 1.11, section 1): base class, subclass, programming interface.
pub mod class {
    /// NVM Express I/O controller.
    pub const NVME: (u8, u8, u8) = (0x01, 0x08, 0x02);
    /// RAID controller: base class and subclass. Intel's Volume Management Device calls itself that, too.
    pub const RAID: (u8, u8) = (0x01, 0x04);
    /// PCI-to-PCI bridge: base class and subclass.
    pub const PCI_BRIDGE: (u8, u8) = (0x06, 0x04);
}
