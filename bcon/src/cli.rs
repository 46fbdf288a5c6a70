//! The command line: what `bcon` takes, and what its help says.

mod image;
pub mod qr;

pub use image::{FlashArgs, FlashOptions, ImageArgs, ImageOptions};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  bcon format /dev/sdb                   make a console of a disk
  bcon format disk.img --size 64M        make an image that holds one
  bcon list disk.img                     what is on it
  bcon cat disk.img --boot last          the last boot's log
  bcon crash disk.img --elf kernel       why it crashed, with functions and lines

TARGET is a block device, a partition, a raw image, or a file that holds a console; partitions inside are found. `-` is
standard input.

Exit status:
  0   done; `crash`: the record is whole; `verify`: nothing is damaged
  1   `crash`: there is no record; `verify`: something is damaged; `list`: there is no console
  2   `crash`: there is a record, but it is damaged
  3   failed, as said on standard error
  64  wrong use of the command line";

/// Prepares and reads blockconsole disks
///
/// A blockconsole disk holds the log of a machine, its crash records included, as text.
#[derive(Debug, Parser)]
#[command(name = "bcon", version, after_long_help = EXAMPLES, after_help = "See `bcon --help` for examples and exit status.")]
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

const FORMAT_EXAMPLES: &str = "\
Examples:
  bcon format /dev/sdb2                        a partition of a disk
  bcon format disk.img --size 64M              a new image
  bcon format usb.img --partition 2            a partition of an image
  bcon format esp.img --log-file               the file BCON.LOG on a FAT volume

The first MiB is zeroed, and its first sector becomes a header, as the Linux driver's own tool does it; nothing else is
touched. What is mounted or in use is always refused, and what is not empty without --force.";

/// What `format` takes.
#[derive(Args, Debug)]
#[command(after_long_help = FORMAT_EXAMPLES)]
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
    /// A JSON object a line: console, uuid, boot, tile, time, level, target, message, crash
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

const CAT_FORMATS: &str = "\
Fields of --output json, absent where they are not known:
  console  what the console is called         time     seconds since that boot's start
  uuid     the console's uuid                 level    error, warn, info, debug, trace
  boot     number of the boot                 target   who logged it
  tile     number of the tile                 message  what was logged
  crash    true for a crash record's lines; their message is the whole line

--output journal is systemd's journal export format:
  bcon cat disk.img --output journal | systemd-journal-remote -o disk.journal -
  journalctl --file disk.journal
A boot that does not know when it began is dated so many days after 1970 as its number says.

Lines of a crash record count as errors for --level. Lines without a level are printed whatever --level says, and lines
without a time or a target are left out by --since, --until and --target.";

/// What `cat` takes.
#[derive(Args, Debug)]
#[command(after_long_help = CAT_FORMATS)]
pub struct CatArgs {
    /// Disks, partitions or images
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

const CRASH_EXAMPLES: &str = "\
Examples:
  bcon crash disk.img --elf target/release/kernel
  bcon crash --all images/ --elf builds/       many disks: how often each crash, and where

Exit status: 0 the record is whole, 1 there is none, 2 it is damaged, 3 failed. A program whose build id is another than
the record's is refused: its addresses would mean something else.";

/// What `crash` takes.
#[derive(Args, Debug)]
#[command(after_long_help = CRASH_EXAMPLES)]
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
pub struct VerifyArgs {
    /// Disks, partitions or images
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub output: Report,
}

const EXTENTS_EXAMPLES: &str = "\
Example, for a file on a mounted file system that stays where it is:
  dd if=/dev/zero of=/boot/bcon.log bs=1M count=64
  bcon format /boot/bcon.log && sync
  bcon extents /boot/bcon.log                  prints bcon.extents=sda:2048+131072, for the kernel's command line";

/// What `extents` takes.
#[derive(Args, Debug)]
#[command(after_long_help = EXTENTS_EXAMPLES)]
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
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// What `man` takes.
#[derive(Args, Debug)]
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
