//! `cargo xtask drill`: whether a setup of one's own captures crashes.
//!
//! A guest with the user's disks crashes on purpose, and another one is booted on the same disks. What counts is on the disks: after the
//! first guest its record, whole, and a random word exactly once; after the second one both of them still.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use qemu::{Disk, Guest, Machine, Outcome, Programs, Report};

use crate::capture::{self, Captured};

/// Crash on purpose with one's own disks, boot again, and say in a line for each setup whether it captures.
///
/// The images are written to like any console: only where they carry a header. A setup takes a second or two.
/// Exit status: 0 all setups capture; 20 one does not; 30 time-out; 1 anything else.
#[derive(Args)]
pub(crate) struct DrillOptions {
    /// A setup: an image, or several with + in between. An image is attached as virtio disk, or as what stands before it:
    /// `nvme:IMAGE`, `virtio:IMAGE`, `virtio-legacy:IMAGE`, `virtio-mmio:IMAGE`.
    #[arg(required = true, value_name = "IMAGE")]
    setups: Vec<String>,

    /// How to crash.
    #[arg(long, value_name = "KIND", default_value = "page-fault")]
    crash: String,

    /// More words for the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,

    /// The disks' block size.
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    block: u32,

    /// The machine's memory, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    memory: u32,

    /// Time after which a guest is killed.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,

    /// Build with optimisations.
    #[arg(long)]
    release: bool,

    /// QEMU's accelerator.
    #[arg(long, value_name = "NAME", default_value = "tcg")]
    accel: String,

    /// Hand an argument to QEMU, repeatable.
    #[arg(long = "qemu-arg", value_name = "ARG", allow_hyphen_values = true)]
    qemu_arguments: Vec<OsString>,
}

/// What a drill came to.
enum Verdict {
    Captures(String),
    Fails(String),
    TimedOut,
}

/// Runs the drill for each setup.
///
/// # Errors
/// When the programs do not build.
pub(crate) fn drill(options: &DrillOptions) -> Result<ExitCode> {
    let programs = Programs::build(options.release)?;
    let mut status = 0;
    for setup in &options.setups {
        let (own, words) = match drill_one(options, &programs, setup) {
            Ok(Verdict::Captures(how)) => (0, format!("captures: {how}")),
            Ok(Verdict::Fails(why)) => (20, format!("DOES NOT CAPTURE: {why}")),
            Ok(Verdict::TimedOut) => (30, "time-out: the guest did not come to its end".to_owned()),
            Err(error) => (1, format!("cannot be tried: {error:#}")),
        };
        println!("{setup}: {words}");
        // What is worse is told: that nothing could be tried, most of all.
        let rank = |status: u8| [0, 20, 30, 1].iter().position(|known| *known == status);
        status = if rank(own) > rank(status) { own } else { status };
    }
    Ok(ExitCode::from(status))
}

fn drill_one(options: &DrillOptions, programs: &Programs, setup: &str) -> Result<Verdict> {
    let disks = setup.split('+').map(|image| disk(image, options.block)).collect::<Result<Vec<_>>>()?;
    let word = capture::random_word();
    let first = run(options, programs, &disks, &format!("mark={word} crash={}:100", options.crash))?;
    if first.outcome == Outcome::TimedOut {
        return Ok(Verdict::TimedOut);
    }
    let (crashed, problems) = look(&disks, &word)?;
    if crashed.is_empty() {
        return Ok(Verdict::Fails("no disk has a console: `bcon format` makes one".to_owned()));
    }
    if !problems.is_empty() {
        return Ok(Verdict::Fails(format!("{}; {}", problems.join("; "), first.outcome)));
    }
    if !matches!(first.outcome, Outcome::Crashed { .. }) {
        return Ok(Verdict::Fails(format!("no crash: {}", first.outcome)));
    }
    let second = run(options, programs, &disks, "app=diag")?;
    if second.outcome == Outcome::TimedOut {
        return Ok(Verdict::TimedOut);
    }
    let is_kept = |(before, after): (&Captured, &Captured)| after.marks == 1 && after.last_id == before.id;
    let kept = crashed.iter().zip(&capture_all(&disks, &word)?).filter(|pair| is_kept(*pair)).count();
    if second.outcome != Outcome::Finished || kept != crashed.len() {
        let of = crashed.len();
        return Ok(Verdict::Fails(format!("after the next boot {kept} of {of} logs are whole; {}", second.outcome)));
    }
    let micros = capture::spread(capture::said(&first.serial_text()).iter().map(|said| said.micros).collect());
    let time = micros.map_or(String::new(), |[.., most]| format!(" within {most} us"));
    let count = crashed.len();
    Ok(Verdict::Captures(format!(
        "the record was whole on {count} of {count} consoles{time}, and the next boot kept it"
    )))
}

fn capture_all(disks: &[Disk], word: &str) -> Result<Vec<Captured>> {
    let mut all = Vec::new();
    for disk in disks {
        all.extend(capture::read(disk.path.as_deref().context("a disk has no path")?, word)?);
    }
    Ok(all)
}

/// What the disks hold after the crash, and what is wrong with that.
fn look(disks: &[Disk], word: &str) -> Result<(Vec<Captured>, Vec<String>)> {
    let all = capture_all(disks, word)?;
    let mut problems: Vec<String> = all.iter().filter_map(|found| found.problem.clone()).collect();
    problems.extend(all.iter().flat_map(|found| found.damages.clone()));
    problems.extend(
        all.iter().filter(|found| found.marks != 1).map(|found| format!("the word is there {} times", found.marks)),
    );
    if all.windows(2).any(|pair| pair[0].id != pair[1].id) {
        problems.push("the records are not of one and the same crash".to_owned());
    }
    Ok((all, problems))
}

fn disk(text: &str, block_size: u32) -> Result<Disk> {
    let kind = text.split_once(':').and_then(|(kind, path)| Some((kind.parse().ok()?, path)));
    let (kind, path) = kind.unwrap_or((qemu::Kind::Virtio, text));
    ensure!(Path::new(path).exists(), "{path} is not there");
    let mut disk = Disk::new(kind, path);
    (disk.block_size, disk.format) = (block_size, false);
    Ok(disk)
}

fn run(options: &DrillOptions, programs: &Programs, disks: &[Disk], words: &str) -> Result<Report> {
    let mut guest = Guest::new(programs);
    guest.machine = Machine::for_disks(disks)?;
    guest.disks = disks.to_vec();
    guest.memory_mib = options.memory;
    guest.accelerator.clone_from(&options.accel);
    guest.command_line = format!("{words} {}", options.append).trim().to_owned();
    guest.time_limit = Some(Duration::from_secs(options.timeout));
    guest.arguments.clone_from(&options.qemu_arguments);
    guest.start()?.wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_may_say_how_they_are_attached() {
        let directory = qemu::TemporaryDirectory::new().unwrap();
        let path = directory.file("a");
        std::fs::write(&path, []).unwrap();
        let path = path.display().to_string();
        for (text, kind) in [(path.clone(), qemu::Kind::Virtio), (format!("nvme:{path}"), qemu::Kind::Nvme)] {
            let disk = disk(&text, 4096).unwrap();
            assert_eq!((disk.kind, disk.block_size, disk.format), (kind, 4096, false));
            assert_eq!(disk.path.unwrap().display().to_string(), path);
        }
        assert!(disk("nvme:/not/there", 512).is_err());
    }
}
