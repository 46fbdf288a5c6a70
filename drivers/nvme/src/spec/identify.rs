//! Data structures that Identify returns (base 5.17.2, nvm 4.1.5).

use core::mem::offset_of;

/// Identify's data are always this long.
pub const SIZE: usize = 4096;

/// Controller or namespace structure (CNS).
pub mod cns {
    /// Identify Namespace data structure of the NVM command set.
    pub const NAMESPACE: u32 = 0x00;
    /// Identify Controller data structure.
    pub const CONTROLLER: u32 = 0x01;
    /// Ids of active namespaces above the one given: up to 1024, ascending, ended by 0.
    pub const ACTIVE_NAMESPACES: u32 = 0x02;
    /// Namespace identification descriptors.
    pub const DESCRIPTORS: u32 = 0x03;
}

/// Entries of an active namespace list.
pub const LIST_ENTRIES: usize = SIZE / 4;

/// Identify Controller data structure (base 5.17.2.1), as far as it is used.
#[repr(C)]
pub struct Controller {
    /// PCI vendor.
    pub vid: u16,
    /// PCI subsystem vendor.
    pub ssvid: u16,
    /// Serial number, ASCII, padded with spaces.
    pub sn: [u8; 20],
    /// Model number, likewise.
    pub mn: [u8; 40],
    /// Firmware revision, likewise.
    pub fr: [u8; 8],
    /// Arbitration burst, IEEE id, CMIC.
    _72: [u8; 5],
    /// Maximum data transfer size: 2^n pages of the smallest size; 0 = no limit.
    pub mdts: u8,
    /// Controller id.
    pub cntlid: u16,
    /// Version.
    pub ver: u32,
    /// RTD3 resume latency, µs.
    pub rtd3r: u32,
    /// RTD3 entry latency, µs: how long a shutdown may take.
    pub rtd3e: u32,
    _92: [u8; 19],
    /// Controller type: 1 = I/O, 0 = not said.
    pub cntrltype: u8,
    _112: [u8; 16],
    /// Command retry delays 1 to 3, in units of 100 ms.
    pub crdt: [u16; 3],
    _134: [u8; 124],
    /// Abort command limit, from 0.
    pub acl: u8,
    _259: [u8; 3],
    /// Error log entries, from 0.
    pub elpe: u8,
    _263: [u8; 249],
    /// Submission queue entry sizes: required in bits 3:0, largest in 7:4, as powers of two.
    pub sqes: u8,
    /// Completion queue entry sizes, likewise.
    pub cqes: u8,
    /// Maximum outstanding commands (fabrics).
    pub maxcmd: u16,
    /// Number of namespaces: the highest id.
    pub nn: u32,
    /// Optional NVM commands.
    pub oncs: u16,
    _522: [u8; 3],
    /// Volatile write cache; bit 0: there is one.
    pub vwc: u8,
    _526: [u8; 10],
    /// Scatter gather lists: how far I/O commands may use them.
    pub sgls: u32,
    _540: [u8; 228],
    /// NVM subsystem's qualified name, UTF-8, ended by 0.
    pub subnqn: [u8; 256],
    _1024: [u8; 3072],
}
const _: () = assert!(size_of::<Controller>() == SIZE);
const _: () = assert!(offset_of!(Controller, mdts) == 77);
const _: () = assert!(offset_of!(Controller, rtd3e) == 88);
const _: () = assert!(offset_of!(Controller, cntrltype) == 111);
const _: () = assert!(offset_of!(Controller, crdt) == 128);
const _: () = assert!(offset_of!(Controller, acl) == 258);
const _: () = assert!(offset_of!(Controller, elpe) == 262);
const _: () = assert!(offset_of!(Controller, sqes) == 512);
const _: () = assert!(offset_of!(Controller, nn) == 516);
const _: () = assert!(offset_of!(Controller, oncs) == 520);
const _: () = assert!(offset_of!(Controller, vwc) == 525);
const _: () = assert!(offset_of!(Controller, sgls) == 536);
const _: () = assert!(offset_of!(Controller, subnqn) == 768);

