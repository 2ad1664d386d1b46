//! Counts of versions, each version known by its number: how often lately, after what, how long ago, at which time of day.

use std::collections::{BTreeMap, VecDeque};

/// Returns a count as a number to reckon with. There are never so many that it is not exact.
pub(super) fn real(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// Counts that lose half of their weight in so many uses.
#[derive(Debug, Clone)]
pub(super) struct Fading {
    counts: Vec<f64>,
    sum: f64,
    keep: f64,
}

impl Fading {
    pub(super) fn new(half_life: f64) -> Self {
        Self { counts: Vec::new(), sum: 0.0, keep: 0.5_f64.powf(half_life.recip()) }
    }

    pub(super) fn grow(&mut self) {
        self.counts.push(0.0);
    }

    pub(super) fn learn(&mut self, version: usize) {
        self.counts.iter_mut().for_each(|count| *count *= self.keep);
        self.counts[version] += 1.0;
        self.sum = self.sum * self.keep + 1.0;
    }

    pub(super) fn forget(&mut self, version: usize) {
        self.sum -= std::mem::take(&mut self.counts[version]);
    }

    /// One more use is spread evenly, so that nothing is impossible.
    pub(super) fn forecast(&self, row: &mut [f64], even: f64) {
        let factor = (self.sum + 1.0).recip();
        for (cell, count) in row.iter_mut().zip(&self.counts) {
            *cell = (count + even) * factor;
        }
    }
}

/// The order in which versions were used last, and how often the one at which place came next.
#[derive(Debug, Clone, Default)]
pub(super) struct Recency {
    /// The one used last comes first.
    order: VecDeque<usize>,
    places: Vec<f64>,
    /// What counts in addition, always.
    expected: Vec<f64>,
}

impl Recency {
    /// Weight that is kept at each use.
    const KEEP: f64 = 0.99;

    pub(super) fn grow(&mut self) {
        // What was used later is likelier, before anything is known.
        self.expected.push(real(self.places.len() + 1).recip());
        self.places.push(0.0);
    }

    pub(super) fn learn(&mut self, version: usize) {
        if let Some(place) = self.order.iter().position(|used| *used == version) {
            self.places.iter_mut().for_each(|count| *count *= Self::KEEP);
            self.places[place] += 1.0;
            self.order.remove(place);
        }
        self.order.push_front(version);
    }

    pub(super) fn forget(&mut self, version: usize) {
        self.order.retain(|used| *used != version);
    }

    /// The version that was not used for longest.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.order.back().copied()
    }

    pub(super) fn forecast(&self, row: &mut [f64]) {
        let count = |place: usize| self.places[place] + self.expected[place];
        let factor = (0..self.order.len()).map(count).sum::<f64>().recip();
        row.fill(0.0);
        for (place, version) in self.order.iter().enumerate() {
            row[*version] = count(place) * factor;
        }
    }
}

/// What came after a version, or after two.
#[derive(Debug, Clone)]
pub(super) struct Followers<K> {
    /// None is empty.
    after: BTreeMap<K, Vec<(usize, f64)>>,
    keep: f64,
}

impl<K: Ord + Copy> Followers<K> {
    /// What counts less than this has faded away.
    const LEAST: f64 = 0.05;

    /// `keep` is the weight that is kept each time that the same comes before.
    pub(super) fn new(keep: f64) -> Self {
        Self { after: BTreeMap::new(), keep }
    }

    pub(super) fn learn(&mut self, before: K, version: usize) {
        let followers = self.after.entry(before).or_default();
        for (_, count) in followers.iter_mut() {
            *count *= self.keep;
        }
        followers.retain(|(_, count)| *count > Self::LEAST);
        match followers.iter_mut().find(|(follower, _)| *follower == version) {
            Some((_, count)) => *count += 1.0,
            None => followers.push((version, 1.0)),
        }
    }

    pub(super) fn forget(&mut self, version: usize, involves: impl Fn(K) -> bool) {
        self.after.retain(|before, followers| {
            followers.retain(|(follower, _)| *follower != version);
            !followers.is_empty() && !involves(*before)
        });
    }

    /// Returns how often `version` came next, and how often anything did.
    pub(super) fn count(&self, before: K, version: usize) -> (f64, f64) {
        let followers = self.after.get(&before).map_or(&[][..], Vec::as_slice);
        let own = followers.iter().filter(|(follower, _)| *follower == version);
        (own.map(|(_, count)| count).sum(), followers.iter().map(|(_, count)| count).sum())
    }

    /// `row` holds what is expected without knowing what came before; it keeps a weight that grows with the
    /// number of different followers (after Witten and Bell), and keeps all of it where there are none.
    pub(super) fn forecast(&self, before: K, row: &mut [f64]) {
        let Some(followers) = self.after.get(&before) else { return };
        let kept = 0.5 * real(followers.len());
        let sum: f64 = followers.iter().map(|(_, count)| count).sum();
        let factor = (sum + kept).recip();
        for cell in row.iter_mut() {
            *cell *= kept * factor;
        }
        for (version, count) in followers {
            row[*version] += count * factor;
        }
    }
}

/// When in the day versions are used, by half hours; a use counts around its time, too.
#[derive(Debug, Clone)]
pub(super) struct Day {
    /// For each half hour, a count for each version.
    cells: [Vec<f64>; Day::SLOTS],
    /// What a use counts at a distance.
    weights: [f64; Day::SLOTS],
    learnt: usize,
}

impl Day {
    const SLOTS: usize = 48;
    /// Uses after which all counts are halved.
    const HALVED: usize = 1024;

    /// `width_h` is the standard deviation of the bell around a use, in hours.
    pub(super) fn new(width_h: f64) -> Self {
        let weight = |distance: usize| {
            let hours = real(distance.min(Self::SLOTS - distance)) / 2.0;
            (-0.5 * (hours / width_h).powi(2)).exp()
        };
        let cells = [const { Vec::new() }; Self::SLOTS];
        Self { cells, weights: std::array::from_fn(weight), learnt: 0 }
    }

    pub(super) fn grow(&mut self) {
        self.cells.iter_mut().for_each(|counts| counts.push(0.0));
    }

    pub(super) fn learn(&mut self, version: usize, at: i64) {
        let now = Self::slot(at);
        for (slot, counts) in self.cells.iter_mut().enumerate() {
            counts[version] += self.weights[slot.abs_diff(now)];
        }
        self.learnt += 1;
        if self.learnt.is_multiple_of(Self::HALVED) {
            self.cells.iter_mut().flatten().for_each(|count| *count /= 2.0);
        }
    }

    pub(super) fn forget(&mut self, version: usize) {
        self.cells.iter_mut().for_each(|counts| counts[version] = 0.0);
    }

    /// `row` holds what is expected without knowing the time; it keeps the weight of two uses.
    pub(super) fn forecast(&self, at: i64, row: &mut [f64]) {
        let counts = &self.cells[Self::slot(at)];
        let factor = (counts.iter().sum::<f64>() + 2.0).recip();
        for (cell, count) in row.iter_mut().zip(counts) {
            *cell = (count + 2.0 * *cell) * factor;
        }
    }

    fn slot(at: i64) -> usize {
        usize::try_from(at.rem_euclid(24 * 3600) / (30 * 60)).unwrap_or(0)
    }
}
