//! Health and error logs, as the diagnostics show them.

use core::fmt;
use core::mem::offset_of;

use crate::bytes::{array, le8, le16, le32, le64, le128};
use crate::spec::log_page::{self as layout, ErrorEntry, id, warning};
use crate::status::Status;

/// A log that a controller keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// SMART and health.
    Health,
    /// Its latest errors.
    Errors,
    /// Its self-test under way, and the last one.
    SelfTest,
}

impl LogKind {
    /// Page id and bytes to ask for.
    pub(crate) const fn request(self, error_entries: u16) -> (u32, u32) {
        match self {
            Self::Health => (id::HEALTH, size_of::<layout::Health>() as u32),
            Self::Errors => {
                let wanted = if error_entries < MAX_ERRORS as u16 { error_entries } else { MAX_ERRORS as u16 };
                (id::ERRORS, wanted as u32 * size_of::<ErrorEntry>() as u32)
            }
            Self::SelfTest => (id::SELF_TEST, size_of::<layout::SelfTest>() as u32),
        }
    }
}

/// The most error log entries that are read.
pub const MAX_ERRORS: usize = 16;

/// What a log page said.
#[expect(clippy::large_enum_variant, reason = "there is one of it, and a box would be an allocation after the start")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// SMART and health.
    Health(Health),
    /// The latest errors, newest first; `None` where there is none.
    Errors([Option<LoggedError>; MAX_ERRORS]),
    /// Self-tests.
    SelfTest(SelfTest),
}

impl Log {
    pub(crate) fn parse(kind: LogKind, page: &[u8]) -> Self {
        match kind {
            LogKind::Health => Self::Health(Health::parse(page)),
            LogKind::SelfTest => Self::SelfTest(SelfTest::parse(page)),
            LogKind::Errors => {
                Self::Errors(core::array::from_fn(|index| LoggedError::parse(page, index * size_of::<ErrorEntry>())))
            }
        }
    }
}

/// SMART and health of a controller (base 5.16.1.3). Counters saturate at `u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Critical warnings: [`warning`].
    pub critical_warning: u8,
    /// Temperature in degrees Celsius; `None` = not reported.
    pub celsius: Option<i32>,
    /// Spare that is left, percent.
    pub available_spare: u8,
    /// Used of the device's life, percent.
    pub percentage_used: u8,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Power cycles.
    pub power_cycles: u64,
    /// Hours powered on.
    pub power_on_hours: u64,
    /// Shutdowns without notice.
    pub unsafe_shutdowns: u64,
    /// Unrecovered media errors.
    pub media_errors: u64,
    /// Errors logged over the controller's life.
    pub error_log_entries: u64,
}

impl Health {
    fn parse(page: &[u8]) -> Self {
        let counter = |offset| u64::try_from(le128(page, offset)).unwrap_or(u64::MAX);
        let kelvin = le16(page, offset_of!(layout::Health, temperature));
        Self {
            critical_warning: le8(page, offset_of!(layout::Health, critical_warning)),
            celsius: (kelvin != 0).then(|| i32::from(kelvin) - 273),
            available_spare: le8(page, offset_of!(layout::Health, available_spare)),
            percentage_used: le8(page, offset_of!(layout::Health, percentage_used)),
            bytes_read: counter(offset_of!(layout::Health, data_units_read)).saturating_mul(512_000),
            bytes_written: counter(offset_of!(layout::Health, data_units_written)).saturating_mul(512_000),
            power_cycles: counter(offset_of!(layout::Health, power_cycles)),
            power_on_hours: counter(offset_of!(layout::Health, power_on_hours)),
            unsafe_shutdowns: counter(offset_of!(layout::Health, unsafe_shutdowns)),
            media_errors: counter(offset_of!(layout::Health, media_errors)),
            error_log_entries: counter(offset_of!(layout::Health, error_log_entries)),
        }
    }

    /// The critical warnings in words.
    pub fn warnings(&self) -> impl Iterator<Item = &'static str> {
        let bits = self.critical_warning;
        WARNINGS.iter().filter(move |(bit, _)| bits & bit != 0).map(|(_, words)| *words)
    }
}

const WARNINGS: [(u8, &str); 6] = [
    (warning::SPARE, "little spare left"),
    (warning::TEMPERATURE, "temperature out of bounds"),
    (warning::RELIABILITY, "reliability degraded"),
    (warning::READ_ONLY, "media are read-only"),
    (warning::BACKUP, "backup of volatile memory failed"),
    (warning::PERSISTENT_MEMORY, "persistent memory unreliable"),
];

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(celsius) = self.celsius {
            write!(f, "{celsius} °C, ")?;
        }
        write!(f, "{} % used, {} % spare", self.percentage_used, self.available_spare)?;
        write!(f, ", {} MB read, {} MB written", self.bytes_read / 1_000_000, self.bytes_written / 1_000_000)?;
        write!(f, ", {} power cycles, {} hours", self.power_cycles, self.power_on_hours)?;
        write!(f, ", {} unsafe shutdowns, {} media errors", self.unsafe_shutdowns, self.media_errors)?;
        for words in self.warnings() {
            write!(f, ", WARNING: {words}")?;
        }
        Ok(())
    }
}

