//! One scenario, played, and what the disks hold afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use qemu::write_log::{Fate, PowerCut, WriteLog, acknowledgements};
use qemu::{Disk, Fault, Guest, Machine, Outcome, Programs, Report, TemporaryDirectory, last_acknowledged};

use super::scenario::{LINES, LINES_BEFORE, Scenario, Trouble};
use super::story::{Story, last_shown};
use crate::campaign::CampaignOptions;
use crate::capture;
use crate::random::Random;

/// How long a guest may take: a hard hang waits for its watchdog, and a slow disk for itself.
const TIME_LIMIT: Duration = Duration::from_secs(90);
/// Places in a disk's log where the power goes.
const CUTS: usize = 12;

/// A scenario that is played.
pub(super) struct Trial<'a> {
    programs: &'a Programs,
    scenario: &'a Scenario,
    campaign: &'a CampaignOptions,
    directory: TemporaryDirectory,
    disks: Vec<Disk>,
    random: Random,
    /// Whether writes that nothing had acknowledged may be missing before later ones.
    has_holes: bool,
    pub(super) result: TrialResult,
}

/// What became of it.
#[derive(Default)]
pub(super) struct TrialResult {
    /// What is wrong, in words.
    pub(super) problems: Vec<String>,
    /// Guests that were booted for it.
    pub(super) guests: usize,
    /// Disks as a power cut left them that were checked.
    pub(super) cuts: usize,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        programs: &'a Programs,
        scenario: &'a Scenario,
        seed: u64,
        campaign: &'a CampaignOptions,
    ) -> Result<Self> {
        let directory = TemporaryDirectory::new()?;
        let mut disks = scenario.disks.clone();
        for (number, disk) in disks.iter_mut().enumerate() {
            disk.path = Some(directory.file(&format!("disk{number}")));
        }
        let (random, result) = (Random::new(seed), TrialResult::default());
        Ok(Self { programs, scenario, campaign, directory, disks, random, has_holes: false, result })
    }

    /// Plays it.
    ///
    /// # Errors
    /// When guests cannot be run, or disks not be read.
    pub(super) fn play(&mut self) -> Result<()> {
        let fill = format!("app=lines:{LINES_BEFORE} serial=off");
        let sound: Vec<Disk> = self.disks.iter().map(sound).collect();
        for _ in 0..self.scenario.boots_before {
            let report = self.run(&sound, &fill)?;
            self.expect(&report, Outcome::Finished);
        }
        match self.scenario.trouble.clone() {
            Trouble::PowerCut => self.power_cut()?,
            Trouble::Kill(records) => self.kill(records)?,
            Trouble::Reset(records) => self.reset(records)?,
            Trouble::Nmi(records) => self.interrupt(records)?,
            Trouble::Crash(kind, milliseconds) => self.crash(kind, milliseconds)?,
            Trouble::Fault(_) | Trouble::Slow(_) => self.go_on()?,
            Trouble::FaultAndCrash(_, milliseconds) => self.crash_beside_a_fault(milliseconds)?,
        }
        // Whatever it was: the next boot takes the disks, and leaves what is on them.
        let before = self.stories()?;
        let report = self.run(&sound, "app=diag serial=off")?;
        self.expect(&report, Outcome::Finished);
        for (number, (before, after)) in before.iter().zip(self.stories()?).enumerate() {
            let suffered = self.boot();
            let next = after.boot(suffered).lines.len();
            if next < before.boot(suffered).lines.len() {
                self.problem(number, "the next boot took lines away".to_owned());
            }
        }
        Ok(())
    }

    /// The number of the boot that suffers, as each console counts.
    const fn boot(&self) -> u32 {
        self.scenario.boots_before + 1
    }

    fn guest(&mut self, disks: &[Disk], words: &str) -> Result<Guest> {
        let mut guest = Guest::new(self.programs);
        guest.machine = Machine::for_disks(disks)?;
        guest.disks = disks.to_vec();
        guest.command_line = self.campaign.command_line(words);
        guest.time_limit = Some(TIME_LIMIT);
        self.result.guests += 1;
        Ok(guest)
    }

    fn run(&mut self, disks: &[Disk], words: &str) -> Result<Report> {
        self.guest(disks, words)?.start()?.wait()
    }

    fn expect(&mut self, report: &Report, outcome: Outcome) {
        if report.outcome != outcome {
            self.result.problems.push(format!("expected that {outcome}, but {report}"));
        }
    }

    fn problem(&mut self, disk: usize, words: String) {
        let kind = self.disks.get(disk).map_or("", |disk| disk.kind.name());
        self.result.problems.push(format!("disk {disk} ({kind}): {words}"));
    }

    fn path(&self, disk: usize) -> Result<PathBuf> {
        self.disks.get(disk).and_then(|disk| disk.path.clone()).context("a disk has no path")
    }

    /// What all disks tell. What is damaged on one that was sound is a problem.
    fn stories(&mut self) -> Result<Vec<Story>> {
        let mut stories = Vec::new();
        for disk in 0..self.disks.len() {
            let story = Story::read(&self.path(disk)?)?;
            if self.disks[disk].faults.is_empty() && !self.has_holes && !story.damages.is_empty() {
                self.problem(disk, story.damages.join("; "));
            }
            stories.push(story);
        }
        Ok(stories)
    }

    /// Checks each disk's story of the boot that suffered: whole as far as this line, and this many records.
    fn check_whole(&mut self, least_line: u32, least_records: usize) -> Result<()> {
        for (number, story) in self.stories()?.iter().enumerate() {
            let boot = story.boot(self.boot());
            for problem in boot.problems_up_to(least_line) {
                self.problem(number, problem);
            }
            if boot.records < least_records {
                let found = boot.records;
                self.problem(number, format!("{least_records} records were acknowledged, and {found} are there"));
            }
        }
        Ok(())
    }

    fn kill(&mut self, records: usize) -> Result<()> {
        let words = format!("app=lines:{LINES} ack=serial pad_ms=20");
        let running = self.guest(&self.disks.clone(), &words)?.start()?;
        // Should it end first, then everything must be there.
        running.serial().wait_until(None, |bytes| last_acknowledged(bytes) > records);
        let report = running.kill()?;
        self.has_holes = true;
        self.check_acknowledged(last_acknowledged(&report.serial))
    }

    /// Checks that each disk has at least these records of the boot that suffered.
    fn check_acknowledged(&mut self, records: usize) -> Result<()> {
        for (number, story) in self.stories()?.iter().enumerate() {
            let problems = missing(story, self.boot(), records);
            problems.into_iter().for_each(|problem| self.problem(number, problem));
        }
        Ok(())
    }

    fn reset(&mut self, records: usize) -> Result<()> {
        let words = format!("app=lines:{LINES} ack=serial pad_ms=20");
        let mut guest = self.guest(&self.disks.clone(), &words)?;
        guest.restarts = true;
        let mut running = guest.start()?;
        running.serial().wait_until(None, |bytes| last_acknowledged(bytes) > records);
        let is_pressed = running.qmp().reset().is_ok();
        let report = running.wait()?;
        self.expect(&report, Outcome::Finished);
        if !is_pressed || !report.was_reset {
            // It had finished before.
            return self.check_whole(LINES, records);
        }
        let serial = report.serial_text();
        let shown = serial.rfind("blockconsole loader").map_or(0, |end| last_shown(&serial[..end]));
        for (number, story) in self.stories()?.iter().enumerate() {
            let (first, second) = (story.boot(self.boot()), story.boot(self.boot() + 1));
            let mut problems = first.problems();
            // Saved is what is not durable everywhere: this disk may have some of it.
            let (from, to) = (second.saved.first().copied(), second.saved.last().copied());
            let reached = first.last_line();
            if from.is_some_and(|from| from > reached + 1) {
                problems.push(format!("lines between {reached} and {from:?} are missing"));
            }
            if second.saved.windows(2).any(|pair| pair[1] != pair[0] + 1) {
                problems.push("saved lines are not in order".to_owned());
            }
            if to.unwrap_or(0).max(reached) < shown {
                problems.push(format!("line {shown} was shown before the reset; {reached} and {to:?} are the last"));
            }
            problems.extend(second.problems_up_to(LINES));
            problems.into_iter().for_each(|problem| self.problem(number, problem));
        }
        Ok(())
    }

    fn interrupt(&mut self, records: usize) -> Result<()> {
        let words = format!("app=lines:{LINES} ack=serial pad_ms=20");
        let mut running = self.guest(&self.disks.clone(), &words)?.start()?;
        running.serial().wait_until(None, |bytes| last_acknowledged(bytes) > records);
        let is_sent = running.qmp().inject_nmi().is_ok();
        let report = running.wait()?;
        if !is_sent || report.outcome == Outcome::Finished {
            return self.check_whole(LINES, records);
        }
        self.expect(&report, Outcome::Crashed { durable_everywhere: true });
        self.check_records(0..self.disks.len(), None)?;
        self.check_whole(last_shown(&report.serial_text()), records)
    }

    fn crash(&mut self, kind: &str, milliseconds: u32) -> Result<()> {
        let word = capture::random_word();
        let words = format!("app=lines:{LINES} mark={word} hang_ms=1500 crash={kind}:{milliseconds}");
        let report = self.run(&self.disks.clone(), &words)?;
        self.expect(&report, Outcome::Crashed { durable_everywhere: true });
        self.check_records(0..self.disks.len(), Some(&word))?;
        // What a storm of lines pushes out is counted, and no loss.
        if kind != "log-storm" {
            self.check_whole(last_shown(&report.serial_text()), 0)?;
        }
        Ok(())
    }

    fn crash_beside_a_fault(&mut self, milliseconds: u32) -> Result<()> {
        let word = capture::random_word();
        let words = format!("app=lines:{LINES} mark={word} crash=panic:{milliseconds}");
        let report = self.run(&self.disks.clone(), &words)?;
        if !matches!(report.outcome, Outcome::Crashed { .. }) {
            self.expect(&report, Outcome::Crashed { durable_everywhere: true });
        }
        // The first one may have been given up long before.
        self.check_records(1..self.disks.len(), Some(&word))?;
        self.check_beside_a_fault(last_shown(&report.serial_text()))
    }

    fn go_on(&mut self) -> Result<()> {
        let report = self.run(&self.disks.clone(), &format!("app=lines:{LINES} serial=off"))?;
        self.expect(&report, Outcome::Finished);
        self.check_beside_a_fault(LINES)
    }

    /// The sound disks have everything; the first one says what it lacks.
    fn check_beside_a_fault(&mut self, least_line: u32) -> Result<()> {
        for (number, story) in self.stories()?.iter().enumerate() {
            let boot = story.boot(self.boot());
            let problems = match number {
                // A block that takes no write keeps what it held, and the line before it is there again behind it (`FORMAT.md`, section 4).
                0 if self.has_bad_block() => Vec::new(),
                0 => boot.problems(),
                _ => boot.problems_up_to(least_line),
            };
            problems.into_iter().for_each(|problem| self.problem(number, problem));
        }
        Ok(())
    }

    fn has_bad_block(&self) -> bool {
        let is_bad = |fault: &Fault| matches!(fault, Fault::Fail { once: false, sector: Some(_), .. });
        self.scenario.disks.iter().flat_map(|disk| &disk.faults).any(is_bad)
    }

    /// Each of these disks has one and the same crash's record, whole, and the word just once.
    fn check_records(&mut self, disks: std::ops::Range<usize>, word: Option<&str>) -> Result<()> {
        let mut ids = Vec::new();
        for disk in disks {
            let found = capture::read_one(&self.path(disk)?, word.unwrap_or("none"))?;
            ids.extend(found.id);
            if let Some(problem) = found.problem {
                self.problem(disk, problem);
            }
            if word.is_some() && found.marks != 1 {
                self.problem(disk, format!("the word is there {} times", found.marks));
            }
        }
        if ids.windows(2).any(|pair| pair[0] != pair[1]) {
            self.result.problems.push("the records are not of one and the same crash".to_owned());
        }
        Ok(())
    }

    fn power_cut(&mut self) -> Result<()> {
        let before = self.images()?;
        let mut disks = self.disks.clone();
        let logs: Vec<PathBuf> = (0..disks.len()).map(|number| self.directory.file(&format!("log{number}"))).collect();
        disks.iter_mut().zip(&logs).for_each(|(disk, log)| disk.write_log = Some(log.clone()));

        let running = self.guest(&disks, &format!("app=lines:{LINES} ack=serial pad_ms=20"))?.start()?;
        let acknowledged = acknowledgements(running.serial(), &logs);
        let report = running.wait()?;
        self.expect(&report, Outcome::Finished);
        self.check_whole(LINES, 0)?;
        self.has_holes = true;
        for (disk, (log, before)) in logs.iter().zip(before).enumerate() {
            let log = WriteLog::read(log)?;
            let acks = acknowledged.iter().filter_map(|ack| Some((ack.records, *ack.log_lengths.get(disk)?)));
            let acks: Vec<(usize, usize)> = acks.map(|(records, length)| (records, log.entries_in(length))).collect();
            self.cut_everywhere(disk, &log, before, &acks)?;
        }
        Ok(())
    }

    /// Cuts the power at some places of a disk's log. The last such disk is what the next boot gets.
    fn cut_everywhere(&mut self, disk: usize, log: &WriteLog, before: Vec<u8>, acks: &[(usize, usize)]) -> Result<()> {
        let entries = log.entries().len() as u64;
        let mut places: Vec<usize> = (0..CUTS).map(|_| self.random.below(entries + 1) as usize).collect();
        places.sort_unstable();
        let path = self.path(disk)?;
        let mut cut = PowerCut::new(log, before);
        for place in places {
            while cut.position() < place && cut.step()?.is_some() {}
            let durable =
                acks.iter().take_while(|(_, entries)| *entries <= place).last().map_or(0, |(records, _)| *records);
            let mut random = self.random.clone();
            self.random.next();
            let fates: [&mut dyn FnMut(usize) -> Fate; 3] =
                [&mut |_| Fate::Lost, &mut |_| Fate::Whole, &mut |sectors| fate(&mut random, sectors)];
            for fate in fates {
                self.check_cut(&path, disk, &cut.image(fate)?, (place, durable))?;
            }
        }
        Ok(())
    }

    fn check_cut(&mut self, path: &Path, disk: usize, image: &[u8], (place, durable): (usize, usize)) -> Result<()> {
        fs::write(path, image)?;
        self.result.cuts += 1;
        for problem in missing(&Story::read(path)?, self.boot(), durable) {
            self.problem(disk, format!("power cut after entry {place} of its log: {problem}"));
        }
        Ok(())
    }

    fn images(&self) -> Result<Vec<Vec<u8>>> {
        self.disks.iter().try_for_each(Disk::prepare)?;
        (0..self.disks.len()).map(|disk| Ok(fs::read(self.path(disk)?)?)).collect()
    }
}

