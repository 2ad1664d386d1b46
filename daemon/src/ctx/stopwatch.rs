//! Time as the one who waits lives it.

use std::time::{Duration, Instant};

/// A look counts for this at most.
const LONGEST: Duration = Duration::from_secs(2);

/// Counts time between looks, so much for each at most: a process that was frozen for minutes, or a clock that
/// jumped, makes nothing look late that had no chance to be on time.
#[derive(Debug, Clone)]
pub struct Stopwatch {
    last: Instant,
    total: Duration,
    longest: Duration,
}

impl Stopwatch {
    /// Begins to count for one who looks once a second at least.
    pub fn start() -> Self {
        Self::with_looks_within(LONGEST)
    }

    /// Begins to count for one who may take so long from one look to the next.
    pub fn with_looks_within(longest: Duration) -> Self {
        Self { last: Instant::now(), total: Duration::ZERO, longest }
    }

    /// Returns what was counted until now.
    pub fn look(&mut self) -> Duration {
        self.look_at(Instant::now())
    }

    /// Returns one that counted so much.
    #[cfg(test)]
    pub(crate) fn having(total: Duration) -> Self {
        Self { total, ..Self::start() }
    }

    fn look_at(&mut self, now: Instant) -> Duration {
        self.total += now.saturating_duration_since(self.last).min(self.longest);
        self.last = now;
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_counts_for_little() {
        let mut watch = Stopwatch::start();
        let start = watch.last;
        let mut now = start;
        for _ in 0..10 {
            now += Duration::from_millis(100);
            watch.look_at(now);
        }
        assert_eq!(watch.look_at(now), Duration::from_secs(1));
        assert_eq!(watch.look_at(now + Duration::from_secs(3600)), Duration::from_secs(1) + LONGEST);
        assert_eq!(watch.look_at(start), Duration::from_secs(1) + LONGEST, "nor does it go back");
    }
}
