//! The boot loader's own log, which it hands over behind the command line.
//!
//! Each line: 16 hexadecimal digits of the time stamp counter, a space, the level in five columns, a space, the text. What
//! does not look so is left out.

use blockconsole::Level;

/// A line of the loader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The time stamp counter when it was written.
    pub time_stamp: u64,
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: &'a str,
}

/// The lines of a loader's log.
pub(crate) fn lines(log: &[u8]) -> impl Iterator<Item = Line<'_>> {
    log.split(|&byte| byte == b'\n').filter_map(line)
}

fn line(bytes: &[u8]) -> Option<Line<'_>> {
    let text = core::str::from_utf8(bytes).ok()?;
    let (time_stamp, rest) = text.split_at_checked(16)?;
    let time_stamp = u64::from_str_radix(time_stamp, 16).ok()?;
    let (level, text) = rest.strip_prefix(' ')?.split_at_checked(5)?;
    Some(Line { time_stamp, level: Level::from_name(level.trim_end())?, text: text.strip_prefix(' ')? })
}

/// Where the loader says that SMBIOS has its entry point: among the words behind its log, `smbios=0x…`.
pub(crate) fn smbios(words: &[u8]) -> Option<u64> {
    let words = core::str::from_utf8(words).ok()?;
    let address = words.split(' ').find_map(|word| word.strip_prefix("smbios=0x"))?;
    u64::from_str_radix(address, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn lines_are_taken_apart() {
        let log =
            b"00000000000000ff INFO  kernel of 3 segments\n0000000000000100 WARN  \xFF\n0000000000000101 WARN  hm: x\n";
        let found: Vec<_> = lines(log).collect();
        assert_eq!(
            found,
            [
                Line { time_stamp: 255, level: Level::Info, text: "kernel of 3 segments" },
                Line { time_stamp: 257, level: Level::Warn, text: "hm: x" },
            ]
        );
    }

    #[test]
    fn words_behind_the_log_are_known_or_not() {
        assert_eq!(smbios(b"smbios=0xabc0"), Some(0xABC0));
        assert_eq!(smbios(b"x=1 smbios=0xffffffffffffffff y"), Some(u64::MAX));
        for nonsense in [&b""[..], b"smbios=0x", b"smbios=1", b"smbios=0xfffffffffffffffff", b"\xFF smbios=0x1"] {
            assert_eq!(smbios(nonsense), None);
        }
    }

    #[test]
    fn nonsense_is_left_out() {
        for nonsense in [
            "",
            "x",
            "00000000000000ff",
            "00000000000000ff INFO",
            "00000000000000ffINFO  x",
            "0000000000000\u{e9}0 INFO  x",
        ] {
            assert_eq!(lines(nonsense.as_bytes()).count(), 0, "{nonsense}");
        }
    }
}
