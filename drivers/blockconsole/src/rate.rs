//! A rate limit for each call site, so that a log storm does not drown the rest.
//!
//! Each call site has a token bucket: so many lines at once, and one more each interval. Lines that it has no token
//! for are suppressed and counted, and the count is said when the site next gets through ([`Admission::AdmitAfter`])
//! or, if it has nothing more to say, by whoever asks [`RateLimit::take_overdue`] from time to time. So nothing
//! vanishes silently.
//!
//! The table is fixed, and each of its words is an atomic that means something by itself: there is no state of
//! several words that an NMI in the middle could find half-changed. A bucket's tokens are one word, the time at which
//! it will be full again (the "generic cell rate algorithm"): taking a token moves that on by an interval, and there
//! is none left when it is a whole burst ahead. A bucket that is full and has nothing to tell may be given to another
//! site. A site that finds no bucket, because all that it might have are busy, is not limited.

use core::sync::atomic::{AtomicU64, Ordering};

/// Buckets that a site may have: so many tries, then it goes unlimited.
const WAYS: usize = 4;
/// Attempts to take a token while others take some of the same bucket. Who fails so often is in a storm.
const ATTEMPTS: usize = 8;

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Log it.
    Admit,
    /// Log it, and say that so many lines from here were suppressed since the last one.
    AdmitAfter(u64),
    /// Do not.
    Suppress,
}

/// Lines of one site that were suppressed and not yet spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The site, as it was given to [`RateLimit::admit`].
    pub site: u64,
    /// How many lines.
    pub lines: u64,
}

/// A rate limit for each call site, of which it can tell `SITES` apart at a time.
pub struct RateLimit<const SITES: usize = 256> {
    burst_ns: u64,
    interval_ns: u64,
    buckets: [Bucket; SITES],
}

struct Bucket {
    /// Whose it is; 0 if it is free.
    site: AtomicU64,
    /// When it will be full again, in nanoseconds.
    full_at: AtomicU64,
    /// Lines not yet spoken of.
    suppressed: AtomicU64,
}

/// A number for a call site, from what the `log` facade knows of it: the address of the file's name, which is a
/// constant of the program, and the line.
pub fn site(file: &'static str, line: u32) -> u64 {
    (file.as_ptr().addr() as u64) << 20 ^ u64::from(line)
}

impl<const SITES: usize> RateLimit<SITES> {
    /// Allows each site `burst` lines at once (at least 1), and one more in each `interval_ns`.
    pub const fn new(burst: u32, interval_ns: u64) -> Self {
        let burst = if burst == 0 { 1 } else { burst as u64 };
        Self { burst_ns: interval_ns.saturating_mul(burst), interval_ns, buckets: [const { Bucket::free() }; SITES] }
    }

    /// Decides about a line from this site. Takes a bounded number of steps; may be called from anywhere, an NMI
    /// included.
    pub fn admit(&self, site: u64, now_ns: u64) -> Admission {
        // 0 stands for a free bucket.
        let Some(bucket) = self.bucket(site.max(1), now_ns) else { return Admission::Admit };
        if !self.take_token(bucket, now_ns) {
            bucket.suppressed.fetch_add(1, Ordering::Relaxed);
            return Admission::Suppress;
        }
        match bucket.take_suppressed() {
            0 => Admission::Admit,
            lines => Admission::AdmitAfter(lines),
        }
    }

    /// Takes the count of one site that has been quiet for so long that its bucket is full again, and still has
    /// suppressed lines that were not spoken of. To be called until it returns `None`, every second or so, and before
    /// the log ends with a time that is as good as never (`u64::MAX`).
    pub fn take_overdue(&self, now_ns: u64) -> Option<Overdue> {
        let quiet = self.buckets.iter().filter(|bucket| bucket.full_at.load(Ordering::Relaxed) <= now_ns);
        quiet
            .map(|bucket| Overdue { site: bucket.site.load(Ordering::Relaxed), lines: bucket.take_suppressed() })
            .find(|overdue| overdue.lines > 0)
    }

