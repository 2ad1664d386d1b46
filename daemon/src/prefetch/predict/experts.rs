//! The experts: each says for every version how likely it is to be next, and all learn from the same uses.

use super::counts::{Day, Fading, Followers, Recency, real};

/// Half-lives of counts, in uses.
const HORIZONS: [f64; 5] = [4.0, 16.0, 64.0, 256.0, 4096.0];

/// The horizons that experts fall back to: those that never forget, and those that do.
const LONGEST: usize = HORIZONS.len() - 1;
const LONG: usize = LONGEST - 1;

/// How wide a use counts around its time of day, in hours.
const WIDTHS_H: [f64; 2] = [0.7, 2.0];

/// How much of what it knew is kept each time that the same came before.
const KEPT: [f64; 2] = [1.0, 0.85];

/// Share of each forecast that is spread evenly, so that one surprise does not ruin an expert.
const EVEN: f64 = 0.01;

/// Share of each version's weights that is spread evenly after each use.
const SHARE: f64 = 0.001;

/// What an expert goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// How often a version is used.
    Frequency,
    /// How long ago it was used.
    Recency,
    /// The version before.
    Previous,
    /// The two versions before.
    PreviousTwo,
    /// The time of day.
    Day,
}

/// What the rows of a forecast go by: the horizons, all of them together, and so on.
#[rustfmt::skip]
pub(super) const ROWS: [By; 13] = [
    By::Frequency, By::Frequency, By::Frequency, By::Frequency, By::Frequency, By::Frequency,
    By::Recency,
    By::Previous, By::PreviousTwo, By::Previous, By::PreviousTwo,
    By::Day, By::Day,
];

const OWN: usize = HORIZONS.len();
const RECENCY: usize = OWN + 1;
const FOLLOWERS: usize = RECENCY + 1;
const DAYS: usize = FOLLOWERS + 4;

/// All experts. Versions have numbers from 0 on, in the order of [`Experts::grow`].
#[derive(Debug, Clone)]
pub(super) struct Experts {
    horizons: [Fading; HORIZONS.len()],
    /// For each horizon, how much the past of each version speaks for it.
    own: [Vec<f64>; HORIZONS.len()],
    recency: Recency,
    after_one: [Followers<usize>; 2],
    after_two: [Followers<(usize, usize)>; 2],
    days: [Day; 2],
    /// The version used last, and the one before.
    last: (Option<usize>, Option<usize>),
}

impl Experts {
    pub(super) fn new() -> Self {
        Self {
            horizons: HORIZONS.map(Fading::new),
            own: [const { Vec::new() }; HORIZONS.len()],
            recency: Recency::default(),
            after_one: KEPT.map(Followers::new),
            after_two: KEPT.map(Followers::new),
            days: WIDTHS_H.map(Day::new),
            last: (None, None),
        }
    }

    /// Adds a version.
    pub(super) fn grow(&mut self) {
        self.horizons.iter_mut().for_each(Fading::grow);
        self.own.iter_mut().for_each(|weights| weights.push(real(HORIZONS.len()).recip()));
        self.recency.grow();
        self.days.iter_mut().for_each(Day::grow);
    }

