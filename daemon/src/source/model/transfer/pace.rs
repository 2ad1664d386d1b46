//! How many connections a transfer has: more while more bring more. Pure: time is a parameter.

use std::time::{Duration, Instant};

/// Connections that a transfer begins with, once it is known that parts can be had.
const FIRST: usize = 4;

/// How long throughput is measured before a decision.
const WINDOW: Duration = Duration::from_millis(100);

/// How long to wait for new connections to deliver before they are judged without it.
const WARM_UP: Duration = Duration::from_secs(2);

/// More connections are kept when they bring at least this much more: by far after one window, or
/// clearly after a few, for throughput comes in bursts.
const GAIN: (f64, f64) = (1.6, 1.25);

/// Bytes a second of one connection that nothing bounds: not its window, and not the host. More of them
/// would share what this machine can receive, and each one costs processor time and memory.
const UNBOUNDED: f64 = 150e6;

/// How many windows more connections have to prove themselves.
const WINDOWS: u32 = 4;

/// How long a number of connections is kept before more are tried again, at first and at most: lines
/// change, and a measurement may be wrong.
const KEEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    target: usize,
    /// Throughput in bytes a second as last measured.
    rate: f64,
    stage: Stage,
    /// How long to keep a number of connections the next time.
    keep: Duration,
}

/// What is being waited for.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// For all connections to deliver.
    WarmUp { since: Instant, before: Option<Step> },
    /// For the end of a window that began with so many bytes.
    Measure { since: Instant, bytes: u64, before: Option<Step> },
    /// For the time to try more again: later, or as soon as more than this share may be had, where that
    /// was the bound.
    Keep { since: Instant, bytes: u64, bound: Option<usize> },
}

/// The connections before the last change, and what they brought.
#[derive(Debug, Clone, Copy)]
struct Step {
    target: usize,
    rate: f64,
}

impl Pace {
    /// Begins with few connections.
    pub(super) fn new(now: Instant) -> Self {
        Self { target: FIRST, rate: 0.0, stage: Stage::WarmUp { since: now, before: None }, keep: KEEP.0 }
    }

    /// Returns how many connections there should be, of `share` that there may be.
    pub(super) fn target(&self, share: usize) -> usize {
        self.target.min(share)
    }

    /// Returns the throughput as last measured, in bytes a second; zero before.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Halves the connections: the host complains.
    pub(super) fn back_off(&mut self, now: Instant, bytes: u64) {
        self.target = (self.target / 2).max(1);
        self.stage = Stage::Keep { since: now, bytes, bound: None };
    }

    /// Takes note of `bytes` that have arrived since the beginning, with `delivering` of the connections
    /// having delivered something. To be called several times a window.
    pub(super) fn tick(&mut self, now: Instant, bytes: u64, delivering: usize, share: usize) {
        match self.stage {
            Stage::WarmUp { since, before } => {
                if delivering >= self.target(share) || now.duration_since(since) >= WARM_UP {
                    self.stage = Stage::Measure { since: now, bytes, before };
                }
            }
            Stage::Measure { since, bytes: first, before } => {
                let Some(rate) = rate(now, since, bytes, first, WINDOW) else { return };
                self.rate = rate;
                match before {
                    Some(step) if rate >= step.rate * GAIN.0 => self.grow(now, bytes, share),
                    Some(_) if now.duration_since(since) < WINDOW * WINDOWS => (),
                    Some(step) if rate < step.rate * GAIN.1 => {
                        self.target = step.target;
                        self.keep = (self.keep * 2).min(KEEP.1);
                        self.stage = Stage::Keep { since: now, bytes, bound: None };
                    }
                    _ => self.grow(now, bytes, share),
                }
            }
            Stage::Keep { since, bytes: first, bound } => {
                let wait = if bound.is_some_and(|bound| share > bound) { WINDOW } else { self.keep };
                let Some(rate) = rate(now, since, bytes, first, wait) else { return };
                self.rate = rate;
                self.grow(now, bytes, share);
            }
        }
    }

    fn grow(&mut self, now: Instant, bytes: u64, share: usize) {
        #[allow(clippy::cast_precision_loss, reason = "a number of connections")]
        let is_unbounded = self.rate >= UNBOUNDED * self.target as f64;
        if is_unbounded {
            self.stage = Stage::Keep { since: now, bytes, bound: None };
            return;
        }
        if self.target >= share {
            self.stage = Stage::Keep { since: now, bytes, bound: Some(share) };
            return;
        }
        let before = Some(Step { target: self.target, rate: self.rate });
        self.target = (self.target * 2).min(share);
        self.stage = Stage::WarmUp { since: now, before };
    }
}

/// Returns the throughput of a window, once it is over.
fn rate(now: Instant, since: Instant, bytes: u64, first: u64, window: Duration) -> Option<f64> {
    let elapsed = now.duration_since(since);
    #[allow(clippy::cast_precision_loss, reason = "a throughput needs no 53 bits")]
    (elapsed >= window).then(|| bytes.saturating_sub(first) as f64 / elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a transfer from a line that brings `line(connections)` bytes a second.
    fn run(seconds: u64, share: usize, line: impl Fn(usize) -> u64) -> (Pace, Vec<usize>) {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut bytes, mut targets) = (0, vec![]);
        for tick in 0..seconds * 20 {
            let target = pace.target(share);
            bytes += line(target) / 20;
            pace.tick(start + Duration::from_millis(tick * 50), bytes, target, share);
            if targets.last() != Some(&target) {
                targets.push(target);
            }
        }
        (pace, targets)
    }

    #[test]
    fn it_grows_while_that_brings_more() {
        let (pace, targets) = run(2, 16, |connections| 1_000_000 * connections as u64);
        assert_eq!(targets, [4, 8, 16]);
        assert!((pace.rate() - 16e6).abs() < 1e6, "{}", pace.rate());
        let (_, targets) = run(1, 16, |connections| 1_000_000 * connections.min(8) as u64);
        assert_eq!(targets, [4, 8, 16, 8]);
    }

    #[test]
    fn it_stays_where_more_bring_nothing_and_tries_again_later() {
        let (_, targets) = run(2, 16, |_| 1_000_000);
        assert_eq!(targets, [4, 8, 4]);
        let (_, targets) = run(12, 16, |_| 1_000_000);
        assert_eq!(targets, [4, 8, 4, 8, 4, 8, 4], "less and less often");
    }

    #[test]
    fn it_stays_where_nothing_bounds_a_connection() {
        let (_, targets) = run(8, 16, |connections| 200_000_000 * connections as u64);
        assert_eq!(targets, [4]);
        let (_, targets) = run(1, 16, |connections| 100_000_000 * connections as u64);
        assert_eq!(targets, [4, 8, 16]);
    }

    #[test]
    fn it_keeps_to_its_share_and_gives_way() {
        let (mut pace, targets) = run(5, 2, |connections| connections as u64 * 1_000_000);
        assert_eq!(targets, [2]);
        let later = Instant::now() + Duration::from_secs(5);
        pace.tick(later, 12_000_000, 2, 16);
        assert_eq!(pace.target(16), 8, "others have ended");
        pace.back_off(Instant::now(), 0);
        assert_eq!(pace.target(16), 4);
        pace.back_off(Instant::now(), 0);
        pace.back_off(Instant::now(), 0);
        pace.back_off(Instant::now(), 0);
        assert_eq!(pace.target(16), 1);
    }
}
