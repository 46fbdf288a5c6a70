//! Constants of virtio 1.2: block device, split queue, PCI and MMIO.
//!
//! Section numbers are those of "Virtual I/O Device (VIRTIO) Version 1.2". The structures are only here to
//! take offsets from: shared memory is read and written word by word, never through them.

use core::mem::offset_of;

use bitflags::bitflags;

bitflags! {
    /// Feature bits that this driver knows (5.2.3 and section 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The longest segment is in `size_max`.
        const SIZE_MAX = 1 << 1;
        /// The most segments in a request are in `seg_max`.
        const SEG_MAX = 1 << 2;
        /// The device does not take writes.
        const READ_ONLY = 1 << 5;
        /// The block size is in `blk_size`.
        const BLOCK_SIZE = 1 << 6;
        /// There is a flush.
        const FLUSH = 1 << 9;
        /// The write cache can be seen and switched in `writeback`.
        const CONFIG_WCE = 1 << 11;
        /// There are as many request queues as `num_queues` says.
        const MULTI_QUEUE = 1 << 12;
        /// There is a discard.
        const DISCARD = 1 << 13;
        /// There is a write of zeroes.
        const WRITE_ZEROES = 1 << 14;
        /// A descriptor may point to a table of descriptors.
        const INDIRECT = 1 << 28;
        /// Notifications can be asked for by index. Never accepted here.
        const EVENT_INDEX = 1 << 29;
        /// Not a legacy device.
        const VERSION_1 = 1 << 32;
        /// Addresses go through the platform's translation and access rules.
        const ACCESS_PLATFORM = 1 << 33;
        /// Packed virtqueues. Never accepted here.
        const PACKED = 1 << 34;
        /// Memory is ordered as the platform orders it for real devices.
        const ORDER_PLATFORM = 1 << 36;
    }
}

/// Feature bits that the legacy interface can carry (6.3).
pub const LEGACY_FEATURES: u64 = 0xFFFF_FFFF;

/// Bytes that capacity and request positions count in (5.2.4).
pub const SECTOR_SIZE: u32 = 512;

/// Device configuration of a block device (5.2.4), packed as the specification has it.
#[repr(C)]
pub struct BlockConfig {
    capacity: [u32; 2],
    size_max: u32,
    seg_max: u32,
    geometry: [u8; 4],
    blk_size: u32,
    topology: [u8; 8],
    writeback: u8,
    unused0: u8,
    num_queues: u16,
    max_discard_sectors: u32,
    max_discard_seg: u32,
    discard_sector_alignment: u32,
    max_write_zeroes_sectors: u32,
    max_write_zeroes_seg: u32,
    write_zeroes_may_unmap: u8,
}

/// Offsets in [`BlockConfig`].
pub mod config {
    use super::{BlockConfig, offset_of};

    /// Sectors, lower half.
    pub const CAPACITY_LOW: usize = offset_of!(BlockConfig, capacity);
    /// Sectors, upper half.
    pub const CAPACITY_HIGH: usize = CAPACITY_LOW + 4;
    /// Bytes in the longest segment.
    pub const SIZE_MAX: usize = offset_of!(BlockConfig, size_max);
    /// Segments in the longest request.
    pub const SEG_MAX: usize = offset_of!(BlockConfig, seg_max);
    /// Bytes a block.
    pub const BLOCK_SIZE: usize = offset_of!(BlockConfig, blk_size);
    /// Write cache: 0 is write-through, 1 is write-back.
    pub const WRITEBACK: usize = offset_of!(BlockConfig, writeback);
    /// Request queues.
    pub const NUM_QUEUES: usize = offset_of!(BlockConfig, num_queues);
    /// Sectors in the longest discard.
    pub const MAX_DISCARD_SECTORS: usize = offset_of!(BlockConfig, max_discard_sectors);
    /// Segments in a discard.
    pub const MAX_DISCARD_SEG: usize = offset_of!(BlockConfig, max_discard_seg);
    /// Sectors in the longest write of zeroes.
    pub const MAX_WRITE_ZEROES_SECTORS: usize = offset_of!(BlockConfig, max_write_zeroes_sectors);
    /// Segments in a write of zeroes.
    pub const MAX_WRITE_ZEROES_SEG: usize = offset_of!(BlockConfig, max_write_zeroes_seg);

    const _: () = assert!(BLOCK_SIZE == 20 && WRITEBACK == 32 && NUM_QUEUES == 34);
    const _: () = assert!(MAX_DISCARD_SECTORS == 36 && MAX_WRITE_ZEROES_SEG == 52);
}

/// Requests (5.2.6).
pub mod request {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// Flush.
    pub const FLUSH: u32 = 4;
    /// Discard.
    pub const DISCARD: u32 = 11;
    /// Write zeroes.
    pub const WRITE_ZEROES: u32 = 13;