/// In ONCS: Write Zeroes is there.
pub const ONCS_WRITE_ZEROES: u16 = 1 << 3;
/// In VWC: there is a volatile write cache.
pub const VWC_PRESENT: u8 = 1;

/// In SGLS: whether there are scatter gather lists. 1 = yes, 2 = yes, for addresses and lengths that are
/// multiples of 4.
pub const SGLS_SUPPORT: u32 = 0b11;

/// Controller types (CNTRLTYPE).
pub mod controller_type {
    /// Not reported: older than 1.4.
    pub const NOT_REPORTED: u8 = 0;
    /// An I/O controller.
    pub const IO: u8 = 1;
}

/// Identify Namespace data structure (nvm 4.1.5.1), as far as it is used.
#[repr(C)]
pub struct Namespace {
    /// Size in blocks.
    pub nsze: u64,
    /// Capacity in blocks.
    pub ncap: u64,
    /// Utilization in blocks.
    pub nuse: u64,
    /// Features.
    pub nsfeat: u8,
    /// Number of formats, from 0.
    pub nlbaf: u8,
    /// The format in use: bits 3:0, and 6:5 above them if there are more than 16; bit 4: metadata follows each
    /// block's data.
    pub flbas: u8,
    _27: [u8; 2],
    /// Protection information in use: type in bits 2:0, 0 = none.
    pub dps: u8,
    /// Bit 0: may be attached to several controllers.
    pub nmic: u8,
    _31: [u8; 68],
    /// Attributes; bit 0: write protected.
    pub nsattr: u8,
    _100: [u8; 4],
    /// Globally unique id, 0 = none.
    pub nguid: [u8; 16],
    /// IEEE extended unique id, 0 = none.
    pub eui64: [u8; 8],
    /// Formats.
    pub lbaf: [BlockFormat; 64],
    _384: [u8; 3712],
}
const _: () = assert!(size_of::<Namespace>() == SIZE);
const _: () = assert!(offset_of!(Namespace, flbas) == 26);
const _: () = assert!(offset_of!(Namespace, dps) == 29);
const _: () = assert!(offset_of!(Namespace, nsattr) == 99);
const _: () = assert!(offset_of!(Namespace, nguid) == 104);
const _: () = assert!(offset_of!(Namespace, eui64) == 120);
const _: () = assert!(offset_of!(Namespace, lbaf) == 128);

/// In DPS: which type of protection information is on.
pub const DPS_TYPE: u8 = 0b111;
/// In NMIC: may be attached to several controllers.
pub const NMIC_SHARED: u8 = 1;
/// In NSATTR: the namespace is write protected.
pub const NSATTR_WRITE_PROTECTED: u8 = 1;

/// A block format (nvm 4.1.5.1, LBA Format Data Structure).
#[repr(C)]
pub struct BlockFormat {
    /// Metadata bytes a block.
    pub ms: u16,
    /// Block size as a power of two; 0 = the format is not available.
    pub lbads: u8,
    /// Relative performance.
    pub rp: u8,
}
const _: () = assert!(size_of::<BlockFormat>() == 4);

/// A namespace identification descriptor's head (base 5.17.2.3); `len` bytes of id follow.
#[repr(C)]
pub struct Descriptor {
    /// Type: [`descriptor_type`].
    pub kind: u8,
    /// Bytes that follow; 0 ends the list.
    pub len: u8,
    _2: [u8; 2],
}
const _: () = assert!(size_of::<Descriptor>() == 4);

/// Types of namespace identification descriptors.
pub mod descriptor_type {
    /// IEEE extended unique id, 8 bytes.
    pub const EUI64: u8 = 1;
    /// Namespace globally unique id, 16 bytes.
    pub const NGUID: u8 = 2;
    /// UUID, 16 bytes.
    pub const UUID: u8 = 3;
    /// Command set: 1 byte, [`command_set`](super::command_set).
    pub const COMMAND_SET: u8 = 4;
}

/// Command set identifiers (base 1.5, CSI).
pub mod command_set {
    /// NVM: blocks.
    pub const NVM: u8 = 0;
    /// Key Value.
    pub const KEY_VALUE: u8 = 1;
    /// Zoned.
    pub const ZONED: u8 = 2;
}
