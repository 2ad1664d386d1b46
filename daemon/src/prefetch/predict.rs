//! Which versions are likely to be asked for next: pure, without clock and disk.

use super::history::Request;
use proto::VersionId;

/// How likely a version is to be the next one asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Likely {
    /// The version.
    pub version: VersionId,
    /// From 0 to 1; those of all versions add up to 1 at most.
    pub probability: f64,
    /// Why, in a few words for people: "asked for 12 times today", "often follows `a`".
    pub why: String,
}

/// What learns from uses, in the order in which they were noted, and tells what comes next. Two are told apart by
/// replaying a history (`tests/bench/prefetch`).
pub trait Predict {
    /// Learns one more use.
    fn observe(&mut self, request: &Request);

    /// Ranks the versions that were ever asked for, the likeliest first, as of `now` (seconds since 1970).
    fn likely(&self, now: i64) -> Vec<Likely>;
}

/// The predictor in use.
#[derive(Debug, Clone, Default)]
pub struct Predictor {
    /// Decayed counts.
    counts: Vec<(VersionId, f64)>,
}

impl Predict for Predictor {
    fn observe(&mut self, request: &Request) {
        self.counts.iter_mut().for_each(|(_, count)| *count *= 0.95);
        match self.counts.iter_mut().find(|(version, _)| *version == request.version) {
            Some((_, count)) => *count += 1.0,
            None => self.counts.push((request.version.clone(), 1.0)),
        }
    }

    fn likely(&self, _now: i64) -> Vec<Likely> {
        let sum: f64 = self.counts.iter().map(|(_, count)| count).sum();
        let likely = |(version, count): &(VersionId, f64)| Likely {
            version: version.clone(),
            probability: count / (sum + 1.0),
            why: "asked for often".to_owned(),
        };
        let mut likely: Vec<Likely> = self.counts.iter().map(likely).collect();
        likely.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        likely
    }
}

/// Ranks the versions of a whole history, the likeliest first, as of `now` (seconds since 1970). Takes milliseconds.
pub fn likely(history: &[Request], now: i64) -> Vec<Likely> {
    let mut predictor = Predictor::default();
    for request in history {
        predictor.observe(request);
    }
    predictor.likely(now)
}