    /// Bytes of the header: type, reserved (4 bytes each), first sector (8 bytes).
    pub const HEADER_LEN: u32 = 16;
    /// Bytes of a segment of discard or write zeroes: first sector (8 bytes), count, flags (4 bytes each).
    pub const SEGMENT_LEN: u32 = 16;
    /// Bytes of the status.
    pub const STATUS_LEN: u32 = 1;

    /// Status: done.
    pub const OK: u8 = 0;
    /// Status: device or driver error.
    pub const IO_ERROR: u8 = 1;
    /// Status: the device does not know the request.
    pub const UNSUPPORTED: u8 = 2;
}

/// Split virtqueue (2.7).
pub mod ring {
    /// Bytes of a descriptor: address (8), length (4), flags (2), next (2).
    pub const DESCRIPTOR_LEN: usize = 16;
    /// Descriptor flag: `next` is valid.
    pub const NEXT: u16 = 1;
    /// Descriptor flag: the device writes.
    pub const WRITE: u16 = 2;
    /// Descriptor flag: points to a table of descriptors.
    pub const INDIRECT: u16 = 4;

    /// Available ring: flags.
    pub const AVAILABLE_FLAGS: usize = 0;
    /// Available ring: index.
    pub const AVAILABLE_INDEX: usize = 2;
    /// Available ring: first entry, 2 bytes each.
    pub const AVAILABLE_ENTRIES: usize = 4;
    /// Available flag: no interrupts, please.
    pub const NO_INTERRUPT: u16 = 1;

    /// Used ring: flags.
    pub const USED_FLAGS: usize = 0;
    /// Used ring: index.
    pub const USED_INDEX: usize = 2;
    /// Used ring: first entry, 8 bytes each: id (4), length (4).
    pub const USED_ENTRIES: usize = 4;
    /// Used flag: no notifications needed.
    pub const NO_NOTIFY: u16 = 1;

    /// Alignment of the used ring in the legacy layout (2.7.2); more than enough for the other.
    pub const LEGACY_ALIGN: usize = 4096;
    /// Most entries that a queue can have (2.7).
    pub const MAX_ENTRIES: u32 = 32768;
}

/// PCI (4.1).
pub mod pci {
    use super::offset_of;

    /// Device ids from here on are 1040h + device type (4.1.2.1); below are transitional ones.
    pub const FIRST_MODERN_DEVICE: u16 = 0x1040;

    /// Bytes of `virtio_pci_cap` (4.1.4).
    pub const CAPABILITY_LEN: u8 = 16;
    /// In the capability: which base address register (1 byte).
    pub const CAPABILITY_BAR: u16 = 4;
    /// In the capability: offset in it.
    pub const CAPABILITY_OFFSET: u16 = 8;
    /// In the capability: length of the structure.
    pub const CAPABILITY_LENGTH: u16 = 12;
    /// In the notification capability: bytes between doorbells (4.1.4.4).
    pub const CAPABILITY_MULTIPLIER: u16 = 16;

    /// Common configuration (4.1.4.3), up to what this driver uses.
    #[repr(C)]
    pub struct CommonConfig {
        device_feature_select: u32,
        device_feature: u32,
        driver_feature_select: u32,
        driver_feature: u32,
        config_msix_vector: u16,
        num_queues: u16,
        device_status: u8,
        config_generation: u8,
        queue_select: u16,
        queue_size: u16,
        queue_msix_vector: u16,
        queue_enable: u16,
        queue_notify_off: u16,
        queue_desc: [u32; 2],
        queue_driver: [u32; 2],
        queue_device: [u32; 2],
    }

    /// Bytes of the common configuration.
    pub const COMMON_LEN: usize = size_of::<CommonConfig>();
    const _: () = assert!(COMMON_LEN == 56);

    /// Offset of `device_feature_select`.
    pub const DEVICE_FEATURE_SELECT: usize = offset_of!(CommonConfig, device_feature_select);
    /// Offset of `device_feature`.
    pub const DEVICE_FEATURE: usize = offset_of!(CommonConfig, device_feature);
    /// Offset of `driver_feature_select`.
    pub const DRIVER_FEATURE_SELECT: usize = offset_of!(CommonConfig, driver_feature_select);
    /// Offset of `driver_feature`.
    pub const DRIVER_FEATURE: usize = offset_of!(CommonConfig, driver_feature);
    /// Offset of `device_status`.
    pub const DEVICE_STATUS: usize = offset_of!(CommonConfig, device_status);
    /// Offset of `config_generation`.
    pub const CONFIG_GENERATION: usize = offset_of!(CommonConfig, config_generation);
    /// Offset of `queue_select`.
    pub const QUEUE_SELECT: usize = offset_of!(CommonConfig, queue_select);
    /// Offset of `queue_size`.
    pub const QUEUE_SIZE: usize = offset_of!(CommonConfig, queue_size);
    /// Offset of `queue_enable`.
    pub const QUEUE_ENABLE: usize = offset_of!(CommonConfig, queue_enable);
    /// Offset of `queue_notify_off`.
    pub const QUEUE_NOTIFY_OFF: usize = offset_of!(CommonConfig, queue_notify_off);
    /// Offset of `queue_desc`.
    pub const QUEUE_DESC: usize = offset_of!(CommonConfig, queue_desc);
    /// Offset of `queue_driver`.
    pub const QUEUE_DRIVER: usize = offset_of!(CommonConfig, queue_driver);
    /// Offset of `queue_device`.
    pub const QUEUE_DEVICE: usize = offset_of!(CommonConfig, queue_device);
    const _: () = assert!(DEVICE_STATUS == 20 && QUEUE_ENABLE == 28 && QUEUE_DESC == 32);
}

