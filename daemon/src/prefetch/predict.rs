//! Which versions are likely to be asked for next: pure, without clock and disk.
//!
//! Theory: prediction with expert advice. Simple experts (`experts`) each give every version a probability of being
//! next: how often it was used over five horizons, or over those that its own past speaks for; how recently; what
//! followed the last version, or the last two; the time of day. The forecast is their mean, weighted by how
//! well each foretold the uses so far: after a use, an expert's weight is multiplied by the probability that it had
//! given to what came (Bayes), and then a small share of all weight is spread evenly (the *fixed share* of Herbster and
//! Warmuth, 1998), so that an expert that was wrong for long is heard soon after it begins to be right. For any
//! history whatever, the sum of the logarithms of the forecast is at most about `(k + 1) ln n + k ln (1 / share)` worse than
//! that of the best of `n` experts in each of `k + 1` stretches, chosen by who knows the history already. So no
//! habit has to be assumed: random favourites, fixed orders, days and nights and changes of mind each have an expert
//! that knows them, and the price of not knowing which is paid once. Times count only as times of day, and the order of
//! uses is that of the history: a clock that jumps does no harm.

mod counts;
mod experts;

use super::history::Request;
use counts::real;
use experts::{By, Experts, ROWS, Rows};
use proto::VersionId;
use std::collections::{BTreeMap, VecDeque};

/// Share of all weight that is spread evenly after each use.
const SHARE: f64 = 0.003;

/// The most versions that are known; the one that was not used for longest makes room.
const MOST: usize = 128;

/// Uses that people are told of.
const RECENT: usize = 100;

/// How likely a version is to be the next one asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Likely {
    /// The version.
    pub version: VersionId,
    /// From 0 to 1; those of all versions add up to 1 at most.
    pub probability: f64,
    /// Why, in a few words for people: "asked for 12 times in the last 40 uses", "followed `a` 7 of 9 times".
    pub why: String,
}

/// What learns from uses, in the order in which they were noted, and tells what comes next. `tests/bench/prefetch`
/// compares such by replaying histories.
pub trait Predict {
    /// Learns one more use.
    fn observe(&mut self, request: &Request);

    /// Ranks the versions that were asked for, the likeliest first, as of `now` (seconds since 1970).
    fn likely(&self, now: i64) -> Vec<Likely>;
}

/// Ranks the versions of a whole history, the likeliest first, as of `now` (seconds since 1970). Takes
/// milliseconds for thousands of uses.
pub fn likely(history: &[Request], now: i64) -> Vec<Likely> {
    let mut predictor = Predictor::new();
    for request in history {
        predictor.observe(request);
    }
    predictor.likely(now)
}

/// The predictor in use. One use more costs microseconds.
#[derive(Debug, Clone)]
pub struct Predictor {
    numbers: BTreeMap<VersionId, usize>,
    versions: Vec<VersionId>,
    experts: Experts,
    /// How much each expert is trusted; they add up to one.
    weights: [f64; ROWS.len()],
    /// The last uses, the latest first.
    recent: VecDeque<usize>,
    /// Room for a forecast.
    rows: Rows,
}

impl Predict for Predictor {
    fn observe(&mut self, request: &Request) {
        let known = self.numbers.get(&request.version).copied();
        let version = known.unwrap_or_else(|| self.admit(&request.version));
        let mut rows = std::mem::take(&mut self.rows);
        self.experts.forecast(request.at, &mut rows);
        // What nobody could foresee is held against nobody.
        if known.is_some() {
            self.judge(version, &rows);
        }
        self.experts.learn(version, request.at, &rows);
        self.rows = rows;
        self.recent.push_front(version);
        self.recent.truncate(RECENT);
    }

    fn likely(&self, now: i64) -> Vec<Likely> {
        let mut rows = Rows::default();
        self.experts.forecast(now, &mut rows);
        let likely = |(number, version): (usize, &VersionId)| {
            let shares = self.shares(number, &rows);
            Likely {
                version: version.clone(),
                probability: shares.iter().sum(),
                why: self.why(number, &shares, rows.is_its_time(number)),
            }
        };
        let mut likely: Vec<Likely> = self.versions.iter().enumerate().map(likely).collect();
        likely
            .sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.version.cmp(&b.version)));
        likely
    }
}

impl Default for Predictor {
    fn default() -> Self {
        Self::new()
    }
}

impl Predictor {
    /// Returns one that has seen nothing.
    pub fn new() -> Self {
        Self {
            numbers: BTreeMap::new(),
            versions: Vec::new(),
            experts: Experts::new(),
            weights: [real(ROWS.len()).recip(); ROWS.len()],
            recent: VecDeque::new(),
            rows: Rows::default(),
        }
    }

    /// Gives a version that is not known a number.
    fn admit(&mut self, version: &VersionId) -> usize {
        let full = self.versions.len() >= MOST;
        let number = if let Some(oldest) = self.experts.oldest().filter(|_| full) {
            self.experts.forget(oldest);
            self.recent.retain(|used| *used != oldest);
            self.numbers.remove(&self.versions[oldest]);
            self.versions[oldest] = version.clone();
            oldest
        } else {
            self.experts.grow();
            self.versions.push(version.clone());
            self.versions.len() - 1
        };
        self.numbers.insert(version.clone(), number);
        number
    }

    /// Trusts the experts by what they had expected of the version that came.
    fn judge(&mut self, version: usize, rows: &Rows) {
        let shares = self.shares(version, rows);
        let sum: f64 = shares.iter().sum();
        for (weight, trusted) in self.weights.iter_mut().zip(shares) {
            *weight = (1.0 - SHARE) * trusted / sum + SHARE / real(ROWS.len());
        }
    }

    /// Returns what each expert adds to the probability of a version.
    fn shares(&self, version: usize, rows: &Rows) -> [f64; ROWS.len()] {
        std::array::from_fn(|expert| self.weights[expert] * rows.get(expert, version))
    }

    /// Says what speaks most for a version.
    fn why(&self, version: usize, shares: &[f64; ROWS.len()], is_its_time: bool) -> String {
        let total = |by: By| -> f64 {
            ROWS.iter().zip(shares).filter(|(row, _)| **row == by).map(|(_, share)| share).sum()
        };
        let (follows, all) = self.experts.followed(version);
        // Experts that know nothing of their own say how often it is used.
        let by = |by: By, knows: bool| if knows { by } else { By::Frequency };
        let reasons = [
            (total(By::Frequency), By::Frequency),
            (total(By::Recency), By::Recency),
            (total(By::Day), by(By::Day, is_its_time)),
            (total(By::Previous) + total(By::PreviousTwo), by(By::Previous, follows > 0.0)),
        ];
        let strongest = reasons.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let uses = self.recent.iter().filter(|used| **used == version).count();
        match (strongest.map(|(_, by)| by), self.experts.last()) {
            (Some(By::Recency), Some(last)) if last == version => "asked for last".to_owned(),
            (Some(By::Recency), _) => "asked for lately".to_owned(),
            (Some(By::Day), _) => "often asked for at this time of day".to_owned(),
            (Some(By::Previous | By::PreviousTwo), Some(last)) => {
                format!("followed `{}` {follows:.0} of {all:.0} times", self.versions[last])
            }
            _ => match uses {
                0 => "asked for long ago".to_owned(),
                1 if self.recent.len() == 1 => "asked for once".to_owned(),
                1 => format!("asked for once in the last {} uses", self.recent.len()),
                _ => format!("asked for {uses} times in the last {} uses", self.recent.len()),
            },
        }
    }
}

#[cfg(test)]
mod tests;
