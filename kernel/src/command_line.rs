//! The command line: words separated by white space.
//!
//! A word or value that is not known never stops the boot: it is kept, and named in the log.

use crate::arch::exit::Action;
use crate::crash::conditions::Conditions;
use crate::crash::kinds::Kind;
use log::LevelFilter;
use virtio_blk::transport::MmioPlace;

/// What the diagnostic program does once the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum App {
    /// Logs what the machine is, then finishes.
    #[default]
    Diag,
    /// Logs so many numbered lines of so many characters, then finishes.
    Lines {
        /// How many.
        count: u64,
        /// Characters a line, before the line feed.
        length: usize,
    },
    /// Does nothing, for ever.
    Idle,
}

/// A crash to be made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedCrash<'a> {
    /// Which way.
    pub kind: Kind,
    /// For [`Kind::PanicInDriver`]: at which step.
    pub point: &'a str,
    /// When, in milliseconds after the program began.
    pub after_ms: u64,
}

/// What to do at a non-maskable interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnNmi {
    /// Crash: somebody presses the button because the machine hangs.
    #[default]
    Crash,
    /// Log where the processor is, and go on.
    Report,
}

/// What words of the program's own begin with.
const OWN: &str = "program.";

/// Most words that are kept as not understood.
const MAX_UNKNOWN: usize = 16;

/// The command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// `app=diag|lines:N[:LEN]|idle`
    pub app: App,
    /// `crash=KIND[:MS]`, `crash=panic-in-driver:POINT[:MS]`
    pub crash: Option<PlannedCrash<'a>>,
    /// `crash=help`: logs all kinds of crashes, and what each does.
    pub crash_help: bool,
    /// `crash.at=POINT[:N]`: the planned crash happens at the Nth passage of this step of a driver or of the console; with
    /// `instruction` after N instructions of the program, with `start.instruction` after N since all devices have
    /// been found, with `tick` in the next timer tick.
    pub crash_at: Option<(&'a str, u64)>,
    /// `crash.again=POINT[:N]`: the crash path panics at the Nth passage of this step.
    pub crash_again: Option<(&'a str, u64)>,
    /// `crash.levels=N`: so many levels of the crash path panic as well: the first, that of the crash in the first, and so on.
    pub crash_levels: u64,
    /// `crash.corrupt=on|off`: just before the planned crash, overwrites what the crash path knows of each console.
    pub crash_corrupt: bool,
    /// `crash.stack=on|off`: whether raw bytes of the stack may stand in a crash record.
    pub crash_stack: bool,
    /// `crash.with=CONDITION,…`: what else is wrong at the planned crash.
    pub crash_with: Conditions,
    /// `mark=TEXT`: logged just before the planned crash.
    pub mark: Option<&'a str>,
    /// `loglevel=trace|debug|info|warn|error`
    pub log_level: LevelFilter,
    /// `panic=exit|reboot|halt`
    pub action: Action,
    /// `pad_ms=N`: milliseconds after which unwritten text is padded and written.
    pub pad_ms: u64,
    /// `ack=serial`: says on the serial port up to where records are durable.
    pub acknowledge: bool,
    /// `serial=on|off`
    pub serial: bool,
    /// `disk_patience_ms=N`: milliseconds that a disk may take to answer before its driver does something about it; the drivers'
    /// own time-outs are meant to be right.
    pub disk_patience_ms: Option<u64>,
    /// `nmi=crash|report`
    pub on_nmi: OnNmi,
    /// `hang_ms=N`: milliseconds without progress after which a program counts as hung; 0: never.
    pub hang_ms: u64,
    /// `watchdog=on|off`: whether to use a virtual machine's watchdog.
    pub watchdog: bool,
    /// `bcon.uuid=HEX`: only the console with this uuid.
    pub console_uuid: Option<u32>,
    /// `bcon.extents=<disk>:<lba>+<count>,…`: a log file's place.
    pub extents: Option<&'a str>,
    text: &'a str,
    unknown: [&'a str; MAX_UNKNOWN],
    unknown_count: usize,
}

impl Default for CommandLine<'_> {
    fn default() -> Self {
        Self {
            app: App::default(),
            crash: None,
            crash_help: false,
            crash_at: None,
            crash_again: None,
            crash_levels: 0,
            crash_corrupt: false,
            crash_stack: true,
            crash_with: Conditions::default(),
            mark: None,
            log_level: LevelFilter::Info,
            action: Action::default(),
            pad_ms: 1000,
            acknowledge: false,
            serial: true,
            disk_patience_ms: None,
            on_nmi: OnNmi::default(),
            hang_ms: 5000,
            watchdog: true,
            console_uuid: None,
            extents: None,
            text: "",
            unknown: [""; MAX_UNKNOWN],
            unknown_count: 0,
        }
    }
}

impl<'a> CommandLine<'a> {
    /// Understands what it can. Of words that are given twice, the last one counts.
    pub fn parse(text: &'a str) -> Self {
        let mut parsed = Self { text, ..Self::default() };
        for word in text.split_ascii_whitespace() {
            if parsed.take(word).is_none() {
                parsed.keep_unknown(word);
            }
        }
        parsed
    }

    /// `virtio_mmio.device=…`: the words with which virtual machines without PCI name their devices.
    pub fn mmio_devices(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.text.split_ascii_whitespace().filter(|word| word.starts_with("virtio_mmio.device="))
    }

    /// `program.NAME=VALUE`: a word of the program's own, which the kernel takes no notice of.
    pub fn own(&self, name: &str) -> Option<&'a str> {
        let value = |word: &'a str| word.strip_prefix(OWN)?.strip_prefix(name)?.strip_prefix('=');
        self.text.split_ascii_whitespace().filter_map(value).next_back()
    }

    /// Words that were not understood; at most 16 of them are kept.
    pub fn unknown(&self) -> &[&'a str] {
        self.unknown.get(..self.unknown_count).unwrap_or_default()
    }

    fn keep_unknown(&mut self, word: &'a str) {
        if let Some(slot) = self.unknown.get_mut(self.unknown_count) {
            *slot = word;
            self.unknown_count += 1;
        }
    }

    fn take(&mut self, word: &'a str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        match name {
            "app" => self.app = app(value)?,
            "crash" if value == "help" => self.crash_help = true,
            "crash" => self.crash = Some(planned_crash(value)?),
            "crash.at" => self.crash_at = Some(counted_point(value)?),
            "crash.again" => self.crash_again = Some(counted_point(value)?),
            "crash.levels" => self.crash_levels = value.parse().ok()?,
            "crash.corrupt" => self.crash_corrupt = switch(value)?,
            "crash.stack" => self.crash_stack = switch(value)?,
            "crash.with" => self.crash_with = Conditions::parse(value)?,
            "mark" => self.mark = Some(value),
            "loglevel" => self.log_level = value.parse().ok()?,
            "panic" => self.action = action(value)?,
            "pad_ms" => self.pad_ms = value.parse().ok()?,
            "ack" => self.acknowledge = one_of(value, &[("serial", true), ("off", false)])?,
            "serial" => self.serial = switch(value)?,
            "disk_patience_ms" => self.disk_patience_ms = Some(value.parse().ok().filter(|&ms| ms > 0)?),
            "nmi" => self.on_nmi = one_of(value, &[("crash", OnNmi::Crash), ("report", OnNmi::Report)])?,
            "hang_ms" => self.hang_ms = value.parse().ok()?,
            "watchdog" => self.watchdog = switch(value)?,
            "bcon.uuid" => self.console_uuid = Some(u32::from_str_radix(value, 16).ok()?),
            "bcon.extents" => self.extents = Some(value),
            // Found by `own`.
            _ if name.starts_with(OWN) => {}
            // Found by `mmio_devices`.
            "virtio_mmio.device" => drop(MmioPlace::parse(word)?),
            _ => return None,
        }
        Some(())
    }
}

fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Option<T> {
    choices.iter().find(|(name, _)| *name == value).map(|&(_, choice)| choice)
}

fn switch(value: &str) -> Option<bool> {
    one_of(value, &[("on", true), ("off", false)])
}

fn action(value: &str) -> Option<Action> {
    one_of(value, &[("exit", Action::Exit), ("reboot", Action::Reboot), ("halt", Action::Halt)])
}

/// Shortest and longest line that `app=lines` makes: the number and its text, and what a record holds.
const LINE_LENGTHS: core::ops::RangeInclusive<usize> = 32..=2000;
const LINE_LENGTH: usize = 100;

fn app(value: &str) -> Option<App> {
    let mut parts = value.split(':');
    let app = match parts.next()? {
        "diag" => App::Diag,
        "idle" => App::Idle,
        "lines" => {
            let count = parts.next()?.parse().ok()?;
            let length = parts.next().map_or(Some(LINE_LENGTH), |length| length.parse().ok())?;
            App::Lines { count, length: Some(length).filter(|length| LINE_LENGTHS.contains(length))? }
        }
        _ => return None,
    };
    parts.next().is_none().then_some(app)
}

fn planned_crash(value: &str) -> Option<PlannedCrash<'_>> {
    let (name, rest) = value.split_once(':').map_or((value, None), |(name, rest)| (name, Some(rest)));
    let kind = Kind::from_name(name)?;
    let (point, after) = match (kind, rest) {
        (Kind::PanicInDriver, Some(rest)) => match rest.rsplit_once(':') {
            Some((point, after)) => (point, Some(after)),
            None => (rest, None),
        },
        (Kind::PanicInDriver, None) => return None,
        (_, after) => ("", after),
    };
    Some(PlannedCrash { kind, point, after_ms: after.map_or(Some(0), |after| after.parse().ok())? })
}

