//! What a command's status means: in words, as an error, and for a retry.

use core::fmt;

use block::{Error, ErrorKind};

use crate::spec::status::{code_type, command_specific, field, generic, media, path};

/// The status of a completed command (base 3.3.3.2.1), without the phase tag.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    /// From the last 16 bits of a completion, phase tag included.
    pub const fn from_completion(word: u16) -> Self {
        Self(word >> 1)
    }

    /// From a type and a code, with all other bits clear.
    pub const fn new(code_type: u8, code: u8) -> Self {
        Self((code_type as u16 & 7) << field::TYPE_SHIFT | code as u16)
    }

    /// Whether the command did what it was to do.
    pub const fn is_success(self) -> bool {
        self.code_type() == code_type::GENERIC && self.code() == generic::SUCCESS
    }

    /// Status code type, 0 to 7.
    pub const fn code_type(self) -> u8 {
        (self.0 >> field::TYPE_SHIFT) as u8 & 7
    }

    /// Status code.
    pub const fn code(self) -> u8 {
        (self.0 & field::CODE) as u8
    }

    /// The device forbids to make the same command again.
    pub const fn do_not_retry(self) -> bool {
        self.0 & field::DO_NOT_RETRY != 0
    }

    /// The error log has more about it.
    pub const fn has_more(self) -> bool {
        self.0 & field::MORE != 0
    }

    /// Which of the controller's three retry delays to keep before a retry, 1 to 3; 0 = none.
    pub const fn retry_delay(self) -> u8 {
        (self.0 >> field::RETRY_DELAY_SHIFT) as u8 & 3
    }

    /// Type and code, as [`block::Error::device_status`] has them.
    pub const fn device_status(self) -> u32 {
        (self.code_type() as u32) << 8 | self.code() as u32
    }

    /// Whether the same command may be made again: the device does not forbid it, and
    /// what it reports may pass.
    pub const fn is_worth_a_retry(self) -> bool {
        if self.do_not_retry() {
            return false;
        }
        match self.code_type() {
            code_type::GENERIC => matches!(
                self.code(),
                generic::DATA_TRANSFER
                    | generic::INTERNAL
                    | generic::INTERRUPTED
                    | generic::TRANSPORT
                    | generic::NOT_READY
                    | generic::COMMAND_ID_CONFLICT
            ),
            code_type::MEDIA => matches!(self.code(), media::WRITE_FAULT | media::UNRECOVERED_READ),
            code_type::PATH => self.code() != path::PERSISTENT_LOSS,
            code_type::VENDOR => true,
            _ => false,
        }
    }

    /// Whether a command may have failed so because of its scatter gather list.
    pub const fn may_be_about_sgl(self) -> bool {
        self.code_type() == code_type::GENERIC
            && matches!(
                self.code(),
                generic::INVALID_FIELD
                    | generic::SGL_SEGMENT
                    | generic::SGL_COUNT
                    | generic::SGL_LENGTH
                    | generic::SGL_TYPE
            )
    }

    /// The error that callers see.
    pub const fn to_error(self) -> Error {
        Error::with_status(self.kind(), self.device_status())
    }

    const fn kind(self) -> ErrorKind {
        match (self.code_type(), self.code()) {
            (code_type::GENERIC, code) => match code {
                generic::INVALID_OPCODE => ErrorKind::Unsupported,
                generic::POWER_LOSS | generic::ABORT_REQUESTED | generic::QUEUE_DELETED => ErrorKind::Aborted,
                generic::INVALID_NAMESPACE => ErrorKind::Gone,
                generic::SANITIZING | generic::NOT_READY | generic::FORMATTING => ErrorKind::NotReady,
                generic::WRITE_PROTECTED => ErrorKind::ReadOnly,
                generic::LBA_OUT_OF_RANGE => ErrorKind::OutOfRange,
                generic::CAPACITY_EXCEEDED => ErrorKind::NoSpace,
                _ => ErrorKind::Device,
            },
            (
                code_type::COMMAND_SPECIFIC,
                command_specific::READ_ONLY_RANGE | command_specific::ZONE_READ_ONLY | command_specific::ZONE_OFFLINE,
            ) => ErrorKind::ReadOnly,
            (code_type::MEDIA, media::COMPARE) => ErrorKind::Device,
            (code_type::MEDIA, _) => ErrorKind::Media,
            (code_type::PATH, path::PERSISTENT_LOSS) => ErrorKind::Gone,
            _ => ErrorKind::Device,
        }
    }

    const fn type_words(self) -> &'static str {
        match self.code_type() {
            code_type::GENERIC => "generic status",
            code_type::COMMAND_SPECIFIC => "command specific status",
            code_type::MEDIA => "media error",
            code_type::PATH => "path error",
            code_type::VENDOR => "vendor specific status",
            _ => "reserved status type",
        }
    }

    const fn code_words(self) -> &'static str {
        match self.code_type() {
            code_type::GENERIC => generic_words(self.code()),
            code_type::COMMAND_SPECIFIC => command_words(self.code()),
            code_type::MEDIA => media_words(self.code()),
            code_type::PATH => path_words(self.code()),
            _ => UNNAMED,
        }
    }
}

const UNNAMED: &str = "unnamed code";

