//! What a crash takes until its record is durable, and what memory a boot takes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu::{Disk, Guest, Kind, Outcome, Programs, Report, TemporaryDirectory};

use super::budgets::Budget;
use crate::capture::{said, spread};

/// Guests that crash, of each kind of disk.
const CRASHES: usize = 15;
/// From the crash until the record is durable, in ms of the guest's clock: median, worst.
const CRASH_MS: [f64; 2] = [2.0, 5.0];
/// Commands to a console after the crash.
const CRASH_WRITES: f64 = 4.0;
const CRASH_FLUSHES: f64 = 1.0;
/// Memory that the kernel takes while it runs, in KiB, and of that for each console.
const MEMORY_KIB: f64 = 4096.0;
const CONSOLE_KIB: f64 = 1024.0;

/// Crashes on each kind of disk, under a flood of lines: some of its writes are in flight then.
///
/// # Errors
/// When a guest does not crash as it should.
pub(super) fn crashes(programs: &Programs) -> Result<Vec<Budget>> {
    let mut budgets = Vec::new();
    for kind in [Kind::Virtio, Kind::Nvme] {
        println!("{}: {CRASHES} crashes", kind.name());
        let mut all = Vec::new();
        for number in 0..CRASHES {
            let words = format!("app=lines:9000000 crash=panic:{}", 5 + 7 * number);
            let report = run(programs, &[kind], &words)?.expect(Outcome::Crashed { durable_everywhere: true })?;
            let said = said(&report.serial_text());
            ensure!(said.len() == 1, "{} consoles say how fast they were: {report}", said.len());
            all.extend(said);
        }
        let micros = spread(all.iter().map(|said| said.micros).collect());
        let times = micros.map(|[_, median, worst]| [median, worst].map(|micros| micros as f64 / 1e3));
        for (index, word) in ["median", "worst"].into_iter().enumerate() {
            let what = format!("{}: crash to durable record, {word}, ms", kind.name());
            budgets.push(Budget::most(what, times.map(|times| times[index]), CRASH_MS[index]));
        }
        let most = |count: fn(&crate::capture::Commands) -> u32| {
            all.iter().filter_map(|said| said.commands.as_ref().map(count)).max().map(f64::from)
        };
        for (what, measured, limit) in [
            ("writes", most(|commands| commands.writes), CRASH_WRITES),
            ("flushes", most(|commands| commands.flushes), CRASH_FLUSHES),
        ] {
            budgets.push(Budget::most(format!("{}: {what} in a crash, at most", kind.name()), measured, limit));
        }
    }
    Ok(budgets)
}

/// Memory that the diagnostic program takes with two consoles: what was free when it began and is not any more, and its own image.
///
/// # Errors
/// When the guest does not finish, or does not say what memory it has.
pub(super) fn memory(programs: &Programs) -> Result<Budget> {
    let kinds = [Kind::Virtio, Kind::Nvme];
    let report = run(programs, &kinds, "app=diag")?.expect(Outcome::Finished)?;
    let text = report.serial_text();
    let line = text.lines().find(|line| line.contains("diag: memory: regions=")).context("no line about memory")?;
    let number = |name: &str| -> Result<f64> {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(name));
        Ok(value.with_context(|| format!("no {name} in {line:?}"))?.parse()?)
    };
    let taken = number("of_kib=")? - number("free_kib=")? + image_kib(&text)?;
    let limit = MEMORY_KIB + CONSOLE_KIB * kinds.len() as f64;
    Ok(Budget::most("memory of the kernel with two consoles, KiB".to_owned(), Some(taken), limit))
}

/// The kernel's image in memory, as its loader says: `boot: kernel 0x…..0x… Read at physical …`.
fn image_kib(serial: &str) -> Result<f64> {
    let parts = serial.lines().filter_map(|line| line.split_once("boot: kernel 0x")?.1.split_once(' '));
    let mut bytes = 0;
    for (range, _) in parts {
        let (start, end) = range.split_once("..0x").with_context(|| format!("{range:?} is no range"))?;
        bytes += u64::from_str_radix(end, 16)?.saturating_sub(u64::from_str_radix(start, 16)?);
    }
    ensure!(bytes > 0, "the loader does not say how large the kernel is");
    Ok(bytes as f64 / 1024.0)
}

fn run(programs: &Programs, kinds: &[Kind], words: &str) -> Result<Report> {
    let directory = TemporaryDirectory::new()?;
    let mut guest = Guest::new(programs);
    guest.disks = kinds.iter().map(|kind| Disk::new(*kind, directory.file(kind.name()))).collect();
    guest.command_line = words.to_owned();
    guest.time_limit = Some(Duration::from_secs(60));
    guest.start()?.wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_the_sum_of_its_parts() {
        let text = "boot: kernel 0xffffffff80000000..0xffffffff80017000 Read at physical 0x1\n\
            x boot: kernel 0xffffffff80017000..0xffffffff80018000 ReadExecute at physical 0x2\n";
        assert_eq!(image_kib(text).unwrap(), 96.0);
        assert!(image_kib("").is_err());
    }
}
