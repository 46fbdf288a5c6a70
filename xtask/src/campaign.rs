//! What long campaigns share: options, programs that stay, guests side by side.
//!
//! A campaign may be ended at any time without loss: in order by a signal or `--minutes`, and by force with what was
//! [kept](Results::keep) a few seconds before.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use qemu::{Programs, TemporaryDirectory, Tool, require};

use crate::{capture, signals};

/// Options of all campaigns.
#[derive(Args, Default)]
pub(crate) struct CampaignOptions {
    /// Guests at a time. More than there are processors distorts their times.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,

    /// More words for the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,

    /// Build with optimisations.
    #[arg(long)]
    release: bool,

    /// Start no more guests after so many minutes: those that run come to their end, and the report is about what was done.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    minutes: Option<u32>,
}

/// What a campaign makes of its results.
pub(crate) trait Results<R> {
    /// Takes one in; whether more are wanted.
    fn take(&mut self, result: R) -> bool;

    /// How far it is, in words.
    fn progress(&self) -> String;

    /// Keeps what there is where it outlives the campaign. Called now and then, and in the end.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&self) -> Result<()> {
        Ok(())
    }
}

/// Between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

impl CampaignOptions {
    /// Builds the programs, and keeps copies of them in `directory`.
    ///
    /// # Errors
    /// When they do not build, or QEMU is missing.
    pub(crate) fn programs(&self, directory: &TemporaryDirectory) -> Result<Programs> {
        require(Tool::Qemu)?;
        capture::keep(&Programs::build(self.release)?, directory)
    }

    /// The words for a guest's kernel, and the user's.
    pub(crate) fn command_line(&self, words: &str) -> String {
        format!("{words} {}", self.append).trim_end().to_owned()
    }

    /// What was asked for beside the defaults: guests of other words are not to be counted together.
    pub(crate) fn words(&self) -> &str {
        &self.append
    }

    /// Works on the items in their order, several at a time, until the results are enough, the time is up, or a signal comes. Says on stderr now
    /// and then how far it is.
    ///
    /// # Errors
    /// When the results cannot be kept.
    pub(crate) fn run_all<I: Copy + Sync, R: Send>(
        &self,
        items: &[I],
        work: impl Fn(I) -> R + Sync,
        results: &mut impl Results<R>,
    ) -> Result<()> {
        let limit = self.minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes)));
        let deadline = limit.map(|limit| Instant::now() + limit);
        let is_interrupted = signals::watch()?;
        let is_over =
            || is_interrupted.load(Ordering::Relaxed) || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.run_until(is_over, PROGRESS_INTERVAL, items, work, results)
    }

    fn run_until<I: Copy + Sync, R: Send>(
        &self,
        is_over: impl Fn() -> bool + Sync,
        interval: Duration,
        items: &[I],
        work: impl Fn(I) -> R + Sync,
        results: &mut impl Results<R>,
    ) -> Result<()> {
        let (next, is_enough) = (AtomicUsize::new(0), AtomicBool::new(false));
        // Without room, so that nobody gets further ahead of the decision than by the guest that runs.
        let (sender, receiver) = mpsc::sync_channel(0);
        let worker = |sender: mpsc::SyncSender<R>| {
            while !is_enough.load(Ordering::Relaxed)
                && !is_over()
                && let Some(&item) = items.get(next.fetch_add(1, Ordering::Relaxed))
                && sender.send(work(item)).is_ok()
            {}
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                let sender = sender.clone();
                scope.spawn(|| worker(sender));
            }
            drop(sender);
            let mut noted = Instant::now();
            for result in receiver {
                if !results.take(result) {
                    is_enough.store(true, Ordering::Relaxed);
                }
                if noted.elapsed() >= interval {
                    noted = Instant::now();
                    eprintln!("{}", results.progress());
                    // What cannot be kept now perhaps can be in the end: then it is an error.
                    if let Err(error) = results.keep() {
                        eprintln!("warning: {error:#}");
                    }
                }
            }
        });
        if next.into_inner() < items.len() && !is_enough.into_inner() {
            eprintln!("ended before it was done: {}", results.progress());
        }
        results.keep()
    }
}

/// Writes a file so that whoever reads it finds the old text or the new one, whole, even if we are killed meanwhile.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Wants so many results.
    struct Wanted {
        count: usize,
        taken: Vec<u32>,
        kept: Cell<usize>,
        told: Cell<usize>,
    }

    impl Wanted {
        fn new(count: usize) -> Self {
            Self { count, taken: Vec::new(), kept: Cell::new(0), told: Cell::new(0) }
        }
    }

    impl Results<u32> for Wanted {
        fn take(&mut self, result: u32) -> bool {
            self.taken.push(result);
            self.taken.len() < self.count
        }

        fn progress(&self) -> String {
            self.told.set(self.told.get() + 1);
            format!("{} taken", self.taken.len())
        }

        fn keep(&self) -> Result<()> {
            self.kept.set(self.taken.len());
            anyhow::ensure!(self.count > 0, "nothing is wanted");
            Ok(())
        }
    }

    fn options() -> CampaignOptions {
        CampaignOptions { jobs: 3, append: "x".to_owned(), ..CampaignOptions::default() }
    }

    #[test]
    fn all_items_are_worked_on_once_until_it_is_enough() {
        let items: Vec<u32> = (0..100).collect();
        let mut all = Wanted::new(1000);
        options().run_until(|| false, PROGRESS_INTERVAL, &items, |item| item, &mut all).unwrap();
        all.taken.sort_unstable();
        assert_eq!((all.taken, all.kept.get(), all.told.get()), (items.clone(), 100, 0));
        let mut few = Wanted::new(10);
        options().run_until(|| false, PROGRESS_INTERVAL, &items, |item| item, &mut few).unwrap();
        assert!((10..20).contains(&few.taken.len()), "{:?}", few.taken);
        assert_eq!(options().command_line("a b"), "a b x");
    }

    #[test]
    fn when_it_is_over_nothing_is_begun_and_all_that_was_done_is_kept() {
        let items: Vec<u32> = (0..100).collect();
        let mut results = Wanted::new(1000);
        // It is over while the first ones are worked on: these are taken in.
        let (begun, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            is_over.store(true, Ordering::Relaxed);
            item
        };
        options().run_until(|| is_over.load(Ordering::Relaxed), PROGRESS_INTERVAL, &items, work, &mut results).unwrap();
        let begun = begun.into_inner();
        assert!((1..=3).contains(&begun), "{begun}");
        assert_eq!((results.taken.len(), results.kept.get(), results.told.get()), (begun, begun, 1));
    }

    #[test]
    fn progress_is_told_and_kept_now_and_then_and_what_cannot_be_kept_is_an_error() {
        let mut results = Wanted::new(1000);
        options().run_until(|| false, Duration::ZERO, &[1, 2, 3], |item| item, &mut results).unwrap();
        assert_eq!((results.kept.get(), results.told.get()), (3, 3));
        assert!(options().run_until(|| false, Duration::ZERO, &[1], |item| item, &mut Wanted::new(0)).is_err());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = TemporaryDirectory::new().unwrap();
        let path = directory.file("a.json");
        replace(&path, "old").unwrap();
        replace(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(&directory.file("none/a"), "x").is_err());
    }
}