/// Legacy PCI registers, in I/O ports from base address register 0 (4.1.4.10).
pub mod legacy {
    /// Device features, 32 bits.
    pub const DEVICE_FEATURES: usize = 0;
    /// Driver features, 32 bits.
    pub const DRIVER_FEATURES: usize = 4;
    /// Queue address in pages, 32 bits.
    pub const QUEUE_ADDRESS: usize = 8;
    /// Queue size, 16 bits, given by the device.
    pub const QUEUE_SIZE: usize = 12;
    /// Queue select, 16 bits.
    pub const QUEUE_SELECT: usize = 14;
    /// Queue notify, 16 bits.
    pub const QUEUE_NOTIFY: usize = 16;
    /// Device status, 8 bits.
    pub const DEVICE_STATUS: usize = 18;
    /// Interrupt status, 8 bits, cleared by reading.
    pub const ISR_STATUS: usize = 19;
    /// Device configuration, while MSI-X is off.
    pub const CONFIG: usize = 20;
    /// Bytes of a page in [`QUEUE_ADDRESS`].
    pub const PAGE_SIZE: u64 = 4096;
}

/// MMIO registers, all 32 bits (4.2.2 and 4.2.4).
pub mod mmio {
    /// Reads as [`MAGIC`].
    pub const MAGIC_VALUE: usize = 0x000;
    /// "virt", little-endian.
    pub const MAGIC: u32 = 0x7472_6976;
    /// 1 is legacy, 2 is not.
    pub const VERSION: usize = 0x004;
    /// Device type.
    pub const DEVICE_ID: usize = 0x008;
    /// Device features, of the selected 32 bits.
    pub const DEVICE_FEATURES: usize = 0x010;
    /// Which 32 bits.
    pub const DEVICE_FEATURES_SELECT: usize = 0x014;
    /// Driver features, of the selected 32 bits.
    pub const DRIVER_FEATURES: usize = 0x020;
    /// Which 32 bits.
    pub const DRIVER_FEATURES_SELECT: usize = 0x024;
    /// Legacy: bytes a page.
    pub const GUEST_PAGE_SIZE: usize = 0x028;
    /// Which queue.
    pub const QUEUE_SELECT: usize = 0x030;
    /// Most entries that it can have.
    pub const QUEUE_SIZE_MAX: usize = 0x034;
    /// Entries that it has.
    pub const QUEUE_SIZE: usize = 0x038;
    /// Legacy: alignment of the used ring.
    pub const QUEUE_ALIGN: usize = 0x03C;
    /// Legacy: address in pages.
    pub const QUEUE_PFN: usize = 0x040;
    /// Not legacy: the queue is in use.
    pub const QUEUE_READY: usize = 0x044;
    /// Doorbell.
    pub const QUEUE_NOTIFY: usize = 0x050;
    /// Interrupts that are pending.
    pub const INTERRUPT_STATUS: usize = 0x060;
    /// Interrupts that were seen.
    pub const INTERRUPT_ACKNOWLEDGE: usize = 0x064;
    /// Device status.
    pub const STATUS: usize = 0x070;
    /// Descriptor table, 64 bits.
    pub const QUEUE_DESC: usize = 0x080;
    /// Available ring, 64 bits.
    pub const QUEUE_DRIVER: usize = 0x090;
    /// Used ring, 64 bits.
    pub const QUEUE_DEVICE: usize = 0x0A0;
    /// Changes with the device configuration.
    pub const CONFIG_GENERATION: usize = 0x0FC;
    /// Device configuration.
    pub const CONFIG: usize = 0x100;
}

/// How an ACPI table declares an MMIO device (ACPI 6.5: 6.1.5 hardware id, 6.4.3.4 fixed memory; the id is Linux's, in
/// its `virtio_mmio` driver).
pub mod acpi {
    /// The hardware id as a string of AML: its end included, its start marked by the prefix 0Dh.
    pub const HARDWARE_ID: &[u8] = b"\x0DLNRO0005\0";
    /// Where the resources of a device end at the latest, after its hardware id.
    pub const DEVICE_LEN: usize = 256;
    /// First bytes of a 32-bit fixed memory descriptor: its tag and the length of what follows.
    pub const MEMORY32: [u8; 3] = [0x86, 0x09, 0x00];
    /// Its bytes in all.
    pub const MEMORY32_LEN: usize = 12;
    /// In it: first address.
    pub const MEMORY32_BASE: usize = 4;
    /// In it: length.
    pub const MEMORY32_SIZE: usize = 8;
}