const fn generic_words(code: u8) -> &'static str {
    match code {
        generic::SUCCESS => "success",
        generic::INVALID_OPCODE => "invalid opcode",
        generic::INVALID_FIELD => "invalid field",
        generic::COMMAND_ID_CONFLICT => "command id conflict",
        generic::DATA_TRANSFER => "data transfer error",
        generic::POWER_LOSS => "aborted by a loss of power",
        generic::INTERNAL => "internal error",
        generic::ABORT_REQUESTED => "aborted on request",
        generic::QUEUE_DELETED => "aborted by its queue's deletion",
        generic::INVALID_NAMESPACE => "invalid namespace or format",
        generic::SEQUENCE => "command sequence error",
        generic::SGL_SEGMENT => "invalid SGL segment descriptor",
        generic::SGL_COUNT => "invalid number of SGL descriptors",
        generic::SGL_LENGTH => "invalid SGL length",
        generic::SGL_TYPE => "invalid SGL descriptor type",
        generic::PRP_OFFSET => "invalid PRP offset",
        generic::DENIED => "operation denied",
        generic::SANITIZE_FAILED => "sanitize failed",
        generic::SANITIZING => "sanitize in progress",
        generic::WRITE_PROTECTED => "namespace is write protected",
        generic::INTERRUPTED => "command interrupted",
        generic::TRANSPORT => "transient transport error",
        generic::LBA_OUT_OF_RANGE => "block out of range",
        generic::CAPACITY_EXCEEDED => "capacity exceeded",
        generic::NOT_READY => "namespace not ready",
        generic::RESERVATION_CONFLICT => "reservation conflict",
        generic::FORMATTING => "format in progress",
        _ => UNNAMED,
    }
}

const fn command_words(code: u8) -> &'static str {
    // The codes mean other things for other commands; these are the ones of the commands that are used here.
    match code {
        command_specific::INVALID_COMPLETION_QUEUE => "invalid completion queue",
        command_specific::INVALID_QUEUE_ID => "invalid queue id",
        command_specific::INVALID_QUEUE_SIZE => "invalid queue size",
        command_specific::ABORT_LIMIT => "abort limit exceeded",
        command_specific::INVALID_LOG_PAGE => "invalid log page",
        command_specific::FEATURE_NOT_CHANGEABLE => "feature not changeable",
        command_specific::CONFLICTING_ATTRIBUTES => "conflicting attributes",
        command_specific::INVALID_PROTECTION => "invalid protection information",
        command_specific::READ_ONLY_RANGE => "write to a read-only range",
        command_specific::ZONE_BOUNDARY => "zone boundary error",
        command_specific::ZONE_FULL => "zone is full",
        command_specific::ZONE_READ_ONLY => "zone is read-only",
        command_specific::ZONE_OFFLINE => "zone is offline",
        command_specific::ZONE_INVALID_WRITE => "write beside the zone's write pointer",
        _ => UNNAMED,
    }
}

const fn media_words(code: u8) -> &'static str {
    match code {
        media::WRITE_FAULT => "write fault",
        media::UNRECOVERED_READ => "unrecovered read error",
        media::GUARD_CHECK => "guard check failed",
        media::APPLICATION_TAG_CHECK => "application tag check failed",
        media::REFERENCE_TAG_CHECK => "reference tag check failed",
        media::COMPARE => "comparison failed",
        media::ACCESS_DENIED => "access denied",
        media::DEALLOCATED => "deallocated or unwritten block",
        _ => UNNAMED,
    }
}

const fn path_words(code: u8) -> &'static str {
    match code {
        path::INTERNAL => "internal path error",
        path::PERSISTENT_LOSS => "namespace out of reach for good",
        path::INACCESSIBLE => "namespace out of reach",
        path::TRANSITION => "namespace's reach is changing",
        _ => UNNAMED,
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({:x}/{:02x}h)", self.type_words(), self.code_words(), self.code_type(), self.code())?;
        if self.do_not_retry() {
            f.write_str(", do not retry")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_write_fault_is_a_media_error_worth_a_retry() {
        let status = Status::from_completion(0x0280 << 1 | 1);
        assert_eq!(status.to_string(), "media error: write fault (2/80h)");
        assert!(status.is_worth_a_retry());
        assert_eq!(status.to_error(), Error::with_status(ErrorKind::Media, 0x280));
    }

    #[test]
    fn do_not_retry_is_obeyed() {
        let status = Status::from_completion((0x0280 | field::DO_NOT_RETRY | 2 << 11) << 1);
        assert!(!status.is_worth_a_retry());
        assert_eq!(status.retry_delay(), 2);
        assert!(status.to_string().ends_with(", do not retry"));
    }

    #[test]
    fn every_status_has_words_and_a_kind() {
        for word in 0..=u16::MAX {
            let status = Status::from_completion(word);
            assert!(!status.to_string().is_empty());
            assert_eq!(status.to_error().device_status == 0, status.is_success());
            assert!(!(status.is_success() && status.is_worth_a_retry()));
        }
    }

    #[test]
    fn reserved_types_are_errors_and_not_retried() {
        let status = Status::new(5, 0x42);
        assert_eq!(status.to_string(), "reserved status type: unnamed code (5/42h)");
        assert_eq!(status.to_error().kind, ErrorKind::Device);
        assert!(!status.is_worth_a_retry());
    }
}
