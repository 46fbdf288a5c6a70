//! The command line: what `bcon` takes, and what its help says.

mod help;
mod image;
pub mod qr;

pub use image::{FlashArgs, FlashOptions, ImageArgs, ImageOptions};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Prepares and reads blockconsole disks
///
/// A blockconsole disk holds the log of a machine, its crash records included, as text.
#[derive(Debug, Parser)]
#[command(name = "bcon", version, after_long_help = help::MAIN, after_help = "See `bcon --help` for examples and exit status.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a console of a disk, a partition or a file
    Format(FormatArgs),
    /// Show which consoles there are, and how they ended
    List(ListArgs),
    /// Print a console's log, oldest line first
    Cat(CatArgs),
    /// Print the end of a console's log
    Tail(TailArgs),
    /// Print the last crash record, checked and with functions and lines
    Crash(CrashArgs),
    /// Print the crash record of QR codes in pictures of a screen
    Qr(qr::QrArgs),
    /// Look for damage
    Verify(VerifyArgs),
    /// Print where a file's blocks are, for the kernel's `bcon.extents=`
    Extents(ExtentsArgs),
    /// Make a disk image that boots, of a release's files
    Image(ImageArgs),
    /// Write such an image to a disk, and read it back
    Flash(FlashArgs),
    /// Print a shell's completion script
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

/// What `format` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::FORMAT)]
pub struct FormatArgs {
    /// The disk, partition or file
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
    /// Size of a file that is made or grown, such as 64M or 1G
    #[arg(long, value_parser = parse_size)]
    pub size: Option<u64>,
    /// Go on although it is not empty (what is mounted or in use is refused all the same)
    #[arg(long)]
    pub force: bool,
    /// The console's uuid, eight hexadecimal digits [default: random]
    #[arg(long, value_parser = parse_uuid)]
    pub uuid: Option<u32>,
    /// Use this partition of an image
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// Use the file BCON.LOG of the FAT volume on the image or its partition
    #[arg(long)]
    pub log_file: bool,
}

/// How a table or a record is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// For people
    #[default]
    Text,
    /// One JSON value
    Json,
}

/// What `list` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::LIST)]
pub struct ListArgs {
    /// Disks, partitions, images, or folders of images
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub output: Report,
}

/// How lines are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LineFormat {
    /// As they stand in the log
    #[default]
    Text,
    /// A JSON object a line: console, uuid, boot, tile, time, level, target, message, crash, stale
    Json,
    /// systemd's journal export format, for systemd-journal-remote
    Journal,
    /// The tiles' bytes as they are on the disk, headers and padding included
    Raw,
}

/// When to colour lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Which boot is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootChoice {
    /// The one with this number.
    Number(u32),
    /// So many before the last one; 0 is the last one.
    FromLast(u32),
}

/// Which of a target's consoles is meant.
#[derive(Args, Clone, Copy, Debug)]
pub struct WhichConsole {
    /// The console in this partition, if there are several
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// The console with this uuid, also if its first tiles are lost: all tiles are looked at then
    #[arg(long, value_name = "HEX", value_parser = parse_uuid)]
    pub uuid: Option<u32>,
}

/// Which lines are printed, and how.
#[derive(Args, Debug)]
pub struct LineArgs {
    /// Only lines of this level or graver ones: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    pub level: Option<blockconsole::Level>,
    /// Only lines from this target, or from those below it (app: app and app::net)
    #[arg(long = "target", value_name = "NAME")]
    pub names: Vec<String>,
    /// Only lines that match this regular expression
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<regex::bytes::Regex>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub output: LineFormat,
    /// When to colour them
    #[arg(long, value_enum, default_value_t)]
    pub color: Color,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help of the first option")]
    pub which: WhichConsole,
}

/// What `cat` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::CAT)]
pub struct CatArgs {
    /// Disks, partitions, images, or folders of images
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<PathBuf>,
    /// Only this boot: its number, `last`, or -1 for the one before the last
    #[arg(long, value_name = "N", value_parser = parse_boot, allow_hyphen_values = true)]
    pub boot: Option<BootChoice>,
    /// Only lines from this time on, in seconds since their boot
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub since: Option<u64>,
    /// Only lines up to this time, in seconds since their boot
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub until: Option<u64>,
    /// Only what follows the beginning of the last crash record
    #[arg(long)]
    pub since_crash: bool,
    /// So many lines around each line that is chosen
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub context: usize,
    /// The same as --output raw
    #[arg(long)]
    pub raw: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help of the first option")]
    pub lines: LineArgs,
}

