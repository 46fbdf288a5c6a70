//! What can go wrong with a request, in numbers that may leave the process.

use core::fmt;

/// The kind of a failure. The numbers are stable: they stand in crash records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorKind {
    /// The medium could not be read or written.
    Media = 1,
    /// The device has no room left (thin provisioning).
    NoSpace = 2,
    /// Blocks beyond the device's end.
    OutOfRange = 3,
    /// The device does not take writes.
    ReadOnly = 4,
    /// The device does not know this operation.
    Unsupported = 5,
    /// No answer by the deadline.
    TimedOut = 6,
    /// Given up because the device or its queue was reset.
    Aborted = 7,
    /// The device is no longer there: its registers read as all ones.
    Gone = 8,
    /// No free place in the queue: poll, then submit again.
    QueueFull = 9,
    /// The request does not fit the device's geometry or its own buffer.
    BadRequest = 10,
    /// The device is being reset, or is dead.
    NotReady = 11,
    /// The device's answer made no sense.
    Protocol = 12,
    /// The device failed as a whole and said so.
    Fatal = 13,
    /// Any other failure that the device reported.
    Device = 14,
    /// A host file could not be read or written.
    Host = 15,
}

impl ErrorKind {
    /// Whether the same request may succeed when it is made again.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Media | Self::TimedOut | Self::Aborted | Self::QueueFull | Self::NotReady | Self::Device)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Media => "medium error",
            Self::NoSpace => "no space left on the device",
            Self::OutOfRange => "beyond the device's end",
            Self::ReadOnly => "device is read-only",
            Self::Unsupported => "operation not supported",
            Self::TimedOut => "no answer by the deadline",
            Self::Aborted => "aborted by a reset",
            Self::Gone => "device is gone",
            Self::QueueFull => "queue is full",
            Self::BadRequest => "request does not fit",
            Self::NotReady => "device is not ready",
            Self::Protocol => "device's answer makes no sense",
            Self::Fatal => "fatal device failure",
            Self::Device => "device error",
            Self::Host => "host file error",
        }
    }
}

/// A failure: its kind, and what the device itself said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Error {
    /// What sort of failure.
    pub kind: ErrorKind,
    /// The device's own status, as its specification defines it; 0 where it gave none.
    /// NVMe: status code type << 8 | status code. virtio-blk: the status byte.
    pub device_status: u32,
}

impl Error {
    /// A failure that the device gave no status for.
    pub const fn new(kind: ErrorKind) -> Self {
        Self { kind, device_status: 0 }
    }

    /// A failure with the device's own status.
    pub const fn with_status(kind: ErrorKind, device_status: u32) -> Self {
        Self { kind, device_status }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.words())?;
        if self.device_status != 0 {
            write!(f, " (device status {:#x})", self.device_status)?;
        }
        Ok(())
    }
}

impl core::error::Error for Error {}