/// What is missing of a boot's first so many records, which were acknowledged.
fn missing(story: &Story, boot: u32, acknowledged: usize) -> Vec<String> {
    let boot = story.boot(boot).first(acknowledged);
    let mut problems = boot.problems_up_to(0);
    if boot.records < acknowledged {
        problems.push(format!("{acknowledged} records were acknowledged, and {} are there", boot.records));
    }
    problems
}

fn fate(random: &mut Random, sectors: usize) -> Fate {
    match random.below(3) {
        0 => Fate::Lost,
        1 => Fate::Whole,
        _ => Fate::Torn(random.below(sectors.max(1) as u64) as usize),
    }
}

/// The same disk without what is wrong with it.
fn sound(disk: &Disk) -> Disk {
    Disk { faults: Vec::new(), slow: None, ..disk.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that loses what was acknowledged must be told from one that does not.
    #[test]
    fn what_is_missing_after_a_kill_is_found() {
        let programs = Programs::find_or_build().unwrap();
        let scenario = (0..).map(|number| Scenario::draw(3, number));
        let mut scenario = scenario.into_iter().find(|scenario| matches!(scenario.trouble, Trouble::Kill(_))).unwrap();
        (scenario.boots_before, scenario.trouble) = (0, Trouble::Kill(3000));
        let campaign = CampaignOptions::default();
        let mut trial = Trial::new(&programs, &scenario, 1, &campaign).unwrap();
        trial.play().unwrap();
        assert_eq!(trial.result.problems, [""; 0]);

        // A block in the middle of the log is not what was written.
        let path = trial.path(0).unwrap();
        let mut image = fs::read(&path).unwrap();
        image[(1 << 20) + 64 * 1024..][..4096].fill(0);
        fs::write(&path, image).unwrap();
        trial.check_acknowledged(3000).unwrap();
        let problems = trial.result.problems.join("\n");
        assert!(problems.contains("are missing, 0 are said to be"), "{problems}");
    }
}
