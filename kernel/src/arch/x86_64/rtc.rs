//! Date and time of day, from the battery-backed clock.

use super::port;
use core::fmt;

/// A moment in UTC, which the clock is taken to run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what they are called")]
pub struct DateTime {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

impl fmt::Display for DateTime {
    /// ISO 8601, such as `2026-04-14T08:30:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl DateTime {
    /// The moment so many seconds after 1970-01-01T00:00:00Z; `None` for 1970 itself, which stands for an unknown time, and
    /// after the year 9999.
    pub fn from_unix_seconds(seconds: u64) -> Option<Self> {
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // As in `unix_seconds`: years begin in March. 400 years have always the same number of days.
        let days = days.checked_add(719_468)?;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        (1971..=9999).contains(&year).then_some(Self {
            year: year as u16,
            month: month as u8,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
        })
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix_seconds(&self) -> u64 {
        // Days of the civil calendar, counted in years that begin in March, so that the leap day comes last.
        let (year, month) = (u64::from(self.year), u64::from(self.month));
        let year = if month <= 2 { year - 1 } else { year };
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + u64::from(self.day) - 1;
        let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
        days * 86_400 + u64::from(self.hour) * 3600 + u64::from(self.minute) * 60 + u64::from(self.second)
    }
}

/// Index and data ports of the clock's registers.
const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
/// Second, minute, hour, day, month, year of century.
const REGISTERS: [u8; 6] = [0, 2, 4, 7, 8, 9];
const STATUS_A: u8 = 10;
const STATUS_B: u8 = 11;
/// In status A: the registers are about to change.
const UPDATING: u8 = 1 << 7;
/// In status B: numbers are binary, not decimal digits.
const BINARY: u8 = 1 << 2;
/// In status B: hours count to 24.
const FULL_DAY: u8 = 1 << 1;
/// Tries to find the clock between two updates. An update takes 2 ms at most.
const PATIENCE: u32 = 10_000;

/// Reads the clock; `None` where there is none, or it makes no sense.
pub fn read() -> Option<DateTime> {
    let mut previous = None;
    for _ in 0..PATIENCE {
        if register(STATUS_A) & UPDATING != 0 {
            continue;
        }
        let now = REGISTERS.map(register);
        // Two equal readings in a row: no update came in between.
        if previous == Some(now) {
            return decode(now, register(STATUS_B));
        }
        previous = Some(now);
    }
    None
}

fn register(index: u8) -> u8 {
    // SAFETY: reading a register of the clock has no effect but to select it; nobody else uses it. Bit 7 keeps
    // non-maskable interrupts enabled while it is clear.
    unsafe {
        port::write(INDEX, index);
        port::read(DATA)
    }
}

fn decode(raw: [u8; 6], status_b: u8) -> Option<DateTime> {
    let number = |value: u8| {
        if status_b & BINARY != 0 {
            return Some(value);
        }
        let (tens, ones) = (value >> 4, value & 15);
        (tens < 10 && ones < 10).then_some(tens * 10 + ones)
    };
    let [second, minute, hour, day, month, year] = raw;
    let mut clock_hour = number(hour & 0x7F)?;
    if status_b & FULL_DAY == 0 {
        clock_hour = clock_hour % 12 + if hour & 0x80 != 0 { 12 } else { 0 };
    }
    let time = DateTime {
        year: 2000 + u16::from(number(year)?),
        month: number(month)?,
        day: number(day)?,
        hour: clock_hour,
        minute: number(minute)?,
        second: number(second)?,
    };
    let sane = (1..=12).contains(&time.month)
        && (1..=31).contains(&time.day)
        && time.hour < 24
        && time.minute < 60
        && time.second < 61;
    sane.then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn decimal_digits_are_read() {
        let time = decode([0x59, 0x30, 0x08, 0x14, 0x04, 0x26], FULL_DAY).unwrap();
        assert_eq!(time.to_string(), "2026-04-14T08:30:59Z");
    }

    #[test]
    fn afternoon_hours_are_read() {
        let hour = |raw| decode([0, 0, raw, 1, 1, 0x26], 0).unwrap().hour;
        assert_eq!([0x12, 0x01, 0x92, 0x81, 0x91].map(hour), [0, 1, 12, 13, 23]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(decode([0xFF; 6], 0xFF), None, "no clock at all");
        assert_eq!(decode([0, 0, 0, 1, 13, 0], BINARY | FULL_DAY), None, "month 13");
        assert_eq!(decode([0x0A, 0, 0, 1, 1, 0], FULL_DAY), None, "not a digit");
    }

    #[test]
    fn unix_time_counts_leap_days() {
        let day = |year, month, day| DateTime { year, month, day, hour: 0, minute: 0, second: 1 }.unix_seconds();
        assert_eq!(day(2000, 1, 1), 946_684_801);
        assert_eq!(day(2024, 3, 1) - day(2024, 2, 28), 2 * 86_400);
        assert_eq!(day(2026, 4, 14), 1_776_124_801);
    }

    #[test]
    fn unix_time_is_taken_back() {
        for day in 366..60_000 {
            let seconds = day * 86_400 + 3_723;
            let time = DateTime::from_unix_seconds(seconds).unwrap();
            assert_eq!(time.unix_seconds(), seconds, "{time}");
            assert_eq!((time.hour, time.minute, time.second), (1, 2, 3));
        }
        assert_eq!(DateTime::from_unix_seconds(0), None);
        assert_eq!(DateTime::from_unix_seconds(u64::MAX), None);
    }
}
