//! Status of a command: types and codes (base 3.3.3.2.1, nvm 3.1.2).

/// Status code types.
pub mod code_type {
    /// Common to all commands.
    pub const GENERIC: u8 = 0;
    /// The command's own.
    pub const COMMAND_SPECIFIC: u8 = 1;
    /// Media and data integrity.
    pub const MEDIA: u8 = 2;
    /// The path to the namespace.
    pub const PATH: u8 = 3;
    /// The vendor's own.
    pub const VENDOR: u8 = 7;
}

/// Codes of type [`code_type::GENERIC`].
pub mod generic {
    /// It worked.
    pub const SUCCESS: u8 = 0x00;
    /// The opcode is not supported.
    pub const INVALID_OPCODE: u8 = 0x01;
    /// A field is not valid or not supported.
    pub const INVALID_FIELD: u8 = 0x02;
    /// The command id is in use already.
    pub const COMMAND_ID_CONFLICT: u8 = 0x03;
    /// Data or metadata could not be transferred.
    pub const DATA_TRANSFER: u8 = 0x04;
    /// Aborted because power is about to be lost.
    pub const POWER_LOSS: u8 = 0x05;
    /// An internal error.
    pub const INTERNAL: u8 = 0x06;
    /// Aborted by an Abort command.
    pub const ABORT_REQUESTED: u8 = 0x07;
    /// Aborted because its queue was deleted.
    pub const QUEUE_DELETED: u8 = 0x08;
    /// The namespace or its format is not valid.
    pub const INVALID_NAMESPACE: u8 = 0x0B;
    /// Commands were out of sequence.
    pub const SEQUENCE: u8 = 0x0C;
    /// A scatter gather list's segment descriptor is not valid.
    pub const SGL_SEGMENT: u8 = 0x0D;
    /// A scatter gather list has too few or too many descriptors.
    pub const SGL_COUNT: u8 = 0x0E;
    /// A scatter gather list's length is not that of the data.
    pub const SGL_LENGTH: u8 = 0x0F;
    /// A scatter gather list descriptor's type is not valid.
    pub const SGL_TYPE: u8 = 0x11;
    /// A PRP's offset is not valid.
    pub const PRP_OFFSET: u8 = 0x13;
    /// The operation is denied.
    pub const DENIED: u8 = 0x15;
    /// The last sanitize operation failed.
    pub const SANITIZE_FAILED: u8 = 0x1C;
    /// A sanitize operation is in progress.
    pub const SANITIZING: u8 = 0x1D;
    /// The namespace is write protected.
    pub const WRITE_PROTECTED: u8 = 0x20;
    /// Interrupted; to be tried again.
    pub const INTERRUPTED: u8 = 0x21;
    /// The transport failed for a moment.
    pub const TRANSPORT: u8 = 0x22;
    /// Beyond the namespace's size.
    pub const LBA_OUT_OF_RANGE: u8 = 0x80;
    /// The namespace's capacity would be exceeded.
    pub const CAPACITY_EXCEEDED: u8 = 0x81;
    /// The namespace is not ready.
    pub const NOT_READY: u8 = 0x82;
    /// Another host holds a reservation.
    pub const RESERVATION_CONFLICT: u8 = 0x83;
    /// A format operation is in progress.
    pub const FORMATTING: u8 = 0x84;
}

/// Codes of type [`code_type::COMMAND_SPECIFIC`].
pub mod command_specific {
    /// The completion queue is not valid.
    pub const INVALID_COMPLETION_QUEUE: u8 = 0x00;
    /// The queue id is not valid.
    pub const INVALID_QUEUE_ID: u8 = 0x01;
    /// The queue size is not valid.
    pub const INVALID_QUEUE_SIZE: u8 = 0x02;
    /// More Aborts at a time than the controller takes.
    pub const ABORT_LIMIT: u8 = 0x03;
    /// The log page is not valid.
    pub const INVALID_LOG_PAGE: u8 = 0x09;
    /// The feature cannot be kept, or changed.
    pub const FEATURE_NOT_CHANGEABLE: u8 = 0x0E;
    /// Attributes of the command conflict.
    pub const CONFLICTING_ATTRIBUTES: u8 = 0x80;
    /// The protection information is not valid.
    pub const INVALID_PROTECTION: u8 = 0x81;
    /// A write to a read-only range.
    pub const READ_ONLY_RANGE: u8 = 0x82;
    /// Beyond the zone's end (zns 3.3).
    pub const ZONE_BOUNDARY: u8 = 0xB8;
    /// The zone is full.
    pub const ZONE_FULL: u8 = 0xB9;
    /// The zone is read-only.
    pub const ZONE_READ_ONLY: u8 = 0xBA;
    /// The zone is offline.
    pub const ZONE_OFFLINE: u8 = 0xBB;
    /// Not at the zone's write pointer.
    pub const ZONE_INVALID_WRITE: u8 = 0xBC;
}

/// Codes of type [`code_type::MEDIA`].
pub mod media {
    /// The data could not be written.
    pub const WRITE_FAULT: u8 = 0x80;
    /// The data could not be read.
    pub const UNRECOVERED_READ: u8 = 0x81;
    /// The guard check failed.
    pub const GUARD_CHECK: u8 = 0x82;
    /// The application tag check failed.
    pub const APPLICATION_TAG_CHECK: u8 = 0x83;
    /// The reference tag check failed.
    pub const REFERENCE_TAG_CHECK: u8 = 0x84;
    /// Compared data differ.
    pub const COMPARE: u8 = 0x85;
    /// Access is denied (locked).
    pub const ACCESS_DENIED: u8 = 0x86;
    /// A block that was never written, or deallocated, was read.
    pub const DEALLOCATED: u8 = 0x87;
}

/// Codes of type [`code_type::PATH`].
pub mod path {
    /// Internal path error.
    pub const INTERNAL: u8 = 0x00;
    /// The namespace cannot be reached by this controller, for good.
    pub const PERSISTENT_LOSS: u8 = 0x01;
    /// The namespace cannot be reached by this controller now.
    pub const INACCESSIBLE: u8 = 0x02;
    /// The namespace's accessibility is changing.
    pub const TRANSITION: u8 = 0x03;
}

/// Bits of the 15-bit status field, which is bits 15:1 of a completion's last word.
pub mod field {
    /// Status code.
    pub const CODE: u16 = 0xFF;
    /// Shift of the status code type, 3 bits.
    pub const TYPE_SHIFT: u32 = 8;
    /// Shift of the command retry delay, 2 bits.
    pub const RETRY_DELAY_SHIFT: u32 = 11;
    /// There is more in the error log.
    pub const MORE: u16 = 1 << 13;
    /// Do not retry.
    pub const DO_NOT_RETRY: u16 = 1 << 14;
}
