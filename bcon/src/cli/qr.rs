//! What `qr` takes.

use super::Report;
use clap::Args;
use std::path::PathBuf;

const QR_EXAMPLES: &str = "\
Examples:
  bcon qr screen.png                     a screenshot, or a photo of the screen
  bcon qr left.png right.png             several photos, each with some of the codes
  bcon qr scanned.txt --elf kernel       what a phone's scanner has read, one code a line

Pictures are PNG, PPM or PGM. Exit status: 0 the record is whole, 1 there is no code of a crash record, 2 codes are missing or
damaged, 3 failed.";

/// What `qr` takes.
#[derive(Args, Debug)]
#[command(after_long_help = QR_EXAMPLES)]
pub struct QrArgs {
    /// Pictures of a screen that shows a crash, or what was scanned from it
    #[arg(value_name = "FILE", required = true)]
    pub pictures: Vec<PathBuf>,
    /// The program that crashed, or a folder in which to look for it by its build id
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub output: Report,
}
