//! What long campaigns share: options, programs that stay, guests side by side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use clap::Args;
use qemu::{Programs, TemporaryDirectory, Tool, require};

use crate::capture;

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
}

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

    /// Works on all items in their order, several at a time, until the results are enough.
    pub(crate) fn run_all<I: Copy + Sync, R: Send>(
        &self,
        items: &[I],
        work: impl Fn(I) -> R + Sync,
        is_enough: impl Fn(&[R]) -> bool + Sync,
    ) -> Vec<R> {
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        // Only a panic of another thread could poison it, and that ends everything.
        let wants_more = || results.lock().is_ok_and(|results| !is_enough(&results));
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while wants_more()
                        && let Some(&item) = items.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let result = work(item);
                        if let Ok(mut results) = results.lock() {
                            results.push(result);
                        }
                    }
                });
            }
        });
        results.into_inner().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_items_are_worked_on_once_until_it_is_enough() {
        let options = CampaignOptions { jobs: 3, append: "x".to_owned(), release: false };
        let items: Vec<u32> = (0..100).collect();
        let mut results = options.run_all(&items, |item| item, |_| false);
        results.sort_unstable();
        assert_eq!(results, items);
        let few = options.run_all(&items, |item| item, |results| results.len() >= 10);
        assert!((10..20).contains(&few.len()), "{few:?}");
        assert_eq!(options.command_line("a b"), "a b x");
    }
}
