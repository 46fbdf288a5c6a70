//! Log pages that Get Log Page returns (base 5.16.1).

use core::mem::offset_of;

/// Log page ids.
pub mod id {
    /// Error Information (base 5.16.1.2).
    pub const ERRORS: u32 = 0x01;
    /// SMART / Health Information (base 5.16.1.3).
    pub const HEALTH: u32 = 0x02;
    /// Device Self-test (base 5.16.1.7).
    pub const SELF_TEST: u32 = 0x06;
}

/// SMART / Health Information log page (base 5.16.1.3). Fields that are not aligned, and those of 16 bytes,
/// stand as bytes.
#[repr(C)]
pub struct Health {
    /// Critical warnings, a bit each.
    pub critical_warning: u8,
    /// Composite temperature, kelvin.
    pub temperature: [u8; 2],
    /// Spare that is left, percent.
    pub available_spare: u8,
    /// Below this the spare is critical, percent.
    pub available_spare_threshold: u8,
    /// Used of the device's life, percent; may exceed 100, saturates at 255.
    pub percentage_used: u8,
    _6: [u8; 26],
    /// Units of 1000 × 512 bytes read.
    pub data_units_read: [u8; 16],
    /// Units of 1000 × 512 bytes written.
    pub data_units_written: [u8; 16],
    /// Read commands completed.
    pub host_reads: [u8; 16],
    /// Write commands completed.
    pub host_writes: [u8; 16],
    /// Minutes busy.
    pub busy_minutes: [u8; 16],
    /// Power cycles.
    pub power_cycles: [u8; 16],
    /// Hours powered on.
    pub power_on_hours: [u8; 16],
    /// Shutdowns without notice.
    pub unsafe_shutdowns: [u8; 16],
    /// Unrecovered media errors.
    pub media_errors: [u8; 16],
    /// Error log entries over the life of the controller.
    pub error_log_entries: [u8; 16],
    /// Minutes above the warning temperature.
    pub warning_minutes: [u8; 4],
    /// Minutes above the critical temperature.
    pub critical_minutes: [u8; 4],
    _200: [u8; 312],
}
const _: () = assert!(size_of::<Health>() == 512);
const _: () = assert!(offset_of!(Health, data_units_read) == 32);
const _: () = assert!(offset_of!(Health, media_errors) == 160);
const _: () = assert!(offset_of!(Health, warning_minutes) == 192);

/// Critical warnings of the health log.
pub mod warning {
    /// Little spare is left.
    pub const SPARE: u8 = 1 << 0;
    /// A temperature is out of bounds.
    pub const TEMPERATURE: u8 = 1 << 1;
    /// Reliability is degraded.
    pub const RELIABILITY: u8 = 1 << 2;
    /// The media are read-only.
    pub const READ_ONLY: u8 = 1 << 3;
    /// The backup of volatile memory failed.
    pub const BACKUP: u8 = 1 << 4;
    /// Persistent memory is read-only or unreliable.
    pub const PERSISTENT_MEMORY: u8 = 1 << 5;
}

/// An Error Information log entry (base 5.16.1.2).
#[repr(C)]
pub struct ErrorEntry {
    /// Counts errors from 1; 0 = the entry is not in use.
    pub error_count: u64,
    /// Submission queue.
    pub sq_id: u16,
    /// Command.
    pub command_id: u16,
    /// Status field of its completion, phase tag included.
    pub status: u16,
    /// Where in the command the error is.
    pub parameter: u16,
    /// First block that failed.
    pub lba: u64,
    /// Namespace.
    pub nsid: u32,
    _28: [u8; 36],
}
const _: () = assert!(size_of::<ErrorEntry>() == 64);
const _: () = assert!(offset_of!(ErrorEntry, lba) == 16);
const _: () = assert!(offset_of!(ErrorEntry, nsid) == 24);

/// The beginning of the Device Self-test log page: what is under way, and the newest of 20 results.
#[repr(C)]
pub struct SelfTest {
    /// The test under way in the low half; 0 = none.
    pub operation: u8,
    /// Percent of it that are done, in the lower seven bits.
    pub completion: u8,
    _2: [u8; 2],
    /// Of the newest result: how it ended in the low half, which test it was in the high one.
    pub status: u8,
    /// Segment that failed.
    pub segment: u8,
    /// Which of the following fields hold something.
    pub valid: u8,
    _7: u8,
    /// Hours of power when it ended.
    pub power_on_hours: u64,
}

const _: () = assert!(size_of::<SelfTest>() == 16 && offset_of!(SelfTest, power_on_hours) == 8);