fn counted_point(value: &str) -> Option<(&str, u64)> {
    match value.rsplit_once(':') {
        Some((point, count)) => Some((point, count.parse().ok().filter(|&count| count > 0)?)),
        None => Some((value, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(kind: Kind, point: &str, after_ms: u64) -> Option<PlannedCrash<'_>> {
        Some(PlannedCrash { kind, point, after_ms })
    }

    #[test]
    fn nothing_means_defaults() {
        assert_eq!(CommandLine::parse(""), CommandLine::default());
        assert_eq!(CommandLine { text: "", ..CommandLine::parse(" \t\n ") }, CommandLine::default());
    }

    #[test]
    fn every_word_is_understood() {
        let line = CommandLine::parse(
            "app=lines:20000:120 crash=page-fault:250 crash.at=nvme.submit:3 crash.again=x crash.levels=2 crash.corrupt=on crash.with=sse crash.stack=off mark=x1 loglevel=trace \
             panic=halt pad_ms=50 ack=serial serial=off nmi=report hang_ms=0 watchdog=off bcon.uuid=c0ffee12 \
             bcon.extents=vda:2048+4096 disk_patience_ms=300",
        );
        assert_eq!(line.unknown(), &[""; 0]);
        assert_eq!(line.app, App::Lines { count: 20_000, length: 120 });
        assert_eq!(line.crash, crash(Kind::PageFault, "", 250));
        assert_eq!((line.crash_at, line.crash_again), (Some(("nvme.submit", 3)), Some(("x", 1))));
        assert_eq!(line.crash_levels, 2);
        assert_eq!((line.crash_corrupt, line.crash_stack, line.mark), (true, false, Some("x1")));
        assert_eq!(line.crash_with, Conditions::parse("sse").unwrap());
        assert_eq!((line.log_level, line.action, line.pad_ms), (LevelFilter::Trace, Action::Halt, 50));
        assert_eq!((line.acknowledge, line.serial, line.watchdog), (true, false, false));
        assert_eq!((line.on_nmi, line.hang_ms), (OnNmi::Report, 0));
        assert_eq!((line.console_uuid, line.extents), (Some(0xC0FF_EE12), Some("vda:2048+4096")));
        assert_eq!(line.disk_patience_ms, Some(300));
    }

    #[test]
    fn unknown_words_and_values_are_kept_and_change_nothing() {
        let words =
            ["quiet", "app=", "app=lines", "app=lines:1:2", "app=diag:1", "crash=boom", "crash=panic:x", "pad_ms=-1"];
        for word in words {
            let line = CommandLine::parse(word);
            assert_eq!(line.unknown(), &[word]);
            assert_eq!(
                CommandLine { text: "", unknown_count: 0, unknown: [""; MAX_UNKNOWN], ..line },
                CommandLine::default()
            );
        }
        let many = "w ".repeat(100);
        assert_eq!(CommandLine::parse(&many).unknown().len(), MAX_UNKNOWN);
    }

    #[test]
    fn help_is_no_crash() {
        let line = CommandLine::parse("crash=help");
        assert_eq!((line.crash_help, line.crash, line.unknown().len()), (true, None, 0));
    }

    #[test]
    fn driver_points_may_have_a_time() {
        let parse = |text| CommandLine::parse(text).crash;
        assert_eq!(parse("crash=panic-in-driver:nvme.submit"), crash(Kind::PanicInDriver, "nvme.submit", 0));
        assert_eq!(parse("crash=panic-in-driver:nvme.submit:70"), crash(Kind::PanicInDriver, "nvme.submit", 70));
        assert_eq!(parse("crash=panic-in-driver"), None);
    }

    #[test]
    fn devices_without_a_bus_are_named() {
        let line =
            CommandLine::parse("virtio_mmio.device=512@0xfeb00e00:12 app=idle virtio_mmio.device=512@0xfeb00c00:11");
        assert_eq!(line.unknown(), &[""; 0]);
        assert_eq!(line.mmio_devices().count(), 2);
        assert_eq!(CommandLine::parse("virtio_mmio.device=x").unknown().len(), 1);
    }

    #[test]
    fn programs_have_words_of_their_own() {
        let line = CommandLine::parse("program.size=1 program.size=2 program.sizes=3 size=4");
        assert_eq!((line.own("size"), line.own("sizes"), line.own("siz")), (Some("2"), Some("3"), None));
        assert_eq!(line.unknown(), &["size=4"]);
    }

    #[test]
    fn the_last_word_counts() {
        assert_eq!(CommandLine::parse("pad_ms=1 pad_ms=2").pad_ms, 2);
    }
}
