//! Signals that end a long campaign in order.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// Whether one has come.
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM only set what this returns; the second one ends the process at once. To be called before there are
/// other threads, which would take the signals as always. Guests inherit that they do not notice them: they come to their end too if a
/// terminal sends the signal to all of us.
///
/// # Errors
/// When the system refuses.
pub(crate) fn watch() -> Result<&'static AtomicBool> {
    static IS_WATCHED: Mutex<bool> = Mutex::new(false);
    let mut is_watched = IS_WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_watched {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        signals.thread_block().context("cannot hold signals back")?;
        thread::Builder::new().spawn(move || wait(&signals)).context("cannot start a thread")?;
        *is_watched = true;
    }
    Ok(&IS_INTERRUPTED)
}

fn wait(signals: &SigSet) {
    while let Ok(signal) = signals.wait() {
        if IS_INTERRUPTED.swap(true, Ordering::Relaxed) {
            // What a shell says of a program that a signal ended.
            process::exit(128 + signal as i32);
        }
        eprintln!("{signal}: no guest is started any more, those that run come to their end; once more ends at once");
    }
}
