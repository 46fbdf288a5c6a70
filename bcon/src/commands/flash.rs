//! `bcon flash`, and what `cargo xtask flash` has in common with it.

use super::{DONE, say};
use crate::cli::{FlashArgs, FlashOptions};
use crate::flash::{Disk, Image, Step, Told, Verdict, flash};
use crate::medium::Medium;
use crate::signature::{self, Contents};
use crate::target::open_file;
use anyhow::{Result, bail};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

/// Characters of a progress bar.
const BAR: u64 = 40;

pub(super) fn run(args: &FlashArgs) -> Result<u8> {
    write(&args.device, &args.image, args.options)?;
    Ok(DONE)
}

/// Writes an image to a disk, if it may, and the user says so; shows how far it is.
///
/// # Errors
/// When the disk is refused, or writing or reading it back fails.
pub fn write(device: &Path, image: &Path, options: FlashOptions) -> Result<()> {
    let image = Image::open(image)?;
    let disk = Disk::look(device)?;
    let is_held = match disk.verdict(image.size(), Told(options.force)) {
        Verdict::Go { is_held } => is_held,
        Verdict::Refused(refusal) => bail!("{disk}: {refusal}"),
    };
    // A disk's name for itself may be anything.
    say(&format!("{disk}; it holds {}", holds(device)?));
    if let Some(user) = &disk.user {
        say(&format!("warning: {user}, and will be overwritten nevertheless"));
    }
    if !options.yes && !confirmed(&disk)? {
        bail!("nothing was written");
    }
    let mut bar = Bar::new(image.size());
    let done = flash(device, &image, Some(disk.identity), is_held, |step, done| bar.show(step, done));
    bar.end();
    done?;
    writeln!(io::stdout(), "{}: written, and read back the same", disk.name)?;
    Ok(())
}

fn holds(device: &Path) -> Result<String> {
    let (file, len) = open_file(device, false)?;
    Ok(match signature::contents(&Medium::whole(Arc::new(file), len))? {
        Contents::Empty => "nothing".to_owned(),
        Contents::Console => "a console with its log".to_owned(),
        Contents::Known(what) => what.to_owned(),
        Contents::Image(format) => format!("a {format} disk image"),
        Contents::Unknown => "data of an unknown kind".to_owned(),
    })
}

fn confirmed(disk: &Disk) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("nobody is there to be asked: --yes overwrites {} without", disk.name);
    }
    eprint!("all of that will be lost: type `yes` to go on: ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// How far it is: a bar on a terminal, a line for each step otherwise.
struct Bar {
    size: u64,
    is_terminal: bool,
    shown: Option<(Step, u64)>,
}

impl Bar {
    fn new(size: u64) -> Self {
        Self { size, is_terminal: io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, step: Step, done: u64) {
        let percent = done * 100 / self.size.max(1);
        if !self.is_terminal && done != self.size || self.shown == Some((step, percent)) {
            return;
        }
        self.shown = Some((step, percent));
        let bar = bar(step, percent, done);
        if self.is_terminal {
            eprint!("\r{bar}");
        } else {
            eprintln!("{bar}");
        }
    }

    fn end(&self) {
        if self.is_terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}

fn bar(step: Step, percent: u64, done: u64) -> String {
    let step = match step {
        Step::Writing => "writing  ",
        Step::Verifying => "verifying",
    };
    let filled = (percent * BAR / 100) as usize;
    format!("{step} [{:<width$}] {percent:3} %, {} MiB", "#".repeat(filled), done >> 20, width = BAR as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_up() {
        assert_eq!(bar(Step::Writing, 0, 0), format!("writing   [{}]   0 %, 0 MiB", " ".repeat(40)));
        assert_eq!(
            bar(Step::Verifying, 50, 9 << 20),
            format!("verifying [{}{}]  50 %, 9 MiB", "#".repeat(20), " ".repeat(20))
        );
        assert_eq!(bar(Step::Writing, 100, 1).matches('#').count(), 40);
    }
}