/// An entry of a controller's error log (base 5.16.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedError {
    /// Counts errors from 1 over the controller's life.
    pub number: u64,
    /// Submission queue of the command.
    pub queue: u16,
    /// Id of the command.
    pub command: u16,
    /// How it ended.
    pub status: Status,
    /// First block that failed.
    pub block: u64,
    /// Namespace.
    pub namespace: u32,
}

impl LoggedError {
    fn parse(page: &[u8], offset: usize) -> Option<Self> {
        let entry: [u8; size_of::<ErrorEntry>()] = array(page, offset);
        let number = le64(&entry, offset_of!(ErrorEntry, error_count));
        (number != 0).then(|| Self {
            number,
            queue: le16(&entry, offset_of!(ErrorEntry, sq_id)),
            command: le16(&entry, offset_of!(ErrorEntry, command_id)),
            status: Status::from_completion(le16(&entry, offset_of!(ErrorEntry, status))),
            block: le64(&entry, offset_of!(ErrorEntry, lba)),
            namespace: le32(&entry, offset_of!(ErrorEntry, nsid)),
        })
    }
}

impl fmt::Display for LoggedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, queue, command, status, block, namespace } = self;
        write!(
            f,
            "error {number}: {status}; block {block} of namespace {namespace}, queue {queue}, command {command:#x}"
        )
    }
}

/// What a controller says of its self-tests (base 5.16.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// One is under way, and this many percent of it are done.
    pub running: Option<u8>,
    /// How the last one ended, and after how many hours of power.
    pub last: Option<(SelfTestResult, u64)>,
}

impl SelfTest {
    fn parse(page: &[u8]) -> Self {
        let is_running = le8(page, offset_of!(layout::SelfTest, operation)) & 0xF != 0;
        let result = le8(page, offset_of!(layout::SelfTest, status)) & 0xF;
        Self {
            running: is_running.then(|| le8(page, offset_of!(layout::SelfTest, completion)) & 0x7F),
            last: (result != SelfTestResult::UNUSED)
                .then(|| (SelfTestResult(result), le64(page, offset_of!(layout::SelfTest, power_on_hours)))),
        }
    }
}

/// How a self-test ended: the low half of its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTestResult(pub u8);

impl SelfTestResult {
    /// The entry is not in use.
    const UNUSED: u8 = 0xF;

    /// Whether the device failed, and not just the test was ended.
    pub const fn is_failure(self) -> bool {
        matches!(self.0, 5..=7)
    }

    /// In words.
    pub const fn words(self) -> &'static str {
        match self.0 {
            0 => "passed",
            1 => "aborted by a command",
            2 => "aborted by a reset",
            3 => "aborted as the namespace was removed",
            4 => "aborted by a format",
            5 => "a fatal error ended it",
            6 => "failed, in a segment that is not known",
            7 => "failed",
            8 => "aborted for an unknown reason",
            9 => "aborted by a sanitize operation",
            _ => "reserved result",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn health_is_read_and_shown() {
        let mut page = std::vec![0; 512];
        page[0] = warning::READ_ONLY | warning::SPARE;
        page[1..3].copy_from_slice(&323u16.to_le_bytes());
        page[3] = 5;
        page[5] = 90;
        page[48..56].copy_from_slice(&2000u64.to_le_bytes());
        page[160..176].fill(0xFF);
        let Log::Health(health) = Log::parse(LogKind::Health, &page) else { panic!() };
        assert_eq!((health.celsius, health.bytes_written, health.media_errors), (Some(50), 1_024_000_000, u64::MAX));
        assert_eq!(health.warnings().collect::<Vec<_>>(), ["little spare left", "media are read-only"]);
        assert!(health.to_string().starts_with("50 °C, 90 % used, 5 % spare, 0 MB read, 1024 MB written"));
    }

    #[test]
    fn the_error_log_ends_where_no_error_is() {
        let mut page = std::vec![0; 128];
        page[..8].copy_from_slice(&9u64.to_le_bytes());
        page[12..14].copy_from_slice(&(0x280u16 << 1).to_le_bytes());
        page[16..24].copy_from_slice(&77u64.to_le_bytes());
        let Log::Errors(errors) = Log::parse(LogKind::Errors, &page) else { panic!() };
        let first = errors[0].unwrap();
        assert_eq!(
            first.to_string(),
            "error 9: media error: write fault (2/80h); block 77 of namespace 0, queue 0, command 0x0"
        );
        assert!(errors[1..].iter().all(Option::is_none));
    }

    #[test]
    fn self_tests_are_read() {
        let mut page = std::vec![0; 564];
        page[4] = 0x1F;
        assert_eq!(Log::parse(LogKind::SelfTest, &page), Log::SelfTest(SelfTest { running: None, last: None }));
        (page[0], page[1], page[4]) = (1, 40, 0x27);
        page[8..16].copy_from_slice(&77u64.to_le_bytes());
        let Log::SelfTest(test) = Log::parse(LogKind::SelfTest, &page) else { panic!() };
        assert_eq!(test, SelfTest { running: Some(40), last: Some((SelfTestResult(7), 77)) });
        assert!(SelfTestResult(7).is_failure() && !SelfTestResult(1).is_failure());
    }

    #[test]
    fn requests_fit_into_a_page() {
        for entries in [0, 1, 16, 256] {
            let (_, bytes) = LogKind::Errors.request(entries);
            assert!(bytes as usize <= crate::spec::PAGE_SIZE);
        }
    }
}