    /// Returns the version that was not used for longest.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.recency.oldest()
    }

    /// Returns the version used last.
    pub(super) fn last(&self) -> Option<usize> {
        self.last.0
    }

    /// Returns how often `version` was next after the one used last, and how often anything was.
    pub(super) fn followed(&self, version: usize) -> (f64, f64) {
        self.last.0.map_or((0.0, 0.0), |before| self.after_one[0].count(before, version))
    }

    /// Forgets a version: its number is as new.
    pub(super) fn forget(&mut self, version: usize) {
        self.horizons.iter_mut().for_each(|counts| counts.forget(version));
        self.own.iter_mut().for_each(|weights| weights[version] = real(HORIZONS.len()).recip());
        self.recency.forget(version);
        for counts in &mut self.after_one {
            counts.forget(version, |before| before == version);
        }
        for counts in &mut self.after_two {
            counts.forget(version, |(earlier, before)| earlier == version || before == version);
        }
        self.days.iter_mut().for_each(|day| day.forget(version));
    }

    /// Fills `rows` with what each expert expects as of `at`.
    pub(super) fn forecast(&self, at: i64, rows: &mut Rows) {
        let width = self.own[0].len();
        rows.reset(width);
        let even = real(width + 1).recip();
        for (number, counts) in self.horizons.iter().enumerate() {
            counts.forecast(rows.row_mut(number), even);
        }
        self.forecast_own(rows);
        self.recency.forecast(rows.row_mut(RECENCY));
        for (pair, back) in [LONGEST, LONG].into_iter().enumerate() {
            let one = FOLLOWERS + 2 * pair;
            let after_one = rows.begin(one, back);
            if let Some(before) = self.last.0 {
                self.after_one[pair].forecast(before, after_one);
            }
            let after_two = rows.begin(one + 1, one);
            if let (Some(before), Some(earlier)) = self.last {
                self.after_two[pair].forecast((earlier, before), after_two);
            }
        }
        for (number, day) in (DAYS..).zip(&self.days) {
            day.forecast(at, rows.begin(number, LONGEST));
        }
        rows.cells.iter_mut().for_each(|cell| *cell = (1.0 - EVEN) * *cell + EVEN * even);
    }

    /// Each version by the horizons that suit it: a new favourite by short ones, while all others keep long ones.
    fn forecast_own(&self, rows: &mut Rows) {
        let (horizons, own) = rows.cells.split_at_mut(OWN * rows.width);
        let own = &mut own[..rows.width];
        for (number, weights) in self.own.iter().enumerate() {
            let row = &horizons[number * rows.width..];
            for ((cell, weight), value) in own.iter_mut().zip(weights).zip(row) {
                *cell += weight * value;
            }
        }
        let sum: f64 = own.iter().sum();
        for cell in own {
            *cell /= sum;
        }
    }

    /// Learns that `version` was used at `at`; `rows` is what was expected then.
    pub(super) fn learn(&mut self, version: usize, at: i64, rows: &Rows) {
        self.learn_own(version, rows);
        self.horizons.iter_mut().for_each(|counts| counts.learn(version));
        self.recency.learn(version);
        if let Some(before) = self.last.0 {
            self.after_one.iter_mut().for_each(|counts| counts.learn(before, version));
            if let Some(earlier) = self.last.1 {
                self.after_two.iter_mut().for_each(|counts| counts.learn((earlier, before), version));
            }
        }
        self.days.iter_mut().for_each(|day| day.learn(version, at));
        self.last = (Some(version), self.last.0);
    }

    /// Trusts horizons by what they had expected of each version: that it comes, or that it does not.
    fn learn_own(&mut self, version: usize, rows: &Rows) {
        let mut sums = vec![0.0; rows.width];
        for (number, weights) in self.own.iter_mut().enumerate() {
            let row = rows.row(number);
            // Corrected below, where the branch costs nothing.
            let came = weights[version] * row[version];
            for ((weight, expected), sum) in weights.iter_mut().zip(row).zip(&mut sums) {
                *weight *= 1.0 - expected;
                *sum += *weight;
            }
            sums[version] += came - weights[version];
            weights[version] = came;
        }
        let factors: Vec<f64> = sums.into_iter().map(|sum| (1.0 - SHARE) / sum).collect();
        let even = SHARE / real(HORIZONS.len());
        for weights in &mut self.own {
            weights.iter_mut().zip(&factors).for_each(|(weight, factor)| *weight = *weight * factor + even);
        }
    }
}

/// What the experts expect: for each of [`ROWS`] a number for each version. A row adds up to less than one: the rest is
/// for a version that was never used.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    width: usize,
    cells: Vec<f64>,
}

impl Rows {
    /// Returns how likely a row's expert thinks a version.
    pub(super) fn get(&self, row: usize, version: usize) -> f64 {
        self.cells[row * self.width + version]
    }

    /// Tells whether a version is clearly likelier at this time of day than at others.
    pub(super) fn is_its_time(&self, version: usize) -> bool {
        self.get(DAYS, version) > 1.25 * self.get(LONGEST, version)
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.cells[row * self.width..(row + 1) * self.width]
    }

    fn reset(&mut self, width: usize) {
        self.width = width;
        self.cells.clear();
        self.cells.resize(width * ROWS.len(), 0.0);
    }

    fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.cells[row * self.width..(row + 1) * self.width]
    }

    /// Returns a row that begins as a copy of another.
    fn begin(&mut self, row: usize, from: usize) -> &mut [f64] {
        self.cells.copy_within(from * self.width..(from + 1) * self.width, row * self.width);
        self.row_mut(row)
    }
}
