//! What may go wrong with a disk, on purpose.
//!
//! ```text
//!   FAULT = KIND ["-once"] ["@" SECTOR]
//!         | "nth-write:" N
//!         | "hang"
//!         | "hang-flush"
//!         | "hang-read"
//!   KIND  = "eio-read" | "eio-write" | "eio-flush" | "enospc"
//! ```
//!
//! `eio-…` fails these requests with EIO, `enospc` fails writes with ENOSPC: always, or `-once`; all of them, or
//! those that touch a sector (512 bytes each, whatever the disk's block size). `nth-write:N` lets N - 1 writes
//! pass, and fails each from the N-th on with EIO. `hang` holds the first write back for ever, `hang-flush` the first flush,
//! `hang-read` the first read.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use serde_json::{Value, json};

/// One fault of a disk. See the [module](self) for the words it is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Requests that fail.
    Fail {
        /// Which requests.
        requests: Requests,
        /// Whether only the first such request fails.
        once: bool,
        /// Only requests that touch this sector of 512 bytes.
        sector: Option<u64>,
    },
    /// Writes fail with EIO from this one on; the first is 1.
    NthWrite(u32),
    /// The first write never completes.
    Hang,
    /// The first flush never completes.
    HangFlush,
    /// The first read never completes.
    HangRead,
}

/// The requests that a [`Fault::Fail`] hits, and with which error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// Reads, with EIO.
    Read,
    /// Writes and writes of zeroes, with EIO.
    Write,
    /// Flushes, with EIO.
    Flush,
    /// Writes and writes of zeroes, with ENOSPC.
    NoSpace,
}

const EIO: u32 = 5;
const ENOSPC: u32 = 28;

/// `nth-write` takes a rule for each write before the N-th, and all of them go into one argument of QEMU's.
const LARGEST_NTH: u32 = 1000;

const WORDS: [(&str, Requests); 4] = [
    ("eio-read", Requests::Read),
    ("eio-write", Requests::Write),
    ("eio-flush", Requests::Flush),
    ("enospc", Requests::NoSpace),
];

impl Requests {
    /// QEMU's names for them, and the error.
    const fn rule(self) -> (&'static [&'static str], u32) {
        match self {
            Self::Read => (&["read"], EIO),
            Self::Write => (&["write", "write-zeroes"], EIO),
            Self::Flush => (&["flush"], EIO),
            Self::NoSpace => (&["write", "write-zeroes"], ENOSPC),
        }
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "hang" {
            return Ok(Self::Hang);
        }
        if text == "hang-flush" {
            return Ok(Self::HangFlush);
        }
        if text == "hang-read" {
            return Ok(Self::HangRead);
        }
        if let Some(number) = text.strip_prefix("nth-write:") {
            let number = number.parse().with_context(|| format!("fault {text:?}: {number:?} is not a number"))?;
            if !(1..=LARGEST_NTH).contains(&number) {
                bail!("fault {text:?}: the number must be from 1 to {LARGEST_NTH}");
            }
            return Ok(Self::NthWrite(number));
        }
        let (rest, sector) = match text.split_once('@') {
            None => (text, None),
            Some((rest, sector)) => {
                let sector =
                    sector.parse().with_context(|| format!("fault {text:?}: {sector:?} is not a sector number"))?;
                (rest, Some(sector))
            }
        };
        let (word, once) = match rest.strip_suffix("-once") {
            None => (rest, false),
            Some(word) => (word, true),
        };
        match WORDS.iter().find(|(known, _)| *known == word) {
            Some((_, Requests::Flush)) if sector.is_some() => bail!("fault {text:?}: a flush has no sector"),
            Some((_, requests)) => Ok(Self::Fail { requests: *requests, once, sector }),
            None => bail!(
                "fault {text:?} is unknown: known are eio-read, eio-write, eio-flush and enospc (each with -once \
                 and @SECTOR), nth-write:N, hang, hang-flush and hang-read"
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hang => f.write_str("hang"),
            Self::HangFlush => f.write_str("hang-flush"),
            Self::HangRead => f.write_str("hang-read"),
            Self::NthWrite(number) => write!(f, "nth-write:{number}"),
            Self::Fail { requests, once, sector } => {
                let word = WORDS.iter().find(|(_, known)| known == requests).map_or("", |(word, _)| word);
                f.write_str(word)?;
                if *once {
                    f.write_str("-once")?;
                }
                sector.map_or(Ok(()), |sector| write!(f, "@{sector}"))
            }
        }
    }
}

/// The options `inject-error` and `set-state` of QEMU's `blkdebug` driver for these faults.
pub(crate) fn blkdebug_rules(faults: &[Fault]) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut errors = Vec::new();
    let mut states = Vec::new();
    let counts = |fault: &Fault| matches!(fault, Fault::NthWrite(_));
    let fails = |fault: &Fault| matches!(fault, Fault::Fail { .. });
    // When a counted write makes its rule active, blkdebug forgets those that were active from the start.
    if faults.iter().filter(|fault| counts(fault)).count() > 1 || faults.iter().any(counts) && faults.iter().any(fails)
    {
        bail!("nth-write cannot be combined with other faults that fail requests");
    }
    for fault in faults {
        match *fault {
            Fault::Hang | Fault::HangFlush | Fault::HangRead => {}
            Fault::Fail { requests, once, sector } => {
                let (types, errno) = requests.rule();
                for request_type in types {
                    let mut rule = json!({ "event": "none", "iotype": request_type, "errno": errno, "once": once });
                    if let Some(sector) = sector {
                        rule["sector"] = sector.into();
                    }
                    errors.push(rule);
                }
            }
            Fault::NthWrite(number) => {
                // blkdebug starts in state 1, and each write takes it one further: write N finds state N.
                for write in 1..number {
                    states.push(json!({ "event": "write_aio", "state": write, "new_state": write + 1 }));
                }
                for request_type in Requests::Write.rule().0 {
                    errors.push(json!({ "event": "write_aio", "iotype": request_type, "state": number, "errno": EIO }));
                }
            }
        }
    }
    Ok((errors, states))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for text in [
            "eio-read",
            "eio-write",
            "eio-write-once",
            "eio-write@2048",
            "eio-write-once@0",
            "eio-flush",
            "eio-flush-once",
            "enospc",
            "enospc@16",
            "nth-write:1",
            "nth-write:1000",
            "hang",
            "hang-flush",
            "hang-read",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_blkdebug_cannot_combine_is_refused() {
        for (texts, works) in [
            (&["eio-flush", "eio-write@5", "hang"][..], true),
            (&["nth-write:3", "hang"], true),
            (&["nth-write:3", "nth-write:4"], false),
            (&["nth-write:3", "eio-flush"], false),
        ] {
            let faults: Vec<Fault> = texts.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(blkdebug_rules(&faults).is_ok(), works, "{texts:?}");
        }
    }

    #[test]
    fn other_words_are_refused_by_name() {
        for text in [
            "",
            "eio",
            "eio-write@",
            "eio-write@x",
            "eio-write@-1",
            "eio-flush@1",
            "once",
            "nth-write:0",
            "nth-write:1001",
            "nth-write:",
            "hang-once",
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