/// What `tail` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::TAIL)]
pub struct TailArgs {
    /// The disk, partition or image
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
    /// Number of lines
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    pub count: usize,
    /// Wait for more lines, and print them as they come
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help of the first option")]
    pub lines: LineArgs,
}

/// What `crash` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::CRASH)]
pub struct CrashArgs {
    /// Disks, partitions, images, or folders of images
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<PathBuf>,
    /// The program that crashed, or a folder in which to look for it by its build id
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// Only a record of this boot: its number, `last`, or -1 for the one before the last
    #[arg(long, value_name = "N", value_parser = parse_boot, allow_hyphen_values = true)]
    pub boot: Option<BootChoice>,
    /// Read all targets, many at a time, and count the crashes by reason and place
    #[arg(long)]
    pub all: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub output: Report,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become the help of the first option")]
    pub which: WhichConsole,
}

/// What `verify` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::VERIFY)]
pub struct VerifyArgs {
    /// Disks, partitions, images, or folders of images
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<PathBuf>,
    /// Only the console with this uuid, also if its first tiles are lost: all tiles are looked at then
    #[arg(long, value_name = "HEX", value_parser = parse_uuid)]
    pub uuid: Option<u32>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub output: Report,
}

/// What `extents` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::EXTENTS)]
pub struct ExtentsArgs {
    /// The file, on a mounted file system
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What the kernel calls the disk [default: the name that this system has for it]
    #[arg(long)]
    pub disk: Option<String>,
}

/// What `completions` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// What `man` takes.
#[derive(Args, Debug)]
#[command(after_long_help = help::MAN)]
pub struct ManArgs {
    /// The folder that they are written to [default: bcon(1) alone, to standard output]
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// A number of bytes with a unit: 4096, 512K, 64M, 1G, 2TiB. Units are powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.strip_suffix("iB").unwrap_or(unit) {
        "" if unit.is_empty() => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("expected a number and K, M, G or T, such as 64M".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number, such as 64M".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

fn parse_uuid(text: &str) -> Result<u32, String> {
    let is_hex = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten();
    value.ok_or_else(|| "expected eight hexadecimal digits".to_owned())
}

fn parse_level(text: &str) -> Result<blockconsole::Level, String> {
    blockconsole::Level::from_name(text).ok_or_else(|| "expected error, warn, info, debug or trace".to_owned())
}

fn parse_boot(text: &str) -> Result<BootChoice, String> {
    let expected = || "expected a boot's number, `last`, or -1 for the one before the last".to_owned();
    match text.strip_prefix('-') {
        Some(before) => before.parse().map(BootChoice::FromLast).map_err(|_| expected()),
        None if text == "last" || text == "0" => Ok(BootChoice::FromLast(0)),
        None => text.parse().map(BootChoice::Number).map_err(|_| expected()),
    }
}

/// Seconds with up to six decimals, as microseconds.
fn parse_seconds(text: &str) -> Result<u64, String> {
    let expected = || "expected seconds, such as 2 or 0.25".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 6 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    let micros: u64 = format!("{part:0<6}").parse().map_err(|_| expected())?;
    let whole: u64 = whole.parse().map_err(|_| expected())?;
    whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(micros)).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_are_read() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("4096"), Ok(4096));
        for wrong in ["", "M", "64MB", "-1M", "1.5G", "99999999999T", "iB", "5iB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_seconds("1.25"), Ok(1_250_000));
        assert_eq!(parse_seconds("7"), Ok(7_000_000));
        for wrong in ["", ".", "1.", "1.1234567", "-1", "x"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn boots_are_read() {
        assert_eq!(parse_boot("last"), Ok(BootChoice::FromLast(0)));
        assert_eq!(parse_boot("-2"), Ok(BootChoice::FromLast(2)));
        assert_eq!(parse_boot("7"), Ok(BootChoice::Number(7)));
        assert!(parse_boot("--1").is_err() && parse_boot("x").is_err());
        let cli = Cli::try_parse_from(["bcon", "cat", "x", "--boot", "-1"]).unwrap();
        assert!(matches!(cli.command, Command::Cat(cat) if cat.boot == Some(BootChoice::FromLast(1))));
    }
}