    fn take_token(&self, bucket: &Bucket, now_ns: u64) -> bool {
        let mut found = bucket.full_at.load(Ordering::Relaxed);
        for _ in 0..ATTEMPTS {
            let latest = now_ns.saturating_add(self.burst_ns);
            // Beyond what any number of lines could make it: the clock was set back.
            let full_at = if found > latest { now_ns } else { found.max(now_ns) };
            let next = full_at.saturating_add(self.interval_ns);
            if next > latest {
                return false;
            }
            match bucket.full_at.compare_exchange(found, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => found = now,
            }
        }
        false
    }

    /// The site's bucket; a free one, or one of a site that has been quiet, if it has none.
    fn bucket(&self, site: u64, now_ns: u64) -> Option<&Bucket> {
        let start = (site.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let ways = || (0..WAYS.min(SITES)).filter_map(move |way| self.buckets.get(start.wrapping_add(way) % SITES));
        ways().find(|bucket| bucket.site.load(Ordering::Relaxed) == site).or_else(|| {
            ways().find(|bucket| {
                let found = bucket.site.load(Ordering::Relaxed);
                (found == 0 || bucket.is_idle(now_ns)) && bucket.claim(found, site)
            })
        })
    }
}

impl Bucket {
    const fn free() -> Self {
        Self { site: AtomicU64::new(0), full_at: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    fn take_suppressed(&self) -> u64 {
        // Usually there is nothing, and a load is cheaper.
        if self.suppressed.load(Ordering::Relaxed) == 0 { 0 } else { self.suppressed.swap(0, Ordering::Relaxed) }
    }

    fn is_idle(&self, now_ns: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now_ns && self.suppressed.load(Ordering::Relaxed) == 0
    }

    /// Makes the bucket this site's, if it still is whose it was, or if somebody else just did the same for this site.
    fn claim(&self, found: u64, site: u64) -> bool {
        match self.site.compare_exchange(found, site, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(now) => now == site,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_goes_through_then_one_line_an_interval() {
        let limit: RateLimit = RateLimit::new(3, 10 * MS);
        let start = 1_000 * MS;
        let admissions: Vec<_> = (0..5).map(|i| limit.admit(7, start + i)).collect();
        use Admission::{Admit, AdmitAfter, Suppress};
        assert_eq!(admissions, [Admit, Admit, Admit, Suppress, Suppress]);
        assert_eq!(limit.admit(7, start + 10 * MS), AdmitAfter(2));
        assert_eq!(limit.admit(7, start + 10 * MS + 1), Suppress);
        assert_eq!(limit.admit(8, start + 10 * MS + 1), Admit, "another site is not concerned");
        assert_eq!(limit.admit(7, start + 20 * MS), AdmitAfter(1));
        // After a rest, a whole burst again.
        let admissions: Vec<_> = (0..4).map(|_| limit.admit(7, start + 1_000 * MS)).collect();
        assert_eq!(admissions, [Admit, Admit, Admit, Suppress]);
    }

    #[test]
    fn over_a_long_storm_the_rate_is_kept_and_each_line_accounted_for() {
        for (burst, interval) in [(1, MS), (10, MS), (50, 20 * MS), (0, MS)] {
            let limit: RateLimit = RateLimit::new(burst, interval);
            let (mut admitted, mut told, mut suppressed) = (0, 0, 0);
            let steps = 100_000;
            for i in 0..steps {
                match limit.admit(1, i * (MS / 10)) {
                    Admission::Admit => admitted += 1,
                    Admission::AdmitAfter(lines) => (admitted, told) = (admitted + 1, told + lines),
                    Admission::Suppress => suppressed += 1,
                }
            }
            let expected = u64::from(burst.max(1)) + (steps - 1) * (MS / 10) / interval;
            assert!(admitted <= expected && admitted + 1 >= expected, "{admitted} of {expected}");
            let overdue = limit.take_overdue(u64::MAX).map_or(0, |overdue| overdue.lines);
            assert_eq!((admitted + suppressed, told + overdue), (steps, suppressed));
        }
    }

    #[test]
    fn a_site_that_falls_silent_is_spoken_of_all_the_same() {
        let limit: RateLimit = RateLimit::new(1, MS);
        for _ in 0..5 {
            limit.admit(99, 0);
        }
        assert_eq!(limit.take_overdue(MS - 1), None, "it may still speak for itself");
        assert_eq!(limit.take_overdue(MS), Some(Overdue { site: 99, lines: 4 }));
        assert_eq!(limit.take_overdue(MS), None);
        assert_eq!(limit.admit(99, MS), Admission::Admit, "said once");
    }

    #[test]
    fn more_sites_than_buckets_are_never_suppressed_for_each_other() {
        let limit: RateLimit<8> = RateLimit::new(1, MS);
        for site in 0..1_000 {
            assert_eq!(limit.admit(site << 3, 5), Admission::Admit, "site {site}");
        }
        // Quiet sites make room: a new one is limited again.
        assert_eq!(limit.admit(5_000, 100 * MS), Admission::Admit);
        assert_eq!(limit.admit(5_000, 100 * MS), Admission::Suppress);
    }

    #[test]
    fn a_bucket_with_untold_lines_is_not_given_away() {
        let limit: RateLimit<1> = RateLimit::new(1, MS);
        limit.admit(1, 0);
        assert_eq!(limit.admit(1, 0), Admission::Suppress);
        assert_eq!(limit.admit(2, 50 * MS), Admission::Admit);
        assert_eq!(limit.admit(2, 50 * MS), Admission::Admit, "no bucket, no limit");
        assert_eq!(limit.admit(1, 50 * MS), Admission::AdmitAfter(1));
        assert_eq!(limit.admit(2, 90 * MS), Admission::Admit);
        assert_eq!(limit.admit(2, 90 * MS), Admission::Suppress, "the bucket is its own now");
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nobody() {
        let limit: RateLimit = RateLimit::new(2, MS);
        for _ in 0..5 {
            limit.admit(3, 1_000_000 * MS);
        }
        assert_eq!(limit.admit(3, 0), Admission::AdmitAfter(3));
        assert_eq!(limit.admit(3, 0), Admission::Admit);
        assert_eq!(limit.admit(3, 0), Admission::Suppress);
    }

    #[test]
    fn extreme_settings_and_times_do_not_overflow() {
        let none: RateLimit<0> = RateLimit::new(1, 1);
        assert_eq!(none.admit(1, 1), Admission::Admit);
        let limit: RateLimit<4> = RateLimit::new(u32::MAX, u64::MAX);
        for now in [0, 1, u64::MAX - 1, u64::MAX, u64::MAX] {
            limit.admit(0, now);
            limit.admit(u64::MAX, now);
        }
        let unlimited: RateLimit = RateLimit::new(1, 0);
        assert!((0..100).all(|_| unlimited.admit(1, 1) == Admission::Admit));
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let limit: RateLimit = RateLimit::new(1_000, 1_000 * MS);
        let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let storm = || {
                let admitted = (0..20_000).filter(|_| limit.admit(1, MS) != Admission::Suppress).count() as u64;
                (admitted, 20_000 - admitted)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(storm)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let admitted: u64 = counts.iter().map(|count| count.0).sum();
        assert_eq!(admitted, 1_000);
        // Some suppressed lines may have been told already, if a thread lost all its attempts while tokens were left.
        let suppressed: u64 = counts.iter().map(|count| count.1).sum();
        let overdue = limit.take_overdue(u64::MAX).unwrap().lines;
        assert!(overdue <= suppressed && suppressed == 80_000 - 1_000);
    }

    #[test]
    fn sites_differ_by_file_and_line() {
        let (a, b) = (file!(), "another.rs");
        let all = [site(a, 1), site(a, 2), site(b, 1), site(b, 2)];
        for (i, one) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|other| other != one));
        }
    }
}
