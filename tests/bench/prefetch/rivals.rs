//! What the predictor is held against: the simple ways, and one that knows the law.

use super::traces::{Use, VERSIONS};
use super::{name, number};
use comfyd::prefetch::history::Request;
use comfyd::prefetch::predict::{Likely, Predict};

/// Keeps the versions that were used last.
#[derive(Default)]
pub(crate) struct Lru(Vec<usize>);

/// Keeps the versions that were used most; of two alike the one used later.
pub(crate) struct Lfu([u32; VERSIONS], Lru);

/// Keeps those that followed the last version most, then those that were used most.
pub(crate) struct Markov([[u32; VERSIONS]; VERSIONS], Lfu);

/// Knows the law that the dice obey, and not the dice.
pub(crate) struct Oracle<'a>(pub(crate) &'a [Use]);

impl Default for Lfu {
    fn default() -> Self {
        Self([0; VERSIONS], Lru::default())
    }
}

impl Default for Markov {
    fn default() -> Self {
        Self([[0; VERSIONS]; VERSIONS], Lfu::default())
    }
}

impl Lru {
    /// Returns how many versions were used before this one was last; none for one that never was.
    fn place(&self, version: usize) -> Option<usize> {
        self.0.iter().position(|used| *used == version)
    }
}

impl Predict for Lru {
    fn observe(&mut self, request: &Request) {
        let version = number(&request.version);
        self.0.retain(|used| *used != version);
        self.0.push(version);
    }

    fn likely(&self, _now: i64) -> Vec<Likely> {
        ranked(|version| self.place(version))
    }
}

impl Predict for Lfu {
    fn observe(&mut self, request: &Request) {
        self.0[number(&request.version)] += 1;
        self.1.observe(request);
    }

    fn likely(&self, _now: i64) -> Vec<Likely> {
        ranked(|version| Some((self.0[version], self.1.place(version)?)))
    }
}

impl Predict for Markov {
    fn observe(&mut self, request: &Request) {
        if let Some(before) = self.1.1.0.last() {
            self.0[*before][number(&request.version)] += 1;
        }
        self.1.observe(request);
    }

    fn likely(&self, _now: i64) -> Vec<Likely> {
        let followers = self.1.1.0.last().map(|before| &self.0[*before]);
        let used = |version| Some((self.1.0[version], self.1.1.place(version)?));
        ranked(|version| Some((followers.map(|row| row[version]), used(version)?)))
    }
}

impl Predict for Oracle<'_> {
    fn observe(&mut self, _request: &Request) {
        self.0 = &self.0[1..];
    }

    fn likely(&self, _now: i64) -> Vec<Likely> {
        let law = self.0.first().map_or(&[][..], |next| &next.law);
        let likely = |(version, probability): (usize, &f64)| {
            let (version, why) = (name(version), String::new());
            Likely { version, probability: *probability, why }
        };
        let mut likely: Vec<_> =
            law.iter().enumerate().map(likely).filter(|it| it.probability > 0.0).collect();
        likely.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        likely
    }
}

/// Ranks the versions that have a worth by it, as if each were half as likely as the one before.
fn ranked<T: Ord>(worth: impl Fn(usize) -> Option<T>) -> Vec<Likely> {
    let mut ranked: Vec<_> = (0..VERSIONS).filter_map(|version| Some((worth(version)?, version))).collect();
    ranked.sort_by(|a, b| b.cmp(a));
    let halved = std::iter::successors(Some(0.5), |probability| Some(probability / 2.0));
    let likely = |((_, version), probability)| {
        let (version, why) = (name(version), String::new());
        Likely { version, probability, why }
    };
    ranked.into_iter().zip(halved).map(likely).collect()
}
