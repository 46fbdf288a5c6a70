//! A figure that a guest measured, as it stands on its serial port.

use anyhow::{Context, Result, bail};

/// How long some operations of one kind took, by the guest's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    /// `write`, `write-flush` or `lines`.
    pub(super) what: String,
    /// Bytes an operation.
    pub(super) bytes: u64,
    /// Operations in flight at a time.
    pub(super) depth: u64,
    /// How many were made.
    pub(super) operations: u64,
    /// From the first one's start to the last one's end.
    pub(super) total_ns: u64,
    /// Of one operation; with several in flight, the total divided by their number.
    pub(super) median_ns: u64,
}

impl Figure {
    /// Reads `<what> bytes=<n> depth=<n> operations=<n> total_ns=<n> median_ns=<n>`.
    ///
    /// # Errors
    /// When a word is missing or is no number: the guests print what this reads, so one of the two is wrong.
    pub(super) fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let what = words.next().context("a figure's line is empty")?.to_owned();
        let mut figure = Self { what, bytes: 0, depth: 0, operations: 0, total_ns: 0, median_ns: 0 };
        for word in words {
            let (name, value) =
                word.split_once('=').with_context(|| format!("{word:?} in {line:?} is no name=number"))?;
            let value = value.parse().with_context(|| format!("{word:?} in {line:?} is no name=number"))?;
            match name {
                "bytes" => figure.bytes = value,
                "depth" => figure.depth = value,
                "operations" => figure.operations = value,
                "total_ns" => figure.total_ns = value,
                "median_ns" => figure.median_ns = value,
                _ => bail!("{name:?} in {line:?} is no known figure"),
            }
        }
        if figure.operations == 0 || figure.total_ns == 0 {
            bail!("{line:?} measured nothing");
        }
        Ok(figure)
    }

    /// Bytes a second.
    pub(super) fn rate(&self) -> f64 {
        (self.bytes * self.operations) as f64 * 1e9 / self.total_ns as f64
    }
}
